"""Decimal128 as text and back: sign, digits and exponent, exactly.

All that means zero because its digits are too many is written as a zero of its exponent, and every NaN as NaN: the values are the same, the
bits may be others. Source: specifications/bson-decimal128; IEEE 754-2008, binary integer decimal encoding.
"""

import re
from struct import Struct
from typing import Final

_halves = Struct("<QQ")

_EXPONENT_MIN: Final = -6176
_EXPONENT_MAX: Final = 6111
_DIGITS_MAX: Final = 34
_COEFFICIENT_MAX: Final = 10**_DIGITS_MAX - 1
_SIGN: Final = 1 << 63
_INFINITY: Final = 0x78 << 56
_NAN: Final = 0x7C << 56
_SPECIAL: Final = {"Infinity": _INFINITY, "-Infinity": _INFINITY | _SIGN, "NaN": _NAN}

_TEXT: Final = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:E([+-]\d{1,5}))?", re.ASCII)


def decimal_text(data: bytes) -> str:
    """The text of 16 bytes."""
    low, high = _halves.unpack(data)
    sign = "-" if high & _SIGN else ""
    if high & _NAN == _NAN:
        return "NaN"
    if high & _INFINITY == _INFINITY:
        return sign + "Infinity"
    if high >> 61 & 3 == 3:
        exponent, coefficient = high >> 47 & 0x3FFF, 0
    else:
        exponent, coefficient = high >> 49 & 0x3FFF, (high & (1 << 49) - 1) << 64 | low
    if coefficient > _COEFFICIENT_MAX:
        coefficient = 0
    return sign + _number_text(str(coefficient), exponent + _EXPONENT_MIN)


def _number_text(digits: str, exponent: int) -> str:
    """Source: the same specification, "To String Representation"."""
    adjusted = exponent + len(digits) - 1
    if exponent > 0 or adjusted < -6:
        point = "." if len(digits) > 1 else ""
        return f"{digits[0]}{point}{digits[1:]}E{adjusted:+d}"
    if not exponent:
        return digits
    digits = digits.rjust(1 - exponent, "0")
    return f"{digits[:exponent]}.{digits[exponent:]}"


def decimal_bytes(text: str) -> bytes:
    """The 16 bytes of a text. Raises ValueError where it is not one that `decimal_text` gives."""
    special = _SPECIAL.get(text)
    if special is not None:
        return _halves.pack(0, special)
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError("not a decimal")
    sign, whole, fraction, exponent_text = found.groups(default="")
    exponent = int(exponent_text or 0) - len(fraction)
    coefficient = int(whole + fraction)
    if coefficient > _COEFFICIENT_MAX or not _EXPONENT_MIN <= exponent <= _EXPONENT_MAX:
        raise ValueError("not a decimal of 128 bits")
    high = exponent - _EXPONENT_MIN << 49 | coefficient >> 64 | (_SIGN if sign else 0)
    return _halves.pack(coefficient & (1 << 64) - 1, high)
