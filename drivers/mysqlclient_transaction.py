"""What a connection of mysqlclient is taken to have in hand: its C library shows nothing of what the server tells of transactions.

It goes by the connection's own statements. Where they do not tell whether a transaction is open, that is said, too, and the
server is asked before anything hangs on it. Nothing here talks to a server.
"""

from __future__ import annotations

import re

from . import session as sessions
from .mysql_stamp import LOCK_WAIT_TIMEOUT, ROLLED_BACK
from .mysql_statement import LOCK, READ, STAYS, WRITE, Kind

_PLAIN_END = (Kind.COMMIT, Kind.ROLLBACK)

_XA = re.compile(rb"\s*xa\s", re.IGNORECASE)
_CHAIN = re.compile(rb"\bchain\b", re.IGNORECASE)
_COMPLETION = re.compile(rb"\bcompletion_type\b", re.IGNORECASE)
_SET = re.compile(rb"\s*set\s", re.IGNORECASE)
_READ_ONLY = re.compile(rb"\bread\s+only\b", re.IGNORECASE)
_PASSWORD = re.compile(rb"\bpassword\b", re.IGNORECASE)
_TABLES_LOCKED = re.compile(rb"\s*(?:lock\s+tables?\b|flush\b.*\b(?:lock|export)\b)", re.IGNORECASE | re.DOTALL)
_USES = re.compile(rb"\b(?:from|tables?|show|desc\w*|explain|help)\b", re.IGNORECASE)
_TABLE = re.compile(rb"\b(?:from|table)\b", re.IGNORECASE)

_SYNTAX_ERROR = 1064


def is_xa(text: bytes) -> bool:
    """Return whether it is a statement about an XA transaction."""
    return _XA.match(text) is not None


def uses_no_table(of: Kind, text: bytes) -> bool:
    """Return whether a statement leaves MariaDB's list of warnings as it was: one that names no table. MySQL's list is of the last one."""
    if of is READ:
        return not _USES.search(text)
    return of in (Kind.BEGIN, Kind.XA_END, Kind.UNLOCK, *_PLAIN_END) or _SET.match(text) is not None


class BelievedTransaction:
    """Whose transaction a connection has in hand, as far as its statements tell.

    Attributes:
        session: Whose it is.
        begun: Whether it has had a statement.
        wrote: Whether one of them may have written.
        open: Whether one was begun in so many words.
        locked: Whether LOCK TABLES is in force, under which no other table can be written.
        chains: Whether the end of one may be the beginning of the next (`completion_type`).
        doubtful: Whether `open` is not certain.
        read_only: Whether it was begun READ ONLY. The server stays so, where autocommit is switched on within, up to a COMMIT.
    """

    __slots__ = ("begun", "chains", "doubtful", "locked", "open", "read_only", "session", "wrote")

    def __init__(self) -> None:
        self.session: sessions.Session | None = None
        self.begun = self.wrote = self.open = self.locked = self.chains = self.doubtful = self.read_only = False

    def forget(self) -> None:
        """What was done is done; a transaction may still be open."""
        self.session = None
        self.begun = self.wrote = False

    def ended(self) -> None:
        """None is open that was begun in so many words."""
        self.forget()
        self.open = self.doubtful = self.read_only = False

    def switched_on(self) -> None:
        """Autocommit was switched on, which commits."""
        if self.read_only:
            self.forget()
        else:
            self.ended()

    def ends_by(self, of: Kind, text: bytes) -> bool:
        """Return whether a statement may commit what is in hand; one that begins an XA transaction is refused where something is."""
        if of in STAYS or of is Kind.ROLLBACK:
            return False
        return self.locked if of is Kind.UNLOCK else not (of is Kind.BEGIN and is_xa(text))

    def take(self, of: Kind, text: bytes, session: sessions.Session | None) -> None:
        """A statement is about to be sent: the first one's session is the transaction's."""
        if self.begun or (self.doubtful and of is READ):
            return
        if of is READ and not self.open and not _TABLE.search(text):
            return  # it begins nothing
        self.begun, self.session = True, session

    def ran(self, of: Kind, text: bytes, *, lone: bool, autocommit: bool) -> None:
        """A statement has run without an error.

        Args:
            of: What it is.
            text: Its text.
            lone: Whether it was a transaction of its own.
            autocommit: Whether statements commit by themselves now.
        """
        if of is WRITE:
            self.wrote = self.wrote or not lone
        elif of is READ:
            self._read(text)
        elif of is Kind.BEGIN:
            self.ended()
            self.open, self.locked, self.read_only = True, False, _READ_ONLY.search(text) is not None
        elif of in _PLAIN_END:
            self.ended()
            self.doubtful = self.chains or bool(_CHAIN.search(text))
        elif of is Kind.XA_END:
            self.session, self.wrote = None, False  # what is left to do is its end
        elif of is Kind.CALL or of is Kind.SCRIPT:
            self.wrote = self.doubtful = True
        elif of is Kind.UNLOCK:
            if self.locked:
                self.locked = False
                self.ended()
        elif of is not LOCK:
            self._settle(text, autocommit=autocommit, lone=lone)

    def _read(self, text: bytes) -> None:
        if is_xa(text):
            self.forget()
            self.doubtful = True
        elif _SET.match(text) and _COMPLETION.search(text):
            self.chains = True

    def _settle(self, text: bytes, *, autocommit: bool, lone: bool) -> None:
        """After a statement that commits, or may."""
        if _SET.match(text) and not _PASSWORD.search(text):
            if autocommit and not self.open and not lone:
                self.ended()  # it was off, and to switch it on commits
            elif autocommit and self.open and not self.read_only:
                self.doubtful = True
        else:
            self.forget()
            self.locked = self.locked or bool(_TABLES_LOCKED.match(text))
            self.doubtful = self.doubtful or not lone

    def failed(self, of: Kind, text: bytes, code: object, *, lone: bool, autocommit: bool) -> None:
        """A statement has failed; the rest as in `ran`.

        Args:
            code: The server's number of the error.
        """
        if code in ROLLED_BACK:
            self.forget()
            self.doubtful = True
        elif code == LOCK_WAIT_TIMEOUT:
            self.doubtful = True
        elif of in STAYS or code == _SYNTAX_ERROR or is_xa(text):
            return
        elif of is Kind.CALL or of is Kind.SCRIPT:
            self.wrote = self.doubtful = True  # what it did before stays
        else:
            self.doubtful = self.doubtful or not lone
            if not autocommit:
                self.forget()
