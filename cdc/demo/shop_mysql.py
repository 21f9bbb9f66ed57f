"""The shop on PyMySQL. The import is the line that ties it to commitlog; it was `import pymysql`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from pymysql.constants import CLIENT

from ...drivers import pymysql
from .shop_database import CONNECT_TIMEOUT_S, CheckFailed, Misunderstood
from .shop_sql import SqlStore

_CHECK_FAILED = (3819, 4025)
"""ER_CHECK_CONSTRAINT_VIOLATED of MySQL, ER_CONSTRAINT_FAILED of MariaDB."""
_MISFITS = (1292, 1366)
"""ER_TRUNCATED_WRONG_VALUE and its kind, of which PyMySQL makes no DataError."""


class MySqlStore(SqlStore):
    """See the base. TLS is as PyMySQL has it: where the server speaks it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=unquote(parts.path.strip("/")),
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            # An UPDATE counts the rows that it found, also those that had the value already.
            client_flag=CLIENT.FOUND_ROWS,
        )

    @property
    def closed(self) -> bool:
        return not self._connection.open

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        self._connection.begin()
        try:
            yield
            self._connection.commit()
        except BaseException:
            if self._connection.open:
                self._connection.rollback()
            raise

    def execute(self, text: str, values: Sequence[Any]) -> int:
        with self._connection.cursor() as cursor, _errors():
            return cursor.execute(text, tuple(values))

    def row(self, text: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
        with self._connection.cursor() as cursor, _errors():
            cursor.execute(text, tuple(values))
            return cursor.fetchone()

    def insert(self, text: str, values: Sequence[Any]) -> int:
        with self._connection.cursor() as cursor, _errors():
            cursor.execute(text, tuple(values))
            return int(cursor.lastrowid)


@contextmanager
def _errors() -> Generator[None]:
    try:
        yield
    except pymysql.MySQLError as exc:
        number = exc.args[0] if exc.args else 0
        if number in _CHECK_FAILED:
            raise CheckFailed from exc
        if number in _MISFITS or isinstance(exc, (pymysql.DataError, pymysql.IntegrityError)):
            raise Misunderstood from exc
        raise
