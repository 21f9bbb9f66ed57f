"""How a column's values are read, by Python and by the compiled part (native/binlog.c)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

ReadValue = Callable[[bytes, int], tuple[bytes, int]]
"""Reads one value at a place: its text, and where it ends. Raises IndexError, ValueError or struct.error."""


class Kind(IntEnum):
    """What the compiled part makes of a value, in its own order."""

    PYTHON = 0
    """By the reader."""
    INTEGER = 1
    """Bytes; whether it is unsigned."""
    DOUBLE = 2
    DECIMAL = 3
    """Precision, scale."""
    YEAR = 4
    DATE = 5
    DATETIME = 6
    """Decimals, as of the next two."""
    TIMESTAMP = 7
    TIME = 8
    TEXT = 9
    """Bytes of the length; the texts are those of each byte, or none where it is UTF-8."""
    OCTETS = 10
    """Bytes of the length, and of the value at least."""
    GEOMETRY = 11
    """Bytes of the length."""
    ENUM = 12
    """Bytes; the texts are the labels, the first for no label."""
    SET = 13
    """Bytes; the texts are the labels."""
    BIT = 14
    """Bits."""
    JSON = 15
    """Bytes of the length."""
    FLOAT = 16


@dataclass(frozen=True, slots=True)
class Reading:
    """How the values of a column are read.

    Args:
        read: The reader, which says what is right.
        kind: What stands in for it, where it can.
        first: The kind's first number.
        second: The kind's second number.
        texts: The kind's texts.
    """

    read: ReadValue
    kind: Kind = Kind.PYTHON
    first: int = 0
    second: int = 0
    texts: tuple[bytes, ...] = ()
