"""The topic of a log: made with the settings that its promises need, and looked at."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition

from ...schemas.errors import CommitLogError, HistoryLost, Refused, Unreachable
from ...schemas.record import LINE_BYTES_MAX
from .kafka_client import NO_TOPIC, REQUEST_S, Connection, kafka_admin
from .kafka_location import KafkaLocation

OVERHEAD_BYTES = 4096
"""What Kafka adds to one record: its key, headers, and the frame of a batch."""

_COPIES = 3
_LEADER_S = 5.0
_POLL_S = 0.05
_SLICE_S = 0.5
SETTINGS = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": str(LINE_BYTES_MAX + OVERHEAD_BYTES),
    "message.timestamp.type": "CreateTime",
    # Compressed by the writer, once; the broker keeps what it gets.
    "compression.type": "producer",
    # A copy that lacks records must not become the leader.
    "unclean.leader.election.enable": "false",
}
"""Of a log's topic: everything is kept for ever, as it was written."""


_INBOX = {"cleanup.policy": "delete", "retention.ms": "3600000"}
"""Of the topic of requests: nobody waits for an answer for an hour."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a topic begins and ends, in offsets.

    Args:
        first: Of the first message it still has.
        stable: After the last message of transactions that have ended: readers come this far.
        last: After the last message, whatever becomes of its transaction.
    """

    first: int
    stable: int
    last: int


