"""The shop on a database of tables: the same statements on psycopg and on PyMySQL."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from .shop_database import Store


class SqlStore(Store):
    """A connection in autocommit."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[object]:
        """A block that is one transaction; it is rolled back where it ends in an error."""

    @abstractmethod
    def execute(self, text: str, values: Sequence[Any]) -> int:
        """Run a statement; how many rows it found."""

    @abstractmethod
    def row(self, text: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
        """The first row that a query gives."""

    @abstractmethod
    def insert(self, text: str, values: Sequence[Any]) -> int:
        """Insert a row; the number it was given."""

    def place_order(self, customer: int, lines: Sequence[tuple[int, int]], note: str | None) -> tuple[int, str]:
        priced: list[tuple[int, int, Any]] = []
        with self.transaction():
            for product, quantity in lines:
                self.execute("UPDATE products SET stock = stock - %s WHERE id = %s", [quantity, product])
                row = self.row("SELECT price FROM products WHERE id = %s", [product])
                if row is None:
                    raise LookupError(f"no product {product}")
                priced.append((product, quantity, row[0]))
            total = sum(quantity * price for _, quantity, price in priced)
            number = self.insert(
                "INSERT INTO orders (customer_id, total, note) VALUES (%s, %s, %s)", [customer, total, note]
            )
            for product, quantity, price in priced:
                self.execute(
                    "INSERT INTO order_lines (order_id, product_id, quantity, price) VALUES (%s, %s, %s, %s)",
                    [number, product, quantity, price],
                )
        return number, str(total)

    def cancel_order(self, order: int) -> bool:
        with self.transaction():
            self.execute(
                "UPDATE products SET stock = stock + (SELECT quantity FROM order_lines WHERE order_id = %s AND product_id = id)"
                " WHERE id IN (SELECT product_id FROM order_lines WHERE order_id = %s)",
                [order, order],
            )
            return self.set_order(order, "status", "cancelled")

    def set_order(self, order: int, field: str, value: Any) -> bool:
        # The field is a name of ours, never a request's.
        return self.execute(f"UPDATE orders SET {field} = %s WHERE id = %s", [value, order]) == 1  # noqa: S608

    def set_email(self, customer: int, email: str) -> bool:
        return self.execute("UPDATE customers SET email = %s WHERE id = %s", [email, customer]) == 1

    def order(self, order: int) -> Mapping[str, Any] | None:
        row = self.row("SELECT status, total, note FROM orders WHERE id = %s", [order])
        return {"status": row[0], "total": str(row[1]), "note": row[2]} if row else None

    def add_customers(self, customers: Sequence[tuple[str, str]]) -> None:
        rows = ", ".join(["(%s, %s)"] * len(customers))
        values = [value for customer in customers for value in customer]
        self.execute(f"INSERT INTO customers (name, email) VALUES {rows}", values)  # noqa: S608 - placeholders
