"""How values of records are written to a column of MySQL or MariaDB, and what comes back. No I/O.

A value is projected to its column's type here, before it is written, so that what a record says and what the server gives back
can be compared as texts.
"""

import base64
import binascii
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from typing import Any, Final

from ...tail.binlog.values import double_text, read_float
from ...tail.mysql_types import labels as labels_of
from ..merge import Value
from ..store import Rejected
from .connection import quoted_text

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATETIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,6})?Z?")
_TIME = re.compile(r"(-?[0-9]{2,3}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,6})?")
_INTEGERS: Final = frozenset("tinyint smallint mediumint int bigint year".split())
_BINARIES: Final = frozenset("binary varbinary tinyblob blob mediumblob longblob".split())
_DIGITS_MAX = 1000
"""Digits that are reckoned with at most; a decimal column has 65."""

_float = struct.Struct("<f")


class Misfit(ValueError):
    """A value has no place in its column's type."""


@dataclass(frozen=True, slots=True)
class Form:
    """One column.

    Args:
        name: The column in SQL text.
        shown: Its type as the server names it.
        selected: What gives its value as text.
        compared: What is compared with what is written.
        project: A record's value as text, as it is once it was written.
        normal: The same of what `selected` gave.
        written: Such a text as SQL text.
        value: What a record would hold for such a text.
    """

    name: str
    shown: str
    selected: str
    compared: str
    project: Callable[[Any], str]
    normal: Callable[[str], str]
    written: Callable[[str], str]
    value: Callable[[str], object]

    def text(self, value: object) -> Value:
        """What the server will give for a record's value.

        Raises:
            Rejected: It cannot be in this column.
        """
        if value is None:
            return None
        try:
            return self.project(value)
        except (Misfit, InvalidOperation, ValueError, OverflowError) as exc:
            raise Rejected("value", f"{str(value)[:100]!r} does not fit in column {self.name} {self.shown}") from exc

    def literal(self, text: Value) -> str:
        """A text as it is written."""
        return "NULL" if text is None else self.written(text)

    def is_like(self, text: Value) -> str:
        """The condition that the column holds a text."""
        return f"{self.name} IS NULL" if text is None else f"{self.compared} = {self.written(text)}"

    def read(self, text: Value) -> Value:
        """A text of the server."""
        return None if text is None else self.normal(text)

    def shown_value(self, text: Value) -> object:
        """What a record would hold."""
        return None if text is None else self.value(text)


def form(name: str, *, column_type: str, collation: str, own_collation: str, canonical: str) -> Form:
    """How values go into a column.

    Args:
        name: The column in SQL text.
        column_type: Its type as information_schema has it.
        collation: Its collation, empty for none.
        own_collation: The collation that tells everything apart.
        canonical: The canonical type of its values in records.
    """
    base = column_type.partition("(")[0].partition(" ")[0]
    selected, compared = name, name
    project: Callable[[Any], str]
    normal: Callable[[str], str]
    written: Callable[[str], str]
    project, normal = _text_of(canonical), _same
    written = quoted_text
    if base in _INTEGERS:
        # ZEROFILL shows zeros that are none of the value's.
        selected, written, project = f"{name} + 0", _same, _integer
    elif base == "decimal":
        precision, scale = _numbers(column_type)
        project, written = _decimal(precision, scale), _same
        normal = project
    elif base in ("float", "double"):
        as_text = _float_text if base == "float" else _double_text
        selected = compared = f"CAST({name} AS DOUBLE)"
        project, normal, written = as_text, as_text, _float_literal if base == "float" else _double_literal
    elif base == "date":
        project = _date
    elif base in ("datetime", "timestamp"):
        project, normal = _datetime, _datetime
    elif base == "time":
        project, normal = _time, _time
    elif base == "bit":
        bits = _numbers(column_type)[0]
        selected, written = f"{name} + 0", _bit_literal
        project, normal = _bits(bits), _bits_read(bits)
    elif base in _BINARIES:
        width = _numbers(column_type)[0] if base == "binary" else 0
        selected, project, normal, written = f"HEX({name})", _hex(width), _lower, _hex_literal
    elif collation and collation != own_collation:
        # Another collation takes for equal what is not, and a CHAR may have lost its spaces.
        compared = f"CAST({name} AS CHAR CHARACTER SET utf8mb4) COLLATE {own_collation}"
    if base in ("enum", "set"):
        # A number that is no label would be taken for the place of one.
        project = _label(frozenset(labels_of(column_type)), several=base == "set")
    if base == "char":
        project = _without_padding
    return Form(name, column_type, selected, compared, project, normal, written, _value(canonical))


