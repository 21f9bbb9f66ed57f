"""What a MySQL or MariaDB says of itself: who it is, its binary logs and its tables. Reads only.

The binary log describes a table as it was when the transaction ran, the catalogs as it is now. Where the two differ the log holds.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from ...schemas.errors import CommitLogError, Refused
from ...schemas.position import binlog_position
from .gtids import Gtids, parse_gtids
from .mysql_address import Address, parse
from .mysql_connection import ERRORS, GONE, PATIENCE_S, Connection, code, connect, failure
from .mysql_table import ForeignKey as ForeignKey
from .mysql_table import MysqlColumn as MysqlColumn
from .mysql_table import MysqlTable as MysqlTable
from .mysql_table import described_column, foreign_keys
from .mysql_table import sql_name as sql_name
from .table import Table

SYSTEM = ("mysql", "information_schema", "performance_schema", "sys", "commitlog", "_commitlog")
"""Databases that are the server's or our own."""

_NO_BINARY_LOG = 1381
_STATUS_RENAMED_IN = (8, 2, 0)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which server it is.

    Args:
        engine: mysql or mariadb.
        server: MySQL's server_uuid, which no other server has. MariaDB has nothing of the kind: its server_uid tells machine and port,
            and a container made anew gets another; so it is the server_id, and the GTIDs tell the rest.
        server_id: Its number among those that replicate with each other.
        version: Its version.
        database: The database that the connection is in, empty for none.
        read_only: It takes no writes.
        replica: It follows another server.
    """

    engine: str
    server: str
    server_id: int
    version: tuple[int, int, int]
    database: str
    read_only: bool
    replica: bool


@dataclass(frozen=True, slots=True)
class BinaryLog:
    """A file of the binary log: its name, its size in bytes, and whether it is encrypted on disk."""

    name: str
    size: int
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Where the binary log ends just now: file and offset, and the databases it is limited to or leaves out."""

    name: str
    offset: int
    only: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """File and offset as records have them."""
        return f"{self.name}:{self.offset}"

    @property
    def position(self) -> int:
        """The same as one number."""
        return binlog_position(self.name, self.offset)


@dataclass(frozen=True, slots=True)
class LogStatus(LogEnd):
    """The same, and what had been executed: at most what stands before."""

    gtids: Gtids = field(kw_only=True)


