"""What PostgreSQL's catalogs say of a source: its identity, slot, publication and tables. Reads only.

A Relation message describes a table as it was when the transaction ran, the catalogs as it is now. Where the two differ the
message holds, and what only the catalogs know is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from ...schemas.errors import Refused, Unreachable
from ...schemas.position import format_lsn, parse_lsn
from ...transforms.table_name import quoted
from .connection import PATIENCE_S, connect, grant, one_line
from .pgtypes import CANONICAL
from .table import CatalogColumn as CatalogColumn
from .table import Table as Table
from .table import sql_name as sql_name

GENERATED_PUBLISHED_FROM = 180_000
"""From this server version on a publication can send stored generated columns, and must where old rows are logged whole."""

SYNCHRONISED_FROM = 170_000
"""From this server version on standbys can keep copies of a logical slot."""

END_TIMEOUT_MS = 5_000


_SERIAL = r"^\{FUNCEXPR :funcid (1574 |(480|714) [^{]*\{FUNCEXPR :funcid 1574 )"
"""A default of `nextval(…)`, also cast to a smaller integer, as the catalogs keep it: to print it the server would lock the
table, and so wait for whoever alters it. Source: pg_proc.dat, whose OIDs never change; 1574 is nextval."""


_PUBLISHED = """
WITH p AS (SELECT oid, puballtables, pubviaroot FROM pg_publication WHERE pubname = %s),
t AS (SELECT oid, relnamespace, relname, relkind, relispartition FROM pg_class
      WHERE relkind IN ('r', 'p') AND relpersistence = 'p' AND oid >= 16384),
listed AS (SELECT prrelid AS oid FROM pg_publication_rel, p WHERE prpubid = p.oid
           UNION SELECT t.oid FROM t, p WHERE puballtables {})
SELECT n.nspname::text, t.relname::text FROM t JOIN pg_namespace n ON n.oid = t.relnamespace, p
WHERE CASE WHEN pubviaroot
    THEN t.oid IN (SELECT oid FROM listed) AND NOT EXISTS (
        SELECT FROM pg_partition_ancestors(t.oid) a WHERE a.relid <> t.oid AND a.relid IN (SELECT oid FROM listed))
    ELSE t.relkind = 'r' AND (t.oid IN (SELECT oid FROM listed) OR relispartition AND EXISTS (
        SELECT FROM pg_partition_ancestors(t.oid) a WHERE a.relid IN (SELECT oid FROM listed)))
    END
"""
"""What pg_publication_tables says; that view locks each table, and so waits for whoever alters one. A partition's changes come
under the name of its highest published ancestor, or with publish_via_partition_root off under its own."""
_SCHEMAS = " UNION SELECT t.oid FROM t JOIN pg_publication_namespace s ON s.pnnspid = t.relnamespace JOIN p ON s.pnpubid = p.oid"
"""Whole schemas, since PostgreSQL 15."""


_PARTLY_PUBLISHED = """
SELECT part, n.nspname::text, c.relname::text FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT 'rows' AS part WHERE r.prqual IS NOT NULL
    UNION ALL SELECT 'columns' WHERE r.prattrs IS NOT NULL AND EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attnum <> ALL (r.prattrs::int2[])
            AND (a.attgenerated = '' OR a.attgenerated = 's' AND current_setting('server_version_num')::int >= %(sent)s))) l
WHERE p.pubname = %(publication)s ORDER BY 2, 3, 1
"""
"""The tables of which a publication has a filter, or a list without some columns: with that the server refuses UPDATE and DELETE where
old rows are logged whole."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which database of which server: system identifier, timeline and database, and the WAL's end just now.

    `standby`: it follows another server and takes no writes.
    """

    system: str
    timeline: int
    database: str
    wal_end: int
    version: int
    standby: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """A logical replication slot, its positions as LSNs (0 for none).

    Args:
        invalidation: Why the server gave the slot up, as pg_replication_slots has it since PostgreSQL 17; else empty.
        failover: Standbys are to keep a copy of it; since PostgreSQL 17.
        synced: It is such a copy, or was one before its server became the primary.
    """

    name: str
    plugin: str
    database: str
    active_pid: int | None
    restart: int
    confirmed: int
    wal_status: str
    retained_bytes: int
    safe_bytes: int | None
    """WAL that may still be written before the slot is in danger; None where there is no limit."""
    invalidation: str = ""
    failover: bool = False
    synced: bool = False


@dataclass(frozen=True, slots=True)
class Compared:
    """How values of a type are compared: as which type, and by which operators, as they stand in a statement."""

    type: str
    greater: str = ">"
    equal: str = "="

    @property
    def is_plain(self) -> bool:
        """Whether the operators are the system's."""
        return self.greater == ">"


