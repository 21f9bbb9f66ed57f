"""psycopg 3, wrapped: the same names, results and errors, and every transaction carries its session's tag.

Change `import psycopg` to `from commitlog.drivers import psycopg`. Where a session is bound (`session.bind`, or the
middleware), a transaction that writes emits one logical message in its COMMIT's own round trip; without a session
nothing is sent and nothing is slower.

Tagged: `commit()`, `with conn:`, `transaction()` (savepoints count with their transaction), COMMIT given as text, alone
or among other statements, two-phase commits, and in autocommit each writing statement, definition, DO block, script,
`executemany()`, `copy()`, `stream()` and pipeline.

Not tagged, and counted as `on_untagged` says: in autocommit what a procedure or a DO block commits by itself, in the
middle (what it leaves to commit is tagged); what a cursor WITH HOLD writes while its transaction commits; a text with
transaction control among its statements that cannot be told apart (comments in comments, standard_conforming_strings
off with a backslash); servers before PostgreSQL 14; a role that may not execute pg_logical_emit_message.

PgBouncer in transaction pooling passes all of it, prepared statements as plain psycopg's. In statement pooling, which
refuses transaction blocks, `copy()` and `stream()` of a write fail where a session is bound: they run in a block.

Not seen: a SELECT in autocommit that writes by a view, an operator or a rule. One that calls a function is seen, unless
the function is a built-in that only computes; `transaction()` around it tags it for certain.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, get_origin

import psycopg as _psycopg
from psycopg import BINARY as BINARY
from psycopg import DATETIME as DATETIME
from psycopg import NUMBER as NUMBER
from psycopg import ROWID as ROWID
from psycopg import STRING as STRING
from psycopg import AsyncCopy as AsyncCopy
from psycopg import AsyncTransaction as AsyncTransaction
from psycopg import BaseConnection as BaseConnection
from psycopg import Binary as Binary
from psycopg import Capabilities as Capabilities
from psycopg import Column as Column
from psycopg import ConnectionInfo as ConnectionInfo
from psycopg import Copy as Copy
from psycopg import DatabaseError as DatabaseError
from psycopg import DataError as DataError
from psycopg import Date as Date
from psycopg import DateFromTicks as DateFromTicks
from psycopg import Error as Error
from psycopg import IntegrityError as IntegrityError
from psycopg import InterfaceError as InterfaceError
from psycopg import InternalError as InternalError
from psycopg import IsolationLevel as IsolationLevel
from psycopg import Notify as Notify
from psycopg import NotSupportedError as NotSupportedError
from psycopg import OperationalError as OperationalError
from psycopg import ProgrammingError as ProgrammingError
from psycopg import Rollback as Rollback
from psycopg import Time as Time
from psycopg import TimeFromTicks as TimeFromTicks
from psycopg import Timestamp as Timestamp
from psycopg import TimestampFromTicks as TimestampFromTicks
from psycopg import Transaction as Transaction
from psycopg import Warning as Warning  # noqa: A004 - its name in DB-API
from psycopg import Xid as Xid
from psycopg import adapt as adapt
from psycopg import adapters as adapters
from psycopg import apilevel as apilevel
from psycopg import capabilities as capabilities
from psycopg import conninfo as conninfo
from psycopg import copy as copy
from psycopg import errors as errors
from psycopg import paramstyle as paramstyle
from psycopg import postgres as postgres
from psycopg import pq as pq
from psycopg import rows as rows
from psycopg import sql as sql
from psycopg import threadsafety as threadsafety
from psycopg import types as types
from psycopg.rows import Row

from .. import submodules
from ..psycopg_cursors import StampedCursor, StampedServerCursor
from ..psycopg_stamp import StampedConnection, StampedPipeline
from ..psycopg_stamp import Untagged as Untagged

if TYPE_CHECKING:
    from psycopg.abc import Params, Query
    from psycopg.copy import AsyncWriter, Writer

P = TypeVar("P")

__all__ = [*_psycopg.__all__, "Untagged"]  # pyright: ignore[reportUnsupportedDunderAll] - names come by the star


class Pipeline(StampedPipeline, _psycopg.Pipeline):
    """See `psycopg.Pipeline`."""


class AsyncPipeline(StampedPipeline, _psycopg.AsyncPipeline):
    """See `psycopg.AsyncPipeline`."""


class Cursor(StampedCursor[Row], _psycopg.Cursor[Row]):
    """See `psycopg.Cursor`."""

    __slots__ = ()

    @contextmanager
    def copy(
        self, statement: Query, params: Params | None = None, *, writer: Writer | None = None
    ) -> Generator[_psycopg.Copy, None, None]:
        """See `psycopg.Cursor.copy`. In autocommit a COPY that writes runs in a transaction block of its own."""
        conn = self._conn
        with conn.lock:
            in_block = conn.wait(self._copy_block_gen(statement))
            if in_block:
                stamped = cast("Connection[Any]", conn)
                try:
                    conn.wait(self._start_copy_gen(statement, params))
                    with _psycopg.Copy(self, writer=writer) as copy:
                        yield copy
                except BaseException:
                    conn.wait(stamped._end_block_gen())
                    raise
                conn.wait(stamped._close_copy_gen())
        if in_block:
            self._select_current_result(0)
        else:
            with super().copy(statement, params, writer=writer) as copy:
                yield copy


class AsyncCursor(StampedCursor[Row], _psycopg.AsyncCursor[Row]):
    """See `psycopg.AsyncCursor`."""

    __slots__ = ()

    @asynccontextmanager
    async def copy(
        self, statement: Query, params: Params | None = None, *, writer: AsyncWriter | None = None
    ) -> AsyncGenerator[_psycopg.AsyncCopy, None]:
        """See `psycopg.AsyncCursor.copy`. In autocommit a COPY that writes runs in a transaction block of its own."""
        conn = self._conn
        async with conn.lock:
            in_block = await conn.wait(self._copy_block_gen(statement))
            if in_block:
                stamped = cast("AsyncConnection[Any]", conn)
                try:
                    await conn.wait(self._start_copy_gen(statement, params))
                    async with _psycopg.AsyncCopy(self, writer=writer) as copy:
                        yield copy
                except BaseException:
                    await conn.wait(stamped._end_block_gen())
                    raise
                await conn.wait(stamped._close_copy_gen())
        if in_block:
            self._select_current_result(0)
        else:
            async with super().copy(statement, params, writer=writer) as copy:
                yield copy


class ClientCursor(Cursor[Row], _psycopg.ClientCursor[Row]):
    """See `psycopg.ClientCursor`."""

    __slots__ = ()


class AsyncClientCursor(AsyncCursor[Row], _psycopg.AsyncClientCursor[Row]):
    """See `psycopg.AsyncClientCursor`."""

    __slots__ = ()


class RawCursor(Cursor[Row], _psycopg.RawCursor[Row]):
    """See `psycopg.RawCursor`."""

    __slots__ = ()


class AsyncRawCursor(AsyncCursor[Row], _psycopg.AsyncRawCursor[Row]):
    """See `psycopg.AsyncRawCursor`."""

    __slots__ = ()


class ServerCursor(StampedServerCursor[Row], _psycopg.ServerCursor[Row]):
    """See `psycopg.ServerCursor`."""

    __slots__ = ()


class AsyncServerCursor(StampedServerCursor[Row], _psycopg.AsyncServerCursor[Row]):
    """See `psycopg.AsyncServerCursor`."""

    __slots__ = ()


class RawServerCursor(ServerCursor[Row], _psycopg.RawServerCursor[Row]):
    """See `psycopg.RawServerCursor`."""

    __slots__ = ()


class AsyncRawServerCursor(AsyncServerCursor[Row], _psycopg.AsyncRawServerCursor[Row]):
    """See `psycopg.AsyncRawServerCursor`."""

    __slots__ = ()


class _Factories:
    """The cursor classes of a connection: what an app sets, made to stamp. They are read for every statement."""

    _cursor_factory: Any
    _server_cursor_factory: Any

    def _set_cursor_factory(self, factory: Any) -> None:
        self._cursor_factory = _stamped(factory)

    def _set_server_cursor_factory(self, factory: Any) -> None:
        self._server_cursor_factory = _stamped(factory)

    cursor_factory = property(attrgetter("_cursor_factory"), _set_cursor_factory)
    server_cursor_factory = property(attrgetter("_server_cursor_factory"), _set_server_cursor_factory)


# Properties stand in for psycopg's attributes, and a pipeline of either kind for its own: no caller can tell.
class Connection(  # pyright: ignore[reportIncompatibleVariableOverride]
    _Factories, StampedConnection[Row], _psycopg.Connection[Row]
):
    """See `psycopg.Connection`."""

    @property
    def driver_connection(self) -> NoReturn:
        """Not here, as in psycopg: SQLAlchemy's async engines look for it, and this says which module they take."""
        raise AttributeError(
            "'Connection' object has no attribute 'driver_connection': an async engine of SQLAlchemy takes"
            " module=commitlog.drivers.sqlalchemy.psycopg_async"
        )

    @contextmanager
    def pipeline(self) -> Generator[Pipeline, None, None]:
        """See `psycopg.Connection.pipeline`."""
        with super().pipeline() as pipeline:
            yield _stamp_pipeline(pipeline, Pipeline)

    @contextmanager
    def _pipeline_nolock(self) -> Generator[Pipeline, None, None]:
        with super()._pipeline_nolock() as pipeline:
            yield _stamp_pipeline(pipeline, Pipeline)


