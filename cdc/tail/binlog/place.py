"""Where in the binlog a reader stands: the file, and the offset behind the last event."""

from struct import Struct
from typing import Final

from ....schemas.errors import DecodeError
from .event import ARTIFICIAL, FORMAT_DESCRIPTION, HEADER_BYTES, HEARTBEAT, HEARTBEAT_V2, START_ENCRYPTION

_u64 = Struct("<Q").unpack_from

OFFSET_BITS: Final = 40
"""A position is the file's number, shifted by this many bits, and the offset in it."""

_WRAP: Final = 1 << 32
_SENT_AGAIN: Final = (FORMAT_DESCRIPTION, START_ENCRYPTION)
"""Events at the beginning of a file, which come also where a dump begins in its middle, without an end then."""

_MADE_UP: Final = frozenset((HEARTBEAT, HEARTBEAT_V2))


class Place:
    """Follows a dump.

    The offset is counted by ourselves: headers have 32 bits of it, or none. What the server leaves out of a dump
    (annotations) shows in the next header that has them.
    """

    def __init__(self) -> None:
        self.file = ""
        self.before = 0
        """Position of the event at hand."""
        self.behind = 0
        """Position behind it."""

    def rotate(self, body: bytes) -> None:
        """Take a ROTATE event: the next event is of this file.

        Raises:
            DecodeError: The file's name does not end with a number.
        """
        name = body[HEADER_BYTES + 8 :].decode()
        number = name.rpartition(".")[2]
        if not (number.isascii() and number.isdigit()) or len(number) > 7:
            raise DecodeError(f"a binlog file without a number: {name!r}")
        offset = _u64(body, HEADER_BYTES)[0]
        if offset >> OFFSET_BITS:
            raise DecodeError(f"an offset of {offset} in {name!r}")
        self.file = name
        self.behind = self.before = int(number) << OFFSET_BITS | offset

    def move(self, kind: int, size: int, end: int, flags: int) -> None:
        """Go behind an event.

        Args:
            kind: Its type.
            size: Its size.
            end: What its header says of its end: modulo 2**32, 0 for nothing.
            flags: Its header's.

        Raises:
            DecodeError: The header says what cannot be.
        """
        if flags & ARTIFICIAL or kind in _MADE_UP or (kind in _SENT_AGAIN and end == 0):
            return
        behind = self.behind + size
        if end:
            left_out = (end - behind) % _WRAP
            if left_out >= _WRAP // 2:
                raise DecodeError(
                    f"an event that ends at {end} (modulo 2**32), where {behind & (1 << OFFSET_BITS) - 1} is behind it"
                )
            behind += left_out
        self.behind = behind

    def __str__(self) -> str:
        return f"{self.file}:{self.before & (1 << OFFSET_BITS) - 1}" if self.file else "the beginning of the dump"
