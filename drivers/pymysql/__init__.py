"""PyMySQL, wrapped: the same names, results and errors, and every transaction carries its session's tag.

Change `import pymysql` to `from commitlog.drivers import pymysql`. Where a session is bound (`session.bind`, or the
middleware), a transaction that wrote inserts one row into `commitlog.stamp`, which `commitlog setup` makes, right before
its COMMIT and without a round trip of its own. Without a session nothing is sent but one question when connecting.

Tagged: `commit()`, COMMIT given as text, alone or among other statements, what another statement commits (DDL, `begin()`,
autocommit switched on), XA transactions before XA END, and in autocommit each statement that may write, in a block of its
own: one round trip more.

Not tagged, and counted as `on_untagged` says: in autocommit CALL, EXECUTE and CREATE TABLE … SELECT (`begin()` before a CALL
tags it); what a procedure commits by itself, in the middle; several statements in one text with CALL among them, or that
cannot be told apart; under LOCK TABLES; tables without transactions; a user who may not insert into `commitlog.stamp`;
servers that do not tell what a transaction wrote (before MySQL 5.7 and MariaDB 10.2).

What differs: after an autocommitted write ROW_COUNT() says 0, as it does after COMMIT; and a transaction that only wrote
temporary tables, or tried to change rows that are not there, leaves a transaction in the binary log that holds the stamp
alone.
"""

from __future__ import annotations

import sys
from typing import Any

import pymysql as _pymysql
from pymysql import BINARY as BINARY
from pymysql import DATE as DATE
from pymysql import FIELD_TYPE as FIELD_TYPE
from pymysql import NULL as NULL
from pymysql import NUMBER as NUMBER
from pymysql import ROWID as ROWID
from pymysql import STRING as STRING
from pymysql import TIME as TIME
from pymysql import TIMESTAMP as TIMESTAMP
from pymysql import Binary as Binary
from pymysql import DatabaseError as DatabaseError
from pymysql import DataError as DataError
from pymysql import Date as Date
from pymysql import DateFromTicks as DateFromTicks
from pymysql import DBAPISet as DBAPISet
from pymysql import Error as Error
from pymysql import IntegrityError as IntegrityError
from pymysql import InterfaceError as InterfaceError
from pymysql import InternalError as InternalError
from pymysql import MySQLError as MySQLError
from pymysql import NotSupportedError as NotSupportedError
from pymysql import OperationalError as OperationalError
from pymysql import ProgrammingError as ProgrammingError
from pymysql import Time as Time
from pymysql import TimeFromTicks as TimeFromTicks
from pymysql import Timestamp as Timestamp
from pymysql import TimestampFromTicks as TimestampFromTicks
from pymysql import Warning as Warning  # noqa: A004 - its name in DB-API
from pymysql import __version__ as __version__
from pymysql import apilevel as apilevel
from pymysql import constants as constants
from pymysql import converters as converters
from pymysql import cursors as cursors
from pymysql import err as err
from pymysql import get_client_info as get_client_info
from pymysql import paramstyle as paramstyle
from pymysql import thread_safe as thread_safe
from pymysql import threadsafety as threadsafety
from pymysql import times as times
from pymysql import version_info as version_info

from .. import submodules
from ..pymysql_stamp import Untagged as Untagged
from . import connections as connections
from .connections import Connection as Connection

__all__ = [*_pymysql.__all__, "Untagged"]  # pyright: ignore[reportUnsupportedDunderAll] - names come by the star

Connect = connect = Connection

submodules.install(__name__, _pymysql.__name__)


def install_as_MySQLdb() -> None:  # noqa: N802 - its name in PyMySQL
    """See `pymysql.install_as_MySQLdb`. Who imports MySQLdb gets this module, so what they write is tagged."""
    sys.modules["MySQLdb"] = sys.modules[__name__]
    sys.modules["MySQLdb.connections"] = connections
    submodules.install("MySQLdb", _pymysql.__name__)


def __getattr__(name: str) -> Any:
    return getattr(_pymysql, name)
