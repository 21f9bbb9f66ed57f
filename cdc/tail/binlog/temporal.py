"""Dates and times as rows hold them, as text.

Source: MySQL, mysys/my_time.cc (my_datetime_packed_from_binary and its like).
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from .event import whole
from .reading import ReadValue

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read_year(data: bytes, at: int) -> tuple[bytes, int]:
    """YEAR, 1901 to 2155, or 0."""
    year = data[at]
    return (b"%d" % (1900 + year) if year else b"0"), at + 1


def read_date(data: bytes, at: int) -> tuple[bytes, int]:
    """DATE."""
    packed = int.from_bytes(whole(data, at, at + 3), "little")
    return b"%04d-%02d-%02d" % (packed >> 9, packed >> 5 & 15, packed & 31), at + 3


def datetime_reader(decimals: int) -> ReadValue:
    """DATETIME(decimals)."""
    size, fraction = 5 + (decimals + 1) // 2, _fraction(decimals)

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        packed = int.from_bytes(whole(data, at, at + 5), "big") - 0x8000000000
        if packed < 0:
            raise ValueError("a date before all dates")
        months, day, clock = packed >> 22, packed >> 17 & 31, packed & 0x1FFFF
        text = b"%04d-%02d-%02d %02d:%02d:%02d" % (
            months // 13,
            months % 13,
            day,
            clock >> 12,
            clock >> 6 & 63,
            clock & 63,
        )
        return text + fraction(int.from_bytes(whole(data, at + 5, at + size), "big")), at + size

    return read


def timestamp_reader(decimals: int) -> ReadValue:
    """TIMESTAMP(decimals), in UTC."""
    size, fraction = 4 + (decimals + 1) // 2, _fraction(decimals)

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        seconds = int.from_bytes(whole(data, at, at + 4), "big")
        decimals = fraction(int.from_bytes(whole(data, at + 4, at + size), "big"))
        if not seconds and not decimals.strip(b".0"):
            text = b"0000-00-00 00:00:00"
        else:
            text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S").encode()
        return text + decimals + b"+00", at + size

    return read


def time_reader(decimals: int) -> ReadValue:
    """TIME(decimals): a duration of up to 838 hours, which may be negative."""
    tail = (decimals + 1) // 2
    size, fraction = 3 + tail, _fraction(decimals)
    zero, mask = 0x800000 << 8 * tail, (1 << 8 * tail) - 1

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        packed = int.from_bytes(whole(data, at, at + size), "big") - zero
        sign, packed = (b"-", -packed) if packed < 0 else (b"", packed)
        clock = packed >> 8 * tail
        text = b"%s%02d:%02d:%02d" % (sign, clock >> 12, clock >> 6 & 63, clock & 63)
        return text + fraction(packed & mask), at + size

    return read


def _fraction(decimals: int) -> Callable[[int], bytes]:
    """The declared digits behind the second; stored is an even number of them."""
    if decimals == 0:
        return lambda _: b""
    if decimals > 6:
        raise ValueError(f"{decimals} decimals of a second")
    width = decimals + decimals % 2
    return lambda stored: b".%0*d" % (width, stored) if width == decimals else (b".%0*d" % (width, stored))[:-1]
