"""The file of an index: opened, filled from its log, and made anew when it is not fit.

It is disposable, so nothing here tries to mend it: damaged, of an older version or of another log, it is emptied and filled again;
where it cannot be written, it is kept in memory.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apsw

from ...schemas.errors import CommitLogError, Refused, Unreachable, VerificationFailed
from ...schemas.record import EMPTY, Head
from .fill import TABLES, Fill, RequestKey
from .headfile import DurableHead
from .home import LogLocation, open_reader
from .location import make_folder
from .reader import items_of
from .scan import Place
from .wal_mode import use_wal

FORMAT = 1
"""Goes up with every change of the tables or of what stands in them; an index of another format is made anew."""

BATCH_RECORDS = 10_000
BATCH_BYTES = 8 << 20
"""One transaction of a fill: under a second, so that several processes can take turns, and of bounded memory."""

BUSY_MS = 60_000
"""How long to wait for another process that fills the same index; a batch is over long before."""

_ATTEMPTS = 5
_SPOILT = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.FormatError)
_UNWRITABLE = (apsw.FullError, apsw.IOError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError)


class _Stale(Exception):
    """The index is not one of this log, or not of this version."""


class IndexFile:
    """The index of one log as a database.

    Args:
        location: The log.
        request_key: Makes request ids comparable, always the same way for one log.

    Raises:
        UsageError: There is no such log.
        VerificationFailed: Its head file is damaged.
    """

    def __init__(self, location: LogLocation, *, request_key: RequestKey) -> None:
        self.location = location
        self.reader = open_reader(location)
        self.head = EMPTY
        self._place = Place(0, 0)
        self._request_key = request_key
        self._fill: Fill | None = None
        self._state = ""
        self.reader.durable()
        self._db: Any = _open(location)  # apsw's own types speak of Buffer, which Python 3.11 does not know

    def close(self) -> None:
        """Close the files."""
        self._db.close()
        self.reader.close()

    @property
    def in_memory(self) -> bool:
        """Whether it could not be written beside its log."""
        return not self._db.filename

    def refresh(self, progress: Callable[[int, int], None] | None = None) -> Head:
        """Take in what the log holds by now.

        Args:
            progress: Called now and then with the seq reached and the one to reach.

        Returns:
            The head up to which the index answers.

        Raises:
            VerificationFailed: The log is damaged.
            UnknownFormat: A record is newer than this code.
        """
        for _ in range(_ATTEMPTS):
            try:
                while not self._take_turn(progress):
                    pass
                return self.head
            except _SPOILT:
                self._empty()
            except _UNWRITABLE as exc:
                if self.in_memory:
                    raise Refused(f"the index of log {self.location} cannot be filled: {exc}") from exc
                self._db.close()
                self._db = _tuned(apsw.Connection(":memory:"))
            except apsw.BusyError as exc:
                raise Unreachable(f"another process is filling the index of log {self.location}") from exc
        raise Unreachable(f"the index of log {self.location} is damaged each time it is made", hint="look at the disk")

    def _take_turn(self, progress: Callable[[int, int], None] | None) -> bool:
        """Take in one batch of records, in a transaction of its own; whether the index is at the log's head."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            try:
                at_head = self._advance(progress)
            except _Stale:
                self._make_tables()
                at_head = False
            self._write_state()
            db.execute("COMMIT")
        except BaseException:
            self._fill = None
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return at_head

    def _advance(self, progress: Callable[[int, int], None] | None) -> bool:
        """Add one batch, if there is anything to add; whether there was nothing.

        Raises:
            _Stale: The index is not one of this log.
        """
        # In this order: what is indexed was durable. Other processes may have filled the index since the last turn.
        self._take_state()
        durable = self.reader.durable()
        if self.head.seq >= durable.head.seq:
            if self.head != durable.head:
                raise _Stale
            return True
        self._add_batch(durable)
        if progress:
            progress(self.head.seq, durable.head.seq)
        return False

    def _add_batch(self, durable: DurableHead) -> None:
        fill = self._fill
        assert fill is not None
        size, first = 0, True
        try:
            for count, record in enumerate(self.reader.scan(self.head, self._place, durable), 1):
                first = False
                fill.add(record)
                self.head, self._place = record.head, record.end
                size += len(record.body)
                if count >= BATCH_RECORDS or size >= BATCH_BYTES:
                    break
        except VerificationFailed:
            # Nothing follows the head of the index: either the log is damaged, or the index is of another log.
            if first and not self._holds_head():
                raise _Stale from None
            raise
        fill.write()

    def _begin_fill(self, pending: list[Any] | None) -> Fill:
        def read_again(first: int, last: int) -> Iterator[list[Any]]:
            return map(items_of, self.reader.records(first, until=last))

        return Fill(self._db, self._request_key, pending, read_again)

    def _holds_head(self) -> bool:
        """Whether the log holds the last record that the index took in."""
        try:
            return self.head == EMPTY or self.reader.record(self.head.seq).head == self.head
        except CommitLogError:
            return False

    def _take_state(self) -> None:
        """Go on from where the index stands, whoever brought it there."""
        if not self._db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'about'").fetchall():
            raise _Stale
        rows = self._db.execute("SELECT value FROM about WHERE name = 'state'").fetchall()
        state: str = rows[0][0] if rows else ""
        if state == self._state and self._fill is not None:
            return
        try:
            document = json.loads(state)
            if document["format"] != FORMAT:
                raise _Stale
            self.head = Head(document["seq"], document["hash"])
            self._place = Place(document["segment"], document["at"])
            self._fill = self._begin_fill(document["pending"])
        except (ValueError, KeyError, TypeError) as exc:
            raise _Stale from exc
        self._state = state

    def _write_state(self) -> None:
        assert self._fill is not None
        state = json.dumps(
            {
                "format": FORMAT,
                "seq": self.head.seq,
                "hash": self.head.hash,
                "segment": self._place.segment,
                "at": self._place.at,
                "pending": self._fill.pending,
            }
        )
        if state != self._state:
            self._db.execute("INSERT OR REPLACE INTO about VALUES('state', ?)", (state,))
            self._state = state

    def _make_tables(self) -> None:
        """Begin anew with empty tables, in the transaction in hand."""
        tables = self._db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        for (name,) in tables:
            self._db.execute(f'DROP TABLE "{name}"')
        self._db.execute(TABLES)
        self.head, self._place, self._state = EMPTY, Place(0, 0), ""
        self._fill = self._begin_fill(None)

    def _empty(self) -> None:
        """Empty the file, in whatever state it is."""
        try:
            _reset(self._db)
        except _SPOILT as exc:
            raise Refused(
                f"the index of log {self.location} is damaged and cannot be made anew: {exc}",
                hint=f"rm {self.location.root / 'index.sqlite'}*",
            ) from exc

    def _rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """The rows of a query.

        Raises:
            Unreachable: The file is damaged. It is made anew; the question must be asked again.
        """
        try:
            yield from self._db.execute(query, values)
        except _SPOILT as exc:
            self._empty()
            raise Unreachable(
                f"the index of log {self.location} was damaged, and is made anew", hint="run the command again"
            ) from exc


def _open(location: LogLocation) -> Any:
    path = location.root / "index.sqlite"
    try:
        make_folder(location.root)
        # SQLite gives its other files the mode of this one. It is opened here only where it is new: closing a descriptor of
        # a database drops the locks that this process has on it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError:
        return _tuned(apsw.Connection(":memory:"))
    try:
        return _tuned(apsw.Connection(str(path)))
    except _UNWRITABLE:
        return _tuned(apsw.Connection(":memory:"))


def _tuned(db: Any) -> Any:
    db.set_busy_timeout(BUSY_MS)
    try:
        use_wal(db, BUSY_MS)
        db.execute("PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32768")
        db.execute("PRAGMA wal_autocheckpoint = 8192; PRAGMA temp_store = MEMORY")
    except _SPOILT:
        # A file that is no database says so here already; filling it makes it one.
        _reset(db)
    return db


def _reset(db: Any) -> None:
    """Make the file an empty database, whatever it holds; other processes that have it open see that.

    Source: SQLITE_DBCONFIG_RESET_DATABASE in SQLite's C interface.
    """
    db.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 1)
    try:
        db.execute("VACUUM")
    finally:
        db.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 0)
