"""What a table is besides its rows: by it one sees that rows changed in a way the stream does not tell of.

A DROP and CREATE under the same name, a rewrite by ALTER TABLE, a column with a default, a partition attached, detached or
truncated: none of them sends a row. Read from the catalogs without a lock on any table, so that nobody who alters one is waited for.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from ...schemas.errors import Unreachable
from ...transforms.table_name import TableName, quoted
from .catalog import GENERATED_PUBLISHED_FROM, Catalog, sql_name

SCHEMAS_PUBLISHED_FROM = 150_000
"""From this server version on a publication can name whole schemas."""

_TABLES = """
WITH RECURSIVE wanted AS (SELECT * FROM unnest(%(namespaces)s::text[], %(names)s::text[]) AS w (namespace, name)),
t AS (SELECT c.oid, c.relfilenode, c.relkind, c.relpersistence, c.relnamespace, w.* FROM wanted w
      JOIN pg_namespace n ON n.nspname = w.namespace JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
      WHERE c.relkind IN ('r', 'p')),
down (root, oid, ties) AS (SELECT oid, oid, ARRAY[]::int8[] FROM t WHERE relkind = 'p'
    UNION ALL SELECT d.root, i.inhrelid, d.ties || i.xmin::text::int8 FROM down d JOIN pg_inherits i ON i.inhparent = d.oid),
up (leaf, oid) AS (SELECT oid, oid FROM t
    UNION ALL SELECT u.leaf, i.inhparent FROM up u JOIN pg_inherits i ON i.inhrelid = u.oid
        JOIN pg_class c ON c.oid = i.inhparent AND c.relkind = 'p'),
via AS (SELECT u.leaf, 'table ' || r.oid AS way FROM up u JOIN pg_publication_rel r ON r.prrelid = u.oid
            JOIN pg_publication p ON p.oid = r.prpubid AND p.pubname = %(publication)s
        UNION SELECT t.oid, 'all ' || p.oid FROM t, pg_publication p
            WHERE p.pubname = %(publication)s AND p.puballtables AND t.relpersistence = 'p' {schemas}),
made_of (root, oid, plain) AS (
    SELECT a.atttypid, a.atttypid, true FROM t JOIN pg_attribute a ON a.attrelid = t.oid
        WHERE a.attnum > 0 AND a.atttypid >= 16384
    UNION SELECT m.root, n.oid, n.plain FROM made_of m JOIN pg_type y ON y.oid = m.oid CROSS JOIN LATERAL (
        SELECT y.typbasetype AS oid, m.plain WHERE y.typtype = 'd'
        UNION ALL SELECT y.typelem, false WHERE y.typcategory = 'A'
        UNION ALL SELECT r.rngsubtype, false FROM pg_range r WHERE y.oid IN (r.rngtypid, r.rngmultitypid)
        UNION ALL SELECT a.atttypid, false FROM pg_attribute a
            WHERE a.attrelid = y.typrelid AND y.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped) n WHERE n.oid >= 16384),
form AS (
    SELECT m.root, json_object_agg(d.name, d.text) AS form FROM made_of m JOIN pg_type y ON y.oid = m.oid CROSS JOIN LATERAL (
        SELECT 'type ' || y.oid AS name, string_agg(a.attnum || ' ' || a.atttypid, ',' ORDER BY a.attnum) AS text FROM pg_attribute a
            WHERE a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped GROUP BY a.attrelid
        UNION ALL SELECT 'label ' || e.oid, e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = y.oid AND NOT m.plain) d GROUP BY 1),
columns AS (
    SELECT t.oid, json_object_agg(a.attname, json_build_array(a.attnum, a.atttypid::int8, a.atttypmod, coalesce(f.form, '{{}}'))) AS found
    FROM t JOIN pg_attribute a ON a.attrelid = t.oid LEFT JOIN form f ON f.root = a.atttypid
    WHERE a.attnum > 0 AND NOT a.attisdropped AND (a.attgenerated = '' OR {generated}) GROUP BY 1),
