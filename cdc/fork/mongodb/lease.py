"""The lock of a fork in MongoDB, where no lock ends with its connection: a lease that a thread renews.

Whoever loses it without knowing is refused by the position's token, too.
"""

import secrets
import threading
from datetime import UTC, datetime
from typing import Any, Final

from bson.int64 import Int64
from pymongo import ReturnDocument, errors
from pymongo.collection import Collection

from ...tail.mongodb_connection import ERRORS

LEASE_S: Final = 4
BEAT_S: Final = 1.0
"""The lock is renewed so often, and is free when nobody has renewed it for so long: a process that is dead holds it no longer."""

_UNTIL: Final = {"$add": ["$$NOW", Int64(LEASE_S * 1000)]}


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

    def take(self) -> bool:
        """Take it if it is free; whether it was."""
        free = {"$lt": [{"$ifNull": ["$until", datetime.min.replace(tzinfo=UTC)]}, "$$NOW"]}
        taken = {"owner": {"$literal": self._owner}, "until": _UNTIL}
        stage = {name: {"$cond": [free, value, f"${name}"]} for name, value in taken.items()}
        try:
            found = self._collection.find_one_and_update(
                {"_id": "fork"}, [{"$set": stage}], upsert=True, return_document=ReturnDocument.AFTER
            )
        except errors.DuplicateKeyError:
            return False
        return found is not None and str(found["owner"]) == self._owner

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
