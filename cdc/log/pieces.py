"""Items too large for a record: cut into pieces, and put together again (schemas/README.md §5). No I/O.

A change can be as large as a row of the source, a gigabyte and more, and a record is at most 64 MiB. So its text goes in runs, one a
record, and whoever reads joins them before anybody sees the change.
"""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from ...schemas.errors import RecordError, Refused
from ...schemas.record import is_object
from . import canonical

ITEM_BYTES_MAX: Final = 2 << 30
"""A joined item has at most so many bytes."""

_ESCAPED: Final = 2
"""An item's text has no characters but `"` and `\\` that a string escapes, with one more byte each."""

_CHARACTER_BYTES: Final = 4


def largest_field(item: bytes) -> str:
    """Entity and name of the field that takes most of an item."""
    try:
        change: dict[str, Any] = orjson.loads(item)
        values: list[tuple[str, object]] = [*change.get("before", {}).items(), *change.get("after", {}).items()]
        return f"{change['entity']}.{max(values, key=lambda value: len(str(value[1])))[0]}"
    except (TypeError, KeyError, ValueError, AttributeError):
        return "the field that holds such large values"


def in_parts(items: list[bytes], size: int, bytes_max: int) -> Iterator[list[bytes]]:
    """The items of a commit or snapshot for as many records as they need: each takes up to `bytes_max` bytes, or one piece.

    Args:
        items: The items; the first two stand for `by` and `meta`, and begin each list.
        size: How many bytes the others have.
        bytes_max: What a record takes of them.

    Raises:
        Refused: One is above the limit of the format.
    """
    if size <= bytes_max:
        yield items
        return
    ends, part, size = items[:2], items[:2], 0
    for item in items[2:]:
        if size + len(item) > bytes_max:
            if len(part) > len(ends):
                yield part
            part, size = [*ends], 0
        if len(item) > bytes_max:
            for piece in cut(item, bytes_max):
                yield [*ends, piece]
        else:
            part.append(item)
            size += len(item)
    if len(part) > len(ends):
        yield part


def cut(item: bytes, bytes_max: int) -> Iterator[bytes]:
    """The pieces of an item above that size, the text in each at most `bytes_max` bytes long as it stands in a record.

    Raises:
        Refused: The item is above the limit of the format.
    """
    if len(item) > ITEM_BYTES_MAX:
        raise Refused(
            f"a change of {len(item)} bytes is above the limit of {ITEM_BYTES_MAX} bytes",
            hint=f"leave {largest_field(item)} out of the app schema",
        )
    run = max(bytes_max // _ESCAPED, _CHARACTER_BYTES)
    start = number = 0
    while start < len(item):
        end = start + run
        while end < len(item) and item[end] & 0xC0 == 0x80:  # not inside a character
            end -= 1
        last = b"true" if end >= len(item) else b"false"
        text = orjson.dumps(item[start:end].decode())
        yield b'{"piece":{"n":%d,"last":%b},"text":%b}' % (number, last, text)
        start, number = end, number + 1


def piece_of(items: list[Any]) -> tuple[int, bool] | None:
    """(number, whether it is the last) of the piece that a record holds; None where it holds none."""
    item = items[2] if len(items) > 2 else None
    if not is_object(item) or "piece" not in item:
        return None
    piece, text = item["piece"], item.get("text")
    if list(item) == ["piece", "text"] and len(items) == 3 and is_object(piece) and list(piece) == ["n", "last"]:
        number, last = piece["n"], piece["last"]
        if type(number) is int and type(last) is bool and number >= last and isinstance(text, str) and text:
            return number, last
    raise ValueError("it is not the form of a piece")


class Joiner:
    """Puts items together again, over the records of a commit or a snapshot in their order."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._size = 0
        self._hidden = False

    @property
    def open(self) -> bool:
        """Whether pieces came, and not yet the last of them."""
        return bool(self._texts)

    def take(self, seq: int, items: list[Any]) -> list[Any]:
        """The items of the next record as a reader hands them on: an item in pieces whole, with its last piece.

        Where the body of a record is hidden, so is the item that a piece in it may belong to.

        Args:
            seq: The record's.
            items: Its items; none where its body is withheld or redacted.

        Raises:
            RecordError: A piece is missing, doubled or malformed, or what they are pieces of is.
        """
        try:
            return self._take(items)
        except ValueError as exc:
            raise RecordError(f"record {seq}: {exc}", seq=seq) from exc

    def _take(self, items: list[Any]) -> list[Any]:
        if not items:
            self._texts, self._hidden = [], True
            return items
        piece = piece_of(items)
        if piece is None:
            if self._texts:
                raise ValueError("the last piece of the item before is missing")
            self._hidden = False
            return items
        number, last = piece
        self._hidden = self._hidden and number > 0
        if not self._hidden:
            self._add(number, items[2]["text"])
            if last:
                return [*items[:2], self._joined()]
        return items[:2]

    def _add(self, number: int, text: str) -> None:
        if number != len(self._texts):
            raise ValueError(f"it holds piece {number} of an item, and piece {len(self._texts)} comes next")
        data = text.encode()
        self._size = self._size + len(data) if number else len(data)
        if self._size > ITEM_BYTES_MAX:
            raise ValueError(f"the item in pieces that goes on in it is above the limit of {ITEM_BYTES_MAX} bytes")
        self._texts.append(data)

    def _joined(self) -> dict[str, Any]:
        data, self._texts = b"".join(self._texts), []
        item = canonical.parse(data)
        if not is_object(item) or "piece" in item:
            raise ValueError("the item that ends in it is not a change")
        return item
