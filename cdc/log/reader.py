"""Reading an embedded log, from any process and without a lock: up to its durable head, never past it."""

import os
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import orjson

from ...schemas.errors import RecordError, UnknownFormat, Unreachable, UsageError, VerificationFailed
from ...schemas.record import Head, Record
from .. import native
from . import canonical
from .headfile import DurableHead, read_headfile
from .location import Location
from .reading import Reading
from .scan import FolderLines, Place, Scanned, scan
from .segment import Marks, first_seqs, read_lines, seek, segment_name

_IDLE_AFTER_S = 1.0
_POLL_S, _IDLE_POLL_S = 0.005, 0.02
"""How often the head is looked at; the second after so long without news."""


class Reader(Reading[Location]):
    """Reads one embedded log. Every record it gives follows the chain (schemas/README.md §8).

    Args:
        location: The log.
    """

    way_back = "put back the newer copy of the log. After a loss of power, start the worker: it finds the end again"
    passed = 0

    def __init__(self, location: Location) -> None:
        self.location = location
        self._marks: dict[str, Marks] = {}

    def durable(self) -> DurableHead:
        """The durable head and the place of its end.

        Raises:
            UsageError: There is no such log.
            VerificationFailed: Its head file is missing or damaged.
            Unreachable: Its files cannot be read.
        """
        try:
            return read_headfile(self.location.head)
        except FileNotFoundError as exc:
            if self._holds_bytes():
                # A log's first segment is made before its head file, which may have come by now.
                if self.location.head.exists():
                    return self.durable()
                raise VerificationFailed(
                    f"log {self.location} has records but no head file",
                    hint="start the worker: it finds the head again from the log's records",
                ) from exc
            raise UsageError(f"there is no log {self.location}", hint="commitlog run creates it") from exc
        except OSError as exc:
            raise Unreachable(f"log {self.location} cannot be read: {exc.strerror}") from exc

    def _holds_bytes(self) -> bool:
        folder = self.location.segments
        return any((folder / segment_name(seq)).stat().st_size for seq in first_seqs(folder))

    def records(self, from_seq: int = 0, *, until: int | None = None, after: Head | None = None) -> Iterator[Record]:
        """The records from `from_seq` on, to the head as it is now, or to `until` (included) where that is less.

        Args:
            from_seq: The first record's seq.
            until: The last record's seq.
            after: The record before the first, where the caller knows it: the first must follow it.

        Raises:
            VerificationFailed: A record is damaged, missing, or does not follow the one before.
            HistoryLost: The log ends before `from_seq - 1`.
            UnknownFormat: A record is newer than this code.
        """
        durable = self.durable()
        self.check_reach(durable, from_seq)
        if from_seq > durable.head.seq:
            return
        with _Cursor(self.location, from_seq, after, self._marks) as cursor:
            for record in cursor.read(durable):
                if until is not None and record.seq > until:
                    return
                yield record

    def follow(self, from_seq: int = 0, *, stop: threading.Event, after: Head | None = None) -> Iterator[Record]:
        """The records from `from_seq` on, and every later one soon after it is durable, until `stop` is set.

        Args:
            from_seq: The first record's seq.
            stop: Ends the iteration.
            after: As in `records`.

        Raises what `records` raises.
        """
        durable = self.wait(from_seq - 1, stop=stop)
        if durable is None:
            return
        with _Cursor(self.location, from_seq, after, self._marks) as cursor:
            while durable is not None:
                for record in cursor.read(durable):
                    yield record
                    if stop.is_set():
                        return
                durable = self.wait(durable.head.seq, stop=stop)

    def wait(self, seq: int, *, stop: threading.Event) -> DurableHead | None:
        """Wait until the durable head is past `seq`; None when `stop` is set first.

        Raises:
            HistoryLost: The log ends before `seq`.
        """
        idle_from = time.monotonic() + _IDLE_AFTER_S
        while not stop.is_set():
            durable = self.durable()
            self.check_reach(durable, seq + 1)
            if durable.head.seq > seq:
                return durable
            stop.wait(_POLL_S if time.monotonic() < idle_from else _IDLE_POLL_S)
        return None

    def scan(self, head: Head, place: Place, durable: DurableHead) -> Iterator[Scanned]:
        """See `scan.scan`."""
        return scan(self.location, head, place, durable)

    def lines(self) -> FolderLines:
        """Its lines by their places, as `scan` gives these."""
        return FolderLines(self.location)

    def close(self) -> None:
        """Nothing is kept open between two calls."""


