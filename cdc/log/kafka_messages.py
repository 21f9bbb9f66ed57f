"""The messages of a log's topic from an offset on, as far as their transactions have ended."""

import re
import time
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ...schemas.errors import RecordError
from ...schemas.record import Record
from .kafka_client import NO_MATTER, READERS, Connection
from .kafka_location import KafkaLocation

READ_S = 30.0
"""How long to wait for messages that the broker says it has."""

SILENT_S = 5.0
"""After so long without any of them they are asked for anew."""

BATCH_MESSAGES = 1000
_SETTINGS = {
    "group.id": READERS,
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "check.crcs": True,
    # News comes at once whatever this says; it bounds how long a consumer that is put elsewhere waits for its last request.
    "fetch.wait.max.ms": 50,
    "fetch.error.backoff.ms": 50,
    # Small fetches: as fast as large ones over many messages, and a place is reached in a tenth of the time.
    "max.partition.fetch.bytes": 128 << 10,
    "queued.min.messages": 5000,
    "queued.max.messages.kbytes": 8192,
    "fetch.queue.backoff.ms": 5,
    "receive.message.max.bytes": 200 << 20,
}
HEAD = rb'\{"header":\{"v":[0-9]{1,9},"log":"([0-9a-f]{32})","epoch":[0-9]{1,9},"seq":([0-9]{1,15}),"prev":"([0-9a-f]{64})"'
"""How the bytes of a record begin: its log, seq and prev."""

_HEAD = re.compile(HEAD)


class Message(NamedTuple):
    """One message: its offset, and its value as bytes."""

    offset: int
    value: bytes

    @property
    def link(self) -> tuple[str, int, str] | None:
        """(log, seq, prev) of the record that the message holds, without parsing it; None where it begins as none."""
        match = _HEAD.match(self.value)
        return (match[1].decode(), int(match[2]), match[3].decode()) if match else None

    def record(self, location: KafkaLocation) -> Record:
        """The record.

        Raises:
            RecordError: The message holds none.
            UnknownFormat: It is newer than this code.
        """
        try:
            return Record.parse(self.value)
        except RecordError as exc:
            raise RecordError(f"log {location}, offset {self.offset}: {exc}", seq=exc.seq, hint=exc.hint) from exc


class Messages:
    """A place in a topic that moves forward.

    Args:
        location: The log.
        topic: Another topic than that of its records.

    Attributes:
        location: The log.
        at: The offset of the next message, or of the end where everything readable was read.
    """

    def __init__(self, location: KafkaLocation, topic: str = "") -> None:
        self.at = 0
        self._ahead: list[Message] = []
        """Taken already, and not yet asked for."""
        self.location = location
        self._topic = topic or location.topic
        self._connection = Connection(location)
        settings = self._connection.settings()
        self._consumer = self._connection.client(Consumer, {**settings, **_SETTINGS})

    def start(self, offset: int) -> None:
        """Go to an offset."""
        self.at, self._ahead = offset, []
        self._consumer.assign([TopicPartition(self._topic, 0, offset)])

    def take(self, timeout_s: float, count: int = BATCH_MESSAGES) -> list[Message]:
        """The next messages, none where none come in time or the end is reached.

        Args:
            timeout_s: How long to wait for the first; the others are those at hand.
            count: How many at most.

        Raises:
            HistoryLost: The topic is gone, or no longer has the offset.
            CommitLogError: The broker does not let us.
        """
        found, self._ahead = self._ahead, []
        if found:
            self.at = found[-1].offset + 1
            return found
        try:
            first = self._consumer.poll(timeout_s)
            rest = self._consumer.consume(count - 1, 0) if first is not None and count > 1 else []
            for message in [first, *rest] if first is not None else []:
                error, offset = message.error(), message.offset()
                if error is None and offset is not None:
                    found.append(Message(offset, message.value() or b""))
                    self.at = offset + 1
                elif error is not None and error.code() == KafkaError._PARTITION_EOF and offset is not None:
                    self.at = max(self.at, offset)
                elif error is not None and not error.retriable() and error.code() not in NO_MATTER:
                    raise self._connection.error(error, "cannot be read")
        except KafkaException as exc:
            raise self._connection.error(exc, "cannot be read") from exc
        return found

    def next(self, end: int, count: int = BATCH_MESSAGES) -> list[Message]:
        """The next messages before `end`, none where it is reached.

        Args:
            end: An offset up to which the topic can be read.
            count: How many at most.

        Raises:
            Unreachable: They do not come in time. And what `take` raises.
        """
        deadline, silent_since = time.monotonic() + READ_S, time.monotonic()
        while self.at < end:
            found = self.take(0.1, count)
            if not found and time.monotonic() > silent_since + SILENT_S:
                self.ask_again(end)
                silent_since = time.monotonic()
            here = [message for message in found if message.offset < end]
            if len(here) < len(found):
                self._ahead, self.at = found[len(here) :], end
            if here:
                return here
            if time.monotonic() > deadline:
                error = KafkaError(KafkaError._TIMED_OUT)
                raise self._connection.error(error, f"was not read to offset {end} in {READ_S:.0f} s")
        return []

    def ask_again(self, end: int) -> None:
        """Ask for what is before `end` anew: where a broker did not answer for long, the library may ask it for nothing more."""
        if self.at < end:
            self.start(self.at)

    def close(self) -> None:
        """Leave the topic."""
        self._consumer.close()
