"""The collection of tags, `commitlog.stamps`: what the wrapped driver writes there, and what it means for the writes of a session.

A transaction's stamp is one of its own writes, and its tag. Before lone writes the driver writes a stamp by itself, in the session of these
writes: it holds for them until the next one, until their txnNumbers leave its span (`drivers/mongodb_stamp.py`), or until it is old. How old
is told by the oplog's own clock, so that whoever reads the same entries again, and looks back far enough first, tells the same.
"""

from typing import Final

from ....drivers.mongodb_stamp import COLLECTION, DATABASE, SPAN
from .document import BINARY, items, string

STAMPS: Final = (DATABASE, COLLECTION)
"""Database and name of the collection."""

HOLDS_S: Final = 900
"""How long a stamp of lone writes holds. The driver renews it after 600 s, and a reader looks back 1200 s."""

_SESSIONS_MAX: Final = 100_000


class Stamps:
    """Which tag holds for the lone writes of which session."""

    def __init__(self) -> None:
        self.held: dict[bytes, tuple[int, int, bytes]] = {}
        """By session: when its stamp was written, in seconds, the span of txnNumbers for which it holds, its content."""

    def note(self, lsid: bytes, number: int, at: int, o: bytes) -> None:
        """A stamp was written by itself.

        Args:
            lsid: By which session.
            number: Its txnNumber.
            at: The entry's timestamp.
            o: Its object.
        """
        stamped, content = stamp_of(o)
        self.held.pop(lsid, None)
        if not lsid or stamped != lsid or content is None:
            return
        self.held[lsid] = at >> 32, number // SPAN, content
        if len(self.held) > _SESSIONS_MAX:
            self._forget(at >> 32)

    def tags(self, lsid: bytes, number: int, at: int) -> list[bytes]:
        """The tag of a lone write of a session, by its txnNumber and its timestamp, if one holds."""
        seconds, span, content = self.held.get(lsid, (0, 0, b""))
        return [content] if content and span == number // SPAN and (at >> 32) - seconds <= HOLDS_S else []

    def _forget(self, now: int) -> None:
        """Those that hold no longer; they stand in the order in which they were written."""
        for lsid, (seconds, _, _) in [*self.held.items()]:
            if now - seconds <= HOLDS_S:
                break
            del self.held[lsid]


def stamp_of(o: bytes) -> tuple[bytes, bytes | None]:
    """The session and the content of a stamp, from the object of the entry that inserts or replaces it.

    Returns:
        The session's UUID, empty where there is none; the tag, None where there is none.

    Raises:
        DecodeError: It is malformed.
    """
    found = items(o)
    kind, data = found.get(b"_id", (0, b""))
    return (data[5:] if kind == BINARY else b""), string(found.get(b"ctx"))
