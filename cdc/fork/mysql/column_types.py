"""Which type of MySQL or MariaDB a column of a shape gets. No I/O.

The source's own type where the source is of the family; else the type that takes every value of the canonical type, and text where
there is none.
"""

import re
from collections.abc import Iterable
from typing import Final

from ....schemas.errors import Refused
from ....schemas.shape import Column
from ...tail.mysql_types import CANONICAL
from ...tail.mysql_types import labels as labels_of
from ..model import EntityModel, without
from ..table_plan import TypeChoice

INDEX_BYTES_MAX: Final = 3072
KEY_COLUMNS_MAX: Final = 16
"""What an index of InnoDB takes."""

KEY_CHARACTERS_MAX: Final = 768
"""Of a text in a key: four bytes each."""

ROW_BYTES_MAX: Final = 60_000
"""Of the 65,535 that a row takes without what is stored beside it, a little is kept for later columns."""

VARCHAR_MAX: Final = 255
"""A longer text is stored beside its row, and needs no limit."""

BAND: Final[dict[str, int]] = {
    "bigint": 1 << 40,
    "bigint unsigned": 1 << 40,
    "int": 1 << 30,
    "int unsigned": 1 << 30,
    "smallint": 1 << 14,
}
"""Type of a numbered column to the first number that the fork itself gives out: far above upstream's own."""

_PLAIN: Final[dict[str, str]] = {
    "bool": "tinyint(1)",
    "int16": "smallint",
    "int32": "int",
    "int64": "bigint",
    "float32": "float",
    "float64": "double",
    "uuid": "char(36)",
    "date": "date",
    "time": "time(6)",
    "timestamp": "datetime(6)",
    "instant": "datetime(6)",
    "bytes": "longblob",
    "timetz": "varchar(50)",
    "interval": "varchar(100)",
    "money": "varchar(50)",
}
"""Canonical type to the type that takes every value, or as good as; all others are text."""

_NOTES: Final[dict[str, str]] = {
    "float32": "NaN, infinities and the sign of -0 have no place",
    "float64": "NaN, infinities and the sign of -0 have no place",
    "date": "years 0 to 9999 only",
    "timestamp": "years 0 to 9999 only",
    "instant": "in UTC without its zone, years 0 to 9999 only",
    "timetz": "becomes text, as it has a zone",
    "interval": "becomes text",
    "money": "becomes text",
    "json": "becomes text, exactly as it was written",
    "jsonb": "becomes text, exactly as it was written",
}

_AS_THEY_ARE = frozenset(
    "tinyint smallint mediumint int bigint decimal float double date datetime timestamp time year bit".split()
)
_TEXTS = frozenset("tinytext text mediumtext longtext".split())
_BLOBS = frozenset("tinyblob blob mediumblob longblob".split())
_VARIABLE = frozenset({"varchar", "varbinary", "longtext", "longblob"})


def choose(model: EntityModel) -> dict[str, TypeChoice]:
    """Field to type of all columns of an entity.

    Raises:
        Refused: There can be no index on its key.
    """
    types = {column.field: _choose(column, model.engine) for column in model.columns}
    _fit_key(model, types)
    size = sum(4 * _length(types[f].shown) for f in types if _base(types[f].shown) == "varchar")
    if size > ROW_BYTES_MAX:
        for field in types.keys() - set(model.key):
            if _base(types[field].shown) == "varchar":
                types[field] = TypeChoice("longtext", note=types[field].note)
    return types


def notes(types: Iterable[TypeChoice], collation: str) -> list[str]:
    """What the owner should know of all tables together."""
    chosen = list(types)
    bases = {_base(choice.shown) for choice in chosen}
    lines: list[str] = []
    if bases & {"char", "varchar", "longtext", "enum"}:
        lines.append(
            f"texts are utf8mb4, told apart and ordered by code points ({collation}), whatever the source's collation is"
        )
    if any(choice.note for choice in chosen):
        lines.append("a row with a value that has no place becomes a conflict, and the fork goes on")
    return lines


def _choose(column: Column, engine: str) -> TypeChoice:
    choice = _of_the_family(column) if engine in ("mysql", "mariadb") else None
    if choice is not None:
        return choice
    note = _NOTES.get(column.type, "")
    match column.type:
        case "decimal":
            return _decimal(column)
        case "enum":
            return _enum(column.labels, column)
        case "text":
            length = re.fullmatch(r"(?:character varying|character|bpchar)\(([0-9]+)\)", column.engine_type)
            return _text(int(length[1]) if length else None)
        case "exact":
            return TypeChoice("longtext", note=f"the source's {column.engine_type} becomes text")
        case canonical:
            return TypeChoice(_PLAIN.get(canonical, "longtext"), note=note)


