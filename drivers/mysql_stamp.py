"""The row that carries a tag in MySQL and MariaDB, and what their servers say of a transaction.

`commitlog setup` makes the table `commitlog.stamp`, in one of two forms: with the engine BLACKHOLE a row goes to the
binary log and nowhere else; where that engine is missing, InnoDB keeps one row for each connection. Nothing here talks
to a server.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from . import session as sessions
from .mysql_statement import CALL, FILL, LOCK, READ, SCRIPT, Kind

TABLE = "commitlog.stamp"
_INSERT = b"INSERT INTO " + TABLE.encode()
CONNECTION = b"(CRC32(@@hostname)^@@port)<<32|CONNECTION_ID()"
"""Whose row it is. Where several members of a cluster take writes each counts its connections from the beginning, and two that wrote the
same row would fail each other's transactions."""
_BACKSLASH, _QUOTE = b"\\'"
"""As numbers, which are found sooner."""

TRACK = b"SET SESSION session_track_transaction_info='STATE'"
"""Has the server tell, with the answer to each statement, what the transaction has done so far."""

BEGIN_BLOCK = b"START TRANSACTION"
"""Begins a block of ours; what BEGIN says is another thing where MariaDB speaks Oracle's language."""

END_BLOCK = b"COMMIT AND NO CHAIN NO RELEASE"
"""Ends a block of ours as autocommit would, whatever `completion_type` says."""

ABANDON_BLOCK = b"ROLLBACK AND NO CHAIN NO RELEASE"
"""Ends it where the statement in it failed; and what questions of ours began on a server that does not start in autocommit."""

STILL_READ_ONLY = b"SET TRANSACTION READ ONLY"
"""Comes behind `ABANDON_BLOCK` where the transaction could only read: a statement alone that is refused for that is so again the next time."""

NOT_IN_READ_ONLY = 1792
"""Error of a write in a transaction that may only read."""

SESSION_TRACK = 1 << 23
DEPRECATE_EOF = 1 << 24
"""Capability flags: state with each answer, also at the end of a result set."""

IN_TRANSACTION = 1
AUTOCOMMIT = 2
READ_ONLY = 0x2000
STATE_CHANGED = 0x4000
"""Bits of the status that comes with each answer."""

_TRACKED_STATE = 5


class Form(Enum):
    """What the stamp looks like on this server; every member but the first two says why there is none."""

    ROW = "one row for each connection"
    LOGGED = "a row that is only logged"
    SERVER = "the server does not tell what a transaction wrote"
    NONE = (
        f"this connection found no table {TABLE}, or no privilege to insert into it: `commitlog setup` makes and grants it,"
        " and a new connection looks again"
    )


ROW = Form.ROW
LOGGED = Form.LOGGED
STAMPS = (ROW, LOGGED)


def refusal(form: Form, *, locked: bool) -> str | None:
    """Return why a stamp of this form cannot be written now, or None where it can, as far as that is known."""
    if locked:
        return LOCKED
    return None if form in STAMPS else form.value


BY_ITSELF = "a procedure or a prepared statement, which may commit by itself"
SEVERAL = "several statements in one text"
UNTAGGED_ALONE = {
    CALL: BY_ITSELF,
    FILL: "CREATE TABLE … SELECT, which commits by itself",
    SCRIPT: SEVERAL,
}
"""What goes untagged where statements commit by themselves, and why."""
LOCKED = "tables are locked by LOCK TABLES"
FAILED = "the server refused the stamp"

LOCK_WAIT_TIMEOUT = 1205
ROLLED_BACK = frozenset((1213, 1402, 1613, 1614, 3101))
"""Errors after which the transaction is gone; their SQLSTATE is of class 40 or XA."""


def stamp(form: Form, tag: bytes) -> bytes:
    """Return the statement that stamps the transaction in hand with a tag, which is ASCII."""
    literal = _literal(tag)
    if form is ROW:
        # n+1 makes it a change also where the tag is the same as the last one.
        return b"%s (conn,n,ctx) VALUES (%s,1,%s) ON DUPLICATE KEY UPDATE n=n+1,ctx=%s" % (
            _INSERT,
            CONNECTION,
            literal,
            literal,
        )
    return b"%s (ctx) VALUES (%s)" % (_INSERT, literal)


