"""`MySQLdb.connections`, with what tags in its place."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..mysqlclient_stamp import StampedConnection

_plain: Any = import_module("MySQLdb.connections")


class Connection(StampedConnection):
    """See `MySQLdb.connections.Connection`."""


def __getattr__(name: str) -> Any:
    return getattr(_plain, name)
