"""The query of a table's rows that come after a key, in the order of their keys, and their values as the binlog's decoder writes them. No I/O."""

import base64
from binascii import hexlify
from collections.abc import Callable, Sequence
from struct import Struct

from pymysql.converters import escape_string

from .binlog.column import BinlogColumn
from .binlog.table_map import BinlogRelation
from .binlog.values import double_text, read_float
from .mysql_catalog import MysqlTable, sql_name

Text = Callable[[bytes], bytes]

_float = Struct("<f")
_GEOMETRIES = frozenset(
    "geometry point linestring polygon multipoint multilinestring multipolygon geometrycollection".split()
)
_INTEGERS = frozenset("tinyint smallint mediumint int bigint year".split())


def relation_of(table: MysqlTable) -> BinlogRelation:
    """A table as a table map would describe it now."""
    columns = tuple(
        BinlogColumn(
            name=column.name,
            in_identity=True,
            type_oid=0,
            modifier=-1,
            canonical=column.canonical,
            engine_type=column.engine_type,
            nullable=column.nullable,
            labels=column.labels,
        )
        for column in table.columns
    )
    names = [column.name for column in columns]
    return BinlogRelation(
        oid=0,
        namespace=table.namespace,
        name=table.name,
        identity="f",
        columns=columns,
        key=tuple(names.index(name) for name in table.key),
    )


def rows_after(relation: BinlogRelation, key: Sequence[str], start: Sequence[object] | None) -> str:
    """The query, without a limit.

    Args:
        relation: The columns to read.
        key: The key's columns.
        start: The key's values as records hold them; None for all rows.
    """
    by_name = {column.name: column for column in relation.columns}
    ordered = [by_name[name] for name in key]
    compared = [_compared(column) for column in ordered]
    query = f"SELECT {', '.join(map(_selected, relation.columns))} FROM {sql_name(*relation.table)}"  # noqa: S608 - quoted names
    if start is not None:
        query += f" WHERE {_after(compared, [_literal(c, value) for c, value in zip(ordered, start, strict=True)])}"
    return f"{query} ORDER BY {', '.join(compared)}"


def _after(columns: Sequence[str], bounds: Sequence[str]) -> str:
    """Behind the bounds; the first condition alone is what an index serves."""
    if len(columns) == 1:
        return f"{columns[0]} > {bounds[0]}"
    terms = [
        " AND ".join(
            [f"{c} = {b}" for c, b in zip(columns[:last], bounds, strict=False)] + [f"{columns[last]} > {bounds[last]}"]
        )
        for last in range(len(columns))
    ]
    return f"{columns[0]} >= {bounds[0]} AND ({' OR '.join(terms)})"


def _base(column: BinlogColumn) -> str:
    return column.engine_type.partition("(")[0].removesuffix(" unsigned")


def _as_hex(column: BinlogColumn) -> bool:
    """Whether the server is asked for hexadecimal digits: of types that have a text of their own there, and are short, for a MariaDB gives
    null for a text longer than its max_allowed_packet."""
    return column.canonical == "bytes" and _base(column) in ("binary", "vector")


def _selected(column: BinlogColumn) -> str:
    """A column as the text that `text_of` takes."""
    name, base = sql_name(column.name), _base(column)
    if _as_hex(column):
        return f"HEX({name})"
    if base == "float":
        return f"CAST({name} AS DOUBLE)"
    if base in ("bit", "year"):
        return f"{name} + 0"
    return name


def text_of(column: BinlogColumn) -> Text | None:
    """What makes of the server's text the decoder's; None where they are the same."""
    base = _base(column)
    if _as_hex(column):
        return lambda text: b"\\x" + text.lower()
    if column.canonical == "bytes":
        return lambda octets: b"\\x%b" % hexlify(octets)
    if column.engine_type in _GEOMETRIES:
        return hexlify
    if column.canonical == "instant":
        return lambda text: text + b"+00"
    if base == "float":
        return lambda text: read_float(_float.pack(float(text)), 0)[0]
    if base == "double":
        return lambda text: double_text(float(text))
    if base == "bit":
        bits = int(column.engine_type[4:-1])
        return lambda text: format(int(text), f"0{bits}b").encode()
    if column.engine_type.endswith("unsigned"):
        # ZEROFILL shows zeros that are none of the value's.
        return lambda text: stripped if (stripped := text.lstrip(b"0"))[:1].isdigit() else b"0" + stripped
    return None


def collated(column: BinlogColumn) -> bool:
    """Whether only the server knows a column's order: that of its collation, in which its indexes are."""
    return column.canonical == "text"


def _compared(column: BinlogColumn) -> str:
    """A column as rows are ordered by it: text as the server orders it, an enum by its labels' order, a set by its text's bytes."""
    name, base = sql_name(column.name), _base(column)
    if base == "set":
        return f"CAST(CONVERT({name} USING utf8mb4) AS BINARY)"
    if base == "float":
        return f"CAST({name} AS DOUBLE)"
    return f"{name} + 0" if base in ("bit", "year", "enum") else name


def _literal(column: BinlogColumn, value: object) -> str:
    """A key's value as SQL text."""
    base, text = _base(column), str(value)
    if column.canonical == "bytes":
        return f"X'{base64.b64decode(text, validate=True).hex()}'"
    if column.canonical == "text":
        # Compared by the column's own collation, after the server has put it into the column's own character set.
        return f"_utf8mb4 X'{text.encode().hex()}'"
    if base == "set":
        return f"X'{text.encode().hex()}'"
    if base == "enum":
        return str(column.labels.index(text) + 1 if value else 0)
    if base in _INTEGERS or base == "decimal":
        return text
    if base == "float":
        return repr(_float.unpack(_float.pack(float(text)))[0])
    if base == "double":
        return repr(float(text))
    if base == "bit":
        return str(int(text, 2))
    if column.canonical in ("timestamp", "instant"):
        text = text.replace("T", " ").removesuffix("Z")
    return f"'{escape_string(text)}'"
