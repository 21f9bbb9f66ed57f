"""Where a log lives, a folder or Kafka, decided in this one place: everything else works with what is opened here."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from ...schemas.errors import CommitLogError, LeaseTaken, Locked
from ...schemas.record import Head, Record
from . import inbox
from .embedded import SEGMENT_BYTES, Writer
from .headfile import DurableHead
from .kafka_location import SCHEME, KafkaLocation
from .location import Location
from .reader import Reader
from .scan import Place, Scanned

LogLocation = Location | KafkaLocation


class LogReader(Protocol):
    """Reads one log. Every record it gives follows the chain. What each method raises, `reader.Reader` says.

    Attributes:
        passed: How many messages that are not of the log the last reading passed over; a folder holds none.
    """

    passed: int

    @property
    def location(self) -> LogLocation:
        """The log."""
        ...

    def durable(self) -> DurableHead:
        """The durable head and the place of its end."""
        ...

    def head(self) -> Head:
        """The durable head; `Head(-1, …)` of an empty log."""
        ...

    def records(self, from_seq: int = 0, *, until: int | None = None, after: Head | None = None) -> Iterator[Record]:
        """The records from `from_seq` on, to the head as it is now, or to `until` (included) where that is less."""
        ...

    def record(self, seq: int) -> Record:
        """One record."""
        ...

    def follow(self, from_seq: int = 0, *, stop: threading.Event, after: Head | None = None) -> Iterator[Record]:
        """The records from `from_seq` on, and every later one soon after it is durable, until `stop` is set."""
        ...

    def wait(self, seq: int, *, stop: threading.Event) -> DurableHead | None:
        """Wait until the durable head is past `seq`; None when `stop` is set first."""
        ...

    def scan(self, head: Head, place: Place, durable: DurableHead) -> Iterator[Scanned]:
        """The records after `head`, at the speed an index needs; see `scan.scan`."""
        ...

    def lines(self) -> "LogLines":
        """Lines by their places, as `scan` gives these."""
        ...

    def close(self) -> None:
        """Close connections, if there are any."""
        ...


class LogWriter(Protocol):
    """The one writer of a log; one thread at a time. What each method raises, `embedded.Writer` says.

    Attributes:
        head: The last record appended, durable or not.
        durable: The last record that readers see.
        last: The last record as it was found when the writer was opened, None in an empty log.
        rows_bytes_max: How many bytes the rows of one record may have, so that the home takes it.
    """

    head: Head
    durable: Head
    last: Record | None
    rows_bytes_max: int

    @property
    def unfinished(self) -> tuple[int, int] | None:
        """(from, to), the seqs of the parts that were found at the end without their last; None without such."""
        ...

    def check(self) -> None:
        """Go on only while this is the writer."""
        ...

    def append(self, lines: bytes, head: Head) -> None:
        """Buffer one or more whole records, the last of which is `head`."""
        ...

    def flush(self) -> None:
        """Make everything appended durable and visible to readers."""
        ...

    def close(self) -> None:
        """Let go of the log. What was appended and not flushed is forgotten."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class LogLease(Protocol):
    """A worker's stand in the queue of those who would write to a log."""

    def close(self) -> None:
        """Leave it."""
        ...


class LogGroup(Protocol):
    """How far a subscriber is, for those who watch lag."""

    def applied(self, seq: int) -> None:
        """Take note that everything up to a record is applied."""
        ...

    def close(self) -> None:
        """Tell the last position, and end."""
        ...


class LogLines(Protocol):
    """Lines of a log by their places, as a scan gave these."""

    def line(self, place: Place) -> bytes:
        """The bytes of a record's line as they stand, line feed and all."""
        ...

    def close(self) -> None:
        """Let go of what was read last."""
        ...


class LogRequest(Protocol):
    """What a command asks of the writer.

    Attributes:
        kind: What is asked for, `schema` for one.
        payload: Its bytes.
    """

    @property
    def kind(self) -> str: ...

    @property
    def payload(self) -> bytes: ...

    def answer(self, result: dict[str, Any]) -> None:
        """Say that it is done and durable."""
        ...

    def refuse(self, error: CommitLogError) -> None:
        """Say why it is not done."""
        ...


