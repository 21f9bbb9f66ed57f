"""Columns of a table map: canonical type, the engine's own name of it, and how a value is read (schemas/README.md §3)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ....schemas.errors import DecodeError
from ..transaction import RelationColumn
from . import field_type as types
from .charset import BINARY, Charset, octets_of, to_utf8
from .field_type import FieldType
from .json_text import json_reader
from .reading import Kind, Reading
from .temporal import datetime_reader, read_date, read_year, time_reader, timestamp_reader
from .values import (
    bit_reader,
    decimal_reader,
    enum_reader,
    hexed,
    integer_reader,
    length_reader,
    read_double,
    read_float,
    recoded,
    set_reader,
)


@dataclass(frozen=True, slots=True)
class BinlogColumn(RelationColumn):
    """A column as its table map describes it.

    Args:
        canonical: The canonical type.
        engine_type: The server's own name of the type, as a CREATE TABLE may say it.
        nullable: Whether it may be null.
        labels: Of ENUM and SET, in their order.
        charset: The character set's name, of text, ENUM and SET.
    """

    canonical: str = ""
    engine_type: str = ""
    nullable: bool = True
    labels: tuple[str, ...] = ()
    charset: str = ""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a table map says of a column beside its type.

    Args:
        unsigned: Of a number.
        charset: Of text, ENUM and SET.
        labels: Of ENUM and SET.
        geometry: The kind of geometry, by its number.
        dimensions: Of a VECTOR; 0 where nothing is said.
    """

    unsigned: bool = False
    charset: Charset | None = None
    labels: tuple[str, ...] = ()
    geometry: int = 0
    dimensions: int = 0


Resolved = tuple[str, str, Reading]
"""Canonical type, the engine's name of the type, and how its values are read."""

_INTEGERS: Final = {
    types.TINY: (1, "tinyint", "int16", "int16"),
    types.SHORT: (2, "smallint", "int16", "int32"),
    types.INT24: (3, "mediumint", "int32", "int32"),
    types.LONG: (4, "int", "int32", "int64"),
    types.LONGLONG: (8, "bigint", "int64", "decimal"),
}
"""Bytes, name, and canonical type: signed, unsigned."""

_GEOMETRIES: Final = (
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
)
_BLOBS: Final = {1: "tiny", 2: "", 3: "medium", 4: "long"}
_OLD_TIMES: Final = {types.TIMESTAMP_OLD: "timestamp", types.TIME_OLD: "time", types.DATETIME_OLD: "datetime"}


def resolve(field: FieldType, attributes: Attributes) -> Resolved:
    """What is known of a column before its first value.

    Raises:
        DecodeError: Its values cannot be decoded here.
        ValueError: No column can be like this.
    """
    if field.number in _INTEGERS:
        return _integer(field, attributes)
    if field.number in types.CHARACTER:
        return _characters(field, attributes)
    if field.number in _OLD_TIMES:
        raise DecodeError(
            f"a {_OLD_TIMES[field.number]} in the format of MySQL 5.5, whose fractions a binlog does not tell",
            hint="rebuild the table with ALTER TABLE … FORCE, on MariaDB with mysql56_temporal_format=ON",
        )
    if field.number not in _OTHERS:
        raise ValueError(f"a column of type {field.number}")
    return _OTHERS[field.number](field, attributes)


def _integer(field: FieldType, attributes: Attributes) -> Resolved:
    size, name, signed, wider = _INTEGERS[field.number]
    unsigned = attributes.unsigned
    reading = Reading(integer_reader(size, unsigned=unsigned), Kind.INTEGER, size, unsigned)
    return (wider, f"{name} unsigned", reading) if unsigned else (signed, name, reading)


def _characters(field: FieldType, attributes: Attributes) -> Resolved:
    charset = attributes.charset
    if charset is None:
        raise ValueError("a column of text without a character set")
    binary = charset.name == BINARY
    if field.number in (types.BLOB_COMPRESSED, types.VARCHAR_COMPRESSED):
        raise DecodeError("a compressed column", hint="ALTER TABLE … MODIFY the column without COMPRESSED")
    if field.number == types.BLOB:
        if field.size not in _BLOBS:
            raise ValueError(f"a blob whose length takes {field.size} bytes")
        name, size = _BLOBS[field.size] + ("blob" if binary else "text"), field.size
    else:
        kind = ("char", "binary") if field.number == types.STRING else ("varchar", "varbinary")
        name, size = f"{kind[binary]}({field.size // charset.max_bytes})", 2 if field.size > 255 else 1
    if binary:
        pad = field.size if field.number == types.STRING else 0
        return "bytes", name, Reading(hexed(length_reader(size), pad=pad), Kind.OCTETS, size, pad)
    return "text", name, _text(size, charset)


