"""PARTIAL_UPDATE_ROWS events: updates whose new documents are told by their differences from the old ones.

Source: MySQL, sql/log_event.cc (Rows_log_event::unpack_current_row), sql/rpl_record.cc (unpack_row).
"""

from struct import Struct
from typing import Final

from .event import packed_int, whole
from .json_diff import apply_diffs
from .json_text import to_text
from .reading import Reading
from .values import length_reader

_head = Struct(">cI").pack
_count = Struct(">H").pack

_PARTIAL_JSON: Final = 1


def partial_changes(
    body: bytes, at: int, opening: bytes, readings: tuple[Reading, ...], documents: tuple[int, ...]
) -> list[bytes]:
    """The row changes that stand from a place to the end.

    Args:
        body: The event without its checksum.
        at: Where its rows begin; they have all columns.
        opening: What each change begins with.
        readings: How the values of each column are read.
        documents: The positions of the JSON columns.

    Raises:
        ValueError, IndexError, struct.error: They are malformed.
    """
    lengths = {place: length_reader(readings[place].first) for place in documents}
    found: list[bytes] = []
    while at < len(body):
        old: dict[int, bytes] = {}
        before, nulls, at = _begin(body, at, readings)
        for place, reading in enumerate(readings):
            if nulls >> place & 1:
                before.append(b"n")
                continue
            if place in lengths:
                old[place] = lengths[place](body, at)[0]
            text, at = reading.read(body, at)
            before += (_head(b"t", len(text)), text)
        partial, at = _partial(body, at, documents)
        after, nulls, at = _begin(body, at, readings)
        for place, reading in enumerate(readings):
            if nulls >> place & 1:
                after.append(b"n")
                continue
            if place in partial:
                diffs, at = lengths[place](body, at)
                text = to_text(apply_diffs(old[place], diffs))
            else:
                text, at = reading.read(body, at)
            after += (_head(b"t", len(text)), text)
        found.append(b"".join((opening, b"O", *before, b"N", *after)))
    if at != len(body):
        raise ValueError("rows of another length than their event")
    return found


def _begin(body: bytes, at: int, readings: tuple[Reading, ...]) -> tuple[list[bytes], int, int]:
    """What a row's TupleData begins with, the bits of its nulls, and where its values begin."""
    width = (len(readings) + 7) // 8
    return [_count(len(readings))], int.from_bytes(whole(body, at, at + width), "little"), at + width


def _partial(body: bytes, at: int, documents: tuple[int, ...]) -> tuple[set[int], int]:
    """The positions of the columns that are told by differences: a bit for each JSON column, null or not."""
    options, at = packed_int(body, at)
    if options & ~_PARTIAL_JSON:
        raise ValueError(f"options {options:#x} of values, which are not known here")
    if not options:
        return set(), at
    width = (len(documents) + 7) // 8
    bits = int.from_bytes(whole(body, at, at + width), "little")
    return {place for i, place in enumerate(documents) if bits >> i & 1}, at + width
