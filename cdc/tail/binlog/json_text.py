"""JSON columns: MySQL's binary form as the text that MySQL prints.

Source: MySQL, sql-common/json_binary.h (the format), sql-common/json_dom.cc (the text), strings/dtoa.cc (my_gcvt).
"""

import re
from base64 import b64encode
from struct import Struct
from typing import Final, TypeAlias

from .event import whole
from .field_type import DATE, DATETIME_OLD, DECIMAL, TIME_OLD, TIMESTAMP_OLD
from .reading import ReadValue
from .values import decimal_reader, length_reader

Node: TypeAlias = "dict[bytes, Node] | list[Node] | bytes"
"""An object by its keys, an array, or a scalar's text."""

_u16 = Struct("<H").unpack_from
_u32 = Struct("<I").unpack_from
_double = Struct("<d").unpack_from

_SMALL_OBJECT: Final = 0
_LARGE_OBJECT: Final = 1
_SMALL_ARRAY: Final = 2
_LARGE_ARRAY: Final = 3
_LITERAL: Final = 4
_INTEGERS: Final = {5: (2, True), 6: (2, False), 7: (4, True), 8: (4, False), 9: (8, True), 10: (8, False)}
"""Type to bytes, and whether it has a sign."""
_DOUBLE: Final = 11
_STRING: Final = 12
_OPAQUE: Final = 15

_LITERALS: Final = {0: b"null", 1: b"true", 2: b"false"}
_DEPTH: Final = 100
"""The server takes no document that is deeper."""


def json_reader(size: int) -> ReadValue:
    """JSON behind its length of `size` bytes."""
    read = length_reader(size)

    def read_json(data: bytes, at: int) -> tuple[bytes, int]:
        document, end = read(data, at)
        if end > len(data):
            raise ValueError("a document longer than its row")
        return to_text(parse(document)), end

    return read_json


def parse(document: bytes) -> Node:
    """Take a document apart; an empty one is null, as the server has it. Raises ValueError, IndexError or struct.error."""
    return _Parser(document).value(document[0], 1, 0) if document else b"null"


class _Parser:
    """One document. A value takes a byte at least: what says that it has more values than bytes is none."""

    def __init__(self, document: bytes) -> None:
        self._data = document
        self._room = len(document)

    def value(self, kind: int, at: int, depth: int) -> Node:
        self._room -= 1
        if depth > _DEPTH or self._room < 0:
            raise ValueError("a document that is none")
        data = self._data
        if kind <= _LARGE_ARRAY:
            return self._container(kind, at, depth)
        if kind == _STRING:
            length, at = _length(data, at)
            return quoted(whole(data, at, at + length))
        if kind in _INTEGERS:
            size, signed = _INTEGERS[kind]
            return b"%d" % int.from_bytes(whole(data, at, at + size), "little", signed=signed)
        if kind == _DOUBLE:
            return _double_text(_double(data, at)[0])
        if kind == _LITERAL:
            return _LITERALS[data[at]]
        if kind == _OPAQUE:
            length, start = _length(data, at + 1)
            return _opaque(data[at], whole(data, start, start + length))
        raise ValueError(f"a value of type {kind} in a document")

    def _container(self, kind: int, base: int, depth: int) -> Node:
        data = self._data
        large = kind in (_LARGE_OBJECT, _LARGE_ARRAY)
        width, number = (4, _u32) if large else (2, _u16)
        count: int = number(data, base)[0]
        keyed = kind <= _LARGE_OBJECT
        keys = base + 2 * width
        entries = keys + (width + 2) * count * keyed
        values: list[Node] = []
        for at in range(entries, entries + (width + 1) * count, width + 1):
            kind = data[at]
            # What fits into its entry stands there.
            inline = kind in (_LITERAL, 5, 6) or (large and kind in (7, 8))
            values.append(self.value(kind, at + 1 if inline else base + number(data, at + 1)[0], depth + 1))
        if not keyed:
            return values
        names: list[bytes] = []
        for at in range(keys, entries, width + 2):
            start = base + number(data, at)[0]
            names.append(whole(data, start, start + _u16(data, at + width)[0]))
        return dict(zip(names, values, strict=True))