def _text(size: int, charset: Charset) -> Reading:
    """Text behind its length of `size` bytes."""
    read = recoded(length_reader(size), to_utf8(charset))
    if charset.codec is None:
        return Reading(read, Kind.TEXT, size)
    if charset.max_bytes == 1:
        return Reading(read, Kind.TEXT, size, texts=tuple(octet.encode() for octet in octets_of(charset)))
    return Reading(read)


def _decimal(field: FieldType, attributes: Attributes) -> Resolved:
    name = f"decimal({field.size},{field.scale})"
    return (
        "decimal",
        f"{name} unsigned" if attributes.unsigned else name,
        Reading(decimal_reader(field.size, field.scale), Kind.DECIMAL, field.size, field.scale),
    )


def _float(_: FieldType, attributes: Attributes) -> Resolved:
    return "float32", "float unsigned" if attributes.unsigned else "float", Reading(read_float, Kind.FLOAT)


def _double(_: FieldType, attributes: Attributes) -> Resolved:
    return "float64", "double unsigned" if attributes.unsigned else "double", Reading(read_double, Kind.DOUBLE)


def _date(_: FieldType, __: Attributes) -> Resolved:
    return "date", "date", Reading(read_date, Kind.DATE)


def _year(_: FieldType, __: Attributes) -> Resolved:
    return "int16", "year", Reading(read_year, Kind.YEAR)


def _datetime(field: FieldType, _: Attributes) -> Resolved:
    return (
        "timestamp",
        _with_decimals("datetime", field),
        Reading(datetime_reader(field.size), Kind.DATETIME, field.size),
    )


def _timestamp(field: FieldType, _: Attributes) -> Resolved:
    return (
        "instant",
        _with_decimals("timestamp", field),
        Reading(timestamp_reader(field.size), Kind.TIMESTAMP, field.size),
    )


def _time(field: FieldType, _: Attributes) -> Resolved:
    return "exact", _with_decimals("time", field), Reading(time_reader(field.size), Kind.TIME, field.size)


def _with_decimals(name: str, field: FieldType) -> str:
    return f"{name}({field.size})" if field.size else name


def _bit(field: FieldType, _: Attributes) -> Resolved:
    bits = field.size * 8 + field.scale
    return "exact", f"bit({bits})", Reading(bit_reader(bits), Kind.BIT, bits)


def _enum(field: FieldType, attributes: Attributes) -> Resolved:
    texts = (b"", *(label.encode() for label in attributes.labels))
    return (
        "enum",
        _labelled("enum", attributes),
        Reading(enum_reader(field.size, texts), Kind.ENUM, field.size, texts=texts),
    )


def _set(field: FieldType, attributes: Attributes) -> Resolved:
    texts = tuple(label.encode() for label in attributes.labels)
    return (
        "exact",
        _labelled("set", attributes),
        Reading(set_reader(field.size, texts), Kind.SET, field.size, texts=texts),
    )


def _labelled(name: str, attributes: Attributes) -> str:
    labels = ",".join("'" + label.replace("\\", "\\\\").replace("'", "''") + "'" for label in attributes.labels)
    return f"{name}({labels})"


def _json(field: FieldType, _: Attributes) -> Resolved:
    return "json", "json", Reading(json_reader(field.size), Kind.JSON, field.size)


def _geometry(field: FieldType, attributes: Attributes) -> Resolved:
    return (
        "exact",
        _GEOMETRIES[attributes.geometry],
        Reading(hexed(length_reader(field.size), prefix=b""), Kind.GEOMETRY, field.size),
    )


def _vector(field: FieldType, attributes: Attributes) -> Resolved:
    name = f"vector({attributes.dimensions})" if attributes.dimensions else "vector"
    return "bytes", name, Reading(hexed(length_reader(field.size)), Kind.OCTETS, field.size)


_OTHERS: Final[dict[int, Callable[[FieldType, Attributes], Resolved]]] = {
    types.DECIMAL: _decimal,
    types.FLOAT: _float,
    types.DOUBLE: _double,
    types.DATE: _date,
    types.YEAR: _year,
    types.DATETIME: _datetime,
    types.TIMESTAMP: _timestamp,
    types.TIME: _time,
    types.BIT: _bit,
    types.ENUM: _enum,
    types.SET: _set,
    types.JSON: _json,
    types.GEOMETRY: _geometry,
    types.VECTOR: _vector,
}
