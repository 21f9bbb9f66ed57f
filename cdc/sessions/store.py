"""Session records: what the mesh says of requests, kept beside a log and looked up for every tagged commit.

One SQLite file, FOLDER/NAME/sessions.sqlite: an importer adds, the worker looks up, each in its own process. Records are
never changed; a row's id only grows, so that who knows an id can ask for what came after it.

Of a log on Kafka the file is this machine's copy of the topic PREFIX.sessions: whoever needs it brings it up to date first, and
a record that is changed there is a new one here.
"""

import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, overload

import apsw

from ...schemas.errors import LogUnwritable, Refused, Unreachable
from ...transforms.request_key import mask_request
from ..log.home import LogLocation
from ..log.location import make_folder
from ..log.wal_mode import use_wal

FILE_NAME = "sessions.sqlite"

FORMAT = 1
"""PRAGMA user_version of the file."""

BUSY_TIMEOUT_MS = 10_000
"""An importer commits within milliseconds; whoever waits this long waits for something stuck."""

SAME_REQUEST_MAX = 16
"""Records looked at for one request id: a hop of the mesh each, or a client that repeats itself."""


_TABLES = f"""
CREATE TABLE session (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    request TEXT NOT NULL,
    trace_id TEXT, user TEXT, session TEXT,
    start_us INTEGER NOT NULL, end_us INTEGER NOT NULL,
    method TEXT, path TEXT, status INTEGER,
    line BLOB NOT NULL UNIQUE
) STRICT;
CREATE INDEX session_request ON session (request);
CREATE TABLE mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
PRAGMA user_version = {FORMAT};
"""
_TOPIC_TABLE = (
    "CREATE TABLE IF NOT EXISTS topic (id TEXT NOT NULL, partition INTEGER PRIMARY KEY, next INTEGER NOT NULL) STRICT"
)
_COLUMNS = "id, request, trace_id, user, session, start_us, end_us, method, path, status"
_LOOKUP = f"SELECT {_COLUMNS} FROM session WHERE request = ? ORDER BY id DESC LIMIT {SAME_REQUEST_MAX}"  # noqa: S608 - constants
_SINCE = f"SELECT {_COLUMNS} FROM session WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608 - constants
_LATEST = f"SELECT {_COLUMNS} FROM session ORDER BY id DESC LIMIT ?"  # noqa: S608 - constants
_INSERT = (
    "INSERT OR IGNORE INTO session (request, trace_id, user, session, start_us, end_us, method, path, status, line)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_DELETE = "DELETE FROM session WHERE line = ?"
_DELETE_OTHER = (
    f"{_DELETE} AND (request, trace_id, user, session, start_us, end_us, method, path, status) IS NOT"
    " (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """What the mesh recorded of one request.

    Args:
        id: Its number in the store, from 1; 0 before it is stored.
        request: The request id as `mask_request` gives it.
        trace_id: 32 hex digits.
        user: The user that the mesh authenticated.
        session: HMAC of the session id, as tags have it.
        start_us: When the request began, microseconds since 1970 UTC; 0 for unknown.
        end_us: When it ended; `start_us` where the mesh does not say.
        method: Of HTTP.
        path: Of HTTP, without the query.
        status: Of HTTP.
    """

    id: int
    request: str
    trace_id: str | None = None
    user: str | None = None
    session: str | None = None
    start_us: int = 0
    end_us: int = 0
    method: str | None = None
    path: str | None = None
    status: int | None = None


def path_of(location: LogLocation) -> Path:
    """The store of a log."""
    return location.root / FILE_NAME


class Store:
    """The session records of one log.

    Every method may raise Unreachable (the file is locked for long, or cannot be read) and LogUnwritable (no room).
    """

    def __init__(self, path: Path, connection: Any) -> None:
        # apsw's own types speak of Buffer, which Python 3.11 does not know.
        self._path = path
        self._connection = connection

    @overload
    @classmethod
    def open(cls, path: Path, create: Literal[True]) -> "Store": ...

    @overload
    @classmethod
    def open(cls, path: Path, create: bool = False) -> "Store | None": ...

    @classmethod
    def open(cls, path: Path, create: bool = False) -> "Store | None":
        """Open the store at `path`, or give None where there is none and `create` is false.

        Raises:
            Refused: The file is no store, or one of a newer version.
        """
        if not path.exists():
            if not create:
                return None
            with _errors(path):
                make_folder(path.parent)
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with _errors(path):
            connection: Any = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            # Otherwise SQLite makes a new plan for each request that is looked up, which takes longer than the look.
            connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
            use_wal(connection, BUSY_TIMEOUT_MS)
            connection.execute("PRAGMA synchronous = FULL").fetchall()
            _make_tables(connection, path)
        return cls(path, connection)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def add(self, records: Iterable[tuple[SessionRecord, bytes]]) -> int:
        """Add records, all or none, durable on return.

        Args:
            records: Each with the hash of the line it came from: a line that was added before is passed over.

        Returns:
            How many were new.
        """
        with _errors(self._path), _transaction(self._connection):
            before = self._connection.total_changes()
            self._connection.executemany(_INSERT, ((*_values(record), line) for record, line in records))
            return int(self._connection.total_changes() - before)

    def topic(self, id_: str) -> dict[int, int]:
        """Partition to the offset after the last message of a topic that was taken over; empty of another topic than before.

        Args:
            id_: Of the topic. What an earlier topic of this name held is forgotten.
        """
        with _errors(self._path), _transaction(self._connection):
            self._connection.execute(_TOPIC_TABLE)
            if self._connection.execute("DELETE FROM topic WHERE id <> ? RETURNING partition", (id_,)).fetchall():
                self._connection.execute("DELETE FROM session")
            return dict(self._connection.execute("SELECT partition, next FROM topic"))

    def take_over(
        self,
        id_: str,
        changes: Iterable[tuple[bytes, SessionRecord | None]],
        *,
        begun: Mapping[int, int],
        through: Mapping[int, int],
    ) -> bool:
        """Make the changes that messages of a topic are, all or none, durable on return.

        Args:
            id_: Of the topic.
            changes: In their order, what tells a record from others, and the record; None where it was deleted.
            begun: As `topic` gave it before the messages.
            through: The same after them.

        Returns:
            False where another process went on from `begun` meanwhile; nothing was changed.
        """
        with _errors(self._path), _transaction(self._connection):
            known = self._connection.execute("SELECT partition, next FROM topic WHERE id = ?", (id_,))
            if dict(known) != dict(begun):
                return False
            for line, record in changes:
                if record is None:
                    self._connection.execute(_DELETE, (line,))
                else:
                    self._put(line, record)
            rows = [(id_, partition, offset) for partition, offset in through.items()]
            self._connection.executemany("INSERT OR REPLACE INTO topic VALUES (?, ?, ?)", rows)
            return True

    def _put(self, line: bytes, record: SessionRecord) -> None:
        """Let a record be the one that `line` tells; the same one again keeps its id."""
        values = _values(record)
        self._connection.execute(_INSERT, (*values, line))
        if not self._connection.changes():
            self._connection.execute(_DELETE_OTHER, (line, *values))
            self._connection.execute(_INSERT, (*values, line))

    def lookup(self, request: str, time_us: int | None = None) -> SessionRecord | None:
        """The record of a request, or None.

        Args:
            request: Its id, masked or as received.
            time_us: When its commit was: of several records of one id (hops of a mesh, an id used again) the nearest one
                counts, then one that names a user, then the latest.
        """
        try:
            rows = self._connection.execute(_LOOKUP, (mask_request(request),)).fetchall()
        except apsw.Error as exc:
            raise _translated(exc, self._path) from exc
        if not rows:
            return None
        records = [_record(row) for row in rows]
        return (
            records[0] if len(records) == 1 else min(records, key=lambda r: (_distance_us(r, time_us), r.user is None))
        )

    def since(self, rowid: int, limit: int) -> list[SessionRecord]:
        """Up to `limit` records after `rowid`, oldest first."""
        return self._records(_SINCE, rowid, limit)

    def latest(self, limit: int) -> list[SessionRecord]:
        """The last `limit` records, newest first."""
        return self._records(_LATEST, limit)

    def count(self) -> int:
        """How many records there are."""
        return self._number("SELECT count(*) FROM session")

    def max_rowid(self) -> int:
        """The id of the last record, 0 where there is none."""
        return self._number("SELECT coalesce(max(id), 0) FROM session")

    def amended_through(self) -> int:
        """Up to which record the worker has amended commits that came before it; 0 at first."""
        return self._number("SELECT coalesce(max(value), 0) FROM mark WHERE name = 'amended_through'")

    def set_amended_through(self, rowid: int) -> None:
        """Remember `amended_through`, durable on return."""
        with _errors(self._path):
            self._connection.execute("INSERT OR REPLACE INTO mark VALUES ('amended_through', ?)", (rowid,))

    def _records(self, query: str, *parameters: int) -> list[SessionRecord]:
        with _errors(self._path):
            return [_record(row) for row in self._connection.execute(query, parameters)]

    def _number(self, query: str) -> int:
        with _errors(self._path):
            return int(self._connection.execute(query).get)


def _make_tables(connection: Any, path: Path) -> None:
    """Make the tables of a new file; under the write lock, for another process may do the same."""
    if connection.pragma("user_version") == 0:
        with _transaction(connection):
            if connection.pragma("user_version") == 0:
                connection.execute(_TABLES)
    version = connection.pragma("user_version")
    if version != FORMAT:
        raise Refused(f"{path} has format {version}, this is {FORMAT}", hint="install a newer commitlog-cdc")


def _values(record: SessionRecord) -> tuple[Any, ...]:
    r = record
    return r.request, r.trace_id, r.user, r.session, r.start_us, r.end_us, r.method, r.path, r.status


def _record(row: tuple[Any, ...]) -> SessionRecord:
    return SessionRecord(*row)


def _distance_us(record: SessionRecord, time_us: int | None) -> int:
    if time_us is None or not record.start_us:
        return 0
    return max(record.start_us - time_us, time_us - record.end_us, 0)


@contextmanager
def _transaction(connection: Any) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk has rolled it back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _errors(path: Path) -> Generator[None]:
    try:
        yield
    except apsw.Error as exc:
        raise _translated(exc, path) from exc
    except OSError as exc:
        raise LogUnwritable(f"{path} cannot be made: {exc.strerror}") from exc


def _translated(exc: apsw.Error, path: Path) -> Refused | Unreachable:
    if isinstance(exc, apsw.FullError):
        return LogUnwritable(f"{path}: there is no room for session records", hint="make room on the disk")
    if isinstance(exc, apsw.NotADBError | apsw.CorruptError | apsw.SQLError | apsw.ReadOnlyError):
        return Refused(f"{path} is not a store of session records: {exc}", hint="move it away, then import again")
    return Unreachable(f"{path}: {exc}", hint="see that one importer runs, and the disk is well")