class Topic:
    """The topic of a log, through an admin client.

    Args:
        location: The log.
        name: Another topic than that of its records.
    """

    def __init__(self, location: KafkaLocation, name: str = "") -> None:
        self.location = location
        self.name = name or location.topic
        self._connection = Connection(location)
        self._admin = self._connection.client(kafka_admin.AdminClient, self._connection.settings())
        self._partition = TopicPartition(self.name, 0)

    def partitions(self) -> list[int] | None:
        """The number of copies in step of each partition; None where there is no such topic.

        Raises:
            CommitLogError: The broker does not answer, or not to us.
        """
        found = self._describe()
        return None if found is None else [len(partition.replicas) for partition in found.partitions]

    def identity(self) -> tuple[str, int] | None:
        """(id, number of partitions); None where there is no such topic. One that is made anew has another id. Raises as `partitions`."""
        found = self._describe()
        return None if found is None else (str(found.topic_id), len(found.partitions))

    def _describe(self) -> Any:
        asked = TopicCollection([self.name])
        return self._call(
            lambda: self._admin.describe_topics(asked, request_timeout=REQUEST_S)[self.name], missing=True
        )

    def brokers(self) -> int:
        """How many brokers there are."""
        return len(self._call(lambda: self._admin.describe_cluster(request_timeout=REQUEST_S)).nodes)

    def make(self) -> None:
        """Make the topic, those of the lease and of requests, where they are not there.

        As many copies as there are brokers, up to three, and all but one of them in step before a record counts as written.

        Raises:
            CommitLogError: The broker does not let us.
        """
        self._make(self.location.topic, SETTINGS, safe=True)
        self._make(self.location.lease, {})
        self._make(self.location.inbox, _INBOX)

    def make_alone(self, settings: Mapping[str, str]) -> None:
        """Make this topic alone where it is not there, with settings of its own and copies as those of a log. Raises as `make`."""
        self._make(self.name, settings, safe=True)

    def _make(self, name: str, settings: Mapping[str, str], *, safe: bool = False) -> None:
        copies = min(self.brokers(), _COPIES)
        config = {**settings, "min.insync.replicas": str(max(1, copies - 1))} if safe else dict(settings)
        topic = kafka_admin.NewTopic(name, num_partitions=1, replication_factor=copies, config=config)
        self._call(partial(self._create, topic), exists=True)

    def _create(self, topic: Any) -> Any:
        return self._admin.create_topics([topic], request_timeout=REQUEST_S)[topic.topic]

    def settings(self) -> dict[str, str]:
        """The settings in force, by their names.

        Raises:
            CommitLogError: The broker does not answer, or not to us.
        """
        resource = kafka_admin.ConfigResource(kafka_admin.ResourceType.TOPIC, self.name)
        entries = self._call(lambda: self._admin.describe_configs([resource], request_timeout=REQUEST_S)[resource])
        return {name: str(entry.value) for name, entry in entries.items()}

    def ends(self) -> Ends:
        """Where the topic begins and ends now.

        Raises:
            HistoryLost: There is no such topic.
            CommitLogError: The broker does not answer, or not to us.
        """
        return Ends(
            self._offset(kafka_admin.OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED),
            self.stable_end(),
            self._offset(kafka_admin.OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED),
        )

    def stable_end(self) -> int:
        """`Ends.stable`. Raises what `ends` raises."""
        return self._offset(kafka_admin.OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)

    def _offset(self, which: Any, isolation: IsolationLevel) -> int:
        deadline = time.monotonic() + _LEADER_S
        asked = {self._partition: which}
        while True:
            try:
                answers = self._call(
                    lambda: self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=REQUEST_S)[
                        self._partition
                    ]
                )
            except Unreachable:
                if self.partitions() is None:
                    raise self._connection.error(
                        KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), "cannot be read"
                    ) from None
                # A topic that was only just made has no leader for a moment.
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
            else:
                return int(answers.offset)

    def _call(self, ask: Callable[[], Any], *, missing: bool = False, exists: bool = False) -> Any:
        """Ask the brokers, and wait for what they say.

        Args:
            ask: Begins it.
            missing: That the topic is not there is an answer: None.
            exists: That the topic is there already is an answer: None.
        """
        try:
            return self._answer(ask())
        except KafkaException as exc:
            code = exc.args[0].code()
            if (missing and code in NO_TOPIC) or (exists and code == KafkaError.TOPIC_ALREADY_EXISTS):
                return None
            # What there was to say of the connection waits to be fetched.
            self._admin.poll(0)
            raise self._connection.error(exc, "cannot be reached") from exc
        except TimeoutError as exc:
            raise self._silent() from exc

    def _answer(self, asked: Any) -> Any:
        """What was asked for, or TimeoutError: at once where no broker is in reach."""
        began = time.monotonic()
        while True:
            try:
                return asked.result(_SLICE_S)
            except TimeoutError:
                self._admin.poll(0)
                if time.monotonic() > began + REQUEST_S + 1 or self._connection.away(began):
                    raise

    def _silent(self) -> CommitLogError:
        """The error for a broker that does not answer in time."""
        self._admin.poll(0)
        return self._connection.error(KafkaError(KafkaError._TIMED_OUT), "gives no answer")


def check_kept(topic: Topic, settings: dict[str, str], partitions: list[int]) -> None:
    """Check that a topic keeps a log: one partition, from which nothing is removed.

    Raises:
        Refused: It does not.
    """
    name = topic.location.topic
    if len(partitions) != 1:
        raise Refused(
            f"topic {name} has {len(partitions)} partitions: a log has one, in which its order is",
            hint="name a new log: a topic never loses a partition",
        )
    for setting, wanted in (("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")):
        found = settings.get(setting, wanted)
        if found != wanted:
            raise Refused(
                f"topic {name} has {setting}={found}: records of the log would be removed",
                hint=f"kafka-configs.sh --alter --topic {name} --add-config {setting}={wanted}",
            )


def check_whole(location: KafkaLocation, first_seq: int) -> None:
    """Check that a log still has its beginning.

    Args:
        location: The log.
        first_seq: The seq of the first record that is there.

    Raises:
        HistoryLost: It has not.
    """
    if first_seq > 0:
        raise HistoryLost(
            f"log {location} begins at record {first_seq}: the records before it were removed from its topic,"
            " by a retention limit or by hand",
            hint=f"set retention.ms=-1 and retention.bytes=-1 on topic {location.topic}, and begin a new log from a"
            " copy that has them all",
        )
