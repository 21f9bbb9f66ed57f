"""One spelling of a key's value, whichever type its column had when it was told: `1.0` of numeric(10,1) is `1.00` of numeric(10,2).

A table that is rewritten for another type of its key is told anew, and each row must be found as the one it was: a row taken for another
is deleted after it was written. Values that differ are never spelled alike.
"""

import re
from decimal import Decimal
from typing import Final

from ...schemas.shape import Column

_NUMBERS: Final = frozenset(("int16", "int32", "int64", "decimal", "float32", "float64"))
_TIMES: Final = frozenset(("date", "time", "timestamp", "instant"))
_PLAIN: Final = re.compile(r"(-?)0*([0-9]+?)(?:\.([0-9]*?)0*)?")
_POWER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]*)?[eE][+-]?[0-9]{1,3}")


def one_spelling(column: Column, value: object) -> object:
    """The value of a key's field, spelled as any other text of the same value under the column's type.

    Args:
        column: The field, as the newest shape has it.
        value: What a record says.
    """
    if column.type in _NUMBERS:
        return _number(str(value))
    if not isinstance(value, str):
        return value
    if column.type in _TIMES:
        text = value.removesuffix("Z")
        return (text.rstrip("0").removesuffix(".") if "." in text else text).removesuffix("T00:00:00")
    # As the server compares them.
    padded = column.engine_type == "character" or column.engine_type.startswith("character(")
    return value.rstrip(" ") if padded else value


def _number(text: str) -> str:
    if _POWER.fullmatch(text):
        text = format(Decimal(text), "f")
    found = _PLAIN.fullmatch(text)
    if found is None:
        return text
    sign, whole, part = found.groups("")
    number = f"{whole}.{part}" if part else whole
    return number if number == "0" else sign + number
