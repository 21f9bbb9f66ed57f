"""The comparison of a fork in PostgreSQL with a PostgreSQL: the rows of both, by key, as hashes of their text that the servers make."""

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql

from ....schemas.errors import Refused, Unreachable
from ....schemas.shape import Shape
from ....transforms.table_name import table_name
from ...tail.connection import connect, one_line
from ..comparison import Comparison, Found, Key, Told, left_out
from .connection import STATEMENT_TIMEOUT_MS
from .target import Target

_FETCH_ROWS = 5000

Connection = psycopg.Connection[tuple[Any, ...]]


def compare_servers(source_url: str, target_url: str, told: Told) -> tuple[Comparison, ...]:
    """Compare tables one after the other, each side by hashes that its server makes.

    Args:
        source_url: The source.
        target_url: The fork.
        told: What to compare.

    Raises:
        Unreachable: One of them does not answer.
        Refused: This user may not read a table.
    """
    with Target(target_url) as target, closing(connect(source_url, where="--check")) as source:
        try:
            source.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(STATEMENT_TIMEOUT_MS)))
            return tuple(_compare(source, target.connection, shape, once) for shape, once in told)
        except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
            raise Unreachable(f"a database cannot be read: {one_line(exc)}") from exc
        except psycopg.Error as exc:
            raise Refused(f"the databases cannot be compared: {one_line(exc)}") from exc


def _compare(source: Connection, target: Connection, shape: Shape, once: Collection[str]) -> Comparison:
    """Compare one table.

    Args:
        source: The source.
        target: The fork.
        shape: The entity's newest shape.
        once: The fields that any of its shapes has.
    """
    theirs, ours = _Side.of(source, shape), _Side.of(target, shape)
    left = left_out(shape, once, theirs.columns, ours.columns)
    without = {field.field for field in left}
    found = Comparison.nothing(shape, left)
    if not without.isdisjoint(shape.key):
        return found
    columns = tuple(column for column in shape.columns if column.field not in without)
    return _compare_rows(theirs, ours, replace(shape, columns=columns), found)


def _compare_rows(source: "_Side", target: "_Side", shape: Shape, found: Comparison) -> Comparison:
    missing, extra, other = Found(), Found(), Found()
    rows = 0
    with source.connection.transaction(), target.connection.transaction():
        theirs, ours = source.rows(shape), target.rows(shape)
        there, here = next(theirs, None), next(ours, None)
        while there or here:
            if here is None or (there is not None and there[0] < here[0]):
                assert there is not None
                missing.add(there[0])
            elif there is None or here[0] < there[0]:
                extra.add(here[0])
            elif there[1] != here[1]:
                other.add(there[0])
            # A row of equal key moves both sides on, any other only its own.
            key = min(row[0] for row in (there, here) if row)
            if there and there[0] == key:
                rows += 1
                there = next(theirs, None)
            if here and here[0] == key:
                here = next(ours, None)
    return replace(found, rows=rows, missing=missing.difference, extra=extra.difference, other=other.difference)


@dataclass(frozen=True, slots=True)
class _Side:
    """A table as one side has it; without columns where it does not."""

    connection: Connection
    table: sql.Identifier
    partitioned: bool
    columns: frozenset[str]

    @classmethod
    def of(cls, connection: Connection, shape: Shape) -> "_Side":
        """Look it up."""
        name = table_name(shape.table)
        rows = connection.execute(
            "SELECT c.relkind = 'p', a.attname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')",
            name,
        ).fetchall()
        return cls(connection, sql.Identifier(*name), any(row[0] for row in rows), frozenset(row[1] for row in rows))

    def rows(self, shape: Shape) -> Iterator[tuple[Key, bytes]]:
        """Keys and hashes of the fields of a shape, inside a transaction that begins here."""
        self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        with self.connection.cursor("compare") as cursor:
            cursor.itersize = _FETCH_ROWS
            cursor.execute(self._query(shape))
            for key, digest in cursor:
                yield tuple(key), digest

    def _query(self, shape: Shape) -> sql.Composed:
        """Key texts and row hashes in the order of the keys' bytes, which is that of Python's strings."""
        # Of tables that inherit from this one a log knows nothing under its name; partitions are the table's own.
        only = sql.SQL("" if self.partitioned else "ONLY ")
        # What records hold is what the types' output functions write, as concat() and a composite value have it. A cast to text is
        # another thing: it strips character(n), and writes an inet's mask where there is none.
        key = [sql.SQL('(concat({}) COLLATE "C")').format(sql.Identifier(f)) for f in shape.key]
        fields = [sql.Identifier(column.field) for column in shape.columns]
        # The text of a composite value tells null from empty, and one column from the next.
        return sql.SQL("SELECT ARRAY[{}], sha256(convert_to(ROW({})::text, 'UTF8')) FROM {}{} ORDER BY {}").format(
            sql.SQL(", ").join(key),
            sql.SQL(", ").join(fields),
            only,
            self.table,
            sql.SQL(", ").join(key),
        )
