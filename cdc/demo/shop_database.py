"""The shop's database, as the shop sees it: the same on psycopg and on PyMySQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

CONNECT_TIMEOUT_S = 10


class CheckFailed(Exception):
    """A row would break a CHECK of its table."""


class Misunderstood(Exception):
    """A value does not fit where it is to go."""


class Connection(ABC):
    """A connection in autocommit. Errors of the database beside those two are the driver's own."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether it was lost."""

    @abstractmethod
    def close(self) -> None:
        """End it."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[object]:
        """A block that is one transaction; it is rolled back where it ends in an error."""

    @abstractmethod
    def execute(self, text: str, values: Sequence[Any]) -> int:
        """Run a statement; how many rows it found."""

    @abstractmethod
    def row(self, text: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
        """The first row that a query gives."""

    @abstractmethod
    def insert(self, text: str, values: Sequence[Any]) -> int:
        """Insert a row; the number it was given."""


def connect(url: str) -> Connection:
    """A connection to `postgresql://…`, `mysql://…` or `mariadb://…`."""
    # Only the driver that is wanted is loaded.
    if url.startswith("postgresql:"):
        from .shop_postgres import PostgresConnection

        return PostgresConnection(url)
    from .shop_mysql import MySqlConnection

    return MySqlConnection(url)
