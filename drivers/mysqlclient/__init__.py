"""mysqlclient (`MySQLdb`), wrapped: the same names, results and errors, and every transaction carries its session's tag.

Change `import MySQLdb` to `from commitlog.drivers import mysqlclient as MySQLdb`. Where a session is bound (`session.bind`, or the
middleware), a transaction that wrote inserts one row into `commitlog.stamp`, which `commitlog setup` makes, right before its
COMMIT. Without a session nothing is sent but one question when connecting.

mysqlclient shows nothing of what the server tells of a transaction, so the wrapper goes by the statements themselves: what may
have written is taken for written. Where they do not tell whether a transaction is open (after CALL, or an error), the server is
asked before the next write. A stamp and what it belongs to go in one text, and cost no round trip, where a text may hold several
statements: mysqlclient's own choice from 2.1 on, `client_flag=CLIENT.MULTI_STATEMENTS` before. Where the app switched that off
(`multi_statements=False`), COMMIT takes one round trip more, and a write in autocommit three.

Tagged: `commit()`, COMMIT given as text, alone or among other statements, what another statement commits (DDL, `begin()`,
autocommit switched on), XA transactions before XA END, and in autocommit each statement that may write, in a block of its own.

Not tagged, and counted as `on_untagged` says: in autocommit CALL, EXECUTE, CREATE TABLE … SELECT and `send_query()` (`begin()` before
them tags it); several statements in one text with CALL among them, or that cannot be told apart; under LOCK TABLES; a user who may not
insert into `commitlog.stamp`. Not tagged, and not counted, because nobody tells: what a procedure commits by itself within a
transaction, and tables without transactions.

What differs: after an autocommitted write ROW_COUNT() says 0, as it does after COMMIT; and what was taken for a write and was none (an
UPDATE of no row, a temporary table, a function that only reads) leaves a transaction in the binary log that holds the stamp alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .. import submodules
from ..mysqlclient_stamp import Untagged as Untagged
from . import connections as connections
from .connections import Connection as Connection

_plain: Any = import_module("MySQLdb")

__all__ = [*_plain.__all__, "Untagged"]  # pyright: ignore[reportUnsupportedDunderAll] - names come by __getattr__

Connect = connect = Connection

submodules.install(__name__, _plain.__name__)


def __getattr__(name: str) -> Any:
    return getattr(_plain, name)
