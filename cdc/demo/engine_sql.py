"""The demo on a database of tables."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from .engine import Engine

_TABLES = {
    "customers": ("id", "name", "email"),
    "products": ("id", "name", "price", "stock"),
    "orders": ("id", "customer_id", "status", "total", "note", "placed_at", "deliver_on"),
    "order_lines": ("order_id", "product_id", "quantity", "price"),
}
"""What the app schemas publish; the first column or two are the key."""


class SqlEngine(Engine):
    """An engine that takes the statements of `shop.sql`."""

    schema, column = "shop", "column"
    order = ("id", "customer_id", "status", "total", "note", "placed_at")
    stock_statement = "UPDATE products SET stock = 50 WHERE id = 4"
    delivery_statement = "ALTER TABLE orders ADD COLUMN deliver_on date"
    words: ClassVar[Mapping[str, str]]
    """What the shop's tables are made with: words of `shop.sql`, and what stands for them."""

    @abstractmethod
    def rows(self, url: str, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""

    def make_shop(self, url: str) -> None:
        lines = Path(__file__).with_name("shop.sql").read_text(encoding="utf-8").splitlines(keepends=True)
        text = "".join(line for line in lines if not line.startswith("--"))
        for word, meaning in self.words.items():
            text = text.replace(word, meaning)
        self.execute(url, *(statement for statement in text.split(";\n") if statement))

    def published(self, url: str) -> Mapping[str, Sequence[object]]:
        return {table: self._table(url, table, columns) for table, columns in _TABLES.items()}

    def ids(self, url: str, table: str, above: int = 0) -> list[int]:
        query = f"SELECT id FROM {table} WHERE id > {above} ORDER BY id"  # noqa: S608 - names of ours
        return [int(row[0]) for row in self.rows(url, query)]

    def recorded(self, value: Any) -> Any:
        return str(value) if isinstance(value, Decimal) else value

    def _table(self, url: str, table: str, columns: Sequence[str]) -> Sequence[object]:
        query = f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1, 2"  # noqa: S608 - names of ours
        return [tuple(map(str, row)) for row in self.rows(url, query)]
