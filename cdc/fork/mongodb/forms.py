"""How values of records are written into documents, and what comes back. No I/O.

A value is projected to its BSON type here, before it is written, so that what a record says and what a document holds can be compared
as texts. From a MongoDB's log a value is what canonical Extended JSON says; from others its canonical type decides.
"""

import base64
import re
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from bson.decimal128 import Decimal128

from ....schemas.errors import DecodeError
from ....schemas.shape import Column
from ....transforms.document_path import Keys
from ...tail.oplog.document import BINARY, BOOL, DATE, DECIMAL128, DOUBLE, INT32, INT64, NULL, STRING, Value
from ...tail.oplog.extended_json import double_text, value_text
from ...tail.oplog.extended_reading import value_to_bson
from ..merge import Value as Text
from ..store import Rejected

DIGITS_MAX: Final = 34
"""Of a Decimal128."""

_UUID: Final = 4
_NOTHING: Final[Value] = (NULL, b"")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,3}0*)?Z?")


class Misfit(ValueError):
    """A value has no place in its type."""


@dataclass(frozen=True, slots=True)
class Form:
    """One field.

    Args:
        field: The field.
        keys: Where it stands in a document; none for the whole of it.
        omitted: What is left out of its value.
        shown: Its BSON type, for people.
        note: What the owner of the fork should know, or empty.
        project: A record's value as it is written.
        read: What is there as text; the same for what `project` gives.
        value: What a record would hold for such a text.
        absent: Whether a record's null is a value that is not there, rather than a null.
    """

    field: str
    keys: Keys
    shown: str
    project: Callable[[Any], Value]
    read: Callable[[Value], str]
    value: Callable[[str], object]
    note: str = ""
    omitted: tuple[Keys, ...] = ()
    absent: bool = False

    def written(self, value: object) -> Value | None:
        """What is put into a document for a record's value; None where nothing stands there.

        Raises:
            Rejected: It has no place there.
        """
        if value is None:
            return None if self.absent else _NOTHING
        try:
            return self.project(value)
        except (Misfit, DecodeError, InvalidOperation, ValueError, TypeError, OverflowError, struct.error) as exc:
            raise Rejected("value", f"{str(value)[:100]!r} is no {self.shown} for {self.field}") from exc

    def text(self, value: object) -> Text:
        """What `of` gives for a record's value once it was written.

        Raises:
            Rejected: It has no place there.
        """
        written = self.written(value)
        return None if written is None else self.of(written)

    def of(self, found: Value | None) -> Text:
        """What stands in a document, as text."""
        if found is None or (found[0] == NULL and not self.absent):
            return None
        return self.read(found)

    def shown_value(self, text: Text) -> object:
        """What a record would hold."""
        return None if text is None else self.value(text)


def extended(found: Value) -> str:
    """A value as canonical Extended JSON."""
    return value_text(found[0], found[1], 0, len(found[1])).decode()


def form(column: Column, engine: str, keys: Keys, omitted: tuple[Keys, ...] = ()) -> Form:
    """How a column's values go into documents.

    Args:
        column: The column.
        engine: The source's engine.
        keys: Where they stand.
        omitted: What is left out of them.
    """
    if column.type == "bson":
        shown = column.engine_type if column.engine_type != "any" else "any type"
        return Form(column.field, keys, shown, value_to_bson, extended, str, omitted=omitted, absent=True)
    shown, project, note = _choice(column, engine)
    kind, as_text = _TEXTS[shown]

    def read(found: Value) -> str:
        # What the owner of the fork made another type of is another value.
        return as_text(found[1]) if found[0] == kind else extended(found)

    return Form(column.field, keys, shown, project, read, _record_value(column.type, shown), note)


def _choice(column: Column, engine: str) -> tuple[str, Callable[[Any], Value], str]:
    plain = _PLAIN.get(column.type)
    if plain is not None:
        return (*plain, _NOTES.get(column.type, ""))
    if column.type == "decimal":
        if 0 < _digits(column) <= DIGITS_MAX:
            return "decimal", _decimal, ""
        return "string", _string, "becomes text, as its digits have no limit"
    if column.type in ("timestamp", "instant"):
        if _precision(column, engine) > 3:
            return "string", _string, "becomes text, as a date of BSON has milliseconds only"
        note = "as if in UTC, as it is without a zone; " if column.type == "timestamp" else ""
        return "date", _date, f"{note}years 1 to 9999 only"
    return "string", _string, f"the source's {column.engine_type[:60]} becomes text"


