"""The events that begin a group and name it: GTID, GTID_TAGGED, and MariaDB's GTID.

Source: MySQL, libs/mysql/binlog/event/control_events.h, libs/mysql/serialization (variable-length integers); MariaDB,
sql/log_event.h, class Gtid_log_event.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from .event import HEADER_BYTES, whole

_i64 = Struct("<q").unpack_from
_mariadb = Struct("<QIB").unpack_from

_LOGICAL_TIMESTAMP: Final = 2

_STANDALONE: Final = 1
_GROUP_COMMIT: Final = 2


@dataclass(frozen=True, slots=True)
class GroupStart:
    """What the first event of a group says.

    Args:
        gtid: As BinlogTransaction's.
        number: The GTID's last part.
        time_us: Commit time, microseconds since 1970 UTC; 0 where the event does not say it.
        begun: Whether the group ends with an event of its own (MariaDB; of MySQL a BEGIN says so).
    """

    gtid: str
    number: int
    time_us: int
    begun: bool


def parse_gtid(body: bytes) -> GroupStart:
    """Take MySQL's GTID event apart. Raises ValueError, IndexError or struct.error where it is malformed."""
    at = HEADER_BYTES + 1
    source = _uuid(whole(body, at, at + 16))
    number = _i64(body, at + 16)[0]
    at += 24
    time_us = 0
    if len(body) > at and body[at] == _LOGICAL_TIMESTAMP:
        at += 17
        if len(body) >= at + 7:
            time_us = int.from_bytes(body[at : at + 7], "little") & ((1 << 55) - 1)
    return GroupStart(f"{source}:{number}", number, time_us, begun=False)


def parse_tagged_gtid(body: bytes) -> GroupStart:
    """Take MySQL's GTID_TAGGED event apart. Raises ValueError or IndexError where it is malformed."""
    version, at = _varlen(body, HEADER_BYTES)
    if version != 1:
        raise ValueError(f"serialization format {version}")
    size, at = _varlen(body, at)
    if size > len(body) - HEADER_BYTES:
        raise ValueError("a message longer than its event")
    _, at = _varlen(body, at)  # the last field that no reader may pass over
    source, number, tag, time_us = "", 0, "", 0
    # Fields stand in the order of their numbers; what comes after the commit time is of no use here.
    while at < HEADER_BYTES + size:
        field, at = _varlen(body, at)
        if field == 0:
            _, at = _varlen(body, at)
        elif field == 1:
            octets: list[int] = []
            for _ in range(16):
                octet, at = _varlen(body, at)
                octets.append(octet)
            source = _uuid(bytes(octets))
        elif field == 2:
            number, at = _varlen(body, at)
            number = (number >> 1) ^ -(number & 1)
        elif field == 3:
            length, at = _varlen(body, at)
            tag = whole(body, at, at + length).decode("ascii")
            at += length
        elif field in (4, 5):
            _, at = _varlen(body, at)
        elif field == 6:
            time_us, at = _varlen(body, at)
            break
        else:
            raise ValueError(f"field {field} where the commit time should stand")
    if not source or number <= 0:
        raise ValueError("no GTID")
    return GroupStart(f"{source}:{tag}:{number}" if tag else f"{source}:{number}", number, time_us, begun=False)


def parse_mariadb_gtid(body: bytes, server_id: int) -> GroupStart:
    """Take MariaDB's GTID event apart. Raises struct.error where it is malformed."""
    number, domain, flags = _mariadb(body, HEADER_BYTES)
    return GroupStart(f"{domain}-{server_id}-{number}", number, 0, begun=not flags & _STANDALONE)


def _uuid(octets: bytes) -> str:
    text = octets.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _varlen(data: bytes, at: int) -> tuple[int, int]:
    """An integer whose first byte says by its trailing ones how many bytes follow."""
    first = data[at]
    extra = (~first & (first + 1)).bit_length() - 1
    end = at + 1 + extra
    value = int.from_bytes(whole(data, at, end), "little")
    return value >> (extra + 1 if extra < 8 else 8), end
