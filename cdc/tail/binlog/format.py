"""FORMAT_DESCRIPTION events: whether the binlog is of a kind that is read here.

Source: MySQL, libs/mysql/binlog/event/control_events.h (class Format_description_event).
"""

from typing import Final

from ....schemas.errors import ACCEPT_GAP, DecodeError
from .event import HEADER_BYTES, TABLE_MAP, whole

_VERSION: Final = 4
_CRC32: Final = 1
_TABLE_MAP_BYTES: Final = 8
"""Bytes of its fixed part; servers of old had fewer, there and before rows."""


def check_format(body: bytes) -> None:
    """Refuse a binlog of another format, or one without checksums.

    Raises:
        DecodeError: It is one.
        ValueError: The event is malformed.
    """
    at = HEADER_BYTES
    version = int.from_bytes(whole(body, at, at + 2), "little")
    header_bytes = whole(body, at + 56, at + 57)[0]
    lengths = body[at + 57 : -1]
    if version != _VERSION or header_bytes != HEADER_BYTES:
        raise DecodeError(f"a binlog of version {version} with headers of {header_bytes} bytes")
    if whole(lengths, TABLE_MAP - 1, TABLE_MAP)[0] != _TABLE_MAP_BYTES:
        raise DecodeError(f"a binlog whose table maps have a fixed part of {lengths[TABLE_MAP - 1]} bytes")
    if body[-1] != _CRC32:
        raise DecodeError("a binlog without checksums", hint=f"SET GLOBAL binlog_checksum = CRC32, then {ACCEPT_GAP}")