# Properties stand in for psycopg's attributes, and a pipeline of either kind for its own: no caller can tell.
class AsyncConnection(  # pyright: ignore[reportIncompatibleVariableOverride]
    _Factories, StampedConnection[Row], _psycopg.AsyncConnection[Row]
):
    """See `psycopg.AsyncConnection`."""

    @asynccontextmanager
    async def pipeline(self) -> AsyncGenerator[AsyncPipeline, None]:
        """See `psycopg.AsyncConnection.pipeline`."""
        async with super().pipeline() as pipeline:
            yield _stamp_pipeline(pipeline, AsyncPipeline)

    @asynccontextmanager
    async def _pipeline_nolock(self) -> AsyncGenerator[AsyncPipeline, None]:
        async with super()._pipeline_nolock() as pipeline:
            yield _stamp_pipeline(pipeline, AsyncPipeline)


connect = Connection.connect

_OURS: dict[type, type] = {
    _psycopg.Cursor: Cursor,
    _psycopg.ClientCursor: ClientCursor,
    _psycopg.RawCursor: RawCursor,
    _psycopg.ServerCursor: ServerCursor,
    _psycopg.RawServerCursor: RawServerCursor,
    _psycopg.AsyncCursor: AsyncCursor,
    _psycopg.AsyncClientCursor: AsyncClientCursor,
    _psycopg.AsyncRawCursor: AsyncRawCursor,
    _psycopg.AsyncServerCursor: AsyncServerCursor,
    _psycopg.AsyncRawServerCursor: AsyncRawServerCursor,
}


