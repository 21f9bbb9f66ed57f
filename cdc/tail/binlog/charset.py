"""The character sets of MySQL and MariaDB: which a collation belongs to, and how its bytes become UTF-8.

Source: INFORMATION_SCHEMA.COLLATIONS of MySQL 9.7, and COLLATION_CHARACTER_SET_APPLICABILITY of MariaDB 10.11.
"""

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from ....schemas.errors import DecodeError

BINARY: Final = "binary"

_COLLATIONS: Final = {
    "armscii8": "32 64 1056 1088",
    "ascii": "11 65 1035 1089",
    "big5": "1 84 1025 1108",
    "binary": "63",
    "cp1250": "26 34 44 66 99 1050 1090",
    "cp1251": "14 23 50-52 1074-1075",
    "cp1256": "57 67 1081 1091",
    "cp1257": "29 58-59 1082-1083",
    "cp850": "4 80 1028 1104",
    "cp852": "40 81 1064 1105",
    "cp866": "36 68 1060 1092",
    "cp932": "95-96 1119-1120",
    "dec8": "3 69 1027 1093",
    "eucjpms": "97-98 1121-1122",
    "euckr": "19 85 1043 1109",
    "gb18030": "248-250",
    "gb2312": "24 86 1048 1110",
    "gbk": "28 87 1052 1111",
    "geostd8": "92-93 1116-1117",
    "greek": "25 70 1049 1094",
    "hebrew": "16 71 1040 1095",
    "hp8": "6 72 1030 1096",
    "keybcs2": "37 73 1061 1097",
    "koi8r": "7 74 1031 1098",
    "koi8u": "22 75 1046 1099",
    "latin1": "5 8 15 31 47-49 94 1032 1071",
    "latin2": "2 9 21 27 77 1033 1101",
    "latin5": "30 78 1054 1102",
    "latin7": "20 41-42 79 1065 1103",
    "macce": "38 43 1062 1067",
    "macroman": "39 53 1063 1077",
    "sjis": "13 88 1037 1112",
    "swe7": "10 82 1034 1106",
    "tis620": "18 89 1042 1113",
    "ucs2": "35 90 128-151 159 640-642 1059 1114 1152 1174 2560-2727 2744-2759",
    "ujis": "12 91 1036 1115",
    "utf16": "54-55 101-124 672-674 1078-1079 1125 1147 2816-2983 3000-3015",
    "utf16le": "56 62 1080 1086",
    "utf32": "60-61 160-183 736-738 1084-1085 1184 1206 3072-3239 3256-3271",
    "utf8mb3": "33 76 83 192-215 223 576-578 1057 1107 1216 1238 2048-2215 2232-2247",
    "utf8mb4": "45-46 224-247 255-323 608-610 1069-1070 1248 1270 2304-2471 2488-2503",
}


@dataclass(frozen=True, slots=True)
class Charset:
    """A character set.

    Args:
        name: The server's name of it.
        max_bytes: The most bytes a character takes; what is declared in characters is stored in this many times as many bytes.
        codec: Python's codec of it; None where its bytes are UTF-8 already (or no text at all).
    """

    name: str
    max_bytes: int
    codec: str | None


_CHARSETS: Final = {
    charset.name: charset
    for charset in (
        Charset("ascii", 1, None),
        Charset("big5", 2, "big5"),
        Charset("binary", 1, None),
        Charset("cp1250", 1, "cp1250"),
        Charset("cp1251", 1, "cp1251"),
        Charset("cp1256", 1, "cp1256"),
        Charset("cp1257", 1, "cp1257"),
        Charset("cp850", 1, "cp850"),
        Charset("cp852", 1, "cp852"),
        Charset("cp866", 1, "cp866"),
        Charset("cp932", 2, "cp932"),
        Charset("euckr", 2, "cp949"),
        Charset("gb18030", 4, "gb18030"),
        Charset("gb2312", 2, "gb2312"),
        Charset("gbk", 2, "gbk"),
        Charset("greek", 1, "iso8859-7"),
        Charset("hebrew", 1, "iso8859-8"),
        Charset("koi8r", 1, "koi8-r"),
        Charset("koi8u", 1, "koi8-u"),
        Charset("latin1", 1, "cp1252"),
        Charset("latin2", 1, "iso8859-2"),
        Charset("latin5", 1, "iso8859-9"),
        Charset("latin7", 1, "iso8859-13"),
        Charset("macce", 1, "mac_latin2"),
        Charset("macroman", 1, "mac_roman"),
        Charset("sjis", 2, "shift_jis"),
        Charset("tis620", 1, "tis_620"),
        Charset("ucs2", 2, "utf-16-be"),
        Charset("ujis", 3, "euc_jp"),
        Charset("utf16", 4, "utf-16-be"),
        Charset("utf16le", 4, "utf-16-le"),
        Charset("utf32", 4, "utf-32-be"),
        Charset("utf8mb3", 3, None),
        Charset("utf8mb4", 4, None),
    )
}


