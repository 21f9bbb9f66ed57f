"""Raw BSON: documents walked, cut and put together as bytes. Nothing is turned into objects, so nothing can get lost on the way.

Source: bsonspec.org, version 1.1.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from ....schemas.errors import DecodeError

DOUBLE: Final = 0x01
STRING: Final = 0x02
DOCUMENT: Final = 0x03
ARRAY: Final = 0x04
BINARY: Final = 0x05
UNDEFINED: Final = 0x06
OBJECT_ID: Final = 0x07
BOOL: Final = 0x08
DATE: Final = 0x09
NULL: Final = 0x0A
REGEX: Final = 0x0B
DB_POINTER: Final = 0x0C
CODE: Final = 0x0D
SYMBOL: Final = 0x0E
CODE_WITH_SCOPE: Final = 0x0F
INT32: Final = 0x10
TIMESTAMP: Final = 0x11
INT64: Final = 0x12
DECIMAL128: Final = 0x13
MAX_KEY: Final = 0x7F
MIN_KEY: Final = 0xFF

DEPTH_MAX: Final = 255
"""Documents in documents. A mongod takes at most 250 (its parameter maxBSONDepth)."""

_SIZES: Final = {
    DOUBLE: 8,
    UNDEFINED: 0,
    OBJECT_ID: 12,
    BOOL: 1,
    DATE: 8,
    NULL: 0,
    INT32: 4,
    TIMESTAMP: 8,
    INT64: 8,
    DECIMAL128: 16,
    MAX_KEY: 0,
    MIN_KEY: 0,
}

_i32 = Struct("<i").unpack_from
_i64 = Struct("<q").unpack_from
_u64 = Struct("<Q").unpack_from
_f64 = Struct("<d").unpack_from
_pack_size = Struct("<i").pack

Element = tuple[int, bytes, int, int]
"""Type, name, and where the value begins and ends."""

Value = tuple[int, bytes]
"""Type and bytes."""


def document_end(data: bytes, at: int, limit: int) -> int:
    """Where the document that begins at `at` ends. Raises DecodeError."""
    if limit - at < 5:
        raise DecodeError("a document that is cut off")
    size: int = _i32(data, at)[0]
    if size < 5 or size > limit - at or data[at + size - 1]:
        raise DecodeError(f"a document of {size} bytes, where {limit - at} are left")
    return at + size


def elements(data: bytes, at: int = 0, end: int | None = None) -> Iterator[Element]:
    """The elements of a document or array.

    Args:
        data: Holds it.
        at: Where it begins.
        end: Where it must end; without, all of `data` is the document.

    Raises:
        DecodeError: It is malformed, as far as it was walked.
    """
    last = (len(data) if end is None else end) - 1
    if document_end(data, at, last + 1) != last + 1:
        raise DecodeError("bytes behind a document")
    at += 4
    while at < last:
        kind = data[at]
        stop = data.find(b"\0", at + 1, last)
        if stop < 0:
            raise DecodeError("a name that does not end")
        begin = stop + 1
        size = _SIZES.get(kind)
        behind = value_end(kind, data, begin, last) if size is None else begin + size
        if behind > last:
            raise DecodeError("a value that is cut off")
        yield kind, data[at + 1 : stop], begin, behind
        at = behind


def value_end(kind: int, data: bytes, at: int, limit: int) -> int:
    """Where a value ends. Documents in it are not walked.

    Raises:
        DecodeError: It is malformed, does not end before `limit`, or is of no known type.
    """
    size = _SIZES.get(kind)
    if size is not None:
        end = at + size
    elif kind in (STRING, CODE, SYMBOL):
        end = _string_end(data, at, limit)
    elif kind in (DOCUMENT, ARRAY):
        end = document_end(data, at, limit)
    elif kind == BINARY:
        end = at + 5 + _size(data, at, limit)
    elif kind == REGEX:
        end = _name_end(data, _name_end(data, at, limit), limit)
    elif kind == DB_POINTER:
        end = _string_end(data, at, limit) + 12
    elif kind == CODE_WITH_SCOPE:
        end = at + _size(data, at, limit)
        if end > limit or document_end(data, _string_end(data, at + 4, end), end) != end:
            raise DecodeError("code with a scope, of another length than it says")
    else:
        raise DecodeError(f"0x{kind:02x} is no type of BSON that is known here")
    if end > limit:
        raise DecodeError("a value that is cut off")
    return end


def _size(data: bytes, at: int, limit: int) -> int:
    if limit - at < 4:
        raise DecodeError("a value that is cut off")
    size: int = _i32(data, at)[0]
    if size < 0:
        raise DecodeError(f"a value of {size} bytes")
    return size


def _string_end(data: bytes, at: int, limit: int) -> int:
    size = _size(data, at, limit)
    end = at + 4 + size
    if not size or end > limit or data[end - 1]:
        raise DecodeError("a string that does not end where it says")
    return end


def _name_end(data: bytes, at: int, limit: int) -> int:
    stop = data.find(b"\0", at, limit)
    if stop < 0:
        raise DecodeError("a name that does not end")
    return stop + 1


def element(kind: int, name: bytes, value: bytes) -> bytes:
    """The bytes of an element."""
    return bytes((kind,)) + name + b"\0" + value


def document(parts: Iterable[bytes]) -> bytes:
    """The bytes of a document with these elements."""
    body = b"".join(parts)
    return _pack_size(len(body) + 5) + body + b"\0"


def array(values: Iterable[Value]) -> bytes:
    """The bytes of an array, which is a document whose names are its places."""
    return document(element(kind, b"%d" % place, value) for place, (kind, value) in enumerate(values))


def items(data: bytes) -> dict[bytes, Value]:
    """A document as a dict; of a name that stands there twice the last holds. Raises DecodeError."""
    return {name: (kind, data[at:end]) for kind, name, at, end in elements(data)}


def whole_number(value: Value | None) -> int | None:
    """An integer of either size; None where it is another value."""
    if value is None:
        return None
    kind, data = value
    if kind == INT32:
        return int(_i32(data)[0])
    if kind in (INT64, DATE):
        return int(_i64(data)[0])
    return None


def timestamp(value: Value | None) -> int | None:
    """A timestamp as 64 bits, seconds before the counter; None where it is another value."""
    return int(_u64(value[1])[0]) if value is not None and value[0] == TIMESTAMP else None


def string(value: Value | None) -> bytes | None:
    """The text of a string; None where it is another value."""
    return value[1][4:-1] if value is not None and value[0] == STRING else None


def floating(data: bytes, at: int) -> float:
    """The double that stands at `at`."""
    return float(_f64(data, at)[0])