def items_of(record: Record) -> list[Any]:
    """The items of a record, as strictly as `Record.items` and faster; empty where the body is withheld or redacted.

    Raises:
        RecordError: The body is malformed.
    """
    try:
        items: list[Any] = canonical.parse(record.body_bytes)["items"]
    except (ValueError, KeyError, TypeError):
        return record.items()
    return items if type(items) is list else record.items()


class _Cursor:
    """A place in a log that moves forward over whole records, each following the one before."""

    def __init__(self, location: Location, from_seq: int, after: Head | None, marks: dict[str, Marks]) -> None:
        self._location = location
        self._next_seq = from_seq
        self._head = after
        firsts = first_seqs(location.segments)
        index = bisect_right(firsts, from_seq) - 1
        first = firsts[index] if index >= 0 else 0
        self._fd = -1
        self._open(segment_name(first))
        self._at = seek(self._fd, from_seq - first, marks.setdefault(self._segment, [(0, 0)]))

    def __enter__(self) -> "_Cursor":
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)

    def read(self, durable: DurableHead) -> Iterator[Record]:
        """The records up to `durable`."""
        last = durable.head.seq
        while self._next_seq <= last:
            whole = self._segment != durable.segment
            for line in self._lines(os.fstat(self._fd).st_size if whole else durable.end):
                record = self._accept(line)
                self._at += len(line) + 1
                if self._next_seq > last and record.head != durable.head:
                    raise VerificationFailed(
                        f"log {self._location}: its head is {durable.head}, and in its place stands {record.head}",
                        seq=record.seq,
                    )
                yield record
            if self._next_seq <= last:
                if not whole:
                    raise self._lost(f"the head is record {last}")
                self._open(segment_name(self._next_seq))
                self._at = 0

    def _lines(self, end: int) -> Iterator[bytes]:
        try:
            yield from read_lines(self._fd, self._at, end)
        except RecordError as exc:
            raise self._lost(str(exc)) from exc
        except OSError as exc:
            raise Unreachable(f"log {self._location} cannot be read: {exc.strerror}") from exc

    def _accept(self, line: bytes) -> Record:
        seq = self._next_seq
        try:
            plain = native.plain_record(line) if native.COMPILED else None
            record = Record(*plain) if plain else Record.parse(line, orjson.loads)
        except RecordError as exc:
            raise RecordError(f"log {self._location}, record {seq}: {exc}", seq=seq, hint=exc.hint) from exc
        except UnknownFormat as exc:
            raise UnknownFormat(f"log {self._location}, record {seq}: {exc}", hint=exc.hint) from exc
        head = record.head
        if head.seq != seq:
            raise VerificationFailed(f"log {self._location}: record {head.seq} stands where {seq} must", seq=seq)
        if self._head is not None:
            record.check_follows(self._head)
        self._head = head
        self._next_seq = seq + 1
        return record

    def _open(self, name: str) -> None:
        try:
            fd = os.open(self._location.segments / name, os.O_RDONLY)
        except FileNotFoundError as exc:
            raise self._lost(f"segment {name} is missing") from exc
        except OSError as exc:
            raise Unreachable(f"segment {name} of log {self._location} cannot be read: {exc.strerror}") from exc
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._segment = fd, name

    def _lost(self, what: str) -> VerificationFailed:
        return VerificationFailed(
            f"log {self._location}: record {self._next_seq} is not there: {what}",
            seq=self._next_seq,
            hint="put back the segment from a copy",
        )
