"""The writer of a log on Kafka: each flush is one transaction of an idempotent producer whose transactional id is the topic's name.

The transactional id fences an older writer. Exactness does not rest on it: after any error this writer is thrown away, and
`open` reads back what the topic holds, whatever the transaction came to.
"""

import re
import time
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...schemas.errors import HistoryLost, LeaseTaken, Refused, Unreachable, VerificationFailed
from ...schemas.record import EMPTY, LINE_BYTES_MAX, Head, Record
from ..failpoint import failpoint
from .headfile import BEGINNING, DurableHead, Memory
from .kafka_client import FENCED, TOO_LARGE, Connection
from .kafka_lease import SESSION_S, Lease, leader_of
from .kafka_location import KafkaLocation
from .kafka_messages import HEAD
from .kafka_reader import KafkaReader
from .kafka_topic import OVERHEAD_BYTES, Topic, check_kept
from .scan import Place
from .segment import segment_name

LEAD_S = SESSION_S + 6.0
"""How long a command waits for its turn: a worker that was killed a moment ago still has its own for `SESSION_S`."""

TURN_S = 1.0
"""How long an attempt of a worker waits for its turn, before it looks whether it is to stop."""

READ_BACK_S = 60.0
"""How long what was written before may take to be read back, and transactions to end."""

TRANSACTION_S = 15.0
"""How long the broker lets a transaction stand that nobody ends, and how long fencing whoever wrote before may take."""

_VISIBLE_POLL_S = 0.001
_BATCH_BYTES = 1 << 20
PRODUCER: dict[str, Any] = {
    # A transaction that nobody ends, as of a worker that was killed, keeps readers waiting no longer than this.
    "transaction.timeout.ms": int(TRANSACTION_S * 1000),
    "message.timeout.ms": int(TRANSACTION_S * 1000) - 5000,
    # A topic that is gone is said to be gone soon.
    "topic.metadata.propagation.max.ms": 3000,
    # Lines of one log are much alike: zstd at its quick level makes a quarter of them, for less than the network costs.
    "compression.type": "zstd",
    "compression.level": 1,
    # Records gather for as long as a flush hands them over, and go in batches as large as a default broker takes; the end of the
    # flush sends what is left at once, so that nobody waits for the linger.
    "linger.ms": 5,
    "batch.num.messages": 10_000,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 256 << 10,
}
"""The file of properties may say others."""

_FIXED: dict[str, Any] = {"enable.idempotence": True, "acks": "all"}
_HEADER = re.compile(HEAD + rb',"kind":"([^"]*)","id":"([^"]*)","time":"([^"]*)"')


