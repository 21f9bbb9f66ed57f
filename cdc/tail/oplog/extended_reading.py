"""Canonical Extended JSON v2, as extended_json.py writes it, back to BSON. What is not of that form is refused, never guessed at.

Keys with a dollar sign are a type wrapper only where the first of them is one's and is not written with `\\u0024`; else they are data.
"""

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Callable
from struct import Struct
from struct import error as struct_error
from typing import Final

from ....schemas.errors import DecodeError
from . import document as bson
from .decimal128 import decimal_bytes
from .document import Value, array, document, element
from .extended_json import WRAPPERS

_pack_i32 = Struct("<i").pack
_pack_i64 = Struct("<q").pack
_pack_u32s = Struct("<II").pack
_pack_f64 = Struct("<d").pack

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_QUOTED: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_NUMBER: Final = re.compile(r"\d{1,10}", re.ASCII)
_WHOLE: Final = re.compile(r"-?\d{1,19}", re.ASCII)
_FLOATING: Final = re.compile(r"-?(\d+(\.\d+)?(e[+-]?\d+)?|Infinity)|NaN", re.ASCII)
_OLD_BINARY: Final = 2

_NAMES: Final = frozenset(name.decode() for name in WRAPPERS)

_WORDS: Final[dict[str, Value]] = {
    "true": (bson.BOOL, b"\1"),
    "false": (bson.BOOL, b"\0"),
    "null": (bson.NULL, b""),
}


_TIMESTAMP: Final = re.compile(r'\{\s*"t"\s*:\s*(\d{1,10})\s*,\s*"i"\s*:\s*(\d{1,10})\s*\}', re.ASCII)

_WRAPPERS_DEPTH_MAX: Final = 3
"""Objects that the innermost value may stand in beyond the documents that it stands in."""


class _Number(int):
    """A bare number, which only stands inside wrappers."""


_Read = Value | _Number


def to_bson(text: bytes | str) -> bytes:
    """A document's Extended JSON as the document's bytes.

    Raises:
        DecodeError: It is not canonical Extended JSON, or not of a document.
    """
    kind, data = value_to_bson(text)
    if kind != bson.DOCUMENT:
        raise DecodeError("not the Extended JSON of a document")
    return data


def value_to_bson(text: bytes | str) -> Value:
    """A value's Extended JSON as its type and its bytes.

    Raises:
        DecodeError: It is not canonical Extended JSON.
    """
    try:
        reader = _Reader(text if isinstance(text, str) else text.decode())
        value, at = reader.value(reader.space(0), 0)
        if reader.space(at) != len(reader.text):
            raise ValueError("more than one value")
        return _bson(value)
    except (ValueError, IndexError, TypeError, KeyError, struct_error) as exc:
        raise DecodeError("not canonical Extended JSON") from exc


def _bson(value: _Read) -> Value:
    if isinstance(value, _Number):
        raise ValueError("a bare number")
    kind, data = value
    return kind, data


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text

    def space(self, at: int) -> int:
        found = _SPACE.match(self.text, at)
        return found.end() if found else at

    def value(self, at: int, depth: int) -> tuple[_Read, int]:
        """The value that begins at a place, and where it ends."""
        if depth > bson.DEPTH_MAX + _WRAPPERS_DEPTH_MAX:
            raise ValueError("too deep")
        begin = self.text[at]
        if begin == '"':
            text, end = self._quoted(at)
            return (bson.STRING, _string(text)), end
        if begin == "{":
            return self._object(at + 1, depth + 1)
        if begin == "[":
            return self._array(at + 1, depth + 1)
        for word, value in _WORDS.items():
            if self.text.startswith(word, at):
                return value, at + len(word)
        found = _NUMBER.match(self.text, at)
        if found is None:
            raise ValueError("no value")
        return _Number(found[0]), found.end()

    def _array(self, at: int, depth: int) -> tuple[Value, int]:
        values: list[Value] = []
        at = self.space(at)
        while self.text[at] != "]":
            if values:
                at = self._sign(at, ",")
            value, at = self.value(at, depth)
            values.append(_bson(value))
            at = self.space(at)
        return (bson.ARRAY, array(values)), at + 1

    def _object(self, at: int, depth: int) -> tuple[Value, int]:
        at = self.space(at)
        is_wrapper = False
        pairs: list[tuple[str, _Read]] = []
        while self.text[at] != "}":
            if pairs:
                at = self._sign(at, ",")
            key, end = self._quoted(at)
            if not pairs:
                is_wrapper = key in _NAMES and self.text[at + 1] == "$"
            at = self._sign(self.space(end), ":")
            value, at = self._timestamp(at) if is_wrapper and key == "$timestamp" else self.value(at, depth)
            pairs.append((key, value))
            at = self.space(at)
        if is_wrapper:
            return _wrapped(pairs), at + 1
        parts = [element(kind, _name(key), data) for key, (kind, data) in [(k, _bson(v)) for k, v in pairs]]
        return (bson.DOCUMENT, document(parts)), at + 1

    def _quoted(self, at: int) -> tuple[str, int]:
        found = _QUOTED.match(self.text, at)
        if found is None:
            raise ValueError("no string")
        text: str = json.loads(found[0])
        return text, found.end()

    def _timestamp(self, at: int) -> tuple[Value, int]:
        found = _TIMESTAMP.match(self.text, at)
        if found is None:
            raise ValueError("not a timestamp")
        return (bson.TIMESTAMP, _pack_u32s(int(found[2]), int(found[1]))), found.end()

    def _sign(self, at: int, sign: str) -> int:
        if self.text[at] != sign:
            raise ValueError(f"no {sign}")
        return self.space(at + 1)