def _literal(tag: bytes) -> bytes:
    if _BACKSLASH in tag or _QUOTE in tag:
        return b"_utf8mb4 X'" + tag.hex().encode() + b"'"  # a backslash means two things, as sql_mode says
    return b"'" + tag + b"'"


PROBES = tuple((form, b"EXPLAIN " + stamp(form, b"")) for form in (ROW, LOGGED))
"""What tells, without writing, which form this connection may use: the first that the server explains. MySQL takes the stamp for written."""


class Said(NamedTuple):
    """What a server's answer says behind its counters: the text as a client without tracking gets it, and the state."""

    message: bytes
    state: bytes | None


def said(status: int, rest: bytes) -> Said:
    """Take apart what follows the counters of an OK packet of a connection with SESSION_TRACK.

    Args:
        status: The packet's status bits.
        rest: Its bytes behind the number of warnings.

    Returns:
        The state is eight characters, a letter where something is so: T or I (a transaction is open), r, R (read), w, W
        (wrote; lower case: tables without transactions), s, S, L (LOCK TABLES); None where the packet tells of no change.
    """
    if not rest:
        return Said(b"", None)
    length, start = integer(rest, 0)
    end = start + length
    message = rest[:end] if length else b""
    if not status & STATE_CHANGED or end >= len(rest):
        return Said(message, None)
    state: bytes | None = None
    size, at = integer(rest, end)
    stop = at + size
    while at < stop:
        what = rest[at]
        size, at = integer(rest, at + 1)
        if what == _TRACKED_STATE:
            length, inner = integer(rest, at)
            state = rest[inner : inner + length]
        at += size
    return Said(message, state)


def integer(data: bytes, at: int) -> tuple[int, int]:
    """Read a length-encoded integer: its value, and where the next byte is."""
    first = data[at]
    if first < 251:
        return first, at + 1
    size = {252: 2, 253: 3, 254: 8}[first]
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def counters(data: bytes) -> tuple[int, int, int, int, bytes]:
    """Read an OK packet, or the one that DEPRECATE_EOF has at the end of a result set.

    Returns:
        Affected rows, the last insert id, the status bits, the number of warnings, and what follows, which is for `said`.
    """
    affected, at = integer(data, 1)
    insert_id, at = integer(data, at)
    return affected, insert_id, data[at] | data[at + 1] << 8, data[at + 2] | data[at + 3] << 8, data[at + 4 :]


class Transaction:
    """Whose transaction a connection has in hand, and what the server said it has done."""

    __slots__ = ("begun", "doubtful", "only_locks", "session", "state", "status")

    def __init__(self) -> None:
        self.session: sessions.Session | None = None
        self.begun = False  # whether it has had a statement
        self.doubtful = False  # whether an error, which says nothing of it, may have ended it
        self.only_locks = False  # whether what the server counts as a write are locks that a query took
        self.status = AUTOCOMMIT
        self.state = b"________"

    def note(self, status: int, state: bytes | None) -> None:
        """Take in what an answer of the server says."""
        self.status = status
        self.doubtful = False
        if state is not None:
            self.state = state

    def forget(self) -> None:
        """The transaction has ended."""
        self.session = None
        self.begun = self.only_locks = False

    def run(self, of: Kind) -> None:
        """A statement is about to be sent."""
        if of is LOCK:
            self.only_locks = self.only_locks or self.state[4:5] != b"W"
        elif of is not READ:
            self.only_locks = False

    @property
    def open(self) -> bool:
        return bool(self.status & IN_TRANSACTION)

    @property
    def lone(self) -> bool:
        """Whether a statement sent now is a transaction of its own."""
        return self.status & (IN_TRANSACTION | AUTOCOMMIT) == AUTOCOMMIT

    @property
    def wrote(self) -> bool:
        return self.state[4:5] == b"W" and not self.only_locks and not self.status & READ_ONLY

    @property
    def wrote_beside(self) -> bool:
        """Whether it wrote tables without transactions, and no other."""
        return self.state[3:5] == b"w_"

    @property
    def locked(self) -> bool:
        """Whether LOCK TABLES is in force, under which no other table can be written."""
        return self.state[7:8] == b"L"