def _digits(column: Column) -> int:
    if column.engine_type.startswith("bigint"):
        return 20
    found = re.fullmatch(r"(?:numeric|decimal)\(([0-9]+)(?:,-?[0-9]+)?\)( unsigned)?( zerofill)?", column.engine_type)
    return int(found[1]) if found else 0


def _precision(column: Column, engine: str) -> int:
    """Digits of a time behind the second."""
    found = re.search(r"\(([0-6])\)", column.engine_type)
    if found:
        return int(found[1])
    return 6 if engine == "postgresql" else 0


def _binary(data: bytes, subtype: int) -> Value:
    return BINARY, struct.pack("<iB", len(data), subtype) + data


def _string(value: Any) -> Value:
    data = str(value).encode()
    return STRING, struct.pack("<i", len(data) + 1) + data + b"\0"


def _double(value: Any) -> Value:
    return DOUBLE, struct.pack("<d", float(value))


def _decimal(value: Any) -> Value:
    number = Decimal(value)
    if number.is_finite() and len(number.as_tuple().digits) > DIGITS_MAX:
        raise Misfit
    return DECIMAL128, Decimal128(number).bid


def _date(value: Any) -> Value:
    found = _MOMENT.fullmatch(value)
    if found is None:
        raise Misfit
    moment = datetime.fromisoformat(f"{found[1]}T{found[2]}").replace(tzinfo=UTC)
    fraction = (found[3] or ".0")[1:].ljust(3, "0")[:3]
    return DATE, struct.pack("<q", (moment - _EPOCH) // timedelta(milliseconds=1) + int(fraction))


def _decimal_text(data: bytes) -> str:
    number = Decimal128.from_bid(data).to_decimal()
    return format(number, "f") if number.is_finite() else str(number)


def _date_text(data: bytes) -> str:
    moment = _EPOCH + timedelta(milliseconds=int(struct.unpack("<q", data)[0]))
    text = moment.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return text.rstrip("0").rstrip(".")


def _uuid_text(data: bytes) -> str:
    return str(uuid.UUID(bytes=data[5:])) if len(data) == 21 and data[4] == _UUID else data.hex()


def _int32(value: Any) -> Value:
    return INT32, struct.pack("<i", int(value))


_PLAIN: Final[dict[str, tuple[str, Callable[[Any], Value]]]] = {
    "bool": ("bool", lambda value: (BOOL, b"\1" if value else b"\0")),
    "int16": ("int", _int32),
    "int32": ("int", _int32),
    "int64": ("long", lambda value: (INT64, struct.pack("<q", int(value)))),
    "float32": ("double", _double),
    "float64": ("double", _double),
    "uuid": ("uuid", lambda value: _binary(uuid.UUID(value).bytes, _UUID)),
    "bytes": ("binData", lambda value: _binary(base64.b64decode(value, validate=True), 0)),
    "text": ("string", _string),
    "enum": ("string", _string),
    "json": ("string", _string),
    "jsonb": ("string", _string),
}
"""Canonical type to BSON type, as plans name it, and to what writes it."""

_AS_WRITTEN: Final = "stays text, exactly as it was written"
_NOTES: Final[dict[str, str]] = {"json": _AS_WRITTEN, "jsonb": _AS_WRITTEN}

_TEXTS: Final[dict[str, tuple[int, Callable[[bytes], str]]]] = {
    "bool": (BOOL, lambda data: "true" if data[0] else "false"),
    "int": (INT32, lambda data: str(struct.unpack("<i", data)[0])),
    "long": (INT64, lambda data: str(struct.unpack("<q", data)[0])),
    "double": (DOUBLE, lambda data: double_text(data, 0)),
    "decimal": (DECIMAL128, _decimal_text),
    "string": (STRING, lambda data: data[4:-1].decode(errors="surrogateescape")),
    "uuid": (BINARY, _uuid_text),
    "binData": (BINARY, lambda data: f"{data[4]:02x}:{data[5:].hex()}"),
    "date": (DATE, _date_text),
}
"""BSON type, as plans name it, to what reads it as text."""


def _record_value(canonical: str, shown: str) -> Callable[[str], object]:
    match canonical:
        case "bool":
            return lambda text: text == "true" if text in ("true", "false") else text
        case "int16" | "int32":
            return lambda text: int(text) if re.fullmatch("-?[0-9]+", text) else text
        case "bytes":
            return _octets
        case "instant" if shown == "date":
            return lambda text: text + "Z"
        case _:
            return str


def _octets(text: str) -> object:
    if not re.fullmatch("[0-9a-f]{2}:([0-9a-f]{2})*", text):
        return text
    return base64.b64encode(bytes.fromhex(text[3:])).decode()
