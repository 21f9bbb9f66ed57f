"""The types of columns as a table map names them: a number, and the type's own metadata.

Source: MySQL, include/field_types.h, libs/mysql/binlog/event/binary_log_funcs.cpp (calc_field_size, read_field_metadata).
"""

from dataclasses import dataclass
from typing import Final

from .event import whole

TINY: Final = 1
SHORT: Final = 2
LONG: Final = 3
FLOAT: Final = 4
DOUBLE: Final = 5
TIMESTAMP_OLD: Final = 7
LONGLONG: Final = 8
INT24: Final = 9
DATE: Final = 10
TIME_OLD: Final = 11
DATETIME_OLD: Final = 12
YEAR: Final = 13
VARCHAR: Final = 15
BIT: Final = 16
TIMESTAMP: Final = 17
DATETIME: Final = 18
TIME: Final = 19
BLOB_COMPRESSED: Final = 140
VARCHAR_COMPRESSED: Final = 141
VECTOR: Final = 242
JSON: Final = 245
DECIMAL: Final = 246
ENUM: Final = 247
SET: Final = 248
BLOB: Final = 252
VAR_STRING: Final = 253
STRING: Final = 254
GEOMETRY: Final = 255

NUMERIC: Final = frozenset((TINY, SHORT, INT24, LONG, LONGLONG, DECIMAL, FLOAT, DOUBLE, YEAR))
"""Types of which a table map says whether they have a sign."""
CHARACTER: Final = frozenset((STRING, VAR_STRING, VARCHAR, BLOB, BLOB_COMPRESSED, VARCHAR_COMPRESSED))
"""Types that have a character set; `binary` is one."""

_ONE_BYTE: Final = frozenset((FLOAT, DOUBLE, BLOB, BLOB_COMPRESSED, GEOMETRY, JSON, VECTOR, TIME, DATETIME, TIMESTAMP))
_TWO_BYTES: Final = frozenset((VARCHAR, VARCHAR_COMPRESSED))
_NONE: Final = frozenset((TINY, SHORT, LONG, LONGLONG, INT24, DATE, YEAR, TIMESTAMP_OLD, TIME_OLD, DATETIME_OLD))


@dataclass(frozen=True, slots=True)
class FieldType:
    """A column's type.

    Args:
        number: Its number; of ENUM and SET their own, though the table map calls them STRING.
        size: Bytes of what it holds at most (character types, BIT), of its length (BLOB, JSON, GEOMETRY), of its value (ENUM, SET);
            digits (DECIMAL), or decimals of a second.
        scale: Digits behind the point (DECIMAL); bits in the last byte (BIT).
    """

    number: int
    size: int = 0
    scale: int = 0


def read_field_type(number: int, metadata: bytes, at: int) -> tuple[FieldType, int]:
    """A column's type, and where its metadata ends. Raises IndexError or ValueError where it is malformed, or no type."""
    if number in _NONE:
        return FieldType(number), at
    if number in _ONE_BYTE:
        return FieldType(number, metadata[at]), at + 1
    first, second = whole(metadata, at, at + 2)
    if number in _TWO_BYTES:
        return FieldType(number, first | second << 8), at + 2
    if number == DECIMAL:
        if second > first or first > 65:
            raise ValueError(f"decimal({first},{second})")
        return FieldType(number, first, second), at + 2
    if number == BIT:
        if first > 7:
            raise ValueError(f"bit of {first} bits and {second} bytes")
        return FieldType(number, second, first), at + 2
    if number not in (STRING, VAR_STRING, ENUM, SET):
        raise ValueError(f"a column of type {number}, which is not known here")
    if first in (ENUM, SET):
        return FieldType(first, second), at + 2
    # Lengths above 255 hide two bits in the type's byte.
    return FieldType(STRING, second | ((first & 0x30) ^ 0x30) << 4), at + 2