@lru_cache(maxsize=256)
def _stamped(factory: Any) -> Any:
    """Return a cursor class that stamps: the class itself, ours for psycopg's, or one made of an app's and ours."""
    factory = get_origin(factory) or factory  # Cursor[Row] is made by Cursor
    if not isinstance(factory, type) or issubclass(factory, StampedCursor | StampedServerCursor):
        return cast("Any", factory)
    if factory in _OURS:
        return _OURS[factory]
    base: type = AsyncCursor if issubclass(factory, _psycopg.AsyncCursor) else Cursor
    if issubclass(factory, _psycopg.ServerCursor | _psycopg.AsyncServerCursor):
        base = StampedServerCursor
    bases: tuple[type, ...] = (base, cast("type", factory))
    return type(bases[1].__name__, bases, {"__slots__": (), "__module__": bases[1].__module__})


def _stamp_pipeline(pipeline: Any, stamped: type[P]) -> P:
    # psycopg has no factory for pipelines. The classes differ in methods only, so an object can change from one to the
    # other; nothing has been queued in it yet.
    pipeline.__class__ = stamped
    return cast("P", pipeline)


submodules.install(__name__, _psycopg.__name__)

# In psycopg these are there without an import; ours hold the classes above, so they come after them.
from . import client_cursor as client_cursor  # noqa: E402
from . import connection as connection  # noqa: E402
from . import connection_async as connection_async  # noqa: E402
from . import cursor as cursor  # noqa: E402
from . import cursor_async as cursor_async  # noqa: E402
from . import raw_cursor as raw_cursor  # noqa: E402


def __getattr__(name: str) -> Any:
    return getattr(_psycopg, name)
