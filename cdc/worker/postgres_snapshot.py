"""Chunks of PostgreSQL's tables, told apart from the stream by transaction ids: what `pg_current_snapshot()` says a snapshot sees.

Transactions that wait for a standby, in the stream and not yet to be seen, are told apart that way. While a chunk waits and the source is
idle, one empty transaction with a logical message makes the stream move.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import psycopg
from psycopg.generators import fetch
from psycopg.pq import ExecStatus

from ...schemas.change import RawRow
from ...schemas.errors import Refused, Unreachable
from ...schemas.position import parse_lsn
from ...transforms.app_schema import Entity
from ..config import Limits, SourceConfig
from ..tail.catalog import Catalog, Table, sql_name
from ..tail.connection import grant, one_line
from ..tail.row_range import KeyColumn, rows_after
from ..tail.shapes import project
from ..tail.transaction import Mark, Relation, RelationColumn
from ..tail.unique_key import check_key
from .snapshot import FIRST_ROWS, SURPLUS_BYTES, Chunk, Snapshotter, fitting, key_of, row_size

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


class PostgresSnapshotter(Snapshotter):
    """Those of PostgreSQL.

    Args:
        source: The source.
        limits: Rows and bytes of a chunk, and how long an answer is waited for.
        more: What a Snapshotter takes.
    """

    def __init__(self, source: SourceConfig, *, limits: Limits, **more: Any) -> None:
        super().__init__(limits=limits, **more)
        self._publication = source.publication
        self._catalog = Catalog(source.conninfo(), patience_s=limits.silence_s)
        self._hurried_at = 0.0

    def close(self) -> None:
        """Close the connection."""
        self._catalog.close()

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
        sees = cast(Callable[[Mark], bool], seen.sees)
        if not self._all_seen(sees):
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
        kept = fitting(rows, self._bytes_max)
        rows, last = rows[:kept], last and kept == len(rows)
        places = [index for index, c in enumerate(relation.columns) if c.name in entity.key]
        end = None if last else list(projection.key(rows[-1]).values())
        keyed = {key_of(row, places): row for row in rows}
        described = self._described(relation)
        return Chunk(
            entity, projection, start, end, keyed, f"{seen.xmax:x}", sees, due, described, places,
            expected=expected,
        )  # fmt: skip

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
                end = len(rows) + wanted
                for row in _fetched(connection, wanted):
                    rows.append(row)
                    size += row_size(row)
                    if size > self._bytes_max + SURPLUS_BYTES and len(rows) < end:
                        # The rest would be as large: the server sends it to nobody.
                        connection.close()
                        return rows, False
                if len(rows) < end:
                    return rows, True
                fitting = (self._bytes_max - size) * len(rows) // (size + 1) + 1
                wanted = min(10 * wanted, fitting, self._rows_max - len(rows))
        return rows, False


def _fetched(connection: psycopg.Connection[Any], count: int) -> Iterator[RawRow]:
    """The next rows of the cursor `chunk`, one after the other, so that only one is in memory that nobody has taken."""
    connection.pgconn.send_query(f"FETCH {count} FROM chunk".encode())
    connection.pgconn.set_single_row_mode()
    failed: psycopg.Error | None = None
    while (result := connection.wait(fetch(connection.pgconn))) is not None:
        if result.status == ExecStatus.FATAL_ERROR:
            failed = psycopg.errors.error_from_result(result)
        for number in range(result.ntuples):
            yield [result.get_value(number, column) for column in range(result.nfields)]
    if failed is not None:
        raise failed


def _record_end(insert: int) -> int:
    """The end of the last record before an insert position, which has already stepped over a new page's header."""
    over = insert % _WAL_PAGE_BYTES
    return insert - over if over <= _WAL_PAGE_HEADER_BYTES else insert
