"""Which type of the target a column of a shape gets. Asks the target's catalogs, changes nothing.

The source's own type where the target has it built in; the plain type of the canonical type otherwise, for instance for a
domain; an enum of the same name for an enum; `text`, and a note that says so, for every other type.
"""

import re
from typing import Any, Final, LiteralString, cast

import psycopg
from psycopg import sql

from ....schemas.shape import Column
from ....transforms.table_name import TableName, quoted, table_name
from ...tail.pgtypes import CANONICAL
from ..model import EntityModel
from ..table_plan import TypeChoice

NAME_BYTES_MAX: Final = 63
"""PostgreSQL cuts longer names, silently: two of them could become one."""

PLAIN: Final[dict[str, str]] = {
    "bool": "boolean",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "decimal": "numeric",
    "float32": "real",
    "float64": "double precision",
    "money": "money",
    "text": "text",
    "uuid": "uuid",
    "json": "json",
    "jsonb": "jsonb",
    "bytes": "bytea",
    "date": "date",
    "time": "time without time zone",
    "timetz": "time with time zone",
    "interval": "interval",
    "timestamp": "timestamp without time zone",
    "instant": "timestamp with time zone",
}
"""Canonical type to the PostgreSQL type that takes every value of it."""

BAND: Final[dict[str, int]] = {"bigint": 1 << 40, "integer": 1 << 30, "smallint": 1 << 14}
"""Type of an identity column to the first number that the fork itself gives out: far above upstream's own."""

_MEANS_ANOTHER_THING = ("aclitem", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list")
"""Built-in types, beside those named reg…, whose values name objects of one server or cannot be read back."""


def choice_sql(choice: TypeChoice) -> sql.Composable:
    """A chosen type in a statement."""
    return sql.Identifier(*choice.enum) if choice.enum else type_sql(choice.shown)


def type_sql(shown: str) -> sql.SQL:
    """A type in a statement.

    Args:
        shown: What the target's own format_type() wrote, or a name of PLAIN: never the text of a log.
    """
    return sql.SQL(cast(LiteralString, shown))  # type: ignore[redundant-cast] # mypy takes LiteralString for str


def choose(connection: "psycopg.Connection[tuple[Any, ...]]", column: Column, model: EntityModel) -> TypeChoice:
    """The type of a column. The connection must be in autocommit: old servers refuse a name they cannot parse.

    Args:
        connection: To the target.
        column: The column.
        model: Its entity; an enum that has no name of its own gets one of its table.
    """
    if model.engine in FAMILY:
        return of_mysql(column, model)
    if column.type == "enum":
        return _enum(column, model.table)
    built_in = _built_in(connection, column)
    if built_in:
        return TypeChoice(built_in)
    if column.type in PLAIN:
        return TypeChoice(PLAIN[column.type])
    return TypeChoice("text", note=f"the source's {column.engine_type} becomes text")


FAMILY: Final = ("mysql", "mariadb")

_NOTES: Final[dict[str, str]] = {
    "date": "zero dates have no place",
    "timestamp": "zero dates have no place",
    "instant": "zero dates have no place",
    "text": "texts with a NUL have no place",
    "json": "texts with a NUL have no place",
}


def of_mysql(column: Column, model: EntityModel) -> TypeChoice:
    """The type of a column of MySQL or MariaDB. No I/O."""
    base, size = column.engine_type.partition("(")[0].partition(" ")[0], _size(column.engine_type)
    match column.type:
        case "enum" if column.labels:
            return _enum_of_column(column, model.table)
        case "decimal" if column.engine_type == "bigint unsigned":
            return TypeChoice("numeric(20,0)")
        case "decimal" if size:
            return TypeChoice(f"numeric({size})" if "," in size else f"numeric({size},0)")
        case "text" if base in ("char", "varchar") and size:
            # A CHAR comes without its padding, and PostgreSQL's would get it.
            return TypeChoice(f"character varying({size})", note=_NOTES["text"])
        case "exact" if base == "bit" and size:
            return TypeChoice(f"bit({size})")
        case "exact" | "enum":
            return TypeChoice("text", note=f"the source's {column.engine_type[:60]} becomes text")
        case canonical:
            return TypeChoice(PLAIN.get(canonical, "text"), note=_NOTES.get(canonical, ""))


def _size(engine_type: str) -> str:
    found = re.search(r"\(([0-9]+(?:,[0-9]+)?)\)", engine_type)
    return found[1] if found else ""


def _enum_of_column(column: Column, table: TableName) -> TypeChoice:
    name = f"{table[1]}_{column.field}"
    if len(name.encode()) > NAME_BYTES_MAX or not all(
        0 < len(label.encode()) <= NAME_BYTES_MAX for label in column.labels
    ):
        return TypeChoice("text", note="the source's enum becomes text")
    enum = (table[0], name)
    return TypeChoice(quoted(enum), column.labels, enum, note="an invalid value, which is empty, has no place")


def _enum(column: Column, table: TableName) -> TypeChoice:
    try:
        enum = table_name(column.engine_type)
    except ValueError:
        enum = (table[0], column.engine_type)
    if any(not 0 < len(part.encode()) <= NAME_BYTES_MAX or "\0" in part for part in enum):
        return TypeChoice("text", note=f"the source's {column.engine_type} becomes text")
    return TypeChoice(quoted(enum), column.labels, enum)


def _built_in(connection: "psycopg.Connection[tuple[Any, ...]]", column: Column) -> str:
    """The target's name of the source's type where it is built in and means the same there, else empty."""
    try:
        row = connection.execute(
            "SELECT t.oid::int8, format_type(t.oid, %s), coalesce(e.typname, t.typname)::text, t.typtype::text"
            " FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'"
            " WHERE t.oid = to_regtype(%s) AND t.typnamespace = 'pg_catalog'::regnamespace",
            (column.modifier, column.engine_type),
        ).fetchone()
    except (psycopg.ProgrammingError, psycopg.DataError):
        return ""
    if row is None or row[3] not in ("b", "r", "m"):
        return ""
    if row[2].startswith("reg") or row[2] in _MEANS_ANOTHER_THING or (row[2] == "xml" and not _knows_xml(connection)):
        return ""
    return str(row[1]) if CANONICAL.get(row[0], "exact") == column.type else ""


def _knows_xml(connection: "psycopg.Connection[tuple[Any, ...]]") -> bool:
    """Whether the target was built with libxml: without it there is the type, and no value of it."""
    try:
        connection.execute("SELECT '<a/>'::xml")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True
