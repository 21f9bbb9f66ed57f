"""A PostgreSQL on which databases are made and dropped, whoever started it.

It makes no promise about who else uses the server: databases are told apart by name, and replication slots, which
belong to the whole server, by the database they read.
"""

from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from ...schemas.errors import Refused, Unreachable
from .failure import POSTGRES_URL_VARIABLE
from .process import DatabaseService

_CONNECT_TIMEOUT_S = 10
_TERMINATE_TIMEOUT_MS = 10_000  # a walsender or a backend that has not ended by then makes the drop fail by name


class Server(DatabaseService):
    """A running PostgreSQL with wal_level=logical.

    Attributes:
        url: `postgresql://…`, of a superuser and its own database.
    """

    @property
    def version(self) -> str:
        """As the server says it, such as "18.6"."""
        with self._connect() as connection:
            return connection.info.parameter_status("server_version") or "unknown"

    def create_database(self, name: str) -> str:
        """Make an empty database; its URL.

        Raises:
            psycopg.errors.DuplicateDatabase: There is one of that name.
        """
        with self._connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database with its connections and replication slots; one that is not there is no error."""
        with self._connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE datname = %s",
                [_TERMINATE_TIMEOUT_MS, name],
            )
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s", [name]
            )
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S)


class GivenServer(Server):
    """A server that somebody else runs, named by a URL.

    Raises:
        Unreachable: Nothing answers there, or not to this user.
        Refused: The server does not write the replication log that is needed.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        place = urlsplit(url).hostname or "the local socket"
        try:
            with self._connect() as connection:
                row = connection.execute("SHOW wal_level").fetchone()
        except psycopg.OperationalError as error:
            raise Unreachable(
                f"no PostgreSQL answers at {place}: {error}", hint=f"correct or unset {POSTGRES_URL_VARIABLE}"
            ) from error
        if row != ("logical",):
            raise Refused(
                f"the PostgreSQL at {place} does not run with wal_level=logical",
                hint="ALTER SYSTEM SET wal_level = logical, then restart the server",
            )
