"""BSON values as canonical Extended JSON v2, exactly: what stands here reads back (extended_reading.py) as the very bytes.

Three things the specification leaves open, and are decided here. A document that is only data, but whose first key is that of a type wrapper
(`{"$oid": …}`), has that key's dollar sign written `\\u0024`: JSON means the same by it, and our reader never takes it for the wrapper. Bytes of
a string that are no UTF-8 are written as the lone surrogates `\\udc80` to `\\udcff`, as Python's surrogateescape has them. A key that stands in a
document twice is written twice. What does not survive: the payload of a NaN, the order of a regex's options (the specification sorts them), the
names of an array's elements, which are its places.

Source: specifications/extended-json.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final, TypeAlias

import orjson

from ....schemas.errors import DecodeError
from . import document as bson
from .decimal128 import decimal_text
from .document import elements, floating

_i32 = Struct("<i").unpack_from
_i64 = Struct("<q").unpack_from
_timestamp = Struct("<II").unpack_from

WRAPPERS: Final = frozenset(
    (
        b"$oid",
        b"$symbol",
        b"$numberInt",
        b"$numberLong",
        b"$numberDouble",
        b"$numberDecimal",
        b"$binary",
        b"$code",
        b"$timestamp",
        b"$regularExpression",
        b"$dbPointer",
        b"$date",
        b"$minKey",
        b"$maxKey",
        b"$undefined",
    )
)
"""The first keys of type wrappers."""

_SURROGATE: Final = re.compile("[\udc80-\udcff]")

_OLD_BINARY: Final = 2
"""The subtype that says its length twice."""

Omitted: TypeAlias = Mapping[bytes, "Omitted | None"]
"""What to leave out of a document: keys, each with what to leave out of its value, or None for all of it. It goes through arrays."""


def text_of(data: bytes, omitted: Omitted | None = None) -> bytes:
    """A document as Extended JSON.

    Args:
        data: The whole document.
        omitted: What to leave out.

    Raises:
        DecodeError: It is malformed.
    """
    return _document(data, 0, len(data), 0, omitted)


def value_text(kind: int, data: bytes, at: int, end: int, omitted: Omitted | None = None) -> bytes:
    """A value as Extended JSON.

    Args:
        kind: Its type.
        data: Holds it.
        at: Where it begins.
        end: Where it ends, as `elements` says.
        omitted: What to leave out.

    Raises:
        DecodeError: It is malformed.
    """
    return _value(kind, data, at, end, 0, omitted)


def _value(kind: int, data: bytes, at: int, end: int, depth: int, omitted: Omitted | None) -> bytes:
    if kind == bson.STRING:
        return _string(data[at + 4 : end - 1])
    if kind == bson.DOCUMENT:
        return _document(data, at, end, depth + 1, omitted)
    if kind == bson.ARRAY:
        found = _nested(data, at, end, depth + 1)
        return b"[" + b",".join([_value(k, data, a, e, depth + 1, omitted) for k, _, a, e in found]) + b"]"
    if kind == bson.CODE_WITH_SCOPE:
        return _scoped(data, at, depth)
    write = _SCALARS.get(kind)
    if write is None:
        raise DecodeError(f"0x{kind:02x} is no type of BSON that is known here")
    return write(data, at, end)


def _nested(data: bytes, at: int, end: int, depth: int) -> list[bson.Element]:
    if depth > bson.DEPTH_MAX:
        raise DecodeError(f"documents in documents, more than {bson.DEPTH_MAX} deep")
    return list(elements(data, at, end))


def _document(data: bytes, at: int, end: int, depth: int, omitted: Omitted | None) -> bytes:
    parts: list[bytes] = []
    for kind, name, begin, behind in _nested(data, at, end, depth):
        within: Omitted | None = None
        if omitted is not None and name in omitted:
            within = omitted[name]
            if within is None:
                continue
        key = _string(name) if parts or name not in WRAPPERS else b'"\\u0024' + name[1:] + b'"'
        parts.append(key + b":" + _value(kind, data, begin, behind, depth, within))
    return b"{" + b",".join(parts) + b"}"


def _string(data: bytes) -> bytes:
    try:
        return orjson.dumps(data.decode())
    except UnicodeDecodeError:
        text = json.dumps(data.decode(errors="surrogateescape"), ensure_ascii=False)
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _scoped(data: bytes, at: int, depth: int) -> bytes:
    size: int = _i32(data, at)[0]
    scope = at + 8 + _i32(data, at + 4)[0]
    return (
        b'{"$code":'
        + _string(data[at + 8 : scope - 1])
        + b',"$scope":'
        + _document(data, scope, at + size, depth + 1, None)
        + b"}"
    )


def double_text(data: bytes, at: int) -> str:
    """The shortest text that reads back as the double at `at`."""
    value = floating(data, at)
    if value != value:
        return "NaN"
    return repr(value).replace("inf", "Infinity")


def _double(data: bytes, at: int, _: int) -> bytes:
    return b'{"$numberDouble":"%b"}' % double_text(data, at).encode()


def _binary(data: bytes, at: int, end: int) -> bytes:
    subtype, begin = data[at + 4], at + 5
    if subtype == _OLD_BINARY:
        if end - begin < 4 or _i32(data, begin)[0] != end - begin - 4:
            raise DecodeError("binary data of subtype 2, of another length than it says")
        begin += 4
    return b'{"$binary":{"base64":"%b","subType":"%02x"}}' % (b64encode(data[begin:end]), subtype)


def _bool(data: bytes, at: int, _: int) -> bytes:
    if data[at] > 1:
        raise DecodeError(f"a boolean that is {data[at]}")
    return b"true" if data[at] else b"false"


def _date(data: bytes, at: int, _: int) -> bytes:
    return b'{"$date":{"$numberLong":"%d"}}' % int(_i64(data, at)[0])


def _regex(data: bytes, at: int, end: int) -> bytes:
    pattern, options = data[at : end - 1].split(b"\0")
    return b'{"$regularExpression":{"pattern":%b,"options":%b}}' % (_string(pattern), _string(bytes(sorted(options))))


def _pointer(data: bytes, at: int, end: int) -> bytes:
    return b'{"$dbPointer":{"$ref":%b,"$id":{"$oid":"%b"}}}' % (
        _string(data[at + 4 : end - 13]),
        data[end - 12 : end].hex().encode(),
    )


def _time(data: bytes, at: int, _: int) -> bytes:
    increment, seconds = _timestamp(data, at)
    return b'{"$timestamp":{"t":%d,"i":%d}}' % (seconds, increment)


_SCALARS: Final[dict[int, Callable[[bytes, int, int], bytes]]] = {
    bson.DOUBLE: _double,
    bson.BINARY: _binary,
    bson.UNDEFINED: lambda data, at, end: b'{"$undefined":true}',
    bson.OBJECT_ID: lambda data, at, end: b'{"$oid":"%b"}' % data[at:end].hex().encode(),
    bson.BOOL: _bool,
    bson.DATE: _date,
    bson.NULL: lambda data, at, end: b"null",
    bson.REGEX: _regex,
    bson.DB_POINTER: _pointer,
    bson.CODE: lambda data, at, end: b'{"$code":%b}' % _string(data[at + 4 : end - 1]),
    bson.SYMBOL: lambda data, at, end: b'{"$symbol":%b}' % _string(data[at + 4 : end - 1]),
    bson.INT32: lambda data, at, end: b'{"$numberInt":"%d"}' % int(_i32(data, at)[0]),
    bson.TIMESTAMP: _time,
    bson.INT64: lambda data, at, end: b'{"$numberLong":"%d"}' % int(_i64(data, at)[0]),
    bson.DECIMAL128: lambda data, at, end: b'{"$numberDecimal":"%b"}' % decimal_text(data[at:end]).encode(),
    bson.MAX_KEY: lambda data, at, end: b'{"$maxKey":1}',
    bson.MIN_KEY: lambda data, at, end: b'{"$minKey":1}',
}
