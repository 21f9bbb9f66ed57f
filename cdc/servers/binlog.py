"""A MySQL or MariaDB on which databases are made and dropped, whoever started it.

It makes no promise about who else uses the server: databases and users are told apart by name.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor

from ...schemas.errors import Refused, Unreachable
from ..tail.mysql_address import parse
from .process import DatabaseService

_CONNECT_TIMEOUT_S = 10


class BinlogServer(DatabaseService):
    """A running MySQL or MariaDB that writes whole rows and their columns' names into its binlog.

    Attributes:
        url: `mysql://…` or `mariadb://…`, of a user who may do everything, without a database.
    """

    @property
    def product(self) -> str:
        """`mysql` or `mariadb`."""
        return urlsplit(self.url).scheme

    @property
    def version(self) -> str:
        """As the server says it, such as "10.11.18-MariaDB-log"."""
        return str(self.query("SELECT VERSION()"))

    def create_database(self, name: str) -> str:
        """Make an empty database; its URL.

        Raises:
            pymysql.err.ProgrammingError: There is one of that name.
        """
        self.query(f"CREATE DATABASE {quoted(name)} CHARACTER SET utf8mb4")
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, after the connections that use it; one that is not there is no error."""
        with connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", [name])
            for (number,) in cursor.fetchall():
                try:
                    cursor.execute("KILL CONNECTION %s", [number])
                except pymysql.err.OperationalError as error:
                    if error.args[0] != _NO_SUCH_THREAD:
                        raise
            cursor.execute(f"DROP DATABASE IF EXISTS {quoted(name)}")

    def query(self, text: str, *values: object) -> Any:
        """The first value of the first row that a statement gives, None where it gives none."""
        with connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(text, values or None)
            row = cursor.fetchone()
        return row[0] if row else None

    def variables(self, names: Mapping[str, object]) -> dict[str, str]:
        """The server's own values of those settings; one it does not know is left out."""
        with connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({', '.join(['%s'] * len(names))})", list(names)
            )
            return {str(name): str(value) for name, value in cursor.fetchall()}


_NO_SUCH_THREAD = 1094  # ER_NO_SUCH_THREAD: it ended by itself


class GivenBinlogServer(BinlogServer):
    """A server that somebody else runs, named by a URL.

    Args:
        url: `mysql://…` or `mariadb://…` of a user who may do everything.
        features: The settings it must have.
        variable: Where the URL comes from.

    Raises:
        UsageError: It is no such URL.
        Unreachable: Nothing answers there, or not to this user.
        Refused: The server does not write the log that is needed.
    """

    def __init__(self, url: str, features: Mapping[str, str], variable: str) -> None:
        super().__init__(url)
        place = urlsplit(url).hostname
        parse(url, variable)
        title = {"mysql": "MySQL", "mariadb": "MariaDB"}[self.product]
        try:
            found = self.variables(features)
        except pymysql.err.OperationalError as error:
            raise Unreachable(f"no {title} answers at {place}: {error}", hint=f"correct or unset {variable}") from error
        wrong = {name: value for name, value in features.items() if found.get(name) != value}
        if wrong:
            said = ", ".join(f"{name}={found.get(name, 'unknown')}" for name in wrong)
            raise Refused(
                f"the {title} at {place} runs with {said}",
                hint="start it with "
                + " ".join(f"--{name.replace('_', '-')}={value}" for name, value in wrong.items()),
            )


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return "`" + name.replace("`", "``") + "`"


def settings(url: str) -> dict[str, Any]:
    """What PyMySQL takes to connect there, with each statement committed by itself.

    Args:
        url: `mysql://USER:PASSWORD@HOST:PORT/DATABASE?ssl-mode=…`, `mariadb://…`.

    Raises:
        UsageError: It is no such URL.
    """
    address = parse(url, "the server's URL")
    tls = address.tls()
    return {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password,
        "database": address.database or None,
        "ssl": tls,
        "ssl_disabled": tls is None,
        "charset": "utf8mb4",
        "autocommit": True,
        "connect_timeout": _CONNECT_TIMEOUT_S,
    }


def connect(url: str, **options: Any) -> "Connection[Cursor]":
    """A connection with `settings` and more of PyMySQL's options."""
    return pymysql.connect(**{**settings(url), **options})
