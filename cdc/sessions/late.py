"""Session records that come after their commits: for each such commit an amend record, once.

A commit never waits for the mesh. The importer, or the topic of session records, adds records to the store; here every new one is compared with the commits of its
request, which the index finds. How far that has come is kept in the store, after the amends are durable: a crash in between looks
again and finds them amended.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...drivers.session import settings
from ...schemas.record import Head
from ...transforms.join import corroborated
from ...transforms.pseudonym import Pseudonyms
from ...transforms.request_key import mask_request
from ..log.home import LogLocation
from ..log.index import Index
from ..log.kafka_location import KafkaLocation
from .store import SessionRecord, Store, path_of

if TYPE_CHECKING:
    from .topic import SessionFollower

BATCH = 500
"""Session records looked at in one go, so that the stream is not kept waiting."""

CATCH_UP_S = 2.0
"""How long the start may wait for what the topic of session records holds already; what comes later is amended."""


class LateSessions:
    """The worker's side of the session store of one log.

    Args:
        location: The log.
        pseudonyms: Those of a log for others.
        alive: Called while the index catches up, which may take long: keeps the source's connection alive.
    """

    def __init__(self, location: LogLocation, *, alive: Callable[[], None], pseudonyms: Pseudonyms | None) -> None:
        self._location, self._alive, self._pseudonyms = location, alive, pseudonyms
        self._store: Store | None = None
        self._index: Index | None = None
        self._seen = self._last = 0
        self._malformed = 0
        self._topic = _follow(location)
        # Before the first commit: one that misses a record which counts as compared would miss it for good.
        self._open()

    def lookup(self, request: str, time_us: int) -> SessionRecord | None:
        """The mesh's record of a request, or None.

        What came after the last look whether records wait is not always found here: it is compared with the commits later.
        """
        return self._store.lookup(request, time_us) if self._store is not None and self._last else None

    def waiting(self) -> bool:
        """Whether records have come that no commit was compared with yet."""
        store = self._store or self._open()
        if store is not None:
            self._last = store.max_rowid()
        return self._last > self._seen

    def _open(self) -> Store | None:
        """Open the store where there is one by now."""
        self._store = Store.open(path_of(self._location))
        if self._store is not None:
            self._seen, self._last = self._store.amended_through(), self._store.max_rowid()
        return self._store

    def malformed(self) -> int:
        """How many messages of the topic were no session records, since this was last asked."""
        before, self._malformed = self._malformed, self._topic.malformed if self._topic else 0
        return self._malformed - before

    def amends(self) -> Iterator[tuple[Head, dict[str, Any]]]:
        """The commits that the next records corroborate, each with its new `by`. The log must be flushed before.

        Raises:
            VerificationFailed: The log is damaged.
        """
        if self._store is None:
            return
        if self._index is None:
            self._index = Index(self._location, request_key=mask_request)
        self._index.refresh(lambda done, total: self._alive())
        amended: set[int] = set()  # of which the index will know only when their amends are durable
        for session in self._store.since(self._seen, BATCH):
            for commit in self._index.commits_of_request(self._hidden("request", session.request) or ""):
                time_us = microseconds(commit.time)
                nearest = self._store.lookup(session.request, time_us)
                if commit.kind != "commit" or commit.assurance != 1 or commit.seq in amended or nearest is None:
                    continue
                record = self._index.record(commit.seq)
                shown = replace(
                    nearest, user=self._hidden("user", nearest.user), session=self._hidden("session", nearest.session)
                )
                joined = corroborated(record.items()[0], shown, time_us)
                if joined["assurance"] == 2:
                    amended.add(commit.seq)
                    yield record.head, joined
            self._seen = session.id

    def _hidden(self, kind: str, value: str | None) -> str | None:
        """What the log calls a value: itself, or its pseudonym in a log for others."""
        return self._pseudonyms.of(kind, value) if self._pseudonyms and value else value

    def done(self) -> None:
        """Remember how far `amends` came. The amend records must be durable before."""
        if self._store is not None:
            self._store.set_amended_through(self._seen)

    def close(self) -> None:
        """Close store and index, and leave the topic."""
        if self._topic is not None:
            self._topic.close()
        if self._store is not None:
            self._store.close()
        if self._index is not None:
            self._index.close()


def _follow(location: LogLocation) -> "SessionFollower | None":
    """What brings the store up to date from now on, where session records come by a topic."""
    if not isinstance(location, KafkaLocation):
        return None
    from .topic import SessionFollower

    topic = SessionFollower(location, settings().session_key)
    topic.wait(CATCH_UP_S)
    return topic


def microseconds(time: str) -> int:
    """`2026-11-22T10:11:12.345678Z` as microseconds since 1970."""
    moment = datetime.fromisoformat(time)
    return (int(moment.timestamp()) * 1_000_000) + moment.microsecond