def to_text(node: Node) -> bytes:
    """A document as the server prints it."""
    if isinstance(node, bytes):
        return node
    if isinstance(node, list):
        return b"[" + b", ".join([to_text(each) for each in node]) + b"]"
    return b"{" + b", ".join([quoted(key) + b": " + to_text(each) for key, each in node.items()]) + b"}"


_ESCAPED: Final = re.compile(rb'["\\\x00-\x1f]')
_ESCAPES: Final = {bytes([i]): b"\\u%04x" % i for i in range(32)} | {
    b'"': b'\\"',
    b"\\": b"\\\\",
    b"\b": b"\\b",
    b"\f": b"\\f",
    b"\n": b"\\n",
    b"\r": b"\\r",
    b"\t": b"\\t",
}


def quoted(text: bytes) -> bytes:
    """A string as the server prints it. Raises ValueError where it is not UTF-8."""
    text.decode()
    return b'"' + _ESCAPED.sub(lambda found: _ESCAPES[found[0]], text) + b'"'


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A length of seven bits a byte."""
    length = shift = 0
    while True:
        octet = data[at]
        at += 1
        length |= (octet & 0x7F) << shift
        if octet < 0x80:
            return length, at
        shift += 7
        if shift > 28:
            raise ValueError("a length without an end")


def _opaque(kind: int, data: bytes) -> bytes:
    """A value of an SQL type that JSON has not."""
    if kind == DECIMAL:
        text, end = decimal_reader(data[0], data[1])(data, 2) if data[1] <= data[0] <= 81 else (b"", -1)
        if end != len(data):
            raise ValueError("a decimal of another length than it says")
        return text
    if kind in (DATE, TIME_OLD, DATETIME_OLD, TIMESTAMP_OLD):
        return b'"' + _temporal(kind, int.from_bytes(whole(data, 0, 8), "little", signed=True)) + b'"'
    encoded = b64encode(data)
    # The server breaks lines, and prints the breaks.
    lines = [encoded[i : i + 76] for i in range(0, len(encoded), 76)]
    return b'"base64:type%d:%b"' % (kind, b"\\n".join(lines))


def _temporal(kind: int, packed: int) -> bytes:
    sign, packed = (b"-", -packed) if packed < 0 else (b"", packed)
    micros, clock = packed & 0xFFFFFF, packed >> 24
    if kind == TIME_OLD:
        return b"%b%02d:%02d:%02d.%06d" % (sign, clock >> 12 & 1023, clock >> 6 & 63, clock & 63, micros)
    day, months = clock >> 17 & 31, clock >> 22
    date = b"%04d-%02d-%02d" % (months // 13, months % 13, day)
    if kind == DATE:
        return date
    return b"%b %02d:%02d:%02d.%06d" % (date, clock >> 12 & 31, clock >> 6 & 63, clock & 63, micros)


def _double_text(value: float) -> bytes:
    """The shortest digits that read back, with a point up to fifteen places before or behind it."""
    mantissa, _, exponent = f"{value!r}e".partition("e")
    sign, mantissa = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
    before, _, behind = mantissa.partition(".")
    digits = (before + behind).lstrip("0")
    # The value is 0.digits times ten to the power of `point`.
    point = len(before) + int(exponent.rstrip("e") or 0)
    if before == "0":
        point -= len(behind) - len(behind.lstrip("0")) + 1
    digits = digits.rstrip("0")
    if not digits:
        return f"{sign}0.0".encode()
    if point < -14 or (point > 15 and len(digits) <= point):
        return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1}".encode()
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}".encode()
    return f"{sign}{digits[:point].ljust(point, '0')}.{digits[point:] or '0'}".encode()
