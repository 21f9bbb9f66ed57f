"""The proof that a fork is equal to its source: the published rows of both, by key, as hashes of their text.

It reads both databases as they are at the moment. They are equal only where the source is at rest and the fork has caught up.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from ...schemas.errors import Refused, Unreachable
from ...schemas.shape import Shape
from ...transforms.table_name import table_name
from ..tail.connection import connect, one_line
from . import state
from .postgres import STATEMENT_TIMEOUT_MS, Target
from .status import require

SHOWN_KEYS = 20
"""Keys that are named of each kind of difference; all are counted."""

_FETCH_ROWS = 5000

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows of one kind that make two tables unequal: how many, and the first keys, each value as text."""

    count: int
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One table on both sides.

    Args:
        entity: The entity.
        table: The table, quoted.
        rows: How many rows the source has.
        missing: Rows that only the source has.
        extra: Rows that only the fork has.
        other: Rows of one key that differ.
    """

    entity: str
    table: str
    rows: int
    missing: Difference
    extra: Difference
    other: Difference

    @property
    def equal(self) -> bool:
        """Whether both sides have the same rows."""
        return not (self.missing.count or self.extra.count or self.other.count)

    def to_json(self) -> dict[str, Any]:
        """The comparison as commands print it."""
        out: dict[str, Any] = {"entity": self.entity, "table": self.table, "rows": self.rows, "equal": self.equal}
        for name, found in (("missing", self.missing), ("extra", self.extra), ("other", self.other)):
            out[name] = {"count": found.count, "keys": [list(key) for key in found.keys]}
        return out


def compare(source_url: str, target_url: str, entities: Collection[str] = ()) -> tuple[Comparison, ...]:
    """Compare the fields that the newest shapes publish, row by row, column by column as canonical text.

    Args:
        source_url: The database that the log was made from.
        target_url: The fork.
        entities: Only these; empty for all that the fork has.

    Raises:
        Unreachable: One of them does not answer.
        UsageError: There is no fork at `target_url`.
        Refused: The source has no such table or column any more, or this user may not read it.
    """
    with Target(target_url) as target:
        require(target)
        newest = {shape.entity: shape for shape in state.shapes(target)}
        source = connect(source_url, where="--check")
        try:
            source.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(STATEMENT_TIMEOUT_MS)))
            wanted = [shape for shape in newest.values() if not entities or shape.entity in entities]
            return tuple(_compare(source, target.connection, shape) for shape in wanted)
        except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
            raise Unreachable(f"a database cannot be read: {one_line(exc)}") from exc
        except psycopg.Error as exc:
            raise Refused(f"the databases cannot be compared: {one_line(exc)}") from exc
        finally:
            source.close()


def _compare(
    source: "psycopg.Connection[tuple[Any, ...]]", target: "psycopg.Connection[tuple[Any, ...]]", shape: Shape
) -> Comparison:
    missing, extra, other = _Found(), _Found(), _Found()
    rows = 0
    their_query, our_query = _query(source, shape), _query(target, shape)
    with source.transaction(), target.transaction():
        theirs, ours = _rows(source, their_query), _rows(target, our_query)
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
    return Comparison(shape.entity, shape.table, rows, missing.difference, extra.difference, other.difference)


class _Found:
    """Keys, the first few kept."""

    def __init__(self) -> None:
        self._count, self._keys = 0, list[Key]()

    def add(self, key: Key) -> None:
        self._count += 1
        if len(self._keys) < SHOWN_KEYS:
            self._keys.append(key)

    @property
    def difference(self) -> Difference:
        return Difference(self._count, tuple(self._keys))


def _query(connection: "psycopg.Connection[tuple[Any, ...]]", shape: Shape) -> sql.Composed:
    """Key texts and row hashes in the order of the keys' bytes, which is that of Python's strings."""
    table = sql.Identifier(*table_name(shape.table))
    # Of tables that inherit from this one a log knows nothing under its name; partitions are the table's own.
    found = connection.execute(
        sql.SQL("SELECT relkind = 'p' FROM pg_class WHERE oid = {}::regclass").format(
            sql.Literal(table.as_string(connection))
        )
    ).fetchone()
    only = sql.SQL("" if found and found[0] else "ONLY ")
    # What records hold is what the types' output functions write, as concat() and a composite value have it. A cast to text is
    # another thing: it strips character(n), and writes an inet's mask where there is none.
    key = [sql.SQL('(concat({}) COLLATE "C")').format(sql.Identifier(f)) for f in shape.key]
    fields = [sql.Identifier(column.field) for column in shape.columns]
    # The text of a composite value tells null from empty, and one column from the next.
    return sql.SQL("SELECT ARRAY[{}], sha256(convert_to(ROW({})::text, 'UTF8')) FROM {}{} ORDER BY {}").format(
        sql.SQL(", ").join(key),
        sql.SQL(", ").join(fields),
        only,
        table,
        sql.SQL(", ").join(key),
    )


def _rows(connection: "psycopg.Connection[tuple[Any, ...]]", query: sql.Composed) -> Iterator[tuple[Key, bytes]]:
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    with connection.cursor("compare") as cursor:
        cursor.itersize = _FETCH_ROWS
        cursor.execute(query)
        for key, digest in cursor:
            yield tuple(key), digest
