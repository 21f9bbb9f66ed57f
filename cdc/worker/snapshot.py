"""Snapshots: the rows that were there before the log began, recorded chunk by chunk while the stream goes on.

A chunk is read in a short transaction of its own, together with that transaction's snapshot. It is appended only when everything the
snapshot could see is in the log; what later transactions did to its rows in the meantime is laid over them. So a chunk is the exact
state of its range at its place in the log. To resume is to go on after the last chunk in the log.

Source: DBLog (Andreakis, Papapanagiotou 2020) for chunks beside a stream; visibility by transaction id instead of watermarks, so that
no row is written to the source, and transactions waiting for a standby are told apart. While a chunk waits and the source is idle, one
empty transaction with a logical message makes the stream move.
"""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import psycopg

from ...schemas.change import DELETE, INSERT, UNSENT, RawRow
from ...schemas.errors import Refused, Unreachable
from ...schemas.position import parse_lsn
from ...transforms.app_schema import AppSchema, Entity
from ...transforms.project import Projection
from ..config import Limits, SourceConfig
from ..log.state import Progress
from ..tail.catalog import Catalog, Table, sql_name
from ..tail.connection import grant, one_line
from ..tail.row_change import parse_change
from ..tail.row_range import KeyColumn, rows_after
from ..tail.shapes import project
from ..tail.transaction import Relation, RelationColumn, Transaction
from ..tail.unique_key import check_key

RECENT_TRANSACTIONS = 65_536
"""Transactions remembered as decoded since the last chunk: one that a snapshot does not see yet, for it waits for a standby,
spoils it."""

COLUMN_BYTES = 24
"""What a field takes in a record besides its value, about: its name, quotes, a colon and a comma, and null."""

OMITTED_MAX = 100_000
"""Keys that may come into a table while a chunk of it waits; above that it is read again, so that memory stays bounded."""

FIRST_ROWS = 10
"""Rows asked for first; their size says how many may come at once, so that rows of a megabyte do not fill the memory."""

HURRY_S = 0.1
"""After this wait for the server's log to reach the disk it is given a commit, see `Snapshotter.hurry`."""

_BEGIN = (
    # A table that is being altered is left for later. Row security must raise an error, not hide rows.
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = 50; SET LOCAL row_security = off;"
    # Locked before the snapshot is taken: to an older snapshot a table that is rewritten meanwhile looks empty.
    " LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT"
)

_WAL_PAGE_BYTES = 8192
_WAL_PAGE_HEADER_BYTES = 40

_LATER = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.WrongObjectType,
    psycopg.errors.LockNotAvailable,
)
"""What is no table now, or is held by somebody else: others come first. What is missing is said by who looks at tables."""

Key = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Visibility:
    """What a snapshot sees: `pg_current_snapshot()`, in 64-bit transaction ids."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "Visibility":
        """Read `xmin:xmax:xip,…`."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(x) for x in running.split(",") if x))

    def widen(self, xid: int) -> int:
        """The 64-bit id of a 32-bit one, which is never half the circle away from the snapshot."""
        wide = (self.xmax & ~0xFFFFFFFF) | xid
        if wide - self.xmax > 1 << 31:
            return wide - (1 << 32)
        if self.xmax - wide > 1 << 31:
            return wide + (1 << 32)
        return wide

    def sees(self, xid: int) -> bool:
        """Whether the snapshot sees a committed transaction, by its 32-bit id."""
        wide = self.widen(xid)
        return wide < self.xmin or (wide < self.xmax and wide not in self.running)


@dataclass(slots=True)
class Chunk:
    """Rows of one entity, not yet in the log.

    Args:
        entity: Whose.
        projection: How its rows become items.
        start: The key before the range, None for the first chunk.
        end: The last key of the range, None for the last chunk.
        rows: Key to row, both the source's text.
        visibility: What the chunk's snapshot saw.
        due: The WAL position up to which the stream must have come.
        table: The columns as they were read, to notice a change of the table in the meantime.
        places: Where the key stands in a row.
        omitted: Keys that came into the table after the chunk was read, within its range or not: commits have them.
        spoiled: It cannot be made right any more and must be read again.
        expected: Rows from its start to the table's end, as the source's planner thinks.
    """

    entity: Entity
    projection: Projection
    start: list[object] | None
    end: list[object] | None
    rows: dict[Key, RawRow]
    visibility: Visibility
    due: int
    table: Table
    places: list[int]
    omitted: set[Key] = field(default_factory=set[Key])
    spoiled: bool = False
    expected: int = 0

    def omit(self, key: Key) -> None:
        """Leave a key to the commit that brought it here after the chunk was read."""
        self.rows.pop(key, None)
        self.omitted.add(key)
        self.spoiled = self.spoiled or len(self.omitted) > OMITTED_MAX


