"""Records by their place: all of a stretch of a log at the speed an index needs, or one at once.

A stretch is checked as a chain (seq, prev, format), not byte for byte as `Reader` does; whatever is shown to anybody is
read again through `places.Places`, which checks it whole.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from ...schemas.errors import RecordError, Unreachable, VerificationFailed
from ...schemas.record import FORMAT, Head, check_header, is_object, split
from .headfile import DurableHead
from .location import Location
from .segment import read_lines, segment_name


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: the first seq of its segment, the byte its line begins at, and the line's length."""

    segment: int
    at: int
    length: int = 0


@dataclass(frozen=True, slots=True)
class Scanned:
    """One record as a scan finds it: seq and hash, its place, its header parsed and its body still bytes.

    Of a log on Kafka places are offsets: `segment` is 0, `at` the record's offset, and `length` 1.
    """

    seq: int
    hash: str
    segment: int
    at: int
    length: int
    header: dict[str, Any]
    body: bytes

    @property
    def head(self) -> Head:
        """The record as the head of the log it ends."""
        return Head(self.seq, self.hash)

    @property
    def end(self) -> Place:
        """The place after it."""
        return Place(self.segment, self.at + self.length)

    def items(self) -> list[Any]:
        """The items; empty where the body is withheld or redacted.

        Raises:
            RecordError: The body is not JSON.
        """
        try:
            body: Any = orjson.loads(self.body)
        except ValueError as exc:
            raise RecordError(f"record {self.seq}: the body is not JSON: {exc}", seq=self.seq) from exc
        items: list[Any] | None = body.get("items") if is_object(body) else None
        return items if isinstance(items, list) else []


def scan(location: Location, head: Head, place: Place, durable: DurableHead) -> Iterator[Scanned]:
    """The records after `head`, up to the durable head.

    Args:
        location: The log.
        head: The record before the first.
        place: Where the first begins; the end of a segment is as good as the beginning of the next.
        durable: The durable head, at or after `head`.

    Raises:
        VerificationFailed: A record is damaged, missing, or does not follow the one before.
        UnknownFormat: A record is newer than this code.
        Unreachable: A segment cannot be read.
    """
    seq, digest = head.seq, head.hash
    segment, at = place.segment, place.at
    while seq < durable.head.seq:
        whole = segment_name(segment) != durable.segment
        fd = _open(location, segment)
        try:
            end = os.fstat(fd).st_size if whole else durable.end
            for line in read_lines(fd, at, end):
                header_bytes, body, _ = split(line)
                header = _header(header_bytes)
                if header.get("seq") != seq + 1 or header.get("prev") != digest:
                    raise RecordError(f"it does not follow record {seq}")
                seq, digest = seq + 1, sha256(header_bytes).hexdigest()
                length = len(line) + 1
                yield Scanned(seq, digest, segment, at, length, header, body)
                at += length
        except RecordError as exc:
            raise RecordError(f"log {location}, record {seq + 1}: {exc}", seq=seq + 1, hint="commitlog verify") from exc
        except OSError as exc:
            raise Unreachable(f"log {location} cannot be read: {exc.strerror}") from exc
        finally:
            os.close(fd)
        if segment == seq + 1 or (not whole and seq < durable.head.seq):
            raise VerificationFailed(f"log {location}: record {seq + 1} is not there", seq=seq + 1)
        segment, at = seq + 1, 0
    if (seq, digest) != (durable.head.seq, durable.head.hash):
        raise VerificationFailed(f"log {location}: record {seq} is not the head that its head file names", seq=seq)


def _header(data: bytes) -> dict[str, Any]:
    try:
        header: Any = orjson.loads(data)
    except ValueError as exc:
        raise RecordError(f"the header is not JSON: {exc}") from exc
    if not is_object(header):
        raise RecordError("the header is not an object")
    if header.get("v") != FORMAT or "crit" in header:
        check_header(header)
    return header


def _open(location: Location, segment: int) -> int:
    try:
        return os.open(location.segments / segment_name(segment), os.O_RDONLY)
    except FileNotFoundError as exc:
        raise VerificationFailed(
            f"log {location}: segment {segment_name(segment)} is missing",
            seq=segment,
            hint="put back the segment from a copy",
        ) from exc
    except OSError as exc:
        raise Unreachable(f"segment {segment_name(segment)} of log {location} cannot be read: {exc.strerror}") from exc


class FolderLines:
    """The lines of a log in a folder by their places.

    Args:
        location: The log.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._fd, self._segment = -1, -1

    def line(self, place: Place) -> bytes:
        """The bytes of a record's line as they stand, line feed and all."""
        if place.segment != self._segment:
            self.close()
            self._fd, self._segment = _open(self._location, place.segment), place.segment
        try:
            return os.pread(self._fd, place.length, place.at)
        except OSError as exc:
            raise Unreachable(f"log {self._location} cannot be read: {exc.strerror}") from exc

    def close(self) -> None:
        """Let go of the segment that was read last."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._segment = -1, -1
