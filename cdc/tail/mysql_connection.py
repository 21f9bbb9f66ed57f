"""An ordinary connection to a MySQL or MariaDB: settings that make its texts the same everywhere, and a limit on every wait."""

import struct
from collections.abc import Iterator
from typing import Any, cast

import pymysql
import pymysql.connections
from pymysql.cursors import SSCursor

from ...schemas.errors import CommitLogError, Refused, Unreachable
from .mysql_address import code as code
from .mysql_address import one_line as one_line
from .mysql_address import parse, refusal

STATEMENT_TIMEOUT_MS = 60_000
CONNECT_TIMEOUT_S = 10
PATIENCE_S = 70.0
"""How long to wait for an answer: a little longer than the server lets a statement run."""

ERRORS = (pymysql.err.MySQLError, OSError, ValueError, IndexError, RuntimeError, struct.error)
"""What a connection raises: PyMySQL lets errors of sockets, and of taking apart what is no protocol, pass as they are."""

GONE = frozenset(
    {0, 1053, 1077, 1079, 1080, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2055, 3169, 4031}
)
"""Numbers of errors after which there is no connection any more: shut down, killed, timed out or cut."""

_DENIED = frozenset({1044, 1142, 1143, 1227, 1370, 1410, 1698, 3619})
"""Numbers of errors that say a privilege is missing."""

_SQL_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO"
"""Instead of what the server is set to: double quotes are texts, a backslash escapes, CHAR comes without its padding, and a table is
made in the engine that was asked for, or not at all."""