altered AS (
    SELECT t.oid, json_object_agg(a.attname, a.xmin::text::int8) AS found FROM t JOIN pg_attribute a ON a.attrelid = t.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped GROUP BY 1),
leaves AS (SELECT d.root AS oid, json_object_agg(c.oid, c.relfilenode::int8 || d.ties) AS found
    FROM down d JOIN pg_class c ON c.oid = d.oid WHERE c.relkind = 'r' GROUP BY 1),
ways AS (SELECT v.leaf AS oid, json_agg(v.way ORDER BY v.way) AS found FROM via v GROUP BY 1)
SELECT t.namespace, t.name, t.oid::int8, t.relfilenode::int8, columns.found, leaves.found, ways.found, altered.found, ARRAY(
    SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0 AND a.attgenerated <> '' ORDER BY 1)
FROM t LEFT JOIN columns USING (oid) LEFT JOIN altered USING (oid) LEFT JOIN leaves USING (oid) LEFT JOIN ways USING (oid)
"""
_GENERATED = """a.attgenerated = 's' AND EXISTS (
        SELECT FROM pg_publication WHERE pubname = %(publication)s AND pubgencols = 's')"""
_BY_SCHEMA = """ UNION SELECT u.leaf, 'schema ' || s.oid FROM up u JOIN pg_class c ON c.oid = u.oid
    JOIN pg_publication_namespace s ON s.pnnspid = c.relnamespace
    JOIN pg_publication p ON p.oid = s.pnpubid AND p.pubname = %(publication)s"""

_HOLDERS = """
WITH RECURSIVE wanted AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS w (namespace, name)),
down (namespace, name, oid, relkind) AS (SELECT w.namespace, w.name, c.oid, c.relkind FROM wanted w
        JOIN pg_namespace n ON n.nspname = w.namespace JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
    UNION ALL SELECT d.namespace, d.name, c.oid, c.relkind FROM down d JOIN pg_inherits i ON i.inhparent = d.oid
        JOIN pg_class c ON c.oid = i.inhrelid WHERE d.relkind = 'p')
SELECT d.namespace, d.name, n.nspname::text, c.relname::text, CASE WHEN c.relpersistence <> 'p' THEN 'unlogged' ELSE CASE c.relreplident
    WHEN 'f' THEN CASE WHEN v.virtual THEN 'refused' ELSE 'full' END
    WHEN 'd' THEN CASE WHEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) THEN 'key' ELSE 'none' END
    WHEN 'i' THEN CASE WHEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident) THEN 'index' ELSE 'none' END
    ELSE 'none' END END, v.virtual
FROM down d JOIN pg_class c ON c.oid = d.oid JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL (SELECT EXISTS
    (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated = 'v' AND NOT a.attisdropped) AS virtual) v
