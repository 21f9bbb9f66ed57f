"""`pymysql.connections`, with what tags in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymysql.connections

from ..pymysql_packets import MySQLResult as MySQLResult
from ..pymysql_stamp import StampedConnection

if TYPE_CHECKING:
    from pymysql.connections import Connection as Connection
else:

    class Connection(StampedConnection):
        """See `pymysql.connections.Connection`."""


def __getattr__(name: str) -> Any:
    return getattr(pymysql.connections, name)
