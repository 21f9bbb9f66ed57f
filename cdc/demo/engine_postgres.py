"""The demo on PostgreSQL."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import psycopg

from ..database_url import split_password
from ..servers.failure import POSTGRES_URL_VARIABLE
from ..servers.postgres import GivenServer
from ..servers.provision import provide_postgres
from .engine import Server
from .engine_sql import SqlEngine

_CONNECT_TIMEOUT_S = 10


class PostgresEngine(SqlEngine):
    """PostgreSQL."""

    title, driver, extra = "PostgreSQL", "psycopg", "postgres"
    example = "postgresql://USER@HOST:5432/DATABASE"
    variable, password_variable = POSTGRES_URL_VARIABLE, "PGPASSWORD"
    words: ClassVar[Mapping[str, str]] = {"NUMBERED": "GENERATED ALWAYS AS IDENTITY", "MOMENT": "timestamptz"}

    def fetch(self) -> None:
        """It came with the extra."""

    def provide(self) -> AbstractContextManager[Server]:
        return provide_postgres()

    def is_given(self, server: Server) -> bool:
        return isinstance(server, GivenServer)

    def made_by_setup(self, server: Server) -> list[str]:
        return []

    def namespace(self, database: str) -> str:
        return "public"

    def execute(self, url: str, *statements: str) -> None:
        with _connect(url) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, url: str, query: str) -> list[tuple[Any, ...]]:
        with _connect(url) as connection:
            return connection.execute(query.encode()).fetchall()

    def client(self, url: str) -> str:
        return f"psql {split_password(url)[0]}"


def _connect(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S)
