"""How far a subscriber of a log on Kafka is, as the offset of a group of consumers: for those who watch lag, told and never read.

The truth about its position is the subscriber's own. What is told here may be late, or lost, and does not matter to it.
"""

import logging
import threading

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition

from .kafka_client import REQUEST_S, Connection, kafka_admin
from .kafka_reader import KafkaReader

log = logging.getLogger("commitlog")

INTERVAL_S = 1.0
"""At most so often a position is told."""

REPEAT_S = 3600.0
"""So often it is told though it is still the same: a broker forgets a group of which it hears nothing for long."""


class Group:
    """One subscriber's group. A thread of its own tells, until `close`.

    Args:
        reader: What the subscriber reads the log by.
        name: The subscriber's; the group is called PREFIX.NAME.`name`.
    """

    def __init__(self, reader: KafkaReader, name: str) -> None:
        self.id = f"{reader.location.topic}.{name}"
        self._reader = reader
        self._connection = Connection(reader.location)
        self._admin = self._connection.client(kafka_admin.AdminClient, self._connection.settings())
        self._offset: int | None = None
        self._failed = False
        self._news, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._tell_all, name="group", daemon=True)
        self._thread.start()

    def applied(self, seq: int) -> None:
        """Take note that everything up to a record is applied."""
        offset = self._reader.offset_after(seq)
        if offset is not None and offset != self._offset:
            self._offset = offset
            self._news.set()

    def close(self) -> None:
        """Tell the last position, and end."""
        self._closing.set()
        self._news.set()
        self._thread.join(2 * REQUEST_S)

    def _tell_all(self) -> None:
        while not self._closing.is_set():
            self._news.wait(REPEAT_S)
            self._news.clear()
            if self._offset is not None:
                self._tell(self._offset)
            self._closing.wait(INTERVAL_S)
        if self._news.is_set() and self._offset is not None:
            self._tell(self._offset)

    def _tell(self, offset: int) -> None:
        place = TopicPartition(self._reader.location.topic, 0, offset)
        asked = ConsumerGroupTopicPartitions(self.id, [place])
        try:
            told = self._admin.alter_consumer_group_offsets([asked], request_timeout=REQUEST_S)[self.id].result(
                REQUEST_S + 1
            )
            refused = [partition.error for partition in told.topic_partitions if partition.error is not None]
            if refused:
                raise KafkaException(refused[0])
        except (KafkaException, TimeoutError) as exc:
            if not self._failed:
                log.warning("the position is not shown as group %s: %s", self.id, self._reason(exc))
            self._failed = True
        else:
            self._failed = False

    def _reason(self, exc: KafkaException | TimeoutError) -> str:
        if isinstance(exc, TimeoutError):
            return f"no answer in {REQUEST_S:.0f} s"
        return f"{self._connection.error(exc, 'takes no offset')}; its user needs READ on that group"
