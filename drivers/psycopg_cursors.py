"""How a tag gets into a transaction of psycopg: the part that its cursors share, sync or async.

A connection sees its own COMMIT, but only a cursor sees what is written in autocommit, where a statement is its own
transaction, and COMMIT given as text. What it sees it tells from the text, see `statement`.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from psycopg import errors, sql
from psycopg._cursor_base import BaseCursor
from psycopg._preparing import Prepare
from psycopg.generators import execute
from psycopg.rows import Row

from . import session as sessions
from .psycopg_results import first_error, take_gen
from .psycopg_script import ScriptCursor
from .psycopg_stamp import ACTIVE, BAD, IDLE, PUBLIC, UNASKED, StampedConnection
from .statement import HELD_WRITES, TEXT_MAX, Kind, chains, kind, remembered

if TYPE_CHECKING:
    from psycopg.abc import Params, PQGen, Query
    from psycopg.pq.abc import PGresult

# Looking up a member of an Enum is slow in Python 3.11, and this is done for every statement.
READ = Kind.READ
WRITE = Kind.WRITE
OPAQUE = Kind.OPAQUE
HELD = Kind.HELD
SCRIPT = Kind.SCRIPT
SCRIPT_COMMIT = Kind.SCRIPT_COMMIT
NO = Prepare.NO
SHOULD = Prepare.SHOULD

_CONTROL = (Kind.BEGIN, Kind.COMMIT, Kind.PREPARE, Kind.ROLLBACK)
_BY_ITSELF = "a procedure or block that may commit by itself, in autocommit"


class StampedCursor(ScriptCursor[Row]):
    """The part of a cursor that sees autocommitted writes, and transaction control given as text."""

    __slots__ = ()

    def _execute_gen(
        self, query: Query, params: Params | None = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> PQGen[None]:
        plain = super()._execute_gen(query, params, prepare=prepare, binary=binary)
        conn = self._conn
        session = sessions.current()
        try:
            idle = conn._session is None and session is None and not conn._pipeline
        except AttributeError:
            idle = True  # the connection is one of plain psycopg
        if idle:
            return plain
        conn._announced = True
        of = remembered(query) if type(query) is str and len(query) <= TEXT_MAX else _kind(query)
        if of is HELD and (session is not None or conn._session is not None):
            conn._refuse(HELD_WRITES)
        if conn._pipeline:
            return self._execute_piped(of, plain, query, params, prepare, binary)
        if of is READ or (of is WRITE and (session is None or not conn._lone())):
            return plain
        if of is WRITE:
            return self._execute_stamped_gen(plain, query, params, prepare, binary)
        if of in _CONTROL:
            return self._control_gen(of, plain, query)
        if of is SCRIPT_COMMIT:
            return self._execute_script_gen(of, plain, query, params, prepare, binary)
        if session is None or not conn._lone() or of is HELD:
            return plain
        if of is Kind.COPY:
            return self._execute_in_block_gen(plain)
        if of is SCRIPT:
            return self._execute_script_gen(of, plain, query, params, prepare, binary)
        conn._refuse(_BY_ITSELF)  # what it commits by itself carries no tag, what it leaves to commit does
        return self._execute_stamped_gen(plain, query, params, prepare, binary)

    def _execute_piped(
        self,
        of: Kind,
        plain: PQGen[None],
        query: Query,
        params: Params | None,
        prepare: bool | None,
        binary: bool | None,
    ) -> PQGen[None]:
        """Run a statement in a pipeline, where every text counts that begins or ends a block, whoever sends it."""
        conn: StampedConnection[Any] = self._conn
        if of in _CONTROL:
            return self._control_gen(of, plain, query)
        if sessions.current() is None or of is SCRIPT or of is SCRIPT_COMMIT:  # the server refuses scripts there
            return plain
        if of is READ:
            return plain if conn._grant is not UNASKED else self._execute_ready_gen(plain)
        if not conn._lone():
            return plain
        return self._execute_pended_gen(of, query, params, prepare, binary)

    def _execute_ready_gen(self, plain: PQGen[None]) -> PQGen[None]:
        """Run what reads; a write that follows it in the pipeline comes too late to ask whether it can be stamped."""
        yield from self._conn._ready_gen()
        yield from plain

    def _execute_pended_gen(
        self, of: Kind, query: Query, params: Params | None, prepare: bool | None, binary: bool | None
    ) -> PQGen[None]:
        """Run what may write in a pipeline, to be stamped at the next sync: as psycopg does, step by step."""
        conn: StampedConnection[Any] = self._conn
        if of is OPAQUE:
            conn._refuse(_BY_ITSELF)
        session = yield from conn._pending_gen()
        yield from self._start_query(query)
        pgq = self._convert_query(query, params)
        conn._pending = session  # what fails before it is sent begins no transaction
        yield from self._maybe_prepare_gen(pgq, prepare=prepare, binary=binary)
        if conn._pipeline:
            yield from conn._pipeline._communicate_gen()
        self._last_query = query
        yield from conn._prepared.maintain_gen(conn)

    def _execute_in_block_gen(self, plain: PQGen[None]) -> PQGen[None]:
        conn: StampedConnection[Any] = self._conn
        if (yield from conn._may_stamp_gen()):
            yield from conn._in_block_gen(plain)
        else:
            conn._refuse(conn._grant.value)
            yield from plain

    def _control_gen(self, of: Kind, plain: PQGen[None], query: Query) -> PQGen[None]:
        """Run transaction control given as text. Whatever the text goes on to begin has its first statement to come."""
        conn: StampedConnection[Any] = self._conn
        in_block = conn._block_open() if conn._pipeline else conn.pgconn.transaction_status != IDLE
        if of is Kind.BEGIN:
            if in_block:
                yield from plain  # the server warns, and the transaction stays the one it is
                return
            if sessions.current() is not None and not conn._ready():
                yield from conn._ready_gen()
        elif of is not Kind.ROLLBACK:
            yield from conn._stamp_gen()
        yield from plain
        if of is Kind.BEGIN:
            conn._begin()
        else:
            conn._end()
        if conn._pipeline:
            conn._block = of is Kind.BEGIN or (in_block and chains(_text(query)))

    def _execute_stamped_gen(
        self, plain: PQGen[None], query: Query, params: Params | None, prepare: bool | None, binary: bool | None
    ) -> PQGen[None]:
        """Run a lone write and its stamp as one implicit transaction: a pipeline of two, one sync, one round trip."""
        conn: StampedConnection[Any] = self._conn
        session = sessions.current()
        if not conn._ready():
            yield from conn._ready_gen()
        if session is None or (conn._grant is not PUBLIC and not (yield from conn._may_stamp_gen())):
            conn._refuse(conn._grant.value)
            yield from plain
            return
        yield from self._start_query(query)
        pgq = self._convert_query(query, params)
        prep, name = self._get_prepared(pgq, prepare)
        if prep is SHOULD:
            # psycopg prepares in a round trip of its own, and so it stays.
            self._send_prepare(name, pgq)
            error = first_error(conn.pgconn, (yield from execute(conn.pgconn)))
            if error is not None:
                raise error
        conn.pgconn.enter_pipeline_mode()
        try:
            if prep is NO:
                self._execute_send(pgq, force_extended=True, binary=binary)
            else:
                self._send_query_prepared(name, pgq, binary=binary)
            conn._send_stamp(session)
            key = conn._prepared.maybe_add_to_cache(pgq, prep, name)
            results, error = yield from take_gen(conn.pgconn)
        finally:
            if conn.pgconn.status != BAD:
                conn.pgconn.exit_pipeline_mode()
        if key is not None:
            conn._prepared.validate(key, prep, name, results)
        self._check_results(results)
        if error is not None:
            raise error
        self._set_results(results)
        self._last_query = query
        yield from conn._prepared.maintain_gen(conn)

    def _executemany_gen_pipeline(self, query: Query, params_seq: Iterable[Params], returning: bool) -> PQGen[None]:
        conn = self._conn
        plain = super()._executemany_gen_pipeline(query, params_seq, returning)
        if not _announce(conn) or sessions.current() is None or not conn._lone():
            yield from plain
            return
        of = _kind(query)
        if of is READ:
            yield from conn._ready_gen()
            yield from plain
            return
        if of is OPAQUE or of in _CONTROL:
            conn._refuse(_BY_ITSELF)
        session = yield from conn._pending_gen()
        try:
            yield from plain
        finally:
            if self._query is not None and not self._closed:
                conn._pending = session  # without rows nothing is sent, and no transaction begins

    def _stream_send_gen(
        self, query: Query, params: Params | None = None, *, binary: bool | None = None, size: int
    ) -> PQGen[None]:
        """In autocommit a stream that may write runs in a block of its own, which its last fetch commits."""
        conn = self._conn
        plain = super()._stream_send_gen(query, params, binary=binary, size=size)
        if not _announce(conn) or sessions.current() is None or not conn._lone():
            yield from plain
            return
        of = _kind(query)
        if of is READ or of is Kind.COPY:  # psycopg refuses a COPY here once the server has begun it
            yield from plain
            return
        if of is OPAQUE or of in _CONTROL:
            conn._refuse(_BY_ITSELF)
        elif not (yield from conn._may_stamp_gen()):
            conn._refuse(conn._grant.value)
        else:
            yield from conn._open_block_gen()
        try:
            yield from plain
        except BaseException:
            if conn._own_block and conn.pgconn.transaction_status != ACTIVE:
                yield from conn._abandon_gen()
            raise

    def _stream_fetchone_gen(self, first: bool) -> PQGen[PGresult | None]:
        conn = self._conn
        plain = super()._stream_fetchone_gen(first)
        if not (isinstance(conn, StampedConnection) and conn._own_block):
            return (yield from plain)
        try:
            result = yield from plain
        except errors.Error:
            yield from conn._close_block_gen()
            raise
        if result is None:
            yield from conn._close_block_gen()
        return result

    def _copy_block_gen(self, statement: Query) -> PQGen[bool]:
        """Return whether a COPY is to run in a block, and open it. psycopg refuses other statements after they ran."""
        conn = self._conn
        if not _announce(conn) or conn._pipeline or sessions.current() is None or not conn._lone():
            return False
        of = _kind(statement)
        if of is READ:
            return False
        if of is OPAQUE or of in _CONTROL:
            conn._refuse(_BY_ITSELF)
            return False
        if not (yield from conn._may_stamp_gen()):
            conn._refuse(conn._grant.value)
            return False
        yield from conn._open_block_gen()
        return True


class StampedServerCursor(BaseCursor[Any, Row]):
    """The part of a server-side cursor: it reads, and says that it is ours."""

    __slots__ = ()

    _withhold: bool

    def _declare_gen(self, query: Query, params: Params | None = None, binary: bool | None = None) -> PQGen[None]:
        conn = self._conn
        if self._withhold and _announce(conn) and sessions.current() is not None and _kind(query) is not READ:
            conn._refuse(HELD_WRITES)
        declare: Any = super()
        yield from declare._declare_gen(query, params, binary)  # of psycopg's class, which stands beside this one

    def _start_query(self, query: Query | None = None) -> PQGen[None]:
        _announce(self._conn)
        return super()._start_query(query)


def _announce(conn: Any) -> TypeGuard[StampedConnection[Any]]:
    """Tell the connection that a cursor of ours sends the next statement; return whether it is one of ours."""
    if not isinstance(conn, StampedConnection):
        return False
    conn._announced = True
    return True


def _kind(query: Query) -> Kind:
    return kind(_text(query))


def _text(query: Query) -> str:
    if isinstance(query, str):
        return query
    if isinstance(query, bytes):
        return query.decode("latin-1")
    if isinstance(query, sql.Composable):
        return query.as_string(None)
    # A template string; anything else is psycopg's to refuse.
    strings: Sequence[str] = getattr(query, "strings", ())
    return " ? ".join(strings)
