"""The demo on MySQL and on MariaDB."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar
from urllib.parse import urlsplit

from ..servers.account import Account
from ..servers.binlog import BinlogServer, GivenBinlogServer, connect
from ..servers.binlog_provision import provide
from ..servers.container import docker_answers
from ..servers.mariadb import MariaDbServer
from ..servers.mysql import MySqlServer
from ..servers.mysqld import QUICK, LocalMysqld
from .engine import Server
from .engine_sql import SqlEngine

_STAMPS = "commitlog"
"""The database in which `commitlog setup` makes the table of the stamp."""


class _BinlogEngine(SqlEngine):
    driver, extra = "pymysql", "mysql"
    words: ClassVar[Mapping[str, str]] = {"NUMBERED": "AUTO_INCREMENT", "MOMENT": "timestamp(6)"}
    local: ClassVar[type[LocalMysqld]]
    """What runs on this machine."""
    program: ClassVar[str]
    """The client."""

    def fetch(self) -> None:
        """See the base. A server that is given, or runs in a container, needs none."""
        if not os.environ.get(self.variable) and not docker_answers():
            self.local.find(Account.current())

    def provide(self) -> AbstractContextManager[Server]:
        return provide(self.local, QUICK)

    def is_given(self, server: Server) -> bool:
        return isinstance(server, GivenBinlogServer)

    def made_by_setup(self, server: Server) -> list[str]:
        assert isinstance(server, BinlogServer)
        there = server.query("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s", _STAMPS)
        return [] if there else [_STAMPS]

    def namespace(self, database: str) -> str:
        return database

    def execute(self, url: str, *statements: str) -> None:
        with connect(url) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def rows(self, url: str, query: str) -> list[tuple[Any, ...]]:
        with connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def client(self, url: str) -> str:
        parts = urlsplit(url)
        place = f"--host={parts.hostname} --port={parts.port or 3306} --user={parts.username}"
        return f"{self.program} {place} --password {parts.path.strip('/')}"


class MySqlEngine(_BinlogEngine):
    """MySQL."""

    title, program, local = MySqlServer.title, "mysql", MySqlServer
    example, variable = "mysql://USER@HOST:3306/DATABASE", MySqlServer.variable


class MariaDbEngine(_BinlogEngine):
    """MariaDB."""

    title, program, local = MariaDbServer.title, "mariadb", MariaDbServer
    example, variable = "mariadb://USER@HOST:3306/DATABASE", MariaDbServer.variable
    clock_s = 1.0
