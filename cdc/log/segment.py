"""Segment files of an embedded log: their names, and their lines (schemas/README.md §9). Never writes."""

import os
import re
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from ...schemas.errors import RecordError
from ...schemas.record import LINE_BYTES_MAX

_NAME = re.compile(r"([0-9]{20})\.jsonl")
BLOCK_BYTES = 1 << 20
"""Read at once: large enough for the disk, small enough to stay out of the way of memory bounds."""


def segment_name(first_seq: int) -> str:
    """The file name of the segment whose first record is `first_seq`."""
    return f"{first_seq:020}.jsonl"


def first_seq_of(name: object) -> int | None:
    """The first seq that a segment's file name says, None for any other name."""
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    return int(match[1]) if match else None


def first_seqs(folder: Path) -> list[int]:
    """The first seqs of the segments in `folder`, ascending; empty where the folder is missing."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(seq for name in names if (seq := first_seq_of(name)) is not None)


def read_lines(fd: int, start: int, end: int) -> Iterator[bytes]:
    """The lines between two byte offsets of a segment, each without its line feed.

    Raises:
        RecordError: The last line has no line feed, a line is too long, or the file ends before `end`.
    """
    rest: list[bytes] = []
    rest_bytes = 0
    while start < end:
        block = os.pread(fd, min(BLOCK_BYTES, end - start), start)
        if not block:
            raise RecordError(f"the segment ends at byte {start}; it must hold {end}")
        start += len(block)
        at = 0
        # Not by split: it compares byte by byte, and lines are long.
        while (feed := block.find(b"\n", at)) >= 0:
            yield b"".join((*rest, block[at:feed])) if rest else block[at:feed]
            rest, rest_bytes, at = [], 0, feed + 1
        if at < len(block):
            rest.append(block[at:])
            rest_bytes += len(block) - at
        if rest_bytes >= LINE_BYTES_MAX:
            raise RecordError(f"a line is above the limit of {LINE_BYTES_MAX} bytes")
    if rest_bytes:
        raise RecordError("the last line is cut short")


Marks = list[tuple[int, int]]
"""Places in a segment, ascending: (line feeds before it, offset). Begins as [(0, 0)]; `seek` adds one a block."""


def seek(fd: int, count: int, marks: Marks) -> int:
    """The offset after `count` line feeds from the beginning; the end of the file where there are fewer."""
    if count == 0:
        return 0
    feeds, at = marks[bisect_left(marks, (count, 0)) - 1]
    while block := os.pread(fd, BLOCK_BYTES, at):
        found = block.count(b"\n")
        if feeds + found >= count:
            feed = -1
            for _ in range(count - feeds):
                feed = block.index(b"\n", feed + 1)
            return at + feed + 1
        feeds, at = feeds + found, at + len(block)
        if len(block) == BLOCK_BYTES and at > marks[-1][1]:
            marks.append((feeds, at))
    return at


def line_before(fd: int, end: int) -> bytes:
    """The line whose line feed is the byte before `end`, without it.

    Raises:
        RecordError: No line ends there.
    """
    if os.pread(fd, 1, end - 1) != b"\n":
        raise RecordError(f"no line ends at byte {end} of the segment")
    size = 4096
    while True:
        start = max(0, end - 1 - size)
        data = os.pread(fd, end - 1 - start, start)
        feed = data.rfind(b"\n")
        if feed >= 0 or start == 0:
            return data[feed + 1 :]
        if size > LINE_BYTES_MAX:
            raise RecordError(f"the line that ends at byte {end} is above the limit of {LINE_BYTES_MAX} bytes")
        size *= 8