class Catalog:
    """One ordinary connection to the source, for reading catalogs.

    Args:
        url: `mysql://…` or `mariadb://…`.
        patience_s: How long to wait for an answer.

    Raises:
        Unreachable: The server does not answer, refuses the login or goes away. Every method may raise it.
        Refused: It does not prove who it is, or a privilege is missing. Every method may raise it.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        self.url, self._patience_s = url, patience_s
        self.address: Address = parse(url)
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The connection, opened when first needed or when the last one was lost; in autocommit."""
        if self._connection is None or not self._connection.open:
            self._connection = connect(self.url, patience_s=self._patience_s)
        return self._connection

    @property
    def engine(self) -> str:
        """mysql or mariadb."""
        return self.address.engine

    @property
    def version(self) -> tuple[int, int, int]:
        """The server's version."""
        return self.connection.version

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None and self._connection.open:
            self._connection.close()
        self._connection = None

    def identity(self) -> Identity:
        """Who the server is."""
        uuid = "@@server_uuid" if self.engine == "mysql" else "CAST(@@server_id AS CHAR)"
        ((server, number, database, read_only),) = self.rows(
            f"SELECT {uuid}, @@server_id, COALESCE(DATABASE(), ''), @@read_only"
        )
        return Identity(
            engine=self.engine,
            server=str(server),
            server_id=int(number),
            version=self.version,
            database=str(database),
            # MariaDB has words for it since 12.
            read_only=str(read_only) not in ("0", "OFF"),
            replica=self._follows(),
        )

    def _follows(self) -> bool:
        """Whether the server is a replica of another; no where this role may not know."""
        word = "REPLICA" if self.version >= (8, 0, 22) else "SLAVE"
        status = f"SHOW ALL {word}S STATUS" if self.engine == "mariadb" else f"SHOW {word} STATUS"
        try:
            return bool(self.connection.rows(status))
        except ERRORS as exc:
            if code(exc) == 1227:
                return False
            raise self.failed(exc) from exc

    def gtid_executed(self) -> Gtids:
        """What is in the server's history: MySQL's gtid_executed, MariaDB's gtid_binlog_state."""
        name = "gtid_executed" if self.engine == "mysql" else "gtid_binlog_state"
        return parse_gtids(self.engine, self._value(f"SELECT @@GLOBAL.{name}"))

    def gtid_purged(self) -> Gtids:
        """What of it is in no binary log any more; of MariaDB, which does not say, what the oldest one begins after."""
        if self.engine == "mysql":
            return parse_gtids("mysql", self._value("SELECT @@GLOBAL.gtid_purged"))
        logs = self.binary_logs()
        return self.gtids_at(logs[0].name, 4) if logs else parse_gtids("mariadb", "")

    def gtids_at(self, name: str, offset: int) -> Gtids:
        """Of a MariaDB: the last GTIDs before a place in its binary log; empty also where no event begins there.

        The server reads the file from its beginning.
        """
        found = self.rows("SELECT COALESCE(BINLOG_GTID_POS(%s, %s), '')", (name, offset))
        return parse_gtids("mariadb", str(found[0][0]))

    def begins_event(self, name: str, offset: int) -> bool:
        """Whether an event begins, or the binary log ends, at a place in a file of it."""
        try:
            self.connection.rows(f"SHOW BINLOG EVENTS IN %s FROM {int(offset)} LIMIT 1", (name,))
        except ERRORS as exc:
            if code(exc) in (1220, 1236):
                return False
            raise self.failed(exc) from exc
        return True

    def binary_logs(self) -> list[BinaryLog]:
        """The files of the binary log, oldest first; none where it is off."""
        try:
            rows = self.connection.rows("SHOW BINARY LOGS")
        except ERRORS as exc:
            if code(exc) == _NO_BINARY_LOG:
                return []
            raise self.failed(exc) from exc
        return [BinaryLog(str(row[0]), int(row[1]), len(row) > 2 and row[2] == "Yes") for row in rows]

    def binlog_end(self) -> LogEnd:
        """Where the binary log ends just now.

        Raises:
            Refused: There is no binary log.
        """
        return self._status()[0]

    def binlog_status(self) -> LogStatus:
        """The same, and what had been executed. A MariaDB reads the file from its beginning for that: not for what is asked often.

        Raises:
            Refused: There is no binary log.
        """
        end, executed = self._status()
        mariadb = self.engine == "mariadb"
        gtids = self.gtids_at(end.name, end.offset) if mariadb else parse_gtids("mysql", executed)
        return LogStatus(end.name, end.offset, end.only, end.ignored, gtids=gtids)

    def _status(self) -> tuple[LogEnd, str]:
        """The end, and of a MySQL what had been executed."""
        if self.engine == "mariadb":
            rows = self.rows("SHOW MASTER STATUS")
        else:
            rows = self.rows(f"SHOW {'BINARY LOG' if self.version >= _STATUS_RENAMED_IN else 'MASTER'} STATUS")
        if not rows:
            raise Refused("the source writes no binary log", hint="start the server with --log-bin")
        name, offset, only, ignored, *more = rows[0]
        return LogEnd(str(name), int(offset), _names(only), _names(ignored)), str(more[0] or "") if more else ""

    def tables(self) -> list[Table]:
        """All tables of the database in the URL, or of all but the system's where it names none, by name; without a fork's own."""
        where, names = "TABLE_SCHEMA = %s", [self.address.database]
        if not self.address.database:
            where, names = f"TABLE_SCHEMA NOT IN ({', '.join(['%s'] * len(SYSTEM))})", list(SYSTEM)
        return [table for table in self._tables(where, tuple(names)) if not table.name.startswith("_commitlog_")]

    def table(self, namespace: str, name: str) -> MysqlTable | None:
        """One table, or None where it is not (or no longer)."""
        found = self._tables("TABLE_SCHEMA = %s AND TABLE_NAME = %s", (namespace, name))
        # MariaDB compares names in its catalogs without case.
        return next((table for table in found if (table.namespace, table.name) == (namespace, name)), None)

    def tables_of(self, names: Collection[tuple[str, str]]) -> dict[tuple[str, str], MysqlTable]:
        """Those of these tables that there are. Many are read as fast as one."""
        databases = sorted({database for database, _ in names})
        if not databases:
            return {}
        found = self._tables(f"TABLE_SCHEMA IN ({', '.join(['%s'] * len(databases))})", tuple(databases))
        return {name: table for table in found if (name := (table.namespace, table.name)) in names}

    def _tables(self, where: str, names: tuple[str, ...]) -> Iterable[MysqlTable]:
        """Read by three queries for all that `where` means, as each costs the server about the same for one table or for hundreds."""
        described = self.rows(
            "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.ENGINE, e.TRANSACTIONS, t.TABLE_TYPE, t.CREATE_OPTIONS"  # noqa: S608
            " FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE"
            f" WHERE t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND {where} ORDER BY 1, 2",
            names,
        )
        keys: dict[tuple[str, str], list[str]] = {}
        for database, table, column in self.rows(
            "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS"  # noqa: S608
            f" WHERE INDEX_NAME = 'PRIMARY' AND {where} ORDER BY SEQ_IN_INDEX",
            names,
        ):
            keys.setdefault((database, table), []).append(column)
        columns: dict[tuple[str, str], list[MysqlColumn]] = {}
        for database, table, *row in self.rows(
            "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, EXTRA, CHARACTER_SET_NAME,"  # noqa: S608
            f" COLLATION_NAME FROM information_schema.COLUMNS WHERE {where} ORDER BY ORDINAL_POSITION",
            names,
        ):
            columns.setdefault((database, table), []).append(described_column(row))
        for database, table, engine, transactions, kind, options in described:
            yield MysqlTable(
                namespace=str(database),
                name=str(table),
                identity="f",
                key=tuple(keys.get((database, table), ())),
                columns=tuple(columns.get((database, table), ())),
                partitioned="partitioned" in str(options or ""),
                engine=str(engine or ""),
                transactional=transactions == "YES",
                versioned=kind == "SYSTEM VERSIONED",
            )

    def unique_keys(self, table: tuple[str, str]) -> list[list[str]]:
        """The columns by which the server tells the rows of a table apart, the primary key first; not of those that may be null."""
        rows = self.rows(
            "SELECT GROUP_CONCAT(COLUMN_NAME ORDER BY SEQ_IN_INDEX SEPARATOR '\0') FROM information_schema.STATISTICS"
            " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND NON_UNIQUE = 0 GROUP BY INDEX_NAME"
            " HAVING SUM(COALESCE(NULLABLE, '') = 'YES' OR COLUMN_NAME IS NULL) = 0 ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME",
            table,
        )
        return [str(row[0]).split("\0") for row in rows]

    def cascades(self, table: MysqlTable) -> list[ForeignKey]:
        """The foreign keys by which the server changes rows of a table when another's change.

        From the statement that makes it: information_schema hides them from who may only read.
        """
        ((_, statement, *_),) = self.rows(f"SHOW CREATE TABLE {table.sql}")
        return foreign_keys(str(statement), table)

    @property
    def logs_cascades(self) -> bool:
        """Whether rows that foreign keys change come into the binary log: of MySQL since 9.6, unless InnoDB is told to do it as before."""
        return self.engine == "mysql" and self.setting("innodb_native_foreign_keys") == "OFF"

    def prepared(self) -> bool:
        """Whether there are XA transactions that are prepared and not decided; no where this role may not know."""
        try:
            return bool(self.connection.rows("XA RECOVER"))
        except ERRORS as exc:
            if code(exc) in (1227, 1401):
                return False
            raise self.failed(exc) from exc

    def setting(self, name: str) -> str:
        """A server setting as text, empty where the server does not know it."""
        rows = self.rows("SHOW GLOBAL VARIABLES WHERE Variable_name = %s", (name,))
        return str(rows[0][1]) if rows else ""

    def grants(self) -> list[str]:
        """What this connection's user may do, as GRANT statements."""
        return [str(row[0]) for row in self.rows("SHOW GRANTS")]

    def rows(self, query: str, parameters: tuple[object, ...] = ()) -> "list[tuple[Any, ...]]":
        """What a query of the catalogs gives."""
        try:
            return self.connection.rows(query, parameters)
        except ERRORS as exc:
            raise self.failed(exc) from exc

    def _value(self, query: str) -> str:
        ((value,),) = self.rows(query)
        return str(value or "")

    def failed(self, exc: Exception) -> CommitLogError:
        """Our error for one of a connection's ERRORS."""
        if code(exc) in GONE:
            self.close()
        return failure(exc, doing="the source's catalogs cannot be read", user=self.address.user)


def _names(text: object) -> tuple[str, ...]:
    return tuple(name.strip() for name in str(text or "").split(",") if name.strip())