class KafkaWriter:
    """The one writer of a log on Kafka. Made by `KafkaWriter.open`; used by one thread at a time.

    Attributes:
        location: The log.
        head: The last record appended, durable or not.
        durable: The last record whose transaction has ended.
        last: The last record as `open` found it, None in an empty log.
        pending_bytes: How many bytes the next flush writes.
        rows_bytes_max: How many bytes the rows of one record may have, so that the topic takes it.
    """

    def __init__(self, location: KafkaLocation, *, lease: Lease, owns_lease: bool, memory: Path | None) -> None:
        self.location = location
        self.head = self.durable = EMPTY
        self.last: Record | None = None
        self.pending_bytes = 0
        self.rows_bytes_max = self._line_bytes_max = LINE_BYTES_MAX
        self._lease, self._owns_lease = lease, owns_lease
        self._memory = Memory(memory) if memory else None
        self._connection = Connection(location)
        self._topic = Topic(location)
        self._pending: list[bytes] = []
        self._producer: Producer | None = None
        self._end = 0
        self._broken = False
        self._failed: KafkaError | None = None

    @classmethod
    def open(cls, location: KafkaLocation, *, memory: Path | None, lease: Lease | None = None) -> "KafkaWriter":
        """Take over a log: win the lease, fence whoever wrote before, and read back what there is. Makes the topic where it is not.

        Args:
            location: The log.
            memory: A file of this machine where this writer remembers the head; None to remember nothing.
            lease: The caller's, which must be held; None for one of the writer's own.

        Raises:
            LeaseTaken: Another worker leads.
            HistoryLost: The topic no longer holds what `memory` remembers, or has lost its beginning.
            Refused: The topic does not keep what is written, or a transaction in it does not end.
            Unreachable: The broker does not answer.
        """
        topic = Topic(location)
        partitions = topic.partitions()
        if partitions is None:
            if memory is not None and _remembers(memory):
                raise HistoryLost(
                    f"log {location}: its topic {location.topic} is gone",
                    hint=f"put the topic back from a copy; or remove {memory} to begin a new log",
                )
            topic.make()
            partitions = topic.partitions() or []
        if lease is None and (leader := leader_of(location)):
            raise LeaseTaken(f"log {location} is being written by the worker {leader}")
        own = lease or Lease(location)
        writer: KafkaWriter | None = None
        try:
            own.wait(LEAD_S if lease is None else TURN_S)
            writer = cls(location, lease=own, owns_lease=lease is None, memory=memory)
            writer._take_over(topic, partitions)
        except BaseException:
            if writer is not None:
                writer.close()
            elif lease is None:
                own.close()
            raise
        return writer

    @property
    def unfinished(self) -> tuple[int, int] | None:
        """(from, to), the seqs of the parts that `open` found at the end without their last; None without such."""
        return self.last.unfinished if self.last else None

    def check(self) -> None:
        """Go on only while this is the writer. Raises LeaseTaken where another has taken over."""
        self._lease.check()

    def append(self, lines: bytes, head: Head) -> None:
        """Buffer one or more whole records; see the writer of a folder."""
        self._pending.append(lines)
        self.pending_bytes += len(lines)
        self.head = head

    def flush(self) -> None:
        """Write everything appended in one transaction; it is durable and visible, or this writer is to be thrown away.

        Raises:
            LeaseTaken: Another worker has taken over; nothing is visible.
            Refused: A record is longer than the topic takes.
            Unreachable: What became of it is not known; `open` anew.
        """
        if not self._pending:
            return
        self._lease.check()
        # Never in a name of its own: an exception would keep it, and a producer that is thrown away must end at once.
        if self._producer is None or self._broken:
            raise Refused(f"log {self.location} is not open for writing: an earlier write failed, or it was closed")
        data = b"".join(self._pending)
        try:
            self._producer.begin_transaction()
            self._produce(data)
            self._producer.commit_transaction(TRANSACTION_S)
            self._await_visible()
        except KafkaException as exc:
            self._broken = True
            raise self._error(exc) from exc
        except BaseException:
            self._broken = True
            raise
        self._pending, self.pending_bytes = [], 0
        self.durable = self.head
        if self._memory:
            self._memory.write(DurableHead(self.durable, segment_name(0), self._end).encode())

    def close(self) -> None:
        """Let go of the log. What was appended and not flushed is forgotten: nobody has been told of it."""
        if self._producer is not None:
            # Not closed by its own `close`, which would wait for brokers that may be away: what is in hand is forgotten.
            self._producer.purge()
            self._producer = None
        if self._memory:
            self._memory.close()
            self._memory = None
        if self._owns_lease:
            self._lease.close()

    def __enter__(self) -> "KafkaWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _take_over(self, topic: Topic, partitions: list[int]) -> None:
        """Fence, wait for what was in hand to end, and read it back."""
        settings = topic.settings()
        check_kept(topic, settings, partitions)
        topic_bytes = int(settings.get("max.message.bytes", LINE_BYTES_MAX))
        self._line_bytes_max = min(LINE_BYTES_MAX, topic_bytes - OVERHEAD_BYTES)
        # A header names every shape, and items 0 and 1 stand before the rows: an eighth is ample.
        self.rows_bytes_max = self._line_bytes_max - self._line_bytes_max // 8
        self._fence(topic_bytes)
        end = self._settled_end(topic)
        remembered = self._memory.read() if self._memory else BEGINNING
        self._read_back(remembered, end=end)

    def _fence(self, topic_bytes: int) -> None:
        """Make a producer under the log's transactional id: every older one is fenced, and what it had in hand is aborted."""
        own = {
            "transactional.id": self.location.topic,
            "message.max.bytes": topic_bytes,
            "batch.size": min(_BATCH_BYTES, topic_bytes),
        }
        connection = self._connection
        self._producer = connection.client(Producer, {**PRODUCER, **connection.settings(), **_FIXED, **own})
        try:
            self._producer.init_transactions(TRANSACTION_S)
        except KafkaException as exc:
            raise self._connection.error(exc, "cannot be written") from exc

    def _settled_end(self, topic: Topic) -> int:
        """The end of the topic, once every transaction before it has ended.

        Raises:
            Refused: One does not.
        """
        end = topic.ends().last
        deadline = time.monotonic() + READ_BACK_S
        while (stable := topic.stable_end()) < end:
            if time.monotonic() > deadline:
                raise Refused(
                    f"log {self.location}: a transaction of another producer is open at offset {stable} of topic"
                    f" {self.location.topic}, and did not end within {READ_BACK_S:.0f} s: nobody can read past it",
                    hint=f"kafka-transactions.sh find-hanging --topic {self.location.topic} names it, and abort ends it",
                )
            time.sleep(0.05)
        return end

    def _read_back(self, remembered: DurableHead, *, end: int) -> None:
        """Find the last record, and see that the one remembered still stands where it stood.

        Raises:
            HistoryLost: The log does not hold the record remembered, or has lost its beginning.
        """
        reader = KafkaReader(self.location)
        try:
            if remembered != BEGINNING:
                self._check_remembered(remembered, reader, end)
            self.last = reader.last()
        finally:
            reader.close()
        self.head = self.durable = self.last.head if self.last else EMPTY
        self._end = end

    def _check_remembered(self, remembered: DurableHead, reader: KafkaReader, end: int) -> None:
        if remembered.end > end:
            raise self._lost(remembered, f"its topic ends at offset {end}")
        try:
            found = Record.parse(reader.line(Place(0, remembered.end - 1))).head
        except VerificationFailed as exc:
            raise self._lost(remembered, str(exc)) from exc
        if found != remembered.head:
            raise self._lost(remembered, f"{found} stands in its place")

    def _lost(self, remembered: DurableHead, why: str) -> HistoryLost:
        return HistoryLost(
            f"log {self.location} no longer holds record {remembered.head}, which was made durable from here before: {why}",
            hint="put the topic back from a copy; nothing was changed",
        )

    def _produce(self, data: bytes) -> None:
        assert self._producer is not None
        lines = data.split(b"\n")
        topic, last = self.location.topic, len(lines) - 2
        for number, line in enumerate(lines[:-1]):
            if len(line) > self._line_bytes_max:
                raise Refused(
                    f"a record of {len(line)} bytes is above the {self._line_bytes_max} that topic {topic} takes",
                    hint=f"kafka-configs.sh --alter --topic {topic} --add-config max.message.bytes={LINE_BYTES_MAX + OVERHEAD_BYTES}",
                )
            match = _HEADER.match(line)
            assert match is not None, "a line of the chain begins with its header"
            log_id, seq, _, kind, id_, at = match.groups()
            self._producer.produce(
                topic,
                line,
                id_,
                0,
                headers=[
                    ("id", id_),
                    ("kind", kind),
                    ("seq", seq),
                    ("log", log_id),
                    ("content-type", b"application/json"),
                    ("ce_specversion", b"1.0"),
                    ("ce_type", b"commitlog." + kind),
                    ("ce_source", b"urn:commitlog:" + log_id),
                    # Unique with the source, as CloudEvents wants it: the parts of a commit share its id.
                    ("ce_id", seq),
                    ("ce_time", at),
                ],
                on_delivery=self._delivered if number == last else None,
            )

    def _await_visible(self) -> None:
        """Wait until readers may see what was written: the answer to a commit comes before its mark stands in the topic.

        Raises:
            Unreachable: They do not in time.
        """
        deadline = time.monotonic() + TRANSACTION_S
        while self._topic.stable_end() < self._end:
            if time.monotonic() > deadline:
                raise Unreachable(f"log {self.location}: what was written is not visible within {TRANSACTION_S:.0f} s")
            time.sleep(_VISIBLE_POLL_S)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        offset = message.offset()
        if error is None and offset is not None:
            self._end = offset + 1
            failpoint("in_transaction")
        else:
            self._failed = error

    def _error(self, exc: KafkaException) -> Unreachable | Refused:
        error: KafkaError = exc.args[0]
        if error.code() in FENCED or (error.fatal() and "fenced" in error.str().lower()):
            return LeaseTaken(f"log {self.location}: another worker has taken over", hint="this one waits for its turn")
        if error.code() in TOO_LARGE or (self._failed is not None and self._failed.code() in TOO_LARGE):
            return Unreachable(
                f"log {self.location}: topic {self.location.topic} takes shorter records than it did: {error.str()}",
                hint="its settings are read again",
            )
        found = self._connection.error(exc, "cannot be written")
        return found if isinstance(found, Unreachable | Refused) else Unreachable(str(found), hint=found.hint)


def _remembers(memory: Path) -> bool:
    if not memory.exists():
        return False
    file = Memory(memory)
    try:
        return file.read() != BEGINNING
    finally:
        file.close()