_SETTINGS = {
    "time_zone": "'+00:00'",
    "sql_mode": f"'{_SQL_MODE}'",
    "autocommit": "1",
    "wait_timeout": "31536000",
    "net_read_timeout": "600",
    "net_write_timeout": "600",
    "lock_wait_timeout": str(STATEMENT_TIMEOUT_MS // 1000),
    "innodb_lock_wait_timeout": str(STATEMENT_TIMEOUT_MS // 1000),
    "group_concat_max_len": str(1 << 20),
    "sql_quote_show_create": "1",
}
_ONLY = {
    "mysql": {"max_execution_time": str(STATEMENT_TIMEOUT_MS), "information_schema_stats_expiry": "0"},
    "mariadb": {"max_statement_time": str(STATEMENT_TIMEOUT_MS // 1000), "idle_transaction_timeout": "0"},
}


class Connection(pymysql.connections.Connection):
    """A connection in autocommit.

    Attributes:
        engine: mysql or mariadb, as the server says.
        version: The server's.
        encrypted: Whether it uses TLS.
    """

    engine: str = ""
    version: tuple[int, int, int] = (0, 0, 0)
    encrypted: bool = False

    @property
    def isolation_setting(self) -> str:
        """What says how transactions are kept apart: MariaDB knows the name of MySQL from 11.1.1 on."""
        return "tx_isolation" if self.engine == "mariadb" and self.version < (11, 1, 1) else "transaction_isolation"

    def wait_at_most(self, patience_s: float) -> None:
        """Give up when the server is silent for so long while an answer is due, or takes nothing."""
        self._read_timeout = self._write_timeout = patience_s

    def rows(self, query: str, parameters: tuple[object, ...] = ()) -> "list[tuple[Any, ...]]":
        """What a statement gives. Raises one of ERRORS."""
        with self.cursor() as cursor:
            cursor.execute(query, parameters or None)
            return list(cursor.fetchall())

    def streamed(self, query: str) -> "Iterator[tuple[Any, ...]]":
        """What a query gives, one row after the other, so that only one is in memory that nobody has taken. Whoever takes no more of
        them before the end has no connection afterwards: the server would send the rest. Raises one of ERRORS."""
        cursor = SSCursor(self)
        try:
            cursor.execute(query)
            while (row := cursor.fetchone()) is not None:
                yield row
        finally:
            result = cast(Any, self)._result
            if result is not None and result.unbuffered_active:
                # The library would read the rest whenever it lets go of the result.
                result.unbuffered_active, result.connection = False, None
                self._result = None
                cast(Any, self)._force_close()
            cursor.close()


def connect(
    url: str,
    *,
    patience_s: float = PATIENCE_S,
    where: str = "[source] url",
    what: str = "the source",
    raw: bool = False,
    client_flag: int = 0,
) -> Connection:
    """A connection in autocommit with the session settings that records need, on which no answer is waited for longer than
    `patience_s`.

    Args:
        url: `mysql://…` or `mariadb://…`.
        patience_s: How long the server may be silent while an answer is due.
        where: Where the user wrote the URL.
        what: What is reached, for messages.
        raw: Every value comes as the bytes of the server's text.
        client_flag: Further abilities of the client, of pymysql.constants.CLIENT.

    Raises:
        UsageError: It is no such URL.
        Unreachable: The server does not answer or refuses the login.
        Refused: It does not prove who it is, is of the other flavour, or lets this user or machine never in.
    """
    address = parse(url, where)
    tls = address.tls()
    more: dict[str, Any] = {"conv": {}, "use_unicode": False} if raw else {}
    try:
        connection = Connection(
            host=address.host,
            port=address.port,
            unix_socket=address.socket or None,
            user=address.user.encode(),
            # PyMySQL would take a text for Latin-1.
            password=address.password.encode(),
            database=address.database or None,
            charset="utf8mb4",
            ssl=tls,
            ssl_disabled=tls is None,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=CONNECT_TIMEOUT_S,
            write_timeout=CONNECT_TIMEOUT_S,
            program_name="commitlog",
            autocommit=True,
            client_flag=client_flag,
            **more,
        )
    except ERRORS as exc:
        raise refusal(exc, what=what, where=where, user=address.user) from exc
    try:
        connection.encrypted = tls is not None and bool(getattr(connection, "_secure", False))
        if tls is not None and not connection.encrypted:
            raise pymysql.err.OperationalError(2026, "the server offers no encryption")
        _introduce(connection, address.engine, what=what, where=where)
        connection.wait_at_most(patience_s)
    except ERRORS as exc:
        connection.close()
        raise refusal(exc, what=what, where=where, user=address.user) from exc
    except BaseException:
        connection.close()
        raise
    return connection


def _introduce(connection: Connection, engine: str, *, what: str, where: str) -> None:
    """Learn who answers, and set the session up."""
    ((text,),) = connection.rows("SELECT VERSION()")
    text = text.decode() if isinstance(text, bytes) else str(text)
    connection.engine = "mariadb" if "mariadb" in text.lower() else "mysql"
    connection.version = version = parse_version(text)
    if connection.engine != engine:
        raise Refused(
            f"{what} is a {_NAMES[connection.engine]}, and {where} says {engine}://",
            hint=f"write {connection.engine}:// into {where}",
        )
    settings = {**_SETTINGS, **_ONLY[connection.engine], connection.isolation_setting: "'REPEATABLE-READ'"}
    if connection.engine == "mysql" and version >= (8, 0, 30):
        # Keys that the server makes itself are in the binary log whether they are shown or not.
        settings["show_gipk_in_create_table_and_information_schema"] = "1"
    connection.rows("SET SESSION " + ", SESSION ".join(f"{name} = {value}" for name, value in settings.items()))


_NAMES = {"mysql": "MySQL", "mariadb": "MariaDB"}


def parse_version(text: str) -> tuple[int, int, int]:
    """The version in what a server calls it, such as `8.4.3` or `10.11.19-MariaDB-log`."""
    numbers = text.split("-")[0].split(".")
    digits = [int("".join(filter(str.isdigit, number)) or 0) for number in numbers[:3]]
    major, minor, patch = [*digits, 0, 0, 0][:3]
    return major, minor, patch


def failure(exc: Exception, *, doing: str, user: str) -> CommitLogError:
    """The error of a statement that failed.

    Args:
        exc: One of ERRORS.
        doing: What could not be done, the beginning of a sentence.
        user: Whose connection it was.

    Returns:
        Refused where a privilege is missing or the server refuses the statement, else Unreachable.
    """
    number = code(exc)
    if number in _DENIED:
        return Refused(f"{doing}: {one_line(exc)}", hint=f"commitlog setup --role {user or 'ROLE'}")
    if isinstance(exc, pymysql.err.ProgrammingError | pymysql.err.NotSupportedError):
        return Refused(f"{doing}: {one_line(exc)}")
    return Unreachable(f"{doing}: {one_line(exc)}", hint="check that the server runs")
