"""What the servers compress: whole transactions of MySQL, single events of MariaDB.

Source: MySQL, libs/mysql/binlog/event/codecs/binary.cpp (TRANSACTION_PAYLOAD); MariaDB, sql/log_event.cc (binlog_buf_uncompress).
"""

import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO, Final, cast

import zstandard

from ....schemas.errors import DecodeError
from . import event as events
from .event import HEADER_BYTES, header, packed_int, whole

_ZSTD: Final = 0
_PLAIN: Final = 255

COMPRESSED: Final = {
    events.QUERY_COMPRESSED: events.QUERY,
    events.WRITE_ROWS_COMPRESSED_V1: events.WRITE_ROWS_V1,
    events.UPDATE_ROWS_COMPRESSED_V1: events.UPDATE_ROWS_V1,
    events.DELETE_ROWS_COMPRESSED_V1: events.DELETE_ROWS_V1,
    events.WRITE_ROWS_COMPRESSED: events.WRITE_ROWS,
    events.UPDATE_ROWS_COMPRESSED: events.UPDATE_ROWS,
    events.DELETE_ROWS_COMPRESSED: events.DELETE_ROWS,
}
"""MariaDB's compressed events, with what each is when it is opened."""


def open_payload(body: bytes) -> Iterator[bytes]:
    """The events of a TRANSACTION_PAYLOAD event, one after another; they have no checksums.

    Raises:
        DecodeError: It is compressed in a way that is not known here, or broken.
        ValueError, IndexError: It is malformed.
    """
    at, kind = HEADER_BYTES, _ZSTD
    while True:
        field, at = packed_int(body, at)
        if field == 0:
            break
        length, at = packed_int(body, at)
        if field == 2:
            kind = packed_int(body, at)[0]
        at += length
    if kind not in (_ZSTD, _PLAIN):
        raise DecodeError(f"a transaction in compression {kind}, which is not known here")
    source: BinaryIO = BytesIO(body[at:])
    if kind == _ZSTD:
        source = cast(BinaryIO, zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True))
    try:
        while opening := source.read(HEADER_BYTES):
            size = header(opening)[3]
            rest = source.read(size - HEADER_BYTES) if size >= HEADER_BYTES else b""
            if len(opening) + len(rest) != size:
                raise ValueError("an event that ends behind its transaction")
            yield opening + rest
    except zstandard.ZstdError as exc:
        raise DecodeError(f"a compressed transaction that cannot be opened: {exc}") from exc


def plain_event(kind: int, body: bytes) -> tuple[int, bytes]:
    """One of MariaDB's compressed events as the event it is made of: its type and body.

    Raises:
        ValueError, IndexError, struct.error, zlib.error: It is malformed.
    """
    plain = COMPRESSED[kind]
    at = HEADER_BYTES
    if plain == events.QUERY:
        at += 13 + int.from_bytes(whole(body, at + 11, at + 13), "little") + body[at + 8] + 1
    else:
        at += 8
        if plain >= events.WRITE_ROWS:
            at += max(2, int.from_bytes(whole(body, at, at + 2), "little"))
        count, at = packed_int(body, at)
        at += (count + 7) // 8 * (2 if plain in (events.UPDATE_ROWS, events.UPDATE_ROWS_V1) else 1)
    return plain, whole(body, 0, at) + _uncompress(body, at)


def _uncompress(body: bytes, at: int) -> bytes:
    first = body[at]
    size = first & 7
    if first & 0xF0 != 0x80 or not 1 <= size <= 4:
        raise ValueError(f"a compressed event that begins with {first:#x}")
    length = int.from_bytes(whole(body, at + 1, at + 1 + size), "big")
    opener = zlib.decompressobj()
    data = opener.decompress(body[at + 1 + size :], length + 1)
    if len(data) != length or not opener.eof:
        raise ValueError("a compressed event of another length than it says")
    return data
