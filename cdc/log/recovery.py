"""What a writer finds when it opens a log: how far it is whole, and what a crash left behind its durable head.

Bytes behind the head were never acknowledged. Whole records among them that follow the chain are adopted; a torn tail
is cut. Whatever cannot be the trace of a crash stops the writer.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from ...schemas.errors import HistoryLost, VerificationFailed
from ...schemas.record import Chain, Head, Record
from .headfile import BEGINNING, DurableHead, create_file, read_headfile
from .location import Location, sync_folder
from .segment import BLOCK_BYTES, first_seq_of, first_seqs, line_before, read_lines, segment_name


@dataclass(frozen=True, slots=True)
class Recovered:
    """A log that is ready to be appended to.

    Args:
        durable: Its head, on disk and in the head file.
        last: The record of that head, None in an empty log.
        adopted: How many records behind the old head were adopted.
        cut_bytes: How many bytes of a torn tail were cut.
    """

    durable: DurableHead
    last: Record | None
    adopted: int
    cut_bytes: int


def recover(location: Location, remembered: DurableHead = BEGINNING) -> Recovered:
    """Bring a log to a whole end, and make a new one where there is none. The caller holds the writer's lock.

    Args:
        location: The log.
        remembered: What its writer made durable before, as far as it is known.

    Raises:
        HistoryLost: The log does not hold what its head file or its writer remembers.
        VerificationFailed: The log is damaged in a way no crash explains.
        UnknownFormat: A newer version wrote to it.
    """
    written = _head_file(location)
    if written is None and not first_seqs(location.segments):
        _create(location)
        written = BEGINNING
    start = written or _start_of_last_segment(location)
    last = _record_at_end(location, start) if written else None
    tail = _Tail(location, start, last)
    tail.scan()
    if written is None and tail.torn_lines:
        raise VerificationFailed(
            f"log {location}: record {tail.durable.head.seq + 1} is damaged, and without a head file nobody can say"
            " whether it was durable",
            seq=tail.durable.head.seq + 1,
            hint=f"commitlog verify {location}; put back the segment from a copy",
        )
    _check_memory(location, remembered, tail.durable)
    cut_bytes = tail.settle()
    if tail.durable != written:
        create_file(location.head, tail.durable.encode())
        sync_folder(location.root)
    return Recovered(tail.durable, tail.last, tail.adopted, cut_bytes)


def _create(location: Location) -> None:
    """An empty log: its first segment before its head file, so that a head never points to nothing."""
    os.close(os.open(location.segments / segment_name(0), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    sync_folder(location.segments)
    create_file(location.head, BEGINNING.encode())
    sync_folder(location.root)


def _head_file(location: Location) -> DurableHead | None:
    """The head file, None where it is missing or damaged: then the segments say where the log ends."""
    try:
        return read_headfile(location.head)
    except (FileNotFoundError, VerificationFailed):
        return None


def _start_of_last_segment(location: Location) -> DurableHead:
    """Where to begin without a head file: before the last segment that holds anything."""
    for first in reversed(first_seqs(location.segments)):
        with _opened(location, segment_name(first)) as (fd, size):
            if first and size:
                prev = Record.parse(next(read_lines(fd, 0, size))).header["prev"]
                return DurableHead(Head(first - 1, prev), segment_name(first), 0)
    return BEGINNING


def _record_at_end(location: Location, durable: DurableHead) -> Record | None:
    """The record that ends at `durable`, None for an empty log.

    Raises:
        HistoryLost: The log ends before it, or has another record there.
    """
    if durable == BEGINNING:
        return None
    try:
        with _opened(location, durable.segment) as (fd, size):
            if size < durable.end:
                raise VerificationFailed(f"{durable.segment} ends at byte {size}, before byte {durable.end}")
            record = Record.parse(line_before(fd, durable.end))
            if record.head != durable.head:
                raise VerificationFailed(f"{record.head} stands in its place")
            return record
    except VerificationFailed as exc:
        raise HistoryLost(
            f"log {location} no longer holds its durable record {durable.head}: {exc}",
            hint=f"put back the files of {location.segments} from a copy; commitlog verify {location} says what is whole",
        ) from exc


def _check_memory(location: Location, remembered: DurableHead, durable: DurableHead) -> None:
    try:
        if remembered.head.seq > durable.head.seq:
            raise HistoryLost(f"it ends at record {durable.head.seq}")
        _record_at_end(location, remembered)
    except HistoryLost as exc:
        raise HistoryLost(
            f"log {location} no longer holds record {remembered.head}, which was made durable here before: {exc}",
            hint=f"put back the newer copy of {location.root}; nothing was changed",
        ) from exc


class _Tail:
    """What stands behind a log's durable head."""

    def __init__(self, location: Location, start: DurableHead, last: Record | None) -> None:
        self.durable = start
        self.last = last
        self.adopted = 0
        self.torn_lines = False
        self._location = location
        self._start = start

    def scan(self) -> None:
        """Find how far records follow the chain. Changes nothing.

        Raises:
            VerificationFailed: A damaged record has segments after it: no crash does that.
        """
        segments = self._segments()
        chain = Chain(self._start.head)
        for index, name in enumerate(segments):
            at = self._start.end if name == self._start.segment else 0
            with _opened(self._location, name) as (fd, size):
                try:
                    for line in read_lines(fd, at, size):
                        record = Record.parse(line)
                        record.check_tree()
                        chain.accept(record)
                        at += len(line) + 1
                        self.durable, self.last = DurableHead(record.head, name, at), record
                        self.adopted += 1
                except VerificationFailed:
                    if index + 1 < len(segments):
                        raise
                    self.torn_lines = b"\n" in os.pread(fd, size - at, at)

    def settle(self) -> int:
        """Put the adopted records on disk, cut what stands behind them, and return how many bytes that was."""
        cut_bytes = 0
        for name in self._segments():
            start = self._start.end if name == self._start.segment else 0
            if name > self.durable.segment:
                cut_bytes += (self._location.segments / name).stat().st_size
                (self._location.segments / name).unlink()
                sync_folder(self._location.segments)
                continue
            with _opened(self._location, name) as (fd, size):
                end = self.durable.end if name == self.durable.segment else size
                cut_bytes += size - end
                _rewrite(fd, start, end)
        return cut_bytes

    def _segments(self) -> list[str]:
        first = first_seq_of(self._start.segment) or 0
        return [segment_name(seq) for seq in first_seqs(self._location.segments) if seq >= first]


def _rewrite(fd: int, start: int, end: int) -> None:
    """Cut a segment at `end` and put its bytes from `start` on disk.

    They are written again first: a sync that failed once marks pages clean, and a second one would prove nothing.
    """
    os.ftruncate(fd, end)
    for at in range(start, end, BLOCK_BYTES):
        os.pwrite(fd, os.pread(fd, min(BLOCK_BYTES, end - at), at), at)
    os.fsync(fd)


@contextmanager
def _opened(location: Location, name: str) -> Generator[tuple[int, int]]:
    """A segment's descriptor and size."""
    try:
        fd = os.open(location.segments / name, os.O_RDWR)
    except FileNotFoundError as exc:
        raise VerificationFailed(f"segment {name} of log {location} is missing") from exc
    try:
        yield fd, os.fstat(fd).st_size
    finally:
        os.close(fd)