WHERE c.relkind = 'r' ORDER BY 1, 2, 3, 4
"""


@dataclass(frozen=True, slots=True)
class Incarnation:
    """A table as its catalogs have it at one time.

    Args:
        table: Its name, quoted.
        oid: Its object id: a table that was dropped and made anew has another.
        file: The file of its rows: a rewrite makes another; 0 for a partitioned table.
        columns: Name to (number, type's object id, modifier, form), of the columns that the stream sends: a generated one may become one
            of them. A column that was dropped and added anew has another number. The form is what the text of its values depends on besides: the attributes of composite types, and the labels of enums in
            arrays and the like; an enum's own column is told by its shape.
        leaves: Object id of each leaf partition to its file, and to what ties it and those above it to the table: the transaction that
            attached each.
        ways: How it is in the publication; taken out and put back, it is there in another way.
        altered: Name of a column to the transaction that altered it last, or set its default, its statistics or the like.
        generated: The columns that are generated, sent or not.
    """

    table: str
    oid: int
    file: int
    columns: dict[str, list[Any]]
    leaves: dict[str, list[int]]
    ways: list[str]
    altered: dict[str, int] = field(default_factory=dict[str, int])
    generated: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Holder:
    """A table that holds rows: an ordinary one, or a leaf partition.

    Args:
        of: The table that is published: itself, or the partitioned one.
        table: Its name.
        old_rows: What is logged of a row's old values: `full`, `key` (primary key), `index`, or `none`: published, the server refuses
            UPDATE and DELETE. `refused`: as `none`, for whole old rows of a table with a virtual generated column. `unlogged`: nothing at all
            of its rows is.
        virtual: It has a virtual generated column.
    """

    of: TableName
    table: TableName
    old_rows: str
    virtual: bool = False

    @property
    def quoted(self) -> str:
        """The name as messages write it."""
        return quoted(self.table)


def incarnations(catalog: Catalog, tables: Collection[TableName], publication: str) -> dict[TableName, Incarnation]:
    """The tables that exist, as they are now."""
    version = catalog.connection.info.server_version
    ordered = sorted(tables)
    rows = catalog.rows(
        _TABLES.format(
            schemas=_BY_SCHEMA if version >= SCHEMAS_PUBLISHED_FROM else "",
            generated=_GENERATED if version >= GENERATED_PUBLISHED_FROM else "false",
        ),
        {
            "namespaces": [table[0] for table in ordered],
            "names": [table[1] for table in ordered],
            "publication": publication,
        },
    )
    return {
        (row[0], row[1]): Incarnation(
            quoted((row[0], row[1])), row[2], row[3], row[4] or {}, row[5] or {}, row[6] or [], row[7] or {}, row[8]
        )
        for row in rows
    }


def holders(catalog: Catalog, tables: Collection[TableName]) -> list[Holder]:
    """Where the rows of tables are, and what is logged of their old values: for a partitioned table its leaves."""
    ordered = sorted(tables)
    rows = catalog.rows(_HOLDERS, ([table[0] for table in ordered], [table[1] for table in ordered]))
    return [Holder((row[0], row[1]), (row[2], row[3]), row[4], row[5]) for row in rows]


def logged_by(holder: Holder) -> str:
    """What makes the server log the rows of a table."""
    return f"ALTER TABLE {holder.quoted} SET LOGGED"


def name_of(catalog: Catalog, oid: int) -> str:
    """The quoted name of the table with an object id, empty where there is none."""
    rows = catalog.rows(
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s",
        (oid,),
    )
    return quoted((rows[0][0], rows[0][1])) if rows else ""


def may_hold(catalog: Catalog, oids: Iterable[str], field: str = "") -> bool:
    """Whether some tables hold a row, or one with a value in a field.

    Also true where the server does not answer within a second: the table is large, or locked, or not ours to read.

    Args:
        catalog: The source.
        oids: Object ids of the tables; partitioned ones, too.
        field: The field; empty for any row.
    """
    names = catalog.rows(
        "SELECT CASE relkind WHEN 'r' THEN 'ONLY ' ELSE '' END || oid::regclass FROM pg_class WHERE oid = ANY (%s::oid[])",
        (list(oids),),
    )
    condition = f" WHERE {sql_name(field)} IS NOT NULL" if field else ""
    connection = catalog.connection
    try:
        with connection.transaction():
            connection.execute(
                "SET LOCAL lock_timeout = 50; SET LOCAL statement_timeout = 1000; SET LOCAL row_security = off"
            )
            return any(_exists(connection, f"SELECT FROM {row[0]}{condition}") for row in names)
    except psycopg.Error:
        if connection.closed:
            raise Unreachable("the source went away") from None
        return True


def _exists(connection: "psycopg.Connection[tuple[Any, ...]]", query: str) -> bool:
    row = connection.execute(f"SELECT EXISTS ({query})".encode()).fetchone()
    return row is None or bool(row[0])
