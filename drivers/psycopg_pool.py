"""psycopg_pool, wrapped: the same pools, and the connections they give tag their transactions.

Change `from psycopg_pool import …` to `from commitlog.drivers.psycopg_pool import …`. A `connection_class` of plain
psycopg, the default or an app's own, is made to tag; one made from `commitlog.drivers.psycopg` is taken as it is.

What a pool does by itself belongs to no request: its workers, `configure`, `reset` and `reconnect_failed` run without a
session, also where a request opened the pool or had it grow. `check` runs in the request that asks for a connection.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, get_origin

import psycopg as _psycopg
import psycopg_pool as _psycopg_pool
from psycopg_pool import PoolClosed as PoolClosed
from psycopg_pool import PoolTimeout as PoolTimeout
from psycopg_pool import TooManyRequests as TooManyRequests
from psycopg_pool.abc import ACT, CT
from psycopg_pool.base import BasePool

from . import psycopg
from . import session as sessions
from .psycopg_stamp import StampedConnection

__all__ = [*_psycopg_pool.__all__]  # pyright: ignore[reportUnsupportedDunderAll] - names come by the star

_OURS: dict[type, type] = {
    _psycopg.Connection: psycopg.Connection,
    _psycopg.AsyncConnection: psycopg.AsyncConnection,
}


def stamped_class(connection_class: Any) -> Any:
    """Return a class whose connections tag: the class itself, ours for psycopg's, or one made of an app's and ours."""
    theirs = get_origin(connection_class) or connection_class  # Connection[Row] is made by Connection
    return _derived(theirs) if isinstance(theirs, type) else theirs


@lru_cache(maxsize=256)
def _derived(theirs: type) -> type:
    if StampedConnection in theirs.__mro__:
        return theirs
    for plain, ours in _OURS.items():
        if theirs is plain:
            return ours
        if plain in theirs.__mro__:
            return type(theirs.__name__, (ours, theirs), {"__module__": theirs.__module__})
    return theirs  # no connection of psycopg


class _Stamped(BasePool):
    """The part of a pool, sync or async, that chooses the class of its connections and starts its workers."""

    _connection_class: Any

    def _set_connection_class(self, connection_class: Any) -> None:
        self._connection_class = stamped_class(connection_class)

    connection_class = property(attrgetter("_connection_class"), _set_connection_class)

    def _open(self) -> None:
        # Tasks inherit the context they are started in, and a pool may be opened by a request.
        with sessions.resume(None):
            super()._open()  # type: ignore[misc] # psycopg_pool's base has it in its two children only


class ConnectionPool(_Stamped, _psycopg_pool.ConnectionPool[CT]):
    """See `psycopg_pool.ConnectionPool`."""

    def _reset_connection(self, conn: CT) -> None:
        super()._reset_connection(conn)
        forget(conn)


class NullConnectionPool(ConnectionPool[CT], _psycopg_pool.NullConnectionPool[CT]):
    """See `psycopg_pool.NullConnectionPool`."""

    def _connect(self, timeout: float | None = None) -> CT:
        with sessions.resume(None):  # it connects, and configures, in the thread that asks
            return super()._connect(timeout)


class AsyncConnectionPool(_Stamped, _psycopg_pool.AsyncConnectionPool[ACT]):
    """See `psycopg_pool.AsyncConnectionPool`."""

    async def _reset_connection(self, conn: ACT) -> None:
        await super()._reset_connection(conn)
        forget(conn)


class AsyncNullConnectionPool(AsyncConnectionPool[ACT], _psycopg_pool.AsyncNullConnectionPool[ACT]):
    """See `psycopg_pool.AsyncNullConnectionPool`."""

    async def _connect(self, timeout: float | None = None) -> ACT:  # noqa: ASYNC109 - psycopg_pool's own signature
        with sessions.resume(None):  # it connects, and configures, in the task that asks
            return await super()._connect(timeout)


def forget(conn: object) -> None:
    """Leave a connection that waits for its next user nothing of the last one's session."""
    if isinstance(conn, StampedConnection):
        conn._forget()


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return getattr(_psycopg_pool, name)