def _numbers(column_type: str) -> tuple[int, int]:
    found = re.search(r"\(([0-9]+)(?:,([0-9]+))?\)", column_type)
    return (int(found[1]), int(found[2] or 0)) if found else (1, 0)


def _same(text: Any) -> str:
    return str(text)


def _text_of(canonical: str) -> Callable[[Any], str]:
    return _bool_text if canonical == "bool" else str


def _bool_text(value: Any) -> str:
    return "true" if value else "false"


def _integer(value: Any) -> str:
    if isinstance(value, bool | int):
        return str(int(value))
    number = Decimal(value)
    if not number.is_finite():
        raise Misfit
    return str(int(number.to_integral_value(ROUND_HALF_UP)))


def _decimal(precision: int, scale: int) -> Callable[[Any], str]:
    step = Decimal(1).scaleb(-scale)

    def project(value: Any) -> str:
        number = Decimal(value)
        if not number.is_finite() or len(number.as_tuple().digits) > _DIGITS_MAX:
            raise Misfit
        with localcontext(prec=2 * _DIGITS_MAX):
            number = number.quantize(step, ROUND_HALF_UP)
        if number.adjusted() >= precision - scale and number:
            raise Misfit
        # There is one zero.
        return format(number if number else abs(number), "f")

    return project


def _double_text(value: Any) -> str:
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise Misfit
    return double_text(number + 0.0 if number else 0.0).decode()


def _float_text(value: Any) -> str:
    packed = _float.pack(float(value))
    number = _float.unpack(packed)[0]
    if number != number or number in (float("inf"), float("-inf")):
        raise Misfit
    return read_float(_float.pack(number if number else 0.0), 0)[0].decode()


def _float_literal(text: str) -> str:
    # The largest float's shortest text is beyond it.
    return _double_literal(repr(_float.unpack(_float.pack(float(text)))[0]))


def _double_literal(text: str) -> str:
    return text if "e" in text else f"{text}e0"


def _date(value: Any) -> str:
    if not _DATE.fullmatch(value):
        raise Misfit
    return str(value)


def _datetime(value: Any) -> str:
    found = _DATETIME.fullmatch(value)
    if found is None:
        raise Misfit
    return f"{found[1]} {found[2]}{_fraction(found[3])}"


def _time(value: Any) -> str:
    found = _TIME.fullmatch(value)
    if found is None:
        raise Misfit
    return f"{found[1]}{_fraction(found[2])}"


def _fraction(text: str | None) -> str:
    return (text or "").rstrip("0").rstrip(".")


def _bits(bits: int) -> Callable[[Any], str]:
    def project(value: Any) -> str:
        if not re.fullmatch("[01]+", value) or len(value) > bits:
            raise Misfit
        return str(value).rjust(bits, "0")

    return project


def _bits_read(bits: int) -> Callable[[Any], str]:
    def read(text: Any) -> str:
        return format(int(text), f"0{bits}b")

    return read


def _label(labels: frozenset[str], *, several: bool) -> Callable[[Any], str]:
    def project(value: Any) -> str:
        found = str(value).split(",") if several and value else [value] * (not several)
        if not labels.issuperset(found):
            raise Misfit
        return str(value)

    return project


def _without_padding(value: Any) -> str:
    return str(value).rstrip(" ")


def _lower(text: Any) -> str:
    return str(text).lower()


def _hex(width: int) -> Callable[[Any], str]:
    def project(value: Any) -> str:
        return base64.b64decode(value, validate=True).ljust(width, b"\0").hex()

    return project


def _bit_literal(text: str) -> str:
    return f"b'{text}'"


def _hex_literal(text: str) -> str:
    return f"x'{text}'"


def _value(canonical: str) -> Callable[[str], object]:
    match canonical:
        case "bool":
            return lambda text: text not in ("0", "false")
        case "int16" | "int32":
            return _number
        case "bytes":
            return _octets
        case "timestamp":
            return lambda text: text.replace(" ", "T", 1)
        case "instant":
            return lambda text: text.replace(" ", "T", 1) + "Z"
        case _:
            return _same


def _number(text: str) -> object:
    # The owner of the fork may have given the column another type.
    return int(text) if re.fullmatch("-?[0-9]+", text) else text


def _octets(text: str) -> object:
    try:
        return base64.b64encode(binascii.unhexlify(text)).decode()
    except ValueError:
        return text
