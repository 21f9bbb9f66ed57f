"""The shop on psycopg. The import is the line that ties it to commitlog; it was `import psycopg`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ...drivers import psycopg
from .shop_database import CONNECT_TIMEOUT_S, CheckFailed, Misunderstood
from .shop_sql import SqlStore


class PostgresStore(SqlStore):
    """See the base."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)

    @property
    def closed(self) -> bool:
        return self._connection.closed

    def close(self) -> None:
        self._connection.close()

    def transaction(self) -> AbstractContextManager[object]:
        return self._connection.transaction()

    def execute(self, text: str, values: Sequence[Any]) -> int:
        with _errors():
            return self._connection.execute(text.encode(), values).rowcount

    def row(self, text: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
        with _errors():
            return self._connection.execute(text.encode(), values).fetchone()

    def insert(self, text: str, values: Sequence[Any]) -> int:
        row = self.row(f"{text} RETURNING id", values)
        assert row is not None
        return int(row[0])


@contextmanager
def _errors() -> Generator[None]:
    try:
        yield
    except psycopg.errors.CheckViolation as exc:
        raise CheckFailed from exc
    except (psycopg.DataError, psycopg.IntegrityError) as exc:
        raise Misunderstood from exc
