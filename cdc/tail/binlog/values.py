"""Readers of values as rows hold them: a function for each column, resolved once per table.

Source: MySQL, libs/mysql/binlog/event/export/binary_log_funcs.h, strings/decimal.cc (bin2decimal), sql/field.cc.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from .charset import Recode
from .event import whole
from .reading import ReadValue

_u16 = Struct("<H").unpack_from
_u32 = Struct("<I").unpack_from


def integer_reader(size: int, *, unsigned: bool) -> ReadValue:
    """An integer of 1, 2, 3, 4 or 8 bytes."""
    if size == 3:

        def read_three(data: bytes, at: int) -> tuple[bytes, int]:
            return b"%d" % int.from_bytes(whole(data, at, at + 3), "little", signed=not unsigned), at + 3

        return read_three
    code = {1: "b", 2: "h", 4: "i", 8: "q"}[size]
    unpack = Struct("<" + (code.upper() if unsigned else code)).unpack_from

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        return b"%d" % unpack(data, at)[0], at + size

    return read


_double = Struct("<d").unpack_from
_float = Struct("<f")


def read_double(data: bytes, at: int) -> tuple[bytes, int]:
    """DOUBLE, as the shortest text that reads back."""
    return double_text(_double(data, at)[0]), at + 8


def double_text(value: float) -> bytes:
    """The shortest text that reads back, in the notation that PostgreSQL chooses, so that one value has one text."""
    text = repr(value)
    if 1e15 <= abs(value) < 1e16:
        sign, digits = ("-", text[1:-2]) if value < 0 else ("", text[:-2])
        fraction = digits[1:].rstrip("0")
        return f"{sign}{digits[0]}{'.' if fraction else ''}{fraction}e+15".encode()
    return text.removesuffix(".0").encode()


def read_float(data: bytes, at: int) -> tuple[bytes, int]:
    """FLOAT, as the shortest text that reads back to the same 32 bits."""
    value = _float.unpack_from(data, at)[0]
    packed = data[at : at + 4]
    for digits in range(6, 9):
        text = f"{value:.{digits}g}"
        if abs(float(text)) < 3.5e38 and _packs_to(text, packed):
            return _float_text(text), at + 4
    return _float_text(f"{value:.9g}"), at + 4


def _packs_to(text: str, packed: bytes) -> bool:
    try:
        return _float.pack(float(text)) == packed
    except OverflowError:
        return False


def _float_text(text: str) -> bytes:
    """With a point below a million only, as PostgreSQL has it; `%g` goes on to as many digits as it may write."""
    mantissa, e, _ = text.partition("e")
    sign, mantissa = ("-", mantissa[1:]) if mantissa[0] == "-" else ("", mantissa)
    whole_part, _, fraction = mantissa.partition(".")
    if e or len(whole_part) <= 6:
        return text.encode()
    digits = (whole_part + fraction).rstrip("0")
    power = len(whole_part) - 1
    return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e+{power:02d}".encode()


_DIGIT_BYTES: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def decimal_reader(precision: int, scale: int) -> ReadValue:
    """DECIMAL(precision, scale): groups of nine digits in four bytes, the odd digits at either end in fewer."""
    first, groups = (precision - scale) % 9, (precision - scale) // 9
    groups_behind, last = scale // 9, scale % 9
    widths = [first, *[9] * (groups + groups_behind), last]
    size = sum(_DIGIT_BYTES[width] for width in widths)
    before = groups + 1

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        stored = whole(data, at, at + size)
        negative = not stored[0] & 0x80
        number = int.from_bytes(stored, "big") ^ 1 << 8 * size - 1
        if negative:
            number ^= (1 << 8 * size) - 1
        stored, place, digits = number.to_bytes(size, "big"), 0, b""
        parts: list[bytes] = []
        for width in widths:
            end = place + _DIGIT_BYTES[width]
            if width:
                group = b"%0*d" % (width, int.from_bytes(stored[place:end], "big"))
                if len(group) > width:
                    raise ValueError("a decimal of other digits")
                parts.append(group)
            else:
                parts.append(b"")
            place = end
        digits = b"".join(parts[:before]).lstrip(b"0") or b"0"
        if scale:
            digits += b"." + b"".join(parts[before:])
        return (b"-" + digits if negative else digits), at + size

    return read


def bit_reader(bits: int) -> ReadValue:
    """BIT(bits), as binary digits."""
    size = (bits + 7) // 8

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        return b"%s" % format(int.from_bytes(whole(data, at, at + size), "big"), f"0{bits}b").encode(), at + size

    return read


def enum_reader(size: int, texts: Sequence[bytes]) -> ReadValue:
    """ENUM: its label; the first text stands for an invalid value."""

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        return texts[int.from_bytes(whole(data, at, at + size), "little")], at + size

    return read


def set_reader(size: int, texts: Sequence[bytes]) -> ReadValue:
    """SET: its labels, with commas between."""

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        bits = int.from_bytes(whole(data, at, at + size), "little")
        if bits >> len(texts):
            raise ValueError("a set with more members than labels")
        return b",".join([text for bit, text in enumerate(texts) if bits >> bit & 1]), at + size

    return read


def length_reader(size: int) -> Callable[[bytes, int], tuple[bytes, int]]:
    """Bytes behind their length of `size` bytes, as they are."""
    if size == 1:

        def read_one(data: bytes, at: int) -> tuple[bytes, int]:
            end = at + 1 + data[at]
            return data[at + 1 : end], end

        return read_one
    if size in (2, 4):
        unpack = _u16 if size == 2 else _u32

        def read_word(data: bytes, at: int) -> tuple[bytes, int]:
            end = at + size + unpack(data, at)[0]
            return data[at + size : end], end

        return read_word

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        end = at + size + int.from_bytes(whole(data, at, at + size), "little")
        return data[at + size : end], end

    return read


def recoded(read: ReadValue, recode: Recode | None) -> ReadValue:
    """Text in another character set than UTF-8."""
    if recode is None:
        return read

    def read_recoded(data: bytes, at: int) -> tuple[bytes, int]:
        text, end = read(data, at)
        return recode(text), end

    return read_recoded


def hexed(read: ReadValue, *, pad: int = 0, prefix: bytes = b"\\x") -> ReadValue:
    """Bytes in hex; BINARY(n) has lost its zeros at the end, and gets them back."""

    def read_hex(data: bytes, at: int) -> tuple[bytes, int]:
        value, end = read(data, at)
        return prefix + value.ljust(pad, b"\0").hex().encode(), end

    return read_hex