def _by_collation() -> dict[int, str]:
    names: dict[int, str] = {}
    for name, ranges in _COLLATIONS.items():
        for span in ranges.split():
            first, _, last = span.partition("-")
            names.update(dict.fromkeys(range(int(first), int(last or first) + 1), name))
    return names


_NAMES: Final = _by_collation()


def charset_of(collation: int) -> Charset:
    """The character set of a collation.

    Raises:
        DecodeError: No such collation, or Python has no codec of its character set.
    """
    name = _NAMES.get(collation)
    if name is None:
        raise DecodeError(f"a collation that is not known here (number {collation})")
    charset = _CHARSETS.get(name)
    if charset is None:
        raise DecodeError(f"text in {name}, which cannot be decoded here", hint="convert the column to utf8mb4")
    return charset


def is_readable(name: str) -> bool:
    """Whether text in a character set can be decoded here; the server's name of it, empty for no text."""
    return not name or name in _CHARSETS


Recode = Callable[[bytes], bytes]

_SINGLE: Final[dict[str, dict[int, str]]] = {
    "cp866": {0xFC: "\u207f", 0xFD: "\u00b2"},
    "greek": {0xA1: "\u02bd", 0xA2: "\u02bc"},
    "hebrew": {0xAF: "\u203e"},
    "koi8u": {0x95: "\u2022"},
    "tis620": dict.fromkeys((0xA0, *range(0xDB, 0xDF), *range(0xFC, 0x100)), "\ufffd"),
}
"""Where the servers read a byte otherwise than Python's codec."""

_REPLACED: Final = {"sjis": ("\uff3c", "\\"), "ujis": ("\uff3c", "\\"), "gb18030": ("\ue7c7", "\u1e3f")}
"""Where the servers read a character otherwise than Python's codec."""


@cache
def to_utf8(charset: Charset) -> Recode | None:
    """What makes UTF-8 of text in a character set, or None where it is UTF-8 already. The function raises ValueError."""
    if charset.codec is None:
        return None
    if charset.max_bytes == 1:
        table: Any = "".join(octets_of(charset))
        from_table = codecs.charmap_decode
        return lambda text: from_table(text, "strict", table)[0].encode()
    decode, errors = codecs.getdecoder(charset.codec), _ERRORS.get(charset.name, "strict")
    if charset.name in _REPLACED:
        codec, server = _REPLACED[charset.name]
        return lambda text: decode(text, errors)[0].replace(codec, server).encode()
    return lambda text: decode(text, errors)[0].encode()


def octets_of(charset: Charset) -> list[str]:
    """What each byte of a character set of single bytes stands for.

    What Python's codec leaves undefined the servers map to the control character of the same number.
    """
    codec, others = charset.codec or "utf-8", _SINGLE.get(charset.name, {})
    return [others.get(octet) or bytes([octet]).decode(codec, "ignore") or chr(octet) for octet in range(256)]


def _decode_error(exc: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(exc, UnicodeDecodeError):
        raise exc
    return exc.object[exc.start : exc.start + 3], exc.start


def _big5_extension(exc: UnicodeError) -> tuple[str, int]:
    """The seven characters of ETEN's, which the servers have, and Python in another codec only."""
    octets, at = _decode_error(exc)
    if b"\xf9\xd6" <= octets[:2] <= b"\xf9\xdc":
        return octets[:2].decode("cp950"), at + 2
    raise exc


def _ujis_user_defined(exc: UnicodeError) -> tuple[str, int]:
    """The rows that users may define, which the servers map to Unicode's private use."""
    octets, at = _decode_error(exc)
    match tuple(octets):
        case (0x8F, row, cell) if row >= 0xF5 and cell >= 0xA1:
            return chr(0xE3AC + (row - 0xF5) * 94 + cell - 0xA1), at + 3
        case (row, cell, *_) if 0xF5 <= row <= 0xFE and cell >= 0xA1:
            return chr(0xE000 + (row - 0xF5) * 94 + cell - 0xA1), at + 2
        case _:
            raise exc


_ERRORS: Final = {"big5": "commitlog-big5", "ujis": "commitlog-ujis"}
codecs.register_error(_ERRORS["big5"], _big5_extension)
codecs.register_error(_ERRORS["ujis"], _ujis_user_defined)
