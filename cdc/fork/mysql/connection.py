"""The connection to a fork's MySQL or MariaDB, and what its errors mean for the fork."""

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import orjson
from pymysql.constants import CLIENT
from pymysql.converters import escape_string
from pymysql.cursors import SSCursor

from ....schemas.errors import CommitLogError, Locked, Refused, UsageError
from ...tail.mysql_connection import ERRORS, GONE, Connection, code, connect, one_line
from ..sql_connection import SqlConnection
from ..sql_memory import Row
from ..store import Again, Refusal, Rejected, altered, unreachable

STATEMENTS_S: Final = 600.0
"""A statement applies a bounded batch; one that takes ten minutes is stuck."""

ALTER_S: Final = 86_400.0
"""A statement that writes a large table anew may take its time: given up, it would only begin again."""

LOCK_TIMEOUT_S: Final = 15
"""The fork waits so long for a local transaction that holds a row, then tries its own again from the start."""

PACKET_BYTES_MAX: Final = 4 << 20
"""Statements go to the server in packets up to this size, or as large as it takes them where that is less."""

COLLATIONS: Final = {"mysql": "utf8mb4_0900_bin", "mariadb": "utf8mb4_nopad_bin"}
"""Engine to the collation that tells apart what differs in one code point, a space at the end included."""

_SQL_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO,ANSI_QUOTES,ALLOW_INVALID_DATES"
"""Values are taken as they are or refused: zero dates too, and a 0 in a numbered column."""

_SETTINGS = {
    "sql_mode": f"'{_SQL_MODE}'",
    "innodb_lock_wait_timeout": str(LOCK_TIMEOUT_S),
    "lock_wait_timeout": str(LOCK_TIMEOUT_S),
}
_NO_LIMIT = {"mysql": "max_execution_time = 0", "mariadb": f"max_statement_time = {STATEMENTS_S:g}"}

_AGAIN = frozenset({1020, 1205, 1213, 1317, 1614, 1969, 3024, 3101, 3572})
"""Deadlocks, locks that were waited for in vain, statements that an administrator or a limit ended, a group's refusal at commit."""

_FAILED_COMMIT = 1180
_DEADLOCK = re.compile(r"\b149\b")
"""What the text of a COMMIT that failed has where another member of the cluster was first with a row."""

_REFUSALS: Final[dict[int, Refusal]] = {
    **dict.fromkeys((1022, 1062, 1169, 1586, 1859), "unique"),
    **dict.fromkeys((1216, 1217, 1451, 1452, 1557, 1761, 1762), "foreign key"),
    **dict.fromkeys((3819, 4025), "check"),
    **dict.fromkeys((1048, 1263, 1364), "not null"),
    **dict.fromkeys(
        (
            1118,
            1230,
            1264,
            1265,
            1292,
            1300,
            1365,
            1366,
            1367,
            1406,
            1411,
            1416,
            1425,
            1426,
            1439,
            1441,
            1690,
            3140,
            3141,
            3156,
            3157,
            3854,
            4078,
            4079,
        ),
        "value",
    ),
    **dict.fromkeys((1442, 1643, 1644, 1645, 1906, 3105, 1369), "refused"),
}
"""Number of an error to what will not have a row: a constraint, a type, a trigger, a view's or a generated column's rule."""

_DENIED = frozenset({1044, 1045, 1142, 1143, 1227, 1370, 1410, 3619})
_NOT_THERE = frozenset({1049, 1051, 1054, 1146, 1932})
_READ_ONLY = frozenset({1036, 1290, 1792, 1836, 3100})
_FULL = frozenset({1021, 1026, 1030, 1037, 1038, 1040, 1041, 1047, 1114, 1135})
"""No room on a disk, no memory, no thread, a Galera node that is cut off from its cluster or not yet in it: it may pass."""