def _of_the_family(column: Column) -> TypeChoice | None:
    """The source's own type; None where another is better."""
    engine_type, base = column.engine_type, _base(column.engine_type)
    known = CANONICAL.get(base + (" unsigned" if engine_type.endswith("unsigned") else ""))
    if base in ("enum", "set"):
        return _enum(column.labels or labels_of(engine_type), column, kind=base)
    if base in _AS_THEY_ARE and (known or "exact") == column.type:
        return TypeChoice("tinyint(1)" if column.type == "bool" else engine_type)
    if base in ("char", "varchar"):
        return _text(_length(engine_type), kind=base)
    if base in ("binary", "varbinary"):
        return TypeChoice(engine_type)
    if base in _TEXTS:
        # In utf8mb4 a text takes more bytes than in the source's character set.
        return TypeChoice("longtext")
    return TypeChoice(base) if base in _BLOBS else None


def _text(length: int | None, kind: str = "varchar") -> TypeChoice:
    return TypeChoice(f"{kind}({length})" if length and length <= VARCHAR_MAX else "longtext")


def _decimal(column: Column) -> TypeChoice:
    found = re.fullmatch(r"(?:numeric|decimal)\(([0-9]+)(?:,([0-9]+))?\)", column.engine_type)
    precision, scale = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    if 0 < precision <= 65 and scale <= min(30, precision):
        return TypeChoice(f"decimal({precision},{scale})", note="NaN has no place")
    return TypeChoice("longtext", note="becomes text, as its digits have no limit")


def _enum(labels: tuple[str, ...], column: Column, kind: str = "enum") -> TypeChoice:
    folded = {label.rstrip(" ") for label in labels}
    limit, forbidden = (64, ",") if kind == "set" else (65_535, "\0")
    fits = 0 < len(labels) <= limit and len(folded) == len(labels) and all(
        label == label.rstrip(" ") and 0 < len(label) <= VARCHAR_MAX and forbidden not in label for label in labels
    )  # fmt: skip
    if not fits:
        return TypeChoice("longtext", note=f"the source's {column.engine_type[:60]} becomes text")
    texts = ",".join("'" + label.replace("\\", "\\\\").replace("'", "''") + "'" for label in labels)
    return TypeChoice(f"{kind}({texts})", labels)


def _fit_key(model: EntityModel, types: dict[str, TypeChoice]) -> None:
    """Give texts and bytes in a key a length, as an index has one."""
    variable = [field for field in model.key if _base(types[field].shown) in _VARIABLE | _TEXTS | _BLOBS]
    fixed = sum(_key_bytes(types[field].shown) for field in model.key if field not in variable)
    if len(model.key) > KEY_COLUMNS_MAX or fixed + len(variable) * 4 > INDEX_BYTES_MAX:
        raise Refused(
            f"{model.entity}: its key of {len(model.key)} columns is more than an index of InnoDB takes",
            hint=without(model.entity),
        )
    short = [field for field in variable if 0 < _length(types[field].shown) <= _room(fixed, len(variable))]
    fixed += sum(_variable_bytes(types[field].shown) for field in short)
    room = _room(fixed, len(variable) - len(short))
    for field in variable:
        if field in short:
            continue
        binary = _base(types[field].shown) in _BLOBS | {"varbinary"}
        shown = f"varbinary({4 * room})" if binary else f"varchar({room})"
        unit = f"{4 * room} bytes" if binary else f"{room} characters"
        note = f"at most {unit}, as it is in the key"
        types[field] = TypeChoice(shown, note="; ".join(filter(None, (types[field].note, note))))


def _room(used: int, columns: int) -> int:
    """Characters for each of so many columns of a key, of which so many bytes are used."""
    return min(KEY_CHARACTERS_MAX, (INDEX_BYTES_MAX - used) // 4 // max(columns, 1))


def _variable_bytes(shown: str) -> int:
    return _length(shown) * (1 if _base(shown) == "varbinary" else 4)


def _key_bytes(shown: str) -> int:
    match _base(shown):
        case "binary":
            return _length(shown)
        case "char":
            return 4 * _length(shown)
        case "decimal":
            return 30
        case _:
            return 8


def _base(shown: str) -> str:
    return shown.partition("(")[0].partition(" ")[0]


def _length(shown: str) -> int:
    found = re.search(r"\(([0-9]+)\)", shown)
    return int(found[1]) if found else 0
