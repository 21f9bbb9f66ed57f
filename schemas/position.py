"""Positions in a source's log, as records write them."""

from .errors import DecodeError

PG_EPOCH_OFFSET_US = 946_684_800_000_000
"""Microseconds from 1970-01-01 to 2000-01-01, PostgreSQL's own epoch."""


def format_lsn(lsn: int) -> str:
    """Write an LSN (unsigned 64-bit byte offset in the WAL) in the server's notation, such as `16/B374D848`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """Read an LSN in the server's notation.

    Raises:
        DecodeError: `text` is not two hexadecimal numbers of up to 32 bits around a slash.
    """
    high, slash, low = text.partition("/")
    try:
        if not slash or not (0 < len(high) <= 8 and 0 < len(low) <= 8):
            raise ValueError
        return (int(high, 16) << 32) | int(low, 16)
    except ValueError:
        raise DecodeError(f"{text!r} is not an LSN such as 16/B374D848") from None