class Snapshotter:
    """Takes the snapshots that a log still lacks, one chunk at a time.

    Args:
        source: The source.
        schema: Says which entities, and which of their fields.
        visibility: That of the log.
        progress: The log's own record of how far each entity has come; kept up to date here.
        recent: The transactions in the log of which a snapshot may not know yet; those of which one knew are taken out here.
        limits: Rows and bytes of a chunk.
    """

    def __init__(
        self,
        source: SourceConfig,
        *,
        schema: AppSchema,
        visibility: str,
        progress: dict[str, Progress],
        recent: deque[int],
        limits: Limits,
    ) -> None:
        self.schema, self._visibility = schema, visibility
        self._progress, self._rows_max, self._bytes_max = progress, limits.snapshot_rows, limits.part_bytes
        self._publication = source.publication
        self._catalog = Catalog(source.conninfo(), patience_s=limits.silence_s)
        self._recent = recent
        self._hurried_at = 0.0
        self.chunk: Chunk | None = None

    @property
    def done(self) -> bool:
        """Whether every entity has its whole snapshot."""
        return self.chunk is None and not self.missing

    @property
    def missing(self) -> list[Entity]:
        """The entities that lack their whole snapshot."""
        return [
            entity
            for name, entity in sorted(self.schema.entities.items())
            if entity.published(self._visibility) and not (name in self._progress and self._progress[name].last)
        ]

    def close(self) -> None:
        """Close the connection."""
        self._catalog.close()

    def observe(self, transaction: Transaction) -> None:
        """Lay over the chunk in hand what a transaction, just committed to the log, did to its rows."""
        chunk = self.chunk
        if chunk is None or chunk.visibility.sees(transaction.xid):
            return
        for relation, data in transaction.changes:
            if isinstance(relation, tuple):
                if any(r.table == chunk.entity.table for r in relation):
                    chunk.rows.clear()
            elif relation.table == chunk.entity.table:
                self._lay_over(chunk, relation, data)

    def _lay_over(self, chunk: Chunk, relation: Relation, data: bytes) -> None:
        if [(c.name, c.type_oid) for c in relation.columns] != [(c.name, c.type_oid) for c in chunk.table.columns]:
            chunk.spoiled = True
            return
        op, old, _, new = parse_change(data)
        places = chunk.places
        if op == INSERT:
            chunk.omit(_key(new, places))
            return
        before = _key(old or new, places)
        present = chunk.rows.pop(before, None)
        if op == DELETE or new is None:
            return
        after = _key([was if now is UNSENT else now for now, was in zip(new, old or new, strict=True)], places)
        if after != before:
            chunk.omit(after)
        elif present is not None:
            chunk.rows[before] = [was if now is UNSENT else now for now, was in zip(new, present, strict=True)]

    def take(self) -> bool:
        """Read the next chunk. False when there is none left, or the moment is not right.

        Raises:
            Unreachable: The source does not answer.
            Refused: A table may not be read, or its key does not tell its rows apart.
        """
        for entity in self.missing:
            try:
                self.chunk = self._read(entity)
            except _LATER:
                continue
            except psycopg.OperationalError as exc:
                raise Unreachable(f"the snapshot of {entity.name} cannot be read: {one_line(exc)}") from exc
            except psycopg.Error as exc:
                way = grant(exc, self._catalog.connection.info.user, table=sql_name(*entity.table))
                raise Refused(f"the snapshot of {entity.name} cannot be read: {one_line(exc)}", hint=way) from exc
            if self.chunk is not None:
                self._hurried_at = time.monotonic()
                return True
        return False

    def hurry(self) -> None:
        """While the chunk in hand waits for the server's log: a server at rest may keep the end of it in memory for long, so it is
        given a commit, which puts all of it on disk. Now and then only.

        Raises:
            Unreachable: The source does not answer.
        """
        if self.chunk is not None and time.monotonic() - self._hurried_at > HURRY_S:
            self._hurried_at = time.monotonic()
            self._catalog.flush_wal(self.chunk.due)

    def _read(self, entity: Entity) -> Chunk | None:
        connection = self._catalog.connection
        try:
            connection.execute(_BEGIN.format(sql_name(*entity.table)).encode())
            table = self._catalog.table(*entity.table)
            return None if table is None else self._chunk(entity, self._catalog.streamed(table, self._publication))
        finally:
            if not connection.closed:
                connection.execute("ROLLBACK")

    def _chunk(self, entity: Entity, table: Table) -> Chunk | None:
        relation = Relation(
            0,
            table.namespace,
            table.name,
            table.identity,
            tuple(RelationColumn(c.name, False, c.type_oid, c.modifier) for c in table.columns),
        )
        projection = project(relation, entity, published=entity.published(self._visibility), catalog=self._catalog)
        connection = self._catalog.connection
        row = connection.execute("SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text").fetchone()
        if row is None:
            raise Unreachable("the source gave no snapshot")
        seen, due = Visibility.parse(str(row[0])), _record_end(parse_lsn(str(row[1])))
        unseen = [xid for xid in self._recent if not seen.sees(xid)]
        self._recent.clear()
        self._recent.extend(unseen)
        if unseen:
            return None
        progress = self._progress.get(entity.name)
        start = progress.to if progress else None
        if start is None:
            check_key(self._catalog, entity)
        oids, types = {c.name: c.type_oid for c in table.columns}, {c.field: c.type for c in projection.shape.columns}
        key = [KeyColumn(name, types[name], self._catalog.compared(oids[name])) for name in entity.key]
        select = rows_after(table, key, start)
        expected = self._expected(connection, *select)
        rows, last = self._rows(connection, *select)
        kept = _fitting(rows, self._bytes_max)
        rows, last = rows[:kept], last and kept == len(rows)
        places = [index for index, c in enumerate(relation.columns) if c.name in entity.key]
        end = None if last else list(projection.key(rows[-1]).values())
        keyed = {_key(row, places): row for row in rows}
        return Chunk(entity, projection, start, end, keyed, seen, due, table, places, expected=expected)

    @staticmethod
    def _expected(connection: psycopg.Connection[Any], query: str, parameters: list[str | None]) -> int:
        """How many rows a query gives, as the planner thinks."""
        with psycopg.RawCursor(connection) as cursor:
            row = cursor.execute(f"EXPLAIN (FORMAT JSON) {query}".encode(), parameters, prepare=False).fetchone()
        return int(row[0][0]["Plan"]["Plan Rows"]) if row is not None else 0

    def _rows(
        self, connection: psycopg.Connection[Any], query: str, parameters: list[str | None]
    ) -> tuple[list[RawRow], bool]:
        """The first rows of a query, about as many as a record takes, and whether these are all."""
        rows: list[RawRow] = []
        size, wanted = 0, min(FIRST_ROWS, self._rows_max)
        with psycopg.RawCursor(connection) as cursor:
            cursor.execute(f"DECLARE chunk NO SCROLL CURSOR FOR {query}".encode(), parameters, prepare=False)
            while wanted and size <= self._bytes_max:
                result = cursor.execute(f"FETCH {wanted} FROM chunk".encode(), prepare=False).pgresult
                assert result is not None
                for number in range(result.ntuples):
                    rows.append([result.get_value(number, column) for column in range(result.nfields)])
                    size += _size(rows[-1])
                if result.ntuples < wanted:
                    return rows, True
                fitting = (self._bytes_max - size) * len(rows) // (size + 1) + 1
                wanted = min(10 * wanted, fitting, self._rows_max - len(rows))
        return rows, False

    def finish(self) -> tuple[dict[str, object], list[bytes]]:
        """The chunk in hand as a snapshot record: meta and items. From here on it counts as recorded.

        Raises:
            UnknownLabel: An enum was altered since it was read; it is thrown away.
        """
        chunk = self.chunk
        if chunk is None:
            raise ValueError("there is no chunk to finish")
        self.chunk = None
        name, last = chunk.entity.name, chunk.end is None
        snapshot = self._progress[name].snapshot if name in self._progress else f"{chunk.visibility.xmax:x}"
        meta: dict[str, object] = {
            "snapshot": snapshot,
            "entity": name,
            "from": chunk.start,
            "to": chunk.end,
            "last": last,
        }
        if chunk.omitted:
            meta["omitted"] = [chunk.projection.key_values(key) for key in sorted(chunk.omitted)]
        items = [chunk.projection.row(row) for row in chunk.rows.values()]
        self._progress[name] = Progress(snapshot, chunk.end, last)
        return meta, items


def _key(row: RawRow | None, places: list[int]) -> Key:
    return tuple(value for place in places if row is not None and isinstance(value := row[place], bytes))


def _fitting(rows: list[RawRow], bytes_max: int) -> int:
    """How many of the rows fit into one record; at least one."""
    size = 0
    for count, row in enumerate(rows):
        size += _size(row)
        if size > bytes_max and count:
            return count
    return len(rows)


def _size(row: RawRow) -> int:
    """About how many bytes a row takes in a record."""
    return COLUMN_BYTES * len(row) + sum(len(value) for value in row if isinstance(value, bytes))


def _record_end(insert: int) -> int:
    """The end of the last record before an insert position, which has already stepped over a new page's header."""
    over = insert % _WAL_PAGE_BYTES
    return insert - over if over <= _WAL_PAGE_HEADER_BYTES else insert
