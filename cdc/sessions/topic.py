"""The topic PREFIX.sessions: what the mesh says of requests, for the workers of all logs of a prefix (schemas/README.md §10).

Compacted: a message is the record of its key from then on, and one without a value deletes it. Each worker keeps this machine's
store of session records up to date with it, in a thread of its own: nothing that happens to the topic holds up the log.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from ...schemas.errors import CommitLogError, Refused, Unreachable
from ..log.kafka_client import NO_MATTER, NO_TOPIC, READERS, REQUEST_S, Connection
from ..log.kafka_location import KafkaLocation
from ..log.kafka_topic import Topic
from .access_log import MalformedLine, ParsedLine
from .store import SessionRecord, Store, path_of
from .values import decode, encode, identity_of, key_of

log = logging.getLogger("commitlog")

SETTINGS = {
    "cleanup.policy": "compact",
    # Whoever was away for a week still learns what was deleted.
    "delete.retention.ms": str(7 * 86_400_000),
    "compression.type": "producer",
    "unclean.leader.election.enable": "false",
}
"""Of the topic, where it is made by us: of each key the last record is kept."""

BATCH_MESSAGES = 1000
SEND_S = 60.0
"""How long a record may be on its way to the topic: brokers that are away for a moment are waited for."""

RETRY_S = 5.0
"""How long to leave the topic alone after something went wrong."""

LOOK_S = 60.0
"""How often to look whether the topic was made anew, or has more partitions."""

REPORTED_MAX = 20
"""Messages that are no session records are told one by one up to this many; the rest is counted."""

_POLL_S = 0.2
_READER: dict[str, Any] = {
    "group.id": READERS,
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "queued.max.messages.kbytes": 4096,
}
_WRITER: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "zstd",
    "linger.ms": 5,
    "message.timeout.ms": int(SEND_S * 1000),
    "topic.metadata.propagation.max.ms": 3000,
}
_CONTENT_TYPE: list[tuple[str, str | bytes | None]] = [("content-type", b"application/avro")]


class SessionProducer:
    """Puts session records into the topic, which is made where it is not there.

    Args:
        location: A log; its prefix says which topic.

    Attributes:
        topic: Its name.

    Raises:
        Refused: Others could read on the way who is who.
        CommitLogError: The brokers do not answer, or not to us.
    """

    def __init__(self, location: KafkaLocation) -> None:
        self.topic = location.sessions
        _check_way(location)
        Topic(location, location.sessions).make_alone(SETTINGS)
        self._location = location
        self._connection = Connection(location)
        self._producer = self._connection.client(Producer, {**self._connection.settings(), **_WRITER})

    def add(self, lines: Iterable[ParsedLine]) -> None:
        """Put records there, durably.

        Raises:
            CommitLogError: Not all came there; those that did are not there twice when it is done again.
        """
        failed: list[KafkaError] = []

        def note(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failed.append(error)

        try:
            for parsed in lines:
                self._put(key_of(parsed), encode(parsed.record), note)
            left = self._producer.flush(SEND_S + 1)
        except KafkaException as exc:
            raise self._connection.error(exc, "takes no session records") from exc
        if left:
            self._producer.purge()
            raise Unreachable(f"topic {self.topic} takes no session records: no answer in {SEND_S:.0f} s")
        if failed:
            raise self._connection.error(failed[0], "takes no session records")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to send: `add` has waited for it."""

    def _put(self, key: bytes, value: bytes, note: Callable[[KafkaError | None, object], None]) -> None:
        deadline = time.monotonic() + SEND_S
        while True:
            try:
                self._producer.produce(self._location.sessions, value, key, headers=_CONTENT_TYPE, on_delivery=note)
            except BufferError:
                # As much waits as may; its answers make room.
                self._producer.poll(_POLL_S)
                if time.monotonic() > deadline:
                    raise Unreachable(
                        f"topic {self.topic} takes no session records: no answer in {SEND_S:.0f} s"
                    ) from None
            else:
                self._producer.poll(0)
                return


def _check_way(location: KafkaLocation) -> None:
    try:
        location.check_visibility("own")
    except Refused as exc:
        raise Refused(
            f"session records name users, and topic {location.sessions} is on another machine, reached without"
            " authentication or without a check of who answers",
            hint="[log] properties = FILE with security.protocol=sasl_ssl, sasl.mechanism, sasl.username and"
            " sasl.password, or with a client's certificate",
        ) from exc


