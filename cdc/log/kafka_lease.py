"""Which of several workers leads: the one to which the group of consumers of the lease topic gives its one partition.

The group notices in seconds that a leader is gone or stands still. It only says whose turn it is: that an older leader writes
nothing any more is the transactional id's doing, and that nothing is there twice the chain's.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaException

from ...schemas.errors import CommitLogError, LeaseTaken
from .kafka_client import REQUEST_S, Connection, kafka_admin
from .kafka_location import KafkaLocation

log = logging.getLogger("commitlog")

SESSION_S = 6.0
"""After so long without a sign of life a leader's turn is over: the least that brokers allow by default."""

_POLL_S = 0.2
_SETTINGS: dict[str, Any] = {
    "session.timeout.ms": int(SESSION_S * 1000),
    "heartbeat.interval.ms": 1000,
}
"""The file of properties may say others."""

_FIXED: dict[str, Any] = {
    # Who leads goes on leading when others come: other strategies would deal the partition anew.
    "partition.assignment.strategy": "cooperative-sticky",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "latest",
}


class Lease:
    """One process's stand in the queue, from the moment it is made until `close`.

    Args:
        location: The log.
    """

    def __init__(self, location: KafkaLocation) -> None:
        self.location = location
        self._connection = Connection(location)
        self._client_id = f"{socket.gethostname()}.{os.getpid()}"
        own = {**_FIXED, "group.id": location.lease, "client.id": self._client_id}
        self._consumer = self._connection.client(Consumer, {**_SETTINGS, **self._connection.settings(), **own})
        self._held, self._closing = threading.Event(), threading.Event()
        self._failed: CommitLogError | None = None
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    @property
    def held(self) -> bool:
        """Whether it is this process's turn."""
        return self._held.is_set()

    def check(self) -> None:
        """Go on only while it is this process's turn.

        Raises:
            LeaseTaken: It is not.
            CommitLogError: The brokers do not let us queue.
        """
        if self._failed is not None:
            raise self._failed
        if not self._held.is_set():
            raise LeaseTaken(
                f"it is not this process's turn yet to write log {self.location}",
                hint="it goes on here when that one ends; or stop that one",
            )

    def wait(self, timeout_s: float) -> None:
        """Wait for this process's turn. Raises what `check` raises, when it does not come in time."""
        self._held.wait(timeout_s)
        self.check()

    def close(self) -> None:
        """Leave the queue; the next in it leads at once."""
        self._closing.set()
        self._thread.join(REQUEST_S)

    def _keep(self) -> None:
        lose = self._assigned(held=False)
        try:
            self._consumer.subscribe(
                [self.location.lease], on_assign=self._assigned(held=True), on_revoke=lose, on_lost=lose
            )
            while not self._closing.is_set():
                message = self._consumer.poll(_POLL_S)
                error = message.error() if message is not None else None
                if error is not None and not error.retriable():
                    self._failed = self._connection.error(error, "cannot be led")
        except KafkaException as exc:
            self._failed = self._connection.error(exc, "cannot be led")
        finally:
            self._held.clear()
            self._consumer.close()

    def _assigned(self, *, held: bool) -> Callable[[Any, list[Any]], None]:
        def note(_: Any, partitions: list[Any]) -> None:
            if partitions and held:
                self._failed = None
                self._held.set()
            elif partitions and not self._closing.is_set():
                log.warning("log %s: this worker's turn to write is over", self.location)
                self._held.clear()

        return note


def leader_of(location: KafkaLocation) -> str:
    """Who leads, as HOST.PID; empty where nobody does, or the group does not say it.

    A worker that was killed counts for `SESSION_S` more.
    """
    try:
        admin = kafka_admin.AdminClient(Connection(location).settings())
        asked = admin.describe_consumer_groups([location.lease], request_timeout=REQUEST_S)
        group = asked[location.lease].result(REQUEST_S + 1)
    except (KafkaException, TimeoutError):
        return ""
    leaders = [str(m.client_id) for m in group.members if m.assignment and m.assignment.topic_partitions]
    return leaders[0] if leaders else ""
