"""The binlog's events: their numbers and names, the header before each, and numbers of variable length.

Source: MySQL, libs/mysql/binlog/event/binlog_event.h; MariaDB, sql/log_event.h.
"""

from struct import Struct
from typing import Final

HEADER_BYTES: Final = 19
CHECKSUM_BYTES: Final = 4

header = Struct("<IBIIIH").unpack_from
"""Seconds since 1970, event type, server id, size, end position (modulo 2**32, or 0), flags."""

ARTIFICIAL: Final = 0x20
"""Flag: made by the dump, stands in no file."""
IGNORABLE: Final = 0x80
"""Flag: a reader that does not know the event may pass over it."""

QUERY: Final = 2
STOP: Final = 3
ROTATE: Final = 4
INTVAR: Final = 5
RAND: Final = 13
USER_VAR: Final = 14
FORMAT_DESCRIPTION: Final = 15
XID: Final = 16
TABLE_MAP: Final = 19
WRITE_ROWS_V1: Final = 23
UPDATE_ROWS_V1: Final = 24
DELETE_ROWS_V1: Final = 25
INCIDENT: Final = 26
HEARTBEAT: Final = 27
ROWS_QUERY: Final = 29
WRITE_ROWS: Final = 30
UPDATE_ROWS: Final = 31
DELETE_ROWS: Final = 32
GTID: Final = 33
ANONYMOUS_GTID: Final = 34
PREVIOUS_GTIDS: Final = 35
TRANSACTION_CONTEXT: Final = 36
VIEW_CHANGE: Final = 37
XA_PREPARE: Final = 38
PARTIAL_UPDATE_ROWS: Final = 39
TRANSACTION_PAYLOAD: Final = 40
HEARTBEAT_V2: Final = 41
GTID_TAGGED: Final = 42
ANNOTATE_ROWS: Final = 160
BINLOG_CHECKPOINT: Final = 161
MARIADB_GTID: Final = 162
GTID_LIST: Final = 163
START_ENCRYPTION: Final = 164
QUERY_COMPRESSED: Final = 165
WRITE_ROWS_COMPRESSED_V1: Final = 166
UPDATE_ROWS_COMPRESSED_V1: Final = 167
DELETE_ROWS_COMPRESSED_V1: Final = 168
WRITE_ROWS_COMPRESSED: Final = 169
UPDATE_ROWS_COMPRESSED: Final = 170
DELETE_ROWS_COMPRESSED: Final = 171
PARTIAL_ROW_DATA: Final = 172

NAMES: Final[dict[int, str]] = {
    **{number: name for name, number in list(globals().items()) if name.isupper() and type(number) is int and number},
    1: "START_V3",
    6: "LOAD",
    7: "SLAVE",
    8: "CREATE_FILE",
    9: "APPEND_BLOCK",
    10: "EXEC_LOAD",
    11: "DELETE_FILE",
    12: "NEW_LOAD",
    17: "BEGIN_LOAD_QUERY",
    18: "EXECUTE_LOAD_QUERY",
    20: "PRE_GA_WRITE_ROWS",
    21: "PRE_GA_UPDATE_ROWS",
    22: "PRE_GA_DELETE_ROWS",
    28: "IGNORABLE",
}


def event_name(number: int) -> str:
    """The name of an event type, for messages."""
    return f"{NAMES.get(number, 'unknown')} (type {number})"


def packed_int(data: bytes, at: int) -> tuple[int, int]:
    """Read a length-encoded integer; return it, and where it ends.

    Raises:
        IndexError, ValueError: There is none.
    """
    first = data[at]
    if first < 251:
        return first, at + 1
    size = {252: 2, 253: 3, 254: 8}.get(first)
    if size is None or at + 1 + size > len(data):
        raise ValueError("a length that is none")
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def packed_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """Read bytes behind their length-encoded length; return them, and where they end. Raises as `packed_int`."""
    length, at = packed_int(data, at)
    return whole(data, at, at + length), at + length


def whole(data: bytes, start: int, end: int) -> bytes:
    """The bytes from `start` to `end`.

    Raises:
        ValueError: There are fewer.
    """
    if end > len(data):
        raise ValueError(f"{end - len(data)} bytes are missing")
    return data[start:end]
