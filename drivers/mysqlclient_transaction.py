"""What a connection of mysqlclient is taken to have in hand: its C library shows nothing of what the server tells of transactions.

It goes by the connection's own statements. Where they do not tell whether a transaction is open, that is said, too, and the
server is asked before anything hangs on it. Nothing here talks to a server.
"""

from __future__ import annotations

import re

from . import session as sessions
from .mysql_stamp import LOCK_WAIT_TIMEOUT, ROLLED_BACK
from .mysql_statement import BEGIN, CALL, COMMIT, LOCK, READ, ROLLBACK, SCRIPT, SET, STAYS, UNLOCK, WRITE, XA_END, Kind

_PLAIN_END = (COMMIT, ROLLBACK)

_XA = re.compile(rb"\s*xa\s", re.IGNORECASE)
_CHAIN = re.compile(rb"\bchain\b", re.IGNORECASE)
_COMPLETION = re.compile(rb"\bcompletion_type\b", re.IGNORECASE)
_PASSWORD = re.compile(rb"\bpassword\b", re.IGNORECASE)
_TABLES_LOCKED = re.compile(rb"\s*(?:lock\s+tables?\b|flush\b.*\b(?:lock|export)\b)", re.IGNORECASE | re.DOTALL)
_TABLE = re.compile(rb"\b(?:from|table)\b", re.IGNORECASE)

_SYNTAX_ERROR = 1064


def is_xa(text: bytes) -> bool:
    """Return whether it is a statement about an XA transaction."""
    return _XA.match(text) is not None


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
        warned: Whether the server may have warnings, or an error, for who asks.
    """

    __slots__ = ("begun", "chains", "doubtful", "locked", "open", "session", "warned", "wrote")

    def __init__(self) -> None:
        self.session: sessions.Session | None = None
        self.begun = self.wrote = self.open = self.locked = self.chains = self.doubtful = self.warned = False

    def forget(self) -> None:
        """What was done is done; a transaction may still be open."""
        self.session = None
        self.begun = self.wrote = False

    def ended(self) -> None:
        """None is open that was begun in so many words."""
        self.forget()
        self.open = self.doubtful = False

    def ends_by(self, of: Kind, text: bytes) -> bool:
        """Return whether a statement may commit what is in hand; one that begins an XA transaction is refused where something is."""
        if of in STAYS or of is ROLLBACK:
            return False
        return self.locked if of is UNLOCK else not (of is BEGIN and is_xa(text))

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
        elif of is BEGIN:
            self.ended()
            self.open, self.locked = True, False
        elif of in _PLAIN_END:
            self.ended()
            self.doubtful = self.chains or _CHAIN.search(text) is not None
        elif of is XA_END:
            self.session, self.wrote = None, False  # what is left to do is its end
        elif of is CALL or of is SCRIPT:
            self.wrote = self.doubtful = True
        elif of is UNLOCK:
            if self.locked:
                self.locked = False
                self.ended()
        elif of is not LOCK:
            self._settle(text, autocommit=autocommit, lone=lone)

    def _read(self, text: bytes) -> None:
        if is_xa(text):
            self.forget()
            self.doubtful = True
        elif SET.match(text) and _COMPLETION.search(text):
            self.chains = True

    def _settle(self, text: bytes, *, autocommit: bool, lone: bool) -> None:
        """After a statement that commits, or may."""
        if SET.match(text) and not _PASSWORD.search(text):
            if autocommit and not self.open and not lone:
                self.ended()  # it was off, and to switch it on commits
            elif autocommit and self.open:
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
        elif of is CALL or of is SCRIPT:
            self.wrote = self.doubtful = True  # what it did before stays
        else:
            self.doubtful = self.doubtful or not lone
            if not autocommit:
                self.forget()
