"""The query of a table's rows that come after a key, in the order of their keys. No I/O.

Text is ordered by its bytes, so that every database orders it alike; any other type as its default operator class says. The operators
are named with their schema: an extension's are not in the search path, and without them the server would silently take those
of another type that its values can be cast to.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .catalog import Compared, Table, sql_name
from .pgtypes import to_text


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A column of the key: its name, its canonical type, and how its type is compared."""

    name: str
    canonical: str
    compared: Compared

    @property
    def value(self) -> str:
        """The column as it is compared: a domain as what it is at bottom, for its own operators would have to be made first."""
        return f"{sql_name(self.name)}::{self.compared.type}{self._collation}"

    @property
    def ordered(self) -> str:
        """The column as rows are ordered by it."""
        return f"{sql_name(self.name)}{self._collation}"

    @property
    def _collation(self) -> str:
        return ' COLLATE "C"' if self.canonical == "text" else ""


def rows_after(table: Table, key: Sequence[KeyColumn], start: Sequence[object] | None) -> tuple[str, list[str | None]]:
    """The query and its parameters.

    Args:
        table: The columns to read.
        key: The key.
        start: The key's values as records hold them; None for all rows.
    """
    query = f"SELECT {', '.join(sql_name(c.name) for c in table.columns)} FROM {table.only}"  # noqa: S608 - quoted names
    parameters: list[str | None] = []
    if start is not None:
        parameters = [to_text(column.canonical, value) for column, value in zip(key, start, strict=True)]
        query += f" WHERE {_after(key)}"
    return f"{query} ORDER BY {', '.join(column.ordered for column in key)}", parameters


def _after(key: Sequence[KeyColumn]) -> str:
    bounds = [f"${number}::{column.compared.type}" for number, column in enumerate(key, 1)]
    if all(column.compared.is_plain for column in key):
        # An index serves a comparison of whole keys.
        return f"({', '.join(column.value for column in key)}) > ({', '.join(bounds)})"
    terms = [
        " AND ".join(
            [f"{c.value} {c.compared.equal} {b}" for c, b in zip(key[:number], bounds, strict=False)]
            + [f"{column.value} {column.compared.greater} {bounds[number]}"]
        )
        for number, column in enumerate(key)
    ]
    return f"({' OR '.join(terms)})"