def _octets(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _name(text: str) -> bytes:
    data = _octets(text)
    if b"\0" in data:
        raise ValueError("a name with a NUL")
    return data


def _string(text: str) -> bytes:
    data = _octets(text)
    return _pack_i32(len(data) + 1) + data + b"\0"


def _wrapped(pairs: list[tuple[str, _Read]]) -> Value:
    """What a type wrapper stands for; raises where it is not exactly of its form."""
    return _READ[tuple(key for key, _ in pairs)](*[value for _, value in pairs])


def _text(value: _Read) -> str:
    kind, data = _bson(value)
    if kind != bson.STRING:
        raise ValueError("not a string")
    return data[4:-1].decode(errors="surrogateescape")


def _fields(value: _Read, *names: str) -> list[Value]:
    """The values of a document with exactly these keys."""
    kind, data = _bson(value)
    if kind != bson.DOCUMENT:
        raise ValueError("not a document")
    found = [(name.decode(), (k, data[at:end])) for k, name, at, end in bson.elements(data)]
    if [name for name, _ in found] != [*names]:
        raise ValueError("other keys")
    return [each for _, each in found]


def _whole(value: _Read) -> int:
    text = _text(value)
    if _WHOLE.fullmatch(text) is None:
        raise ValueError("not an integer")
    return int(text)


def _double(value: _Read) -> Value:
    text = _text(value)
    if _FLOATING.fullmatch(text) is None:
        raise ValueError("not a double")
    return bson.DOUBLE, _pack_f64(float(text))


def _object_id(value: _Read) -> Value:
    data = binascii.unhexlify(_text(value))
    if len(data) != 12:
        raise ValueError("not an ObjectId")
    return bson.OBJECT_ID, data


def _binary(value: _Read) -> Value:
    content, subtype = (_text(each) for each in _fields(value, "base64", "subType"))
    data, kind = b64decode(content, validate=True), bytes.fromhex(subtype.rjust(2, "0"))
    if len(kind) != 1:
        raise ValueError("not a subtype")
    if kind[0] == _OLD_BINARY:
        data = _pack_i32(len(data)) + data
    return bson.BINARY, _pack_i32(len(data)) + kind + data


def _date(value: _Read) -> Value:
    kind, data = _bson(value)
    if kind != bson.INT64:
        raise ValueError("not a date")
    return bson.DATE, data


def _regex(value: _Read) -> Value:
    return bson.REGEX, b"".join(_name(_text(each)) + b"\0" for each in _fields(value, "pattern", "options"))


def _pointer(value: _Read) -> Value:
    ref, (kind, oid) = _fields(value, "$ref", "$id")
    if kind != bson.OBJECT_ID:
        raise ValueError("not a pointer")
    return bson.DB_POINTER, _string(_text(ref)) + oid


def _scoped(code: _Read, scope: _Read) -> Value:
    kind, data = _bson(scope)
    if kind != bson.DOCUMENT:
        raise ValueError("not a scope")
    body = _string(_text(code)) + data
    return bson.CODE_WITH_SCOPE, _pack_i32(len(body) + 4) + body


def _one(kind: int) -> Callable[[_Read], Value]:
    def read(value: _Read) -> Value:
        if not isinstance(value, _Number) or value != 1:
            raise ValueError("not 1")
        return kind, b""

    return read


def _undefined(value: _Read) -> Value:
    if _bson(value) != _WORDS["true"]:
        raise ValueError("not true")
    return bson.UNDEFINED, b""


def _integer(kind: int, pack: Callable[[int], bytes]) -> Callable[[_Read], Value]:
    return lambda value: (kind, pack(_whole(value)))


def _texts(kind: int) -> Callable[[_Read], Value]:
    return lambda value: (kind, _string(_text(value)))


def _decimal(value: _Read) -> Value:
    return bson.DECIMAL128, decimal_bytes(_text(value))


_READ: Final[dict[tuple[str, ...], Callable[..., Value]]] = {
    ("$oid",): _object_id,
    ("$symbol",): _texts(bson.SYMBOL),
    ("$numberInt",): _integer(bson.INT32, _pack_i32),
    ("$numberLong",): _integer(bson.INT64, _pack_i64),
    ("$numberDouble",): _double,
    ("$numberDecimal",): _decimal,
    ("$binary",): _binary,
    ("$code",): _texts(bson.CODE),
    ("$code", "$scope"): _scoped,
    ("$regularExpression",): _regex,
    ("$dbPointer",): _pointer,
    ("$timestamp",): _bson,
    ("$date",): _date,
    ("$minKey",): _one(bson.MIN_KEY),
    ("$maxKey",): _one(bson.MAX_KEY),
    ("$undefined",): _undefined,
}
