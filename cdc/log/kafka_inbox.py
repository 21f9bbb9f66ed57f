"""Requests of commands to the writer of a log on Kafka, and its answers: messages of the topic PREFIX.inbox (schemas/README.md §10).

A request that was answered was done; one whose writer died in between may be done twice, so what a request asks for must be the
same when it is done again.
"""

import base64
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, Producer

from ...schemas.errors import CommitLogError, Unreachable, UsageError
from ...schemas.record import is_object
from .inbox import error_of, refusal
from .kafka_client import REQUEST_S, Connection
from .kafka_location import KafkaLocation
from .kafka_messages import Messages
from .kafka_topic import Topic

REQUEST_BYTES_MAX = 700_000
"""So that a request, in base64, is a message of a size that every broker takes."""

_LOOK_EVERY_S = 0.2
_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class KafkaRequest:
    """What a command asks of the writer. The same as `inbox.Request`."""

    id: str
    kind: str
    payload: bytes
    inbox: "KafkaInbox"

    def answer(self, result: dict[str, Any]) -> None:
        """Say that it is done and durable."""
        self.inbox.reply(self.id, {"result": result})

    def refuse(self, error: CommitLogError) -> None:
        """Say why it is not done; the command raises the same error."""
        self.inbox.reply(self.id, refusal(error))


class KafkaInbox:
    """The writer's side: cheap to ask often. Only the holder of the lease makes one.

    Args:
        location: The log.
    """

    def __init__(self, location: KafkaLocation) -> None:
        self._location = location
        self._outbox = _Outbox(location)
        ends = Topic(location, location.inbox).ends()
        self._messages = Messages(location, location.inbox)
        self._messages.start(ends.first)
        self._waiting: dict[str, KafkaRequest] = {}
        while batch := self._messages.next(ends.stable):
            for message in batch:
                self._take(message.value)
        self._next_look = 0.0

    def pending(self) -> list[KafkaRequest]:
        """The requests that wait, oldest first; empty when the topic was looked at less than 0.2 s ago."""
        now = time.monotonic()
        if now < self._next_look:
            return []
        self._next_look = now + _LOOK_EVERY_S
        for message in self._messages.take(0):
            self._take(message.value)
        return list(self._waiting.values())

    def reply(self, id_: str, document: Mapping[str, Any]) -> None:
        """Answer a request."""
        self._waiting.pop(id_, None)
        self._outbox.put({"log": self._location.name, "answer": id_, **document})

    def close(self) -> None:
        """Close the connections."""
        self._messages.close()

    def _take(self, value: bytes) -> None:
        document = _document(value, self._location)
        if "answer" in document:
            self._waiting.pop(str(document["answer"]), None)
        elif document:
            id_ = str(document.get("request"))
            try:
                payload = base64.b64decode(document["payload"], validate=True)
            except (KeyError, TypeError, ValueError) as exc:
                self.reply(id_, refusal(UsageError(f"{id_} is not a request: {exc}")))
            else:
                self._waiting[id_] = KafkaRequest(id_, str(document.get("kind")), payload, self)


def submit(location: KafkaLocation, kind: str, payload: bytes) -> dict[str, Any]:
    """Hand a request to the worker that writes to the log, and wait for its answer; the same as `inbox.submit`.

    Raises:
        CommitLogError: What the writer refused with, by its own class.
        Unreachable: No answer came in time; the request was taken back.
        UsageError: There is no such log, or the request is too large.
    """
    if len(payload) > REQUEST_BYTES_MAX:
        raise UsageError(f"a request of {len(payload)} bytes is above the limit of {REQUEST_BYTES_MAX}")
    id_ = f"{time.time_ns():020}-{os.getpid()}-{os.urandom(4).hex()}"
    outbox = _Outbox(location)
    messages = Messages(location, location.inbox)
    try:
        messages.start(Topic(location, location.inbox).stable_end())
        outbox.put({"log": location.name, "request": id_, "kind": kind, "payload": base64.b64encode(payload).decode()})
        deadline = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline:
            for message in messages.take(0.1):
                document = _document(message.value, location)
                if document.get("answer") == id_ and "result" in document:
                    return dict(document["result"])
                if document.get("answer") == id_:
                    raise error_of(document)
        withdrawn = Unreachable(
            f"the worker of log {location} did not answer within {_ANSWER_S:g} s",
            hint="see what it waits for (commitlog status), then run the command again: doing it twice does no harm",
        )
        outbox.put({"log": location.name, "answer": id_, **refusal(withdrawn)})
        raise withdrawn
    finally:
        messages.close()


class _Outbox:
    """Puts messages into the inbox's topic."""

    def __init__(self, location: KafkaLocation) -> None:
        self._location = location
        self._connection = Connection(location)
        settings = {**self._connection.settings(), "enable.idempotence": True}
        self._producer = self._connection.client(Producer, settings)

    def put(self, document: Mapping[str, Any]) -> None:
        """Put one there, durably.

        Raises:
            Unreachable: That did not come about.
        """
        try:
            self._producer.produce(self._location.inbox, json.dumps(document).encode())
            left = self._producer.flush(REQUEST_S)
        except KafkaException as exc:
            raise self._connection.error(exc, "takes no requests") from exc
        if left:
            self._producer.purge()
            raise Unreachable(f"log {self._location} takes no requests: no answer within {REQUEST_S:.0f} s")


def _document(value: bytes, location: KafkaLocation) -> dict[str, Any]:
    """What a message says, empty where it is not for this log."""
    try:
        document: Any = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return document if is_object(document) and document.get("log") == location.name else {}
