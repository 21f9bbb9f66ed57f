"""The second process: a plain consumer that reads only what is committed, for whoever writes to the topic.

    kafka_follower.py BROKER TOPIC count WARMUP ROWS    the seconds from the first row after the warm-up to the last
    kafka_follower.py BROKER TOPIC arrivals ROWS        when each inserted row could be read, by the clock all processes share

A message that is a commit of ours counts as its changes, and any other with a value as one row. Prints `ready` when it waits for
the topic, and one line of JSON in the end.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

_TOPIC_TIMEOUT_S = 60.0
_POLL_S = 0.01
_TAKE = 5000
_TAKE_S = 0.1
_KIND_WITHIN = 300
"""A record's kind stands within so many bytes (schemas/README.md §2)."""

_SETTINGS = {
    "group.id": "bench",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "log_level": 0,
}
_OURS, _COMMIT, _COUNT = b'{"header":{"v":', b'","kind":"commit","id":"', b'"tree":{"count":'
_NOT_CHANGES = 2
"""The first two items of a commit are `by` and `meta`."""


def main(bootstrap: str, topic: str, mode: str, *numbers: str) -> None:
    """Follow the topic until all rows were read, and say what came of it."""
    consumer = _open(bootstrap, topic)
    given = [int(number) for number in numbers]
    said: dict[str, Any] = count(consumer, *given) if mode == "count" else arrivals(consumer, *given)
    consumer.close()
    print(json.dumps(said), flush=True)


def count(consumer: Consumer, warmup: int, rows: int) -> dict[str, float]:
    """Time `rows` rows, from the first after `warmup` rows to the last.

    Raises:
        ValueError: The last row is not whole: not every column is there, or of ours the user is not.
    """
    seen, started = 0, 0.0
    for values in _batches(consumer):
        for value in values:
            seen += _rows(value)
        if not started and seen > warmup:
            started = time.monotonic()
        if seen >= warmup + rows:
            seconds = time.monotonic() - started
            _check(next(value for value in reversed(values) if _rows(value)))
            return {"rows": seen - warmup, "seconds": seconds}
    raise AssertionError("batches do not end")


def arrivals(consumer: Consumer, rows: int) -> dict[str, int]:
    """When each of `rows` rows inserted by ours was read: its id and nanoseconds."""
    read: dict[str, int] = {}
    for values in _batches(consumer):
        now = time.monotonic_ns()
        for value in values:
            if _rows(value):
                for change in json.loads(value)["body"]["items"][_NOT_CHANGES:]:
                    read[str(change["key"]["id"])] = now
        if len(read) >= rows:
            return read
    raise AssertionError("batches do not end")


def _rows(value: bytes) -> int:
    if not value.startswith(_OURS):
        return 1
    if value.find(_COMMIT, 0, _KIND_WITHIN) < 0:
        return 0
    at = value.index(_COUNT) + len(_COUNT)
    return int(value[at : value.index(b",", at)]) - _NOT_CHANGES


def _check(value: bytes) -> None:
    """See that the work was done: all of the row is there, and in ours the tag."""
    document = json.loads(value)
    if "header" in document:
        by, _, change, *_ = document["body"]["items"]
        whole = by["user"].startswith("user-") and len(change["after"]) == 10
    else:
        whole = len(document["after"] or document["before"]) == 10
    if not whole:
        raise ValueError(f"the last row lacks the user or a column: {document}")


def _batches(consumer: Consumer) -> Iterator[list[bytes]]:
    """What is there, in the order of the topic."""
    while True:
        first = consumer.poll(_TAKE_S)
        # Asked for many at once it would wait for all of them.
        messages: list[Message] = [first, *consumer.consume(_TAKE, 0)] if first is not None else []
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
        values = [value for message in messages if isinstance(value := message.value(), bytes)]
        if values:
            yield values


def _open(bootstrap: str, topic: str) -> Consumer:
    """A consumer at the beginning of a topic, once that is there."""
    consumer = Consumer({**_SETTINGS, "bootstrap.servers": bootstrap})
    deadline = time.monotonic() + _TOPIC_TIMEOUT_S
    print("ready", flush=True)
    while topic not in consumer.list_topics(timeout=_TOPIC_TIMEOUT_S).topics:
        if time.monotonic() > deadline:
            raise TimeoutError(f"there is no topic {topic} after {_TOPIC_TIMEOUT_S:.0f} s")
        time.sleep(_POLL_S)
    consumer.assign([TopicPartition(topic, 0, 0)])
    return consumer


if __name__ == "__main__":
    main(*sys.argv[1:])
