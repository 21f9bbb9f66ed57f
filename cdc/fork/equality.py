"""The proof that a fork is equal to its source: the published rows of both, by key, as hashes of their text.

It reads both databases as they are at the moment. They are equal only where the source is at rest and the fork has caught up.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

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

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows of one kind that make two tables unequal: how many, and the first keys, each value as text."""

    count: int
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A field that is not compared, and who is without it: the source's table, the fork's, or the newest shape that the log told."""

    field: str
    by: Literal["source", "fork", "shape"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One table on both sides.

    Args:
        entity: The entity.
        table: The table, quoted.
        rows: How many rows the source has; None where one side is without the table, or without a field of its key.
        missing: Rows that only the source has.
        extra: Rows that only the fork has.
        other: Rows of one key that differ.
        left_out: Fields that some shape had, and that are not compared.
    """

    entity: str
    table: str
    rows: int | None
    missing: Difference
    extra: Difference
    other: Difference
    left_out: tuple[LeftOut, ...]

    @property
    def equal(self) -> bool:
        """Whether both sides have the same rows, and the fork every field that the newest shape and the source have."""
        differ = self.missing.count or self.extra.count or self.other.count
        return self.rows is not None and not differ and all(left.by != "fork" for left in self.left_out)

    def to_json(self) -> dict[str, Any]:
        """The comparison as commands print it."""
        out: dict[str, Any] = {"entity": self.entity, "table": self.table, "rows": self.rows, "equal": self.equal}
        for name, found in (("missing", self.missing), ("extra", self.extra), ("other", self.other)):
            out[name] = {"count": found.count, "keys": [list(key) for key in found.keys]}
        out["left_out"] = [{"field": left.field, "by": left.by} for left in self.left_out]
        return out


def compare(source_url: str, target_url: str, entities: Collection[str] = ()) -> tuple[Comparison, ...]:
    """Compare the fields that the newest shapes publish and both sides have, row by row, column by column as canonical text.

    Args:
        source_url: The database that the log was made from.
        target_url: The fork.
        entities: Only these; empty for all that the fork has.

    Raises:
        Unreachable: One of them does not answer.
        UsageError: There is no fork at `target_url`.
        Refused: This user may not read a table.
    """
    with Target(target_url) as target:
        require(target)
        shapes = state.shapes(target)
        newest = {shape.entity: shape for shape in shapes}
        once = {(shape.entity, column.field): None for shape in shapes for column in shape.columns}
        source = connect(source_url, where="--check")
        try:
            source.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(STATEMENT_TIMEOUT_MS)))
            wanted = [shape for shape in newest.values() if not entities or shape.entity in entities]
            fields = {entity: [field for of, field in once if of == entity] for entity in newest}
            return tuple(_compare(source, target.connection, shape, fields[shape.entity]) for shape in wanted)
        except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
            raise Unreachable(f"a database cannot be read: {one_line(exc)}") from exc
        except psycopg.Error as exc:
            raise Refused(f"the databases cannot be compared: {one_line(exc)}") from exc
        finally:
            source.close()


def _compare(source: Connection, target: Connection, shape: Shape, once: Collection[str]) -> Comparison:
    """Compare one table.

    Args:
        source: The source.
        target: The fork.
        shape: The entity's newest shape.
        once: The fields that any of its shapes has.
    """
    theirs, ours = _Side.of(source, shape), _Side.of(target, shape)
    told = {column.field for column in shape.columns}
    left_out: list[LeftOut] = []
    for field in once:
        if field not in told:
            left_out.append(LeftOut(field, "shape"))
        elif field not in theirs.columns:
            left_out.append(LeftOut(field, "source"))
        elif field not in ours.columns:
            left_out.append(LeftOut(field, "fork"))
    without = {left.field for left in left_out}
    nothing = Difference(0, ())
    found = Comparison(shape.entity, shape.table, None, nothing, nothing, nothing, tuple(left_out))
    if not without.isdisjoint(shape.key):
        return found
    columns = tuple(column for column in shape.columns if column.field not in without)
    return _compare_rows(theirs, ours, replace(shape, columns=columns), found)


def _compare_rows(source: "_Side", target: "_Side", shape: Shape, found: Comparison) -> Comparison:
    missing, extra, other = _Found(), _Found(), _Found()
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
