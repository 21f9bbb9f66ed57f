"""Several statements in one text: where the stamps go among them, and which results are the app's.

One packet carries such a text, so a stamp must stand inside it: before each statement that commits, and around each that
would commit by itself. A failing statement ends a text, so a stamp is never that of a statement that failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from . import session as sessions
from .mysql_stamp import BEGIN_BLOCK, END_BLOCK, Form, stamp
from .mysql_statement import (
    BEGIN,
    CALL,
    COMMIT,
    ENDS,
    FILL,
    ROLLBACK,
    SCRIPT,
    STAYS,
    UNLOCK,
    WRITE,
    XA_END,
    kind,
    split,
)

_UNCLEAR = (CALL, FILL, SCRIPT)


class Start(NamedTuple):
    """What a script runs in: whether statements commit by themselves, and the transaction that is open, if one is."""

    autocommit: bool
    open: bool
    begun: bool
    wrote: bool
    owner: sessions.Session | None


@dataclass(slots=True)
class Script:
    """A text with its stamps, and whose transaction it leaves open.

    Attributes:
        statements: What it is made of.
        shown: Whether the result of each statement is the app's; the driver takes out what it has read.
        own: Places of those in a block of ours.
        stamps: Places of the stamps.
        owners: At each statement, whose transaction it belongs to.
        begun, owner, open, wrote: What is left behind it: whether a transaction was begun, by a statement or in so many words, whose
            it is, and whether it wrote.
    """

    statements: list[bytes] = field(default_factory=list[bytes])
    shown: list[bool] = field(default_factory=list[bool])
    own: set[int] = field(default_factory=set[int])
    stamps: set[int] = field(default_factory=set[int])
    owners: list[sessions.Session | None] = field(default_factory=list["sessions.Session | None"])
    begun: bool = False
    owner: sessions.Session | None = None
    open: bool = False
    wrote: bool = False

    @property
    def text(self) -> bytes:
        # A statement may end in a comment, so what follows has a line of its own.
        return b"\n;".join(self.statements)

    @property
    def in_own_block(self) -> bool:
        """Whether the statement whose result is read next is in a block of ours."""
        return self._at in self.own

    @property
    def owner_now(self) -> sessions.Session | None:
        """Whose transaction the statement belongs to whose result is read next."""
        return self.owners[self._at]

    @property
    def _at(self) -> int:
        return len(self.statements) - len(self.shown)

    def add(self, statement: bytes, *, shown: bool) -> None:
        self.statements.append(statement)
        self.shown.append(shown)
        self.owners.append(self.owner)

    def add_stamp(self, form: Form, session: sessions.Session) -> None:
        self.stamps.add(len(self.statements))
        self.add(stamp(form, session.tag), shown=False)

    def add_alone(self, statement: bytes, form: Form, session: sessions.Session, *between: bytes) -> None:
        """Add a statement that would be a transaction of its own, in a block of ours."""
        self.add(BEGIN_BLOCK, shown=False)
        start = len(self.statements)
        self.add(statement, shown=True)
        for ours in between:
            self.add(ours, shown=False)
        self.add_stamp(form, session)
        self.own.update(range(start, len(self.statements)))
        self.add(END_BLOCK, shown=False)


def stamped(text: bytes, form: Form, start: Start, session: sessions.Session | None) -> Script | None:
    """Return a text with its stamps, or None where it cannot be told for certain where they belong.

    Args:
        text: The script, in an encoding that has ASCII in it.
        form: What the stamp looks like.
        start: What it runs in.
        session: Whose the transactions are that begin in it.
    """
    parts = split(text.decode("latin-1"))
    if parts is None:
        return None
    script = Script(begun=start.begun, owner=start.owner)
    is_open, wrote = start.open, start.wrote
    for part in parts:
        of, statement = kind(part), part.encode("latin-1")
        if of in _UNCLEAR or (of in (COMMIT, ROLLBACK, ENDS, UNLOCK) and _changes_mode(part)):
            return None
        alone = start.autocommit and not is_open
        if of in STAYS:
            if alone and of is WRITE and session is not None:
                script.add_alone(statement, form, session)
                continue
            if not alone and not script.begun:
                script.begun, script.owner = True, session
            wrote = wrote or (of is WRITE and not alone)
            is_open = is_open or not alone
        else:
            if of is not ROLLBACK and wrote and script.owner is not None:
                script.add_stamp(form, script.owner)
            is_open, wrote = of is BEGIN or of is XA_END, False
            script.begun, script.owner = of is XA_END, None
        script.add(statement, shown=True)
    script.open, script.wrote = is_open, wrote
    return script


def _changes_mode(part: str) -> bool:
    lower = part.lower()
    return any(word in lower for word in ("autocommit", "chain", "release", "lock"))
