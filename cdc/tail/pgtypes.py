"""PostgreSQL's types: which canonical type each is, and how its text becomes the record's value (schemas/README.md §3).

The texts are those of a session with DateStyle ISO, TimeZone UTC, bytea_output hex and extra_float_digits 3, which
`tail/postgres.py` sets. A type that stands here in no table travels as `exact`: its text, unchanged.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Final

Converter = Callable[[bytes], object]

text: Final[Converter] = bytes.decode


def boolean(value: bytes) -> bool:
    """`t` or `f`."""
    if value == b"t":
        return True
    if value == b"f":
        return False
    raise ValueError(f"{value[:20]!r} is not a boolean")


def number(value: bytes) -> int:
    """An integer of up to 32 bits."""
    if len(value) > 11:
        raise ValueError(f"{value[:20]!r} is not an integer of 32 bits")
    return int(value)


def octets(value: bytes) -> str:
    """`\\x…` in hex, as base64."""
    if value[:2] != b"\\x":
        raise ValueError("bytea is not in hex")
    return base64.b64encode(binascii.unhexlify(value[2:])).decode("ascii")


def timestamp(value: bytes) -> str:
    """`2026-11-22 10:11:12.345678` with a T; infinities, BC and years of five digits as they stand."""
    if value[10:11] == b" " and value[-1:] != b"C":
        return (value[:10] + b"T" + value[11:]).decode("ascii")
    return value.decode("ascii")


def instant(value: bytes) -> str:
    """`2026-11-22 10:11:12.345678+00` with T and Z; infinities, BC and years of five digits as they stand."""
    if value[10:11] == b" " and value[-3:] == b"+00":
        return (value[:10] + b"T" + value[11:-3] + b"Z").decode("ascii")
    return value.decode("ascii")


CONVERTERS: Final[dict[str, Converter]] = {
    "bool": boolean,
    "int16": number,
    "int32": number,
    "bytes": octets,
    "timestamp": timestamp,
    "instant": instant,
}
"""Canonical type to converter; every other type's value is its text."""

CANONICAL: Final[dict[int, str]] = {
    16: "bool",
    17: "bytes",
    19: "text",  # name
    20: "int64",
    21: "int16",
    23: "int32",
    25: "text",
    114: "json",
    700: "float32",
    701: "float64",
    790: "money",
    1042: "text",  # character(n), padded as the server pads it
    1043: "text",  # character varying
    1082: "date",
    1083: "time",
    1114: "timestamp",
    1184: "instant",
    1186: "interval",
    1266: "timetz",
    1700: "decimal",
    2950: "uuid",
    3802: "jsonb",
}
"""Type OID of a built-in type to canonical type. Source: pg_type.dat of PostgreSQL 18; built-in OIDs never change."""


def converter(canonical: str) -> Converter:
    """The converter of a canonical type."""
    return CONVERTERS.get(canonical, text)


def to_text(canonical: str, value: object) -> str | None:
    """The text that PostgreSQL reads back as the value a record holds: the inverse of `converter`.

    Args:
        canonical: The value's canonical type.
        value: What a record holds.
    """
    if value is None:
        return None
    if canonical == "bool":
        return "t" if value else "f"
    if canonical == "bytes":
        return "\\x" + base64.b64decode(str(value), validate=True).hex()
    return str(value)
