"""The proof that a fork is equal to its source: the published rows of both, by key.

It reads both databases as they are at the moment. They are equal only where the source is at rest and the fork has caught up.

Across engines the source's values are projected to the types of the fork's columns, as they are when changes are applied, and
compared with what is there. Keys are met in a temporary file, as two engines seldom sort alike.
"""

import hashlib
import itertools
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Protocol

import orjson

from ...schemas.errors import UsageError
from ...schemas.shape import Shape
from ..database_url import MYSQL_FAMILY, engine_of, shown
from .comparison import Comparison, Found, Key, Told, left_out
from .model import EntityModel, fold
from .status import require
from .store import Rejected, Store, Texts
from .tabular import suited
from .targets import open_target

BATCH_ROWS = 1000


class SourceTables(Protocol):
    """The tables of a source, all as they are at one moment."""

    def close(self) -> None:
        """End the connection."""

    def columns(self, shape: Shape) -> frozenset[str]:
        """The columns of a shape's table; none where it is not there."""
        ...

    def rows(self, shape: Shape, fields: Sequence[str]) -> Iterator[dict[str, object]]:
        """The table's rows as records would hold them, in any order."""
        ...


def compare(source_url: str, target_url: str, entities: Collection[str] = ()) -> tuple[Comparison, ...]:
    """Compare the fields that the newest shapes publish and both sides have, row by row, column by column as canonical text.

    Args:
        source_url: The database that the log was made from.
        target_url: The fork.
        entities: Only these; empty for all that the fork has.

    Raises:
        Unreachable: One of them does not answer.
        UsageError: There is no fork at `target_url`, or `source_url` names no engine.
        Refused: This user may not read a table.
    """
    with open_target(target_url) as opened:
        require(opened)
        target = suited(opened, engine_of(source_url))
        shapes = target.memory.shapes()
        told = _told(shapes, entities)
        engine = engine_of(source_url)
        if {engine, engine_of(target_url)} != {"postgresql"}:
            only, schemas = target.memory.applied().upstream.only, target.memory.schemas()
            models = fold(shapes, only, engine=engine, schemas=schemas)
            target.load(models)
            with closing(_open_source(source_url, models)) as source:
                return tuple(_compare(source, target, shape, once) for shape, once in told)
    from .postgres.equality import compare_servers

    return compare_servers(source_url, target_url, told)


def _told(shapes: Sequence[Shape], entities: Collection[str]) -> Told:
    newest = {shape.entity: shape for shape in shapes}
    once = {(shape.entity, column.field): None for shape in shapes for column in shape.columns}
    return [
        (shape, [field for of, field in once if of == entity])
        for entity, shape in newest.items()
        if not entities or entity in entities
    ]


def _open_source(url: str, models: Mapping[str, EntityModel]) -> SourceTables:
    # Loaded here only: a comparison needs the drivers of its two sides, and no others.
    engine = engine_of(url)
    if engine == "postgresql":
        from .postgres.source import PostgresTables

        return PostgresTables(url)
    if engine in MYSQL_FAMILY:
        from .mysql.source import MysqlTables

        return MysqlTables(url)
    if engine == "mongodb":
        from .mongodb.source import MongoTables

        return MongoTables(url, models)
    raise UsageError(f"{shown(url)} is no source", hint="--check postgresql://…, mysql://…, mariadb://… or mongodb://…")


def _compare(source: SourceTables, target: Store, shape: Shape, once: Collection[str]) -> Comparison:
    theirs = source.columns(shape)
    left = left_out(shape, once, theirs, once)
    found = Comparison.nothing(shape, left)
    without = {field.field for field in left}
    if not without.isdisjoint(shape.key):
        return found
    fields = [column.field for column in shape.columns if column.field not in without]
    missing, extra, other, count = Found(), Found(), Found(), 0
    with closing(_Rows()) as ours:
        ours.fill((_key(row, shape), _digest(row, fields)) for row in target.scan(shape.entity))
        rows = source.rows(shape, fields)
        while batch := list(itertools.islice(rows, BATCH_ROWS)):
            count += len(batch)
            for row, texts in zip(batch, _projected(target, shape.entity, batch), strict=True):
                key = _key(texts or {f: str(value) for f, value in row.items()}, shape)
                digest = ours.take(key)
                if digest is None:
                    missing.add(key)
                elif texts is None or digest != _digest(texts, fields):
                    other.add(key)
        for key in ours.left():
            extra.add(key)
    return replace(found, rows=count, missing=missing.difference, extra=extra.difference, other=other.difference)


def _projected(target: Store, entity: str, rows: Sequence[dict[str, object]]) -> list[Texts | None]:
    """Rows as the fork would have them; None for one that has a value without a place there."""
    try:
        return list(target.cast_all(entity, rows))
    except Rejected:
        if len(rows) == 1:
            return [None]
    half = len(rows) // 2
    return _projected(target, entity, rows[:half]) + _projected(target, entity, rows[half:])


def _key(texts: Mapping[str, Any], shape: Shape) -> Key:
    return tuple(str(texts[field]) for field in shape.key)


def _digest(texts: Texts, fields: Sequence[str]) -> bytes:
    return hashlib.sha256(orjson.dumps([texts[field] for field in fields])).digest()


class _Rows:
    """Keys and hashes of rows, in a temporary file."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("PRAGMA synchronous = OFF")
        self._rows.execute("CREATE TABLE row (key BLOB PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID")

    def close(self) -> None:
        self._rows.close()

    def fill(self, rows: Iterator[tuple[Key, bytes]]) -> None:
        self._rows.executemany("INSERT INTO row VALUES (?, ?)", ((orjson.dumps(key), digest) for key, digest in rows))

    def take(self, key: Key) -> bytes | None:
        """Take a row out; its hash, or None."""
        found = self._rows.execute("DELETE FROM row WHERE key = ? RETURNING digest", (orjson.dumps(key),)).fetchone()
        return found[0] if found else None

    def left(self) -> Iterator[Key]:
        for (key,) in self._rows.execute("SELECT key FROM row ORDER BY key"):
            yield tuple(orjson.loads(key))