class Connected(SqlConnection):
    """A connection to a fork's database.

    Args:
        url: `mysql://…` or `mariadb://…`, with a database.

    Raises:
        UsageError: The URL is none, or names no database.
        Unreachable: It does not answer.
        Refused: It does not prove who it is, or is of the other flavour.
    """

    def __init__(self, url: str) -> None:
        self.connection: Connection = connect(
            url,
            patience_s=STATEMENTS_S,
            where="--into",
            what="the fork's database",
            raw=True,
            client_flag=CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS,
        )
        self.flavour: str = self.connection.engine
        self.collation = COLLATIONS[self.flavour]
        self.packet_bytes = PACKET_BYTES_MAX
        try:
            if not self.connection.db:
                raise UsageError("--into names no database", hint=f"--into {self.flavour}://HOST/DATABASE")
            # What is read is locked as it is: nothing else of a snapshot is ever looked at.
            settings = [
                f"SESSION {self.connection.isolation_setting} = 'READ-COMMITTED'",
                f"SESSION {_NO_LIMIT[self.flavour]}",
            ]
            settings += [f"SESSION {name} = {value}" for name, value in _SETTINGS.items()]
            self.execute(f"SET {', '.join(settings)}")
            if self.rows("SELECT @@explicit_defaults_for_timestamp")[0][0] not in ("1", "ON"):
                # Without, the first TIMESTAMP of a table would be set by every update of a row.
                self.execute("SET SESSION explicit_defaults_for_timestamp = 1")
            self.packet_bytes = int(self.rows("SELECT @@max_allowed_packet")[0][0])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection."""
        if self.connection.open:
            self.connection.close()

    @property
    def broken(self) -> bool:
        """Whether it is lost."""
        return not self.connection.open

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run a query and give its rows, every value as text.

        Raises:
            CommitLogError, Rejected, Again: As `translated`.
        """
        return self.ask(self._filled(query, parameters))

    def ask(self, query: str) -> list[Row]:
        """Run a query, names and values in it, and give its rows, every value as text.

        Raises:
            CommitLogError, Rejected, Again: As `translated`.
        """
        with self.translated(), self.connection.cursor() as cursor:
            cursor.execute(query)
            found = cursor.fetchall()
        return [tuple(_text(value) for value in row) for row in found]

    def stream(self, query: str) -> Iterator[Row]:
        """As `ask`, one row after the other as they come; until the last nothing else can be asked."""
        with self.translated(), self.connection.cursor(SSCursor) as cursor:
            cursor.execute(query)
            for row in cursor:
                yield tuple(_text(value) for value in row)

    def execute(self, query: str, parameters: Sequence[object] = ()) -> int:
        """Run one statement and give the number of rows it found to change.

        Raises:
            CommitLogError, Rejected, Again: As `translated`.
        """
        return self.run_all([self._filled(query, parameters)])[0]

    def run_all(self, statements: Iterable[str]) -> list[int]:
        """Run statements, as many as fit in one packet, and give the numbers of rows they found to change.

        Raises:
            Refused: One is larger than any packet that the server takes.
            CommitLogError, Rejected, Again: As `translated`; statements behind the one that failed were not run.
        """
        counts: list[int] = []
        with self.translated():
            for packet in self._packets(statements):
                with self.connection.cursor() as cursor:
                    cursor.execute(packet)
                    counts.append(cursor.rowcount)
                    while cursor.nextset():
                        counts.append(cursor.rowcount)
        return counts

    def alter(self, statement: str) -> None:
        """Run a statement that may write a table anew, however long that takes.

        Raises:
            CommitLogError, Rejected, Again: As `translated`.
        """
        self.connection.wait_at_most(ALTER_S)
        limited = self.flavour == "mariadb"
        if limited:
            self.execute("SET SESSION max_statement_time = 0")
        try:
            self.run_all([statement])
        finally:
            if not self.broken:
                self.connection.wait_at_most(STATEMENTS_S)
                if limited:
                    self.execute(f"SET SESSION {_NO_LIMIT[self.flavour]}")

    def _packets(self, statements: Iterable[str]) -> Generator[str, None, None]:
        limit = min(PACKET_BYTES_MAX, self.packet_bytes - 1024)
        waiting, size = list[str](), 0
        for statement in statements:
            taken = len(statement.encode()) + 1
            if taken > self.packet_bytes - 1024:
                raise Refused(
                    f"a change takes {taken} bytes, and the fork's server takes no more than {self.packet_bytes}",
                    hint=f"SET GLOBAL max_allowed_packet = {1 << taken.bit_length()}, then run the same command again",
                )
            if waiting and size + taken > limit:
                yield ";".join(waiting)
                waiting, size = [], 0
            waiting.append(statement)
            size += taken
        if waiting:
            yield ";".join(waiting)

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """A transaction: committed at its end, rolled back by an exception."""
        self.execute("BEGIN")
        try:
            yield
        except BaseException:
            if not self.broken:
                self._roll_back()
            raise
        self.execute("COMMIT")

    def _roll_back(self) -> None:
        try:
            self.execute("ROLLBACK")
        except (CommitLogError, Rejected, Again):
            # The server ends what it has of a connection that is gone.
            self.close()

    def lock(self) -> None:
        """Keep every other fork process off this database until the connection ends.

        Raises:
            Locked: There is one.
        """
        if self.rows("SELECT GET_LOCK(CONCAT('commitlog fork ', LEFT(SHA2(DATABASE(), 256), 32)), 0)")[0][0] != "1":
            raise Locked("another process works on this fork", hint="stop it, or let it do the work")

    def database(self) -> tuple[str, str]:
        """(the server's uuid, of MariaDB its server_id; the database's name). A server that takes no writes says so at the first."""
        identity = "@@server_uuid" if self.flavour == "mysql" else "@@server_id"
        system, name = self.rows(f"SELECT {identity}, DATABASE()")[0]
        return str(system), str(name)

    def place(self) -> str:
        """What tells this server from others of the same database's name."""
        return str(self.rows("SELECT CONCAT(@@hostname, ':', @@port)")[0][0])

    def _filled(self, query: str, parameters: Sequence[object]) -> str:
        """A query of what a fork remembers: `_commitlog.NAME` is `_commitlog_NAME`, as a database has no schemas here."""
        query = query.replace("_commitlog.", "_commitlog_")
        return query % tuple(map(literal, parameters)) if parameters else query

    @contextmanager
    def translated(self) -> Generator[None, None, None]:
        """Turn PyMySQL's errors into ours.

        Raises:
            Rejected: The target will not have a row.
            Again: Another transaction is in the way.
            Unreachable: The server does not answer, or cut the connection.
            Refused: A privilege, a table or a setting is not what the fork needs.
        """
        try:
            yield
        except ERRORS as exc:
            raise self._error(exc) from exc

    def _error(self, exc: Exception) -> Exception:
        number, text = code(exc), one_line(exc)
        if number in _AGAIN or (number == _FAILED_COMMIT and _DEADLOCK.search(text)):
            return Again(text)
        if number in _REFUSALS:
            return Rejected(_REFUSALS[number], text)
        if number in GONE or number in _FULL:
            if number in GONE:
                self.close()
            return unreachable(text)
        if number in _DENIED:
            return Refused(
                f"the fork's user may not do what it must: {text}",
                hint=f"GRANT ALL ON {self._named()}.* TO the fork's user",
            )
        if number in _NOT_THERE:
            return altered(text)
        if number in _READ_ONLY:
            return Refused(f"the fork's database is read-only: {text}", hint="give the fork a primary server")
        return Refused(f"the fork's database refused a statement: {text}")

    def _named(self) -> str:
        name = self.connection.db
        return "`" + (name.decode() if isinstance(name, bytes) else str(name)).replace("`", "``") + "`"


def literal(value: object) -> str:
    """A value of what a fork remembers as SQL text; a list as JSON."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int):
        return str(int(value))
    return quoted_text(value if isinstance(value, str) else orjson.dumps(value).decode())


def quoted_text(text: str) -> str:
    """A text as SQL text, whatever is in it."""
    return f"'{escape_string(text)}'"


def _text(value: Any) -> str | None:
    return None if value is None else value.decode()