class Catalog:
    """One ordinary connection to the source, for reading catalogs.

    Args:
        url: A libpq URL.
        patience_s: How long to wait for an answer.

    Raises:
        Unreachable: The server does not answer, refuses the login or goes away. Every method may raise it.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        self.url, self._patience_s = url, patience_s
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    @property
    def connection(self) -> "psycopg.Connection[tuple[Any, ...]]":
        """The connection, opened when first needed or when the last one was lost; in autocommit."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self.url, patience_s=self._patience_s)
        return self._connection

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def identity(self) -> Identity:
        """Who the server is."""
        # The control file says the timeline of the last checkpoint, which after a promotion is the old one for minutes.
        row = self._row(
            "SELECT s.system_identifier::text, CASE WHEN pg_is_in_recovery() THEN c.timeline_id"
            " ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END, current_database(),"
            " CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,"
            " current_setting('server_version_num')::int, pg_is_in_recovery()"
            " FROM pg_control_system() s, pg_control_checkpoint() c"
        )
        assert row is not None
        return Identity(row[0], row[1], row[2], parse_lsn(row[3]), row[4], row[5])

    def slot(self, name: str) -> Slot | None:
        """The slot of that name, or None."""
        row = self._row(
            "SELECT plugin, database, active_pid, coalesce(restart_lsn, '0/0')::text, coalesce(confirmed_flush_lsn, '0/0')::text,"
            " coalesce(wal_status, ''), coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()"
            " ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint, safe_wal_size,"
            # Columns that only later servers have.
            " coalesce(to_jsonb(s)->>'invalidation_reason', ''), coalesce((to_jsonb(s)->>'failover')::bool, false),"
            " coalesce((to_jsonb(s)->>'synced')::bool, false)"
            " FROM pg_replication_slots s WHERE slot_name = %s AND slot_type = 'logical'",
            (name,),
        )
        if row is None:
            return None
        return Slot(name, row[0], row[1], row[2], parse_lsn(row[3]), parse_lsn(row[4]), *row[5:])

    def published(self, publication: str) -> set[tuple[str, str]] | None:
        """The tables under whose name a publication publishes changes, or None when there is no such publication."""
        found = self._row(
            "SELECT current_setting('server_version_num')::int >= 150000 FROM pg_publication WHERE pubname = %s",
            (publication,),
        )
        if found is None:
            return None
        rows = self.rows(_PUBLISHED.format(_SCHEMAS if found[0] else ""), (publication,))
        return {(row[0], row[1]) for row in rows}

    def left_out(self, publication: str) -> str:
        """What a publication does not publish of its tables: kinds of change, rows that a filter hides, or columns that a list does not
        have; empty for nothing."""
        row = self._row(
            "SELECT concat_ws(', ', CASE WHEN NOT pubinsert THEN 'inserts' END, CASE WHEN NOT pubupdate THEN 'updates' END,"
            " CASE WHEN NOT pubdelete THEN 'deletes' END, CASE WHEN NOT pubtruncate THEN 'truncates' END),"
            " current_setting('server_version_num')::int >= 150000 FROM pg_publication WHERE pubname = %s",
            (publication,),
        )
        if row is None or row[0] or not row[1]:
            return row[0] if row else ""
        rows = self.rows(_PARTLY_PUBLISHED, {"publication": publication, "sent": GENERATED_PUBLISHED_FROM})
        return ", ".join(f"{row[0]} of {quoted((row[1], row[2]))}" for row in rows)

    def tables(self) -> list[Table]:
        """All ordinary and partitioned tables outside the system's schemas, by name."""
        names = self.rows(
            "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'"
            " AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'commitlog', '_commitlog') AND n.nspname NOT LIKE 'pg\\_toast%'"
            " ORDER BY 1, 2"
        )
        found = (self.table(namespace, name) for namespace, name in names)
        return [table for table in found if table is not None]

    def table(self, namespace: str, name: str) -> Table | None:
        """One table, or None where it is not (or no longer)."""
        row = self._row(
            "SELECT c.oid, c.relreplident::text, c.relkind = 'p' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')",
            (namespace, name),
        )
        if row is None:
            return None
        key = self.rows(
            "SELECT a.attname::text FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(attnum, n)"
            " JOIN pg_attribute a ON a.attnum = k.attnum"
            " WHERE i.indrelid = %s AND i.indisprimary AND a.attrelid = i.indrelid ORDER BY k.n",
            (row[0],),
        )
        columns = self.rows(
            "SELECT a.attname::text, a.atttypid::int8, a.atttypmod, format_type(a.atttypid, a.atttypmod), a.attnotnull,"
            " a.attgenerated::text, a.attidentity <> '' OR d.adbin::text ~ %s,"
            " coalesce(nullif(l.collname, 'default'), '')::text, a.xmin::text::int8"
            " FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
            " LEFT JOIN pg_collation l ON l.oid = a.attcollation"
            " WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            (_SERIAL, row[0]),
        )
        return Table(namespace, name, row[1], tuple(k[0] for k in key), tuple(map(self._column, columns)), row[2])

    def _column(self, row: "tuple[Any, ...]") -> CatalogColumn:
        name, oid, modifier, engine_type, not_null, generated, identity, collation, altered_by = row
        canonical, labels = self.type(int(str(oid)))
        return CatalogColumn(
            name=str(name),
            type_oid=int(str(oid)),
            modifier=int(str(modifier)),
            engine_type=str(engine_type),
            canonical=canonical,
            nullable=not not_null,
            generated=bool(generated),
            virtual=generated == "v",
            identity=bool(identity),
            labels=labels,
            collation=str(collation),
            altered_by=altered_by,
        )

    def streamed(self, table: Table, publication: str) -> Table:
        """The table with those columns only that the publication's stream sends.

        Before PostgreSQL 18 no generated column is sent; from then on the publication says.
        """
        sent = {column.name for column in table.columns if not column.generated}
        if self.connection.info.server_version >= GENERATED_PUBLISHED_FROM:
            row = self._row(
                "SELECT attnames::text[] FROM pg_publication_tables"
                " WHERE pubname = %s AND schemaname = %s AND tablename = %s",
                (publication, table.namespace, table.name),
            )
            sent = set(row[0]) if row is not None else sent
        columns = tuple(column for column in table.columns if column.name in sent)
        return replace(table, columns=columns)

    def publishes_generated(self, publication: str) -> bool:
        """Whether a publication sends stored generated columns; false where the server cannot."""
        if self.connection.info.server_version < GENERATED_PUBLISHED_FROM:
            return False
        return (
            self._row("SELECT 1 FROM pg_publication WHERE pubname = %s AND pubgencols = 's'", (publication,))
            is not None
        )

    def type(self, oid: int) -> tuple[str, tuple[str, ...]]:
        """A type's canonical type, and its labels where it is an enum; `gone` where there is no such type any more.

        A domain is what its base type is.
        """
        if oid in CANONICAL:
            return CANONICAL[oid], ()
        row = self._row("SELECT typtype::text, typbasetype::int8 FROM pg_type WHERE oid = %s", (oid,))
        if row is not None and row[0] == "d":
            return self.type(row[1])
        if row is not None and row[0] == "e":
            labels = self.rows(
                "SELECT enumlabel::text FROM pg_enum WHERE enumtypid = %s ORDER BY enumsortorder", (oid,)
            )
            return "enum", tuple(label[0] for label in labels)
        return "gone" if row is None else "exact", ()

    def compared(self, oid: int) -> Compared:
        """How values of a type are compared by its default operators; a domain as what it is at bottom."""
        rows = self.rows(
            "WITH RECURSIVE b AS (SELECT oid, typtype, typbasetype FROM pg_type WHERE oid = %s"
            " UNION ALL SELECT t.oid, t.typtype, t.typbasetype FROM b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd')"
            " SELECT format_type(b.oid, -1), n.nspname::text, p.oprname::text FROM b"
            " LEFT JOIN (pg_opclass c JOIN pg_amop o ON o.amopfamily = c.opcfamily AND o.amoplefttype = c.opcintype"
            " AND o.amoprighttype = c.opcintype AND o.amopstrategy IN (3, 5) JOIN pg_operator p ON p.oid = o.amopopr"
            " JOIN pg_namespace n ON n.oid = p.oprnamespace) ON c.opcintype = b.oid AND c.opcdefault AND c.opcmethod = 403"
            " AND n.nspname <> 'pg_catalog' WHERE b.typtype <> 'd' ORDER BY o.amopstrategy",
            (oid,),
        )
        if len(rows) == 2:
            equal, greater = (f"OPERATOR({sql_name(row[1])}.{row[2]})" for row in rows)
            return Compared(str(rows[0][0]), greater, equal)
        return Compared(str(rows[0][0]))

    def type_name(self, oid: int, modifier: int) -> str:
        """The server's name of a type, such as `numeric(10,2)`."""
        row = self._row("SELECT format_type(%s::int8::oid, %s)", (oid, modifier))
        return "" if row is None else str(row[0])

    def end_backend(self, pid: int) -> None:
        """End a process of the server, and wait until it is gone; one that does not go in time stays."""
        self._row("SELECT pg_terminate_backend(%s, %s)", (pid, END_TIMEOUT_MS))

    def flush_wal(self, position: int) -> None:
        """Let the server put its WAL on disk up to a position, if it has not: by a commit of an empty message."""
        self._row(
            "SELECT pg_logical_emit_message(true, 'commitlog.flush', '') WHERE pg_current_wal_flush_lsn() < %s::pg_lsn",
            (format_lsn(position),),
        )

    def setting(self, name: str) -> str:
        """A server setting as text, empty where the server does not know it."""
        row = self._row("SELECT coalesce(current_setting(%s, true), '')", (name,))
        return "" if row is None else str(row[0])

    def _row(self, query: str, parameters: tuple[object, ...] = ()) -> "tuple[Any, ...] | None":
        rows = self.rows(query, parameters)
        return rows[0] if rows else None

    def rows(self, query: str, parameters: tuple[object, ...] | Mapping[str, object] = ()) -> "list[tuple[Any, ...]]":
        """What a query of the catalogs gives."""
        try:
            return self.connection.execute(query.encode(), parameters or None).fetchall()
        except psycopg.OperationalError as exc:
            raise Unreachable(f"the source's catalogs cannot be read: {one_line(exc)}") from exc
        except psycopg.errors.InsufficientPrivilege as exc:
            user = self.connection.info.user
            raise Refused(f"the source's catalogs cannot be read: {one_line(exc)}", hint=grant(exc, user)) from exc
