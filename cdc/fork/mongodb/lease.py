"""The lock of a fork in MongoDB, where no lock ends with its connection: a lease that a thread renews.

Whoever loses it without knowing is refused by the position's token, too.
"""

import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from bson.binary import Binary
from bson.int64 import Int64
from pymongo import ReturnDocument, errors
from pymongo.collection import Collection

from ...tail.mongodb_connection import ERRORS

LEASE_S: Final = 4
BEAT_S: Final = 1.0
"""The lock is renewed so often, and is free when nobody has renewed it for so long: a process that is dead holds it no longer."""

_UNTIL: Final = {"$add": ["$$NOW", Int64(LEASE_S * 1000)]}


@dataclass(frozen=True, slots=True)
class Taken:
    """The session of the one that held it last and did not give it back, if there is one."""

    session: Binary | None


class Lease:
    """Held by one process at a time.

    Args:
        collection: Where it is written down.
    """

    def __init__(self, collection: Collection[dict[str, Any]]) -> None:
        self._collection = collection
        self._owner = secrets.token_hex(8)
        self._freed = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="fork lock", daemon=True)

    def take(self, session: Binary) -> "Taken | None":
        """Take it if it is free; None where it is not.

        Args:
            session: The session in which whoever takes it works.
        """
        free = {"$lt": [{"$ifNull": ["$until", datetime.min.replace(tzinfo=UTC)]}, "$$NOW"]}
        values = {
            "before": {"$ifNull": ["$session", None]},
            "session": session,
            "owner": {"$literal": self._owner},
            "until": _UNTIL,
        }
        stage = {name: {"$cond": [free, value, f"${name}"]} for name, value in values.items()}
        try:
            found = self._collection.find_one_and_update(
                {"_id": "fork"}, [{"$set": stage}], upsert=True, return_document=ReturnDocument.AFTER
            )
        except errors.DuplicateKeyError:
            return None
        if found is None or found["owner"] != self._owner:
            return None
        before: UUID | None = found["before"]
        return Taken(Binary.from_uuid(before) if before is not None else None)

    def start(self) -> None:
        """Keep it from now on."""
        self._thread.start()

    def free(self, *, tell: bool = True) -> None:
        """Renew it no more; with `tell` it is free at once."""
        self._freed.set()
        if not tell:
            return
        try:
            self._collection.delete_one({"_id": "fork", "owner": self._owner})
        except ERRORS:
            return

    def _renew(self) -> None:
        while not self._freed.wait(BEAT_S):
            try:
                self._collection.update_one({"_id": "fork", "owner": self._owner}, [{"$set": {"until": _UNTIL}}])
            except ERRORS:
                continue  # The work itself meets a server that is gone, and says so.