class SessionFollower:
    """Keeps the store of a log's session records up to date with the topic, in a thread of its own, until `close`.

    What goes wrong is told in a warning, and tried again. A message that is no session record is named, counted and passed over.

    Args:
        location: The log.
        session_key: COMMITLOG_SESSION_KEY, for values of JSON.

    Attributes:
        malformed: How many messages were no session records.
        trouble: Why nothing is read now; None while it is.
    """

    def __init__(self, location: KafkaLocation, session_key: bytes | None) -> None:
        self.malformed = 0
        self.trouble: CommitLogError | None = None
        self._location, self._session_key = location, session_key
        self._even, self._stop = threading.Event(), threading.Event()
        self._key_missed = False
        self._thread = threading.Thread(target=self._follow, name="sessions", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the store has held for a moment all that the topic did, but not in trouble; whether that came."""
        deadline = time.monotonic() + timeout_s
        while not self._even.wait(0.02) and self.trouble is None and time.monotonic() < deadline:
            pass
        return self._even.is_set()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(REQUEST_S + RETRY_S)

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except CommitLogError as exc:
                if self.trouble is None or str(self.trouble) != str(exc):
                    log.warning("session records are not read: %s. %s", exc, exc.hint)
                self.trouble = exc
                self._stop.wait(RETRY_S)

    def _read(self) -> None:
        """Read on from where the store is, until told to stop, or the topic or the store is not what it was."""
        topic = Topic(self._location, self._location.sessions)
        identity = topic.identity()
        if identity is None:
            topic.make_alone(SETTINGS)
            identity = topic.identity()
        if identity is None:
            return  # It is on its way.
        with Store.open(path_of(self._location), create=True) as store, closing(_Place(self._location)) as place:
            place.start(store.topic(identity[0]), identity[1])
            look_at = time.monotonic() + LOOK_S
            while not self._stop.is_set():
                begun = dict(place.next)
                messages = place.take()
                if messages and not store.take_over(
                    identity[0], self._changes(messages), begun=begun, through=place.next
                ):
                    return
                if place.even:
                    self._even.set()
                    self.trouble = None
                if time.monotonic() > look_at:
                    look_at = time.monotonic() + LOOK_S
                    if topic.identity() != identity:
                        return

    def _changes(self, messages: Iterable[KafkaMessage]) -> list[tuple[bytes, SessionRecord | None]]:
        changes: list[tuple[bytes, SessionRecord | None]] = []
        for message in messages:
            key, value = message.key(), message.value()
            try:
                if key is None:
                    raise MalformedLine("it has no key")
                record, left_out = (None, False) if value is None else decode(_bytes(value), self._session_key)
            except MalformedLine as exc:
                self._pass(message, exc)
            else:
                changes.append((identity_of(_bytes(key)), record))
                if left_out and not self._key_missed:
                    self._key_missed = True
                    log.warning("COMMITLOG_SESSION_KEY is not set: session ids of session records are left out")
        return changes

    def _pass(self, message: KafkaMessage, why: MalformedLine) -> None:
        self.malformed += 1
        if self.malformed <= REPORTED_MAX:
            where = self._location.sessions, message.partition(), message.offset()
            log.warning("topic %s, partition %s, offset %s is no session record: %s", *where, why)
        elif self.malformed == REPORTED_MAX + 1:
            log.warning(
                "topic %s: further messages that are no session records are only counted", self._location.sessions
            )


class _Place:
    """A place in every partition of the topic that moves forward.

    Attributes:
        next: Partition to the offset after the last message taken; those without one are left out.
        even: Whether every partition was read to its end.
    """

    def __init__(self, location: KafkaLocation) -> None:
        self.next: dict[int, int] = {}
        self._topic = location.sessions
        self._left: set[int] = set()
        self._connection = Connection(location)
        self._consumer = self._connection.client(Consumer, {**self._connection.settings(), **_READER})

    @property
    def even(self) -> bool:
        return not self._left

    def start(self, offsets: Mapping[int, int], partitions: int) -> None:
        """Begin at offsets, at 0 where there is none."""
        self.next, self._left = dict(offsets), set(range(partitions))
        self._consumer.assign([TopicPartition(self._topic, n, offsets.get(n, 0)) for n in range(partitions)])

    def take(self) -> list[KafkaMessage]:
        """The next messages, none where none come for a moment.

        Raises:
            CommitLogError: The topic is gone, or the broker does not let us.
        """
        found: list[KafkaMessage] = []
        try:
            first = self._consumer.poll(_POLL_S)
            rest = self._consumer.consume(BATCH_MESSAGES - 1, 0) if first is not None else []
        except KafkaException as exc:
            raise self._error(exc) from exc
        for message in [first, *rest] if first is not None else []:
            error, partition, offset = message.error(), message.partition(), message.offset()
            if error is None and partition is not None and offset is not None:
                found.append(message)
                self.next[partition] = offset + 1
            elif error is not None and error.code() == KafkaError._PARTITION_EOF and partition is not None:
                self._left.discard(partition)
            elif error is not None and not error.retriable() and error.code() not in NO_MATTER:
                raise self._error(error)
        return found

    def close(self) -> None:
        self._consumer.close()

    def _error(self, exc: KafkaException | KafkaError) -> CommitLogError:
        error = exc if isinstance(exc, KafkaError) else exc.args[0]
        if isinstance(error, KafkaError) and error.code() in NO_TOPIC:
            return Unreachable(f"topic {self._topic} is gone", hint="it is made anew")
        return self._connection.error(exc, f"cannot read topic {self._topic}")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
