"""The tables of a PostgreSQL that a fork is compared with."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from ....schemas.errors import CommitLogError, Refused, Unreachable
from ....schemas.shape import Shape
from ....transforms.table_name import table_name
from ...tail.connection import connect, one_line
from ...tail.pgtypes import converter
from .connection import STATEMENT_TIMEOUT_MS

_FETCH_ROWS = 5000


class PostgresTables:
    """All tables as they are at one moment, which is the first question.

    Args:
        url: A libpq URL.

    Raises:
        CommitLogError: It cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._connection = connect(url, where="--check")
        self._connection.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(STATEMENT_TIMEOUT_MS)))
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def columns(self, shape: Shape) -> frozenset[str]:
        """The columns of a shape's table."""
        try:
            rows = self._connection.execute(
                "SELECT a.attname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
                " WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')",
                table_name(shape.table),
            ).fetchall()
        except psycopg.Error as exc:
            raise _error(shape, exc) from exc
        return frozenset(row[0] for row in rows)

    def rows(self, shape: Shape, fields: Sequence[str]) -> Iterator[dict[str, object]]:
        """The table's rows as records would hold them: what the types' output functions write, as concat() has it."""
        types = {column.field: column.type for column in shape.columns}
        converters = [(field, converter(types[field])) for field in fields]
        table, texts = sql.Identifier(*table_name(shape.table)), map(_text, fields)
        try:
            with self._connection.cursor("compare") as cursor:
                cursor.itersize = _FETCH_ROWS
                cursor.execute(
                    sql.SQL("SELECT {} FROM {}{}").format(sql.SQL(", ").join(texts), self._only(table), table)
                )
                for row in cursor:
                    yield {
                        f: None if text is None else convert(text.encode())
                        for (f, convert), text in zip(converters, row, strict=True)
                    }
        except psycopg.Error as exc:
            raise _error(shape, exc) from exc

    def _only(self, table: sql.Identifier) -> sql.SQL:
        """Of tables that inherit from this one a log knows nothing under its name; partitions are the table's own."""
        name = sql.Literal(table.as_string(self._connection))
        row: tuple[Any, ...] | None = self._connection.execute(
            sql.SQL("SELECT relkind = 'p' FROM pg_class WHERE oid = {}::regclass").format(name)
        ).fetchone()
        return sql.SQL("" if row and row[0] else "ONLY ")


def _text(field: str) -> sql.Composed:
    # A composite value of nulls IS NULL, and is none.
    return sql.SQL("CASE WHEN num_nulls({0}) = 0 THEN concat({0}) END").format(sql.Identifier(field))


def _error(shape: Shape, exc: psycopg.Error) -> CommitLogError:
    if isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError):
        return Unreachable(f"the source cannot be read: {one_line(exc)}", hint="check that the server runs")
    return Refused(f"{shape.table} cannot be read: {one_line(exc)}")