class LogInbox(Protocol):
    """The writer's side of its inbox."""

    def pending(self) -> Sequence[LogRequest]:
        """The requests that wait, oldest first; cheap to ask often."""
        ...

    def close(self) -> None:
        """Close connections, if there are any."""
        ...


def parse_location(url: str) -> LogLocation:
    """Read `file:FOLDER#NAME` or `kafka://HOST[,HOST]/PREFIX#NAME`.

    Raises:
        UsageError: It is neither.
    """
    return KafkaLocation.parse(url) if url.startswith(SCHEME) else Location.parse(url)


def open_reader(location: LogLocation) -> LogReader:
    """A reader of a log. Whether the log is there its methods say.

    Raises:
        MissingExtra: The package for its home is not installed.
    """
    if isinstance(location, Location):
        return Reader(location)
    from .kafka_reader import KafkaReader

    return KafkaReader(location)


def open_lease(location: LogLocation) -> LogLease | None:
    """Queue for a log, where several workers may; None where a second one is refused."""
    if isinstance(location, Location):
        return None
    from .kafka_lease import Lease
    from .kafka_topic import Topic

    if Topic(location, location.lease).partitions() is None:
        Topic(location).make()
    return Lease(location)


def open_group(reader: LogReader, name: str) -> LogGroup | None:
    """Where a subscriber's position is shown to others, beside where it keeps it; None where nobody looks for it.

    Args:
        reader: What it reads the log by.
        name: Its own.
    """
    if isinstance(reader.location, Location):
        return None
    from .kafka_group import Group
    from .kafka_reader import KafkaReader

    assert isinstance(reader, KafkaReader)
    return Group(reader, name)


def open_writer(
    location: LogLocation,
    *,
    memory: Path | None,
    lease: LogLease | None = None,
    segment_bytes: int = SEGMENT_BYTES,
) -> LogWriter:
    """Take over a log as its one writer, and make a new log where there is none.

    Args:
        location: The log.
        memory: A file outside the log, where this writer remembers the head; None to remember nothing.
        lease: A worker's, as `open_lease` gave it; a command has none and waits for its turn here.
        segment_bytes: Of a log in a folder: the size past which a segment is closed.

    Raises:
        Locked: Another process writes to it.
        LeaseTaken: The same of a worker, which may wait and try again.
        HistoryLost: It no longer holds what its writer remembers.
        CommitLogError: It cannot be written.
    """
    if isinstance(location, Location):
        return Writer.open(location, memory=memory, segment_bytes=segment_bytes)
    from .kafka_lease import Lease
    from .kafka_writer import KafkaWriter

    if isinstance(lease, Lease):
        return KafkaWriter.open(location, memory=memory, lease=lease)
    try:
        return KafkaWriter.open(location, memory=memory)
    except LeaseTaken as exc:
        raise Locked(str(exc), hint="stop that worker, or let it do the work") from exc


def log_exists(location: LogLocation) -> bool:
    """Whether there is a log.

    Raises:
        CommitLogError: Its home cannot be reached.
    """
    if isinstance(location, Location):
        return location.head.exists()
    from .kafka_topic import Topic

    return Topic(location).partitions() is not None


def open_inbox(location: LogLocation) -> LogInbox:
    """The inbox of a log, for its writer."""
    if isinstance(location, Location):
        return inbox.Inbox(location)
    from .kafka_inbox import KafkaInbox

    return KafkaInbox(location)


def submit(location: LogLocation, kind: str, payload: bytes) -> dict[str, Any]:
    """Hand a request to the process that writes to the log, and wait for its answer; see `inbox.submit`."""
    if isinstance(location, Location):
        return inbox.submit(location, kind, payload)
    from .kafka_inbox import submit as submit_to_kafka

    return submit_to_kafka(location, kind, payload)


def leader_of(location: KafkaLocation) -> str:
    """Which worker writes to a log on Kafka, as HOST.PID; empty where none does."""
    from . import kafka_lease

    return kafka_lease.leader_of(location)
