"""The types of MySQL and MariaDB: which canonical type each is (schemas/README.md §3), by its name as a table's description has it."""

import re

CANONICAL = {
    "tinyint": "int16",
    "tinyint unsigned": "int16",
    "smallint": "int16",
    "smallint unsigned": "int32",
    "mediumint": "int32",
    "mediumint unsigned": "int32",
    "int": "int32",
    "int unsigned": "int64",
    "bigint": "int64",
    "bigint unsigned": "decimal",
    "decimal": "decimal",
    "decimal unsigned": "decimal",
    "float": "float32",
    "float unsigned": "float32",
    "double": "float64",
    "double unsigned": "float64",
    "year": "int16",
    "date": "date",
    "datetime": "timestamp",
    "timestamp": "instant",
    "char": "text",
    "varchar": "text",
    "tinytext": "text",
    "text": "text",
    "mediumtext": "text",
    "longtext": "text",
    "binary": "bytes",
    "varbinary": "bytes",
    "tinyblob": "bytes",
    "blob": "bytes",
    "mediumblob": "bytes",
    "longblob": "bytes",
    "json": "json",
    "enum": "enum",
    "vector": "bytes",
}
"""Name without length to canonical type. What is not here travels as `exact`: its text, unchanged."""

_NAMED = re.compile(r"([a-z0-9]+(?: varying)?)(\(.*\))?((?: unsigned| zerofill)*)", re.DOTALL)
_LABEL = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)
_ESCAPED = re.compile(r"''|\\(.)", re.DOTALL)
_SIGNS = {"0": "\0", "n": "\n", "r": "\r", "Z": "\x1a", "t": "\t"}
_WIDTHS = frozenset("tinyint smallint mediumint int bigint year float double".split())
"""Types whose numbers in parentheses only say how to print or round, which the binlog does not have."""

_LOGGED = {"uuid": "binary(16)", "inet6": "binary(16)", "inet4": "binary(4)", "geomcollection": "geometrycollection"}
"""What the binlog calls a type that it does not know, or that has another name there: of these MariaDB logs the bytes."""


def engine_type(column_type: str) -> str:
    """A type as records name it, which is what the binlog says of it.

    Args:
        column_type: As information_schema has it, such as `int(10) unsigned zerofill`.
    """
    found = _NAMED.fullmatch(column_type)
    if found is None:
        return column_type
    name, length, signs = found.groups()
    if name in _LOGGED:
        return _LOGGED[name]
    shown = "" if name in _WIDTHS else length or ""
    return f"{name}{shown}{' unsigned' if 'unsigned' in signs else ''}"


def canonical(engine: str) -> str:
    """The canonical type of what `engine_type` gives."""
    found = _NAMED.fullmatch(engine)
    name = f"{found[1]}{found[3]}" if found else engine
    return CANONICAL.get(name, "exact")


def labels(column_type: str) -> tuple[str, ...]:
    """The labels of an enum or a set, in their order; of another type none."""
    if not column_type.startswith(("enum(", "set(")):
        return ()
    return tuple(_ESCAPED.sub(_sign, label) for label in _LABEL.findall(column_type))


def _sign(found: re.Match[str]) -> str:
    return "'" if found[1] is None else _SIGNS.get(found[1], found[1])
