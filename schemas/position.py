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


_OFFSET_BITS = 40
_OFFSET_END = 1 << _OFFSET_BITS
_FILES_END = 1 << 24
"""A position fits into 64 bits: files of up to a terabyte (they are a gigabyte, or a transaction longer), and 16 million of them."""


def binlog_position(file: str, offset: int) -> int:
    """A place in a server's binlog as one number: `binlog.000012`, byte 4567.

    Raises:
        DecodeError: The file's name does not end in a dot and a number, or a part is too large.
    """
    number = file.rpartition(".")[2]
    if not (number.isascii() and number.isdecimal()) or int(number) >= _FILES_END or not 0 <= offset < _OFFSET_END:
        raise DecodeError(f"{file}:{offset} is not a place in a binlog such as binlog.000012:4567")
    return int(number) << _OFFSET_BITS | offset


def parse_binlog(text: str) -> tuple[str, int]:
    """Read `binlog.000012:4567`: the file, and the offset in it.

    Raises:
        DecodeError: It is none.
    """
    file, colon, offset = text.rpartition(":")
    if not colon or not (offset.isascii() and offset.isdecimal()):
        raise DecodeError(f"{text!r} is not a place in a binlog such as binlog.000012:4567")
    binlog_position(file, int(offset))
    return file, int(offset)


def format_binlog(base: str, position: int) -> str:
    """Write a place in a binlog as records have it.

    Args:
        base: The name of the server's binlog, what stands before the number: `binlog`.
        position: As `binlog_position` makes it.
    """
    return f"{base}.{position >> _OFFSET_BITS:06d}:{position & (_OFFSET_END - 1)}"


def parse_oplog(text: str) -> int:
    """Read a place in MongoDB's oplog such as `1795383766.8` as one number: seconds since 1970, and the entry's number among those of
    its second, 32 bits each.

    Raises:
        DecodeError: It is none.
    """
    seconds, dot, number = text.partition(".")
    parts = [
        int(part) if part.isascii() and part.isdecimal() and len(part) <= 10 else 1 << 32 for part in (seconds, number)
    ]
    if not dot or max(parts) >> 32:
        raise DecodeError(f"{text!r} is not a place in an oplog such as 1795383766.8")
    return parts[0] << 32 | parts[1]


def format_oplog(position: int) -> str:
    """Write a place in MongoDB's oplog as records have it."""
    return f"{position >> 32}.{position & 0xFFFFFFFF}"
