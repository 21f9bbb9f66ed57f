"""How a tag gets into a transaction of psycopg: what its connections and cursors share, sync or async.

psycopg runs each operation as a generator over libpq, and so does this. Before a COMMIT it sends one message to the
server's log, in the same round trip, and only where the transaction wrote; a statement in autocommit and its message
share an implicit transaction. It never retries, swallows or reorders, and adds nothing to a failed transaction.

psycopg has no public hook at COMMIT, so private names of 3.3 are used; the contract tests hold them.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from psycopg import BaseConnection, errors, pq, sql
from psycopg._cursor_base import BaseCursor
from psycopg._pipeline_base import BasePipeline
from psycopg.generators import execute, fetch_many, send
from psycopg.rows import Row

from . import session as sessions
from .statement import Kind, kind
from .tag import PREFIX

if TYPE_CHECKING:
    from psycopg.abc import Params, PQGen, Query, QueryNoTemplate
    from psycopg.pq.abc import PGresult

IDLE = pq.TransactionStatus.IDLE
INTRANS = pq.TransactionStatus.INTRANS
INERROR = pq.TransactionStatus.INERROR
FATAL_ERROR = pq.ExecStatus.FATAL_ERROR
PIPELINE_SYNC = pq.ExecStatus.PIPELINE_SYNC
TEXT = pq.Format.TEXT

SERVER_VERSION_MIN = 140000
"""pgoutput sends logical messages since PostgreSQL 14."""

_EMIT = f"SELECT pg_catalog.pg_logical_emit_message(true,'{PREFIX}',".encode()
# A transaction without a number has written nothing, and stays unwritten.
_IF_WROTE = b") WHERE pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL"
_EMIT_PARAMETER = _EMIT + b"$1::text" + _IF_WROTE

_WROTE = b"SELECT pg_catalog.txid_current_if_assigned() IS NOT NULL"

# Whether everyone may emit, then whether this role may. PostgreSQL 17 gave the function a fourth argument.
_ASK = b"""SELECT pg_catalog.bool_and(pg_catalog.has_function_privilege('public', f, 'EXECUTE')),
pg_catalog.bool_and(pg_catalog.has_function_privilege(f, 'EXECUTE')) FROM (VALUES
(coalesce(pg_catalog.to_regprocedure('pg_catalog.pg_logical_emit_message(boolean,text,text,boolean)'),
pg_catalog.to_regprocedure('pg_catalog.pg_logical_emit_message(boolean,text,text)'))),
(pg_catalog.to_regprocedure('pg_catalog.pg_current_xact_id_if_assigned()'))) AS _(f)"""


class Untagged(sessions.Untagged, errors.NotSupportedError):
    """A session is bound, its write cannot be tagged, and `on_untagged` is "raise". The write has not happened."""


class Grant(Enum):
    """Whether this connection may emit. What PUBLIC may do outlives SET ROLE; what a role may do is asked each time."""

    UNASKED = "not asked yet"
    PUBLIC = "everyone may"
    ROLE = "the role in force may"
    SERVER = "the server is older than PostgreSQL 14"
    NONE = "no privilege to execute pg_logical_emit_message"


class StampedConnection(BaseConnection[Row]):
    """The part of a connection that stamps its transactions."""

    _session: sessions.Session | None = None  # of the transaction in hand
    _captured = False  # whether the transaction in hand has had a statement
    _in_block = False  # whether BEGIN was sent; the status says so only where no pipeline is at work
    _pending: sessions.Session | None = None  # of the writes since a pipeline's last sync, outside a block
    _announced = False  # whether the statement that starts now comes from a cursor of ours
    _grant = Grant.UNASKED

    def _start_query(self) -> PQGen[None]:
        """Note which session the transaction belongs to, at its first statement. Every cursor comes by here."""
        announced, self._announced = self._announced, False
        if self.pgconn.transaction_status == IDLE:
            session = sessions.current()
            if not self._autocommit:
                yield from super()._start_query()
            elif session is not None and not announced:
                self._refuse("a cursor that is not of this driver, in autocommit")
            self._session = session
            # In autocommit this statement may be a BEGIN; then the next one is the first of its transaction.
            self._captured = session is not None or not self._autocommit
        elif not self._captured:
            self._session = sessions.current()
            self._captured = True

    def _exec_command(self, command: QueryNoTemplate, result_format: pq.Format = TEXT) -> PQGen[PGresult | None]:
        """Send an internal command of psycopg; all its BEGIN, COMMIT and ROLLBACK come by here."""
        if command == b"COMMIT":
            return self._commit_stamped_gen()
        if isinstance(command, bytes) and command is self._begin_statement:
            return self._begin_gen(command)
        if command == b"ROLLBACK":
            self._forget()
        return super()._exec_command(command, result_format)

    def _begin_gen(self, command: bytes) -> PQGen[PGresult | None]:
        self._forget()
        if sessions.current() is not None and self._grant is Grant.UNASKED:
            yield from self._ask_gen()
        result = yield from super()._exec_command(command)
        self._in_block = True
        return result

    def _commit_stamped_gen(self) -> PQGen[PGresult | None]:
        session = self._session
        self._forget()
        status = self.pgconn.transaction_status
        if session is not None and status not in (IDLE, INERROR):
            if not (yield from self._may_stamp_gen()):
                yield from self._commit_untagged_gen()
            elif self._pipeline:
                self._enqueue_stamp(self._pipeline, session)
            else:
                return (yield from self._stamp_and_commit_gen(session))
        return (yield from super()._exec_command(b"COMMIT"))

    def _stamp_and_commit_gen(self, session: sessions.Session) -> PQGen[PGresult]:
        """Send stamp and COMMIT in one simple query, and return or raise what COMMIT alone would have."""
        self._check_connection_ok()
        self.pgconn.send_query(_emit(session) + b";COMMIT")
        results = yield from execute(self.pgconn)
        last: PGresult = results[-1]
        if last.status != FATAL_ERROR:
            return last
        error = errors.error_from_result(last, encoding=self.pgconn._encoding)
        if self.pgconn.transaction_status == INERROR:
            # It was the stamp that failed (cancelled, or the privilege is gone). A failed COMMIT ends its transaction.
            self._grant = Grant.UNASKED
            yield from super()._exec_command(b"ROLLBACK")
        raise error

    def _commit_untagged_gen(self) -> PQGen[None]:
        """Do what `on_untagged` says before a COMMIT that cannot be stamped; "raise" rolls back first."""
        if not self._pipeline:
            result = yield from super()._exec_command(_WROTE)
            if result is not None and result.get_value(0, 0) != b"t":
                return
        if sessions.settings().on_untagged == "raise":
            yield from super()._exec_command(b"ROLLBACK")
        self._refuse(self._grant.value)

    def _stamp_gen(self) -> PQGen[None]:
        """Stamp the open transaction in a message of its own, before a statement that ends it."""
        session = self._session
        status = self.pgconn.transaction_status
        if session is None or status in (IDLE, INERROR):
            return
        if not (yield from self._may_stamp_gen()):
            self._refuse(self._grant.value)
        elif self._pipeline:
            self._pending = None
            self._enqueue_stamp(self._pipeline, session)
        else:
            yield from super()._exec_command(_emit(session))

    def _tpc_prepare_gen(self) -> PQGen[None]:
        if self._tpc and not self._tpc[1]:
            yield from self._stamp_gen()
        yield from super()._tpc_prepare_gen()
        self._forget()

    def _forget(self) -> None:
        self._session = None
        self._captured = self._in_block = False

    def _refuse(self, why: str) -> None:
        sessions.untagged(why, error=Untagged)

    def _may_stamp_gen(self) -> PQGen[bool]:
        """Return whether the stamp will succeed. A stamp that failed would take the transaction with it."""
        if self._grant is Grant.UNASKED or self._grant is Grant.ROLE:
            yield from self._ask_gen()
        return self._grant is Grant.PUBLIC or self._grant is Grant.ROLE

    def _ask_gen(self) -> PQGen[None]:
        """Learn whether this connection may emit: one round trip, for most connections once in their life."""
        pgconn = self.pgconn
        self._check_connection_ok()
        if pgconn.server_version < SERVER_VERSION_MIN:
            self._grant = Grant.SERVER
            return
        if self._pipeline:
            if self._pipeline.result_queue:
                yield from self._pipeline._sync_gen()
            pgconn.send_query_params(_ASK, None)
            pgconn.pipeline_sync()
            result = (yield from execute(pgconn))[0]
            yield from fetch_many(pgconn)
        else:
            pgconn.send_query(_ASK)
            result = (yield from execute(pgconn))[0]
        if result.status == FATAL_ERROR:
            raise errors.error_from_result(result, encoding=pgconn._encoding)
        if result.get_value(0, 0) == b"t":
            self._grant = Grant.PUBLIC
        else:
            self._grant = Grant.ROLE if result.get_value(0, 1) == b"t" else Grant.NONE

    # Autocommit, where a statement or a pipeline is a transaction of its own

    def _lone(self) -> bool:
        """Return whether a statement sent now commits by itself, or with its pipeline."""
        if not self._autocommit:
            return False
        status = self.pgconn.transaction_status
        return not self._in_block if self._pipeline and status != INTRANS else status == IDLE

    def _pend_gen(self) -> PQGen[None]:
        """Have the pipeline's next sync stamp what was written until then."""
        if self._pending is not None or (session := sessions.current()) is None:
            return
        if self.pgconn.transaction_status == IDLE or self._grant is Grant.PUBLIC:
            stamped = yield from self._may_stamp_gen()
            why = self._grant.value
        else:
            # Asking takes a sync, which would commit what is under way.
            stamped, why = False, "a session bound in the middle of a pipeline"
        if stamped:
            self._pending = session
        else:
            self._refuse(why)

    def _enqueue_stamp(self, pipeline: BasePipeline, session: sessions.Session) -> None:
        pipeline.command_queue.append(partial(self.pgconn.send_query_params, _EMIT_PARAMETER, [session.tag]))
        pipeline.result_queue.append((cast("BaseCursor[Any, Any]", _StampResult(self)), None))

    def _in_block_gen(self, statement: PQGen[None]) -> PQGen[None]:
        """Run a statement of autocommit in a block of its own, so that COMMIT can carry the stamp."""
        yield from self._open_block_gen()
        try:
            yield from statement
        except BaseException:
            yield from self._abandon_gen()
            raise
        yield from self._exec_command(b"COMMIT")

    def _open_block_gen(self) -> PQGen[None]:
        yield from super()._exec_command(b"BEGIN")
        self._in_block = True
        self._captured = False

    def _abandon_gen(self) -> PQGen[None]:
        self._forget()
        if self.pgconn.transaction_status in (INTRANS, INERROR):
            yield from super()._exec_command(b"ROLLBACK")


class StampedCursor(BaseCursor[Any, Row]):
    """The part of a cursor that sees autocommitted writes, and transaction control given as text."""

    __slots__ = ()

    def _start_query(self, query: Query | None = None) -> PQGen[None]:
        self._conn._announced = True
        return super()._start_query(query)

    def _execute_gen(
        self, query: Query, params: Params | None = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> PQGen[None]:
        plain = super()._execute_gen(query, params, prepare=prepare, binary=binary)
        conn = self._conn
        if sessions.current() is None and getattr(conn, "_session", None) is None:
            return plain
        if not isinstance(conn, StampedConnection):
            return plain
        of = _kind(query)
        if of is Kind.READ:
            return plain
        if of is Kind.WRITE and not conn._pipeline and conn._lone() and sessions.current() is not None:
            return self._execute_stamped_gen(query, params, prepare, binary)
        return self._execute_seen_gen(of, plain)

    def _execute_seen_gen(self, of: Kind, plain: PQGen[None]) -> PQGen[None]:
        """Run a statement of another kind than a lone write: with its stamp, counted, or as it is."""
        conn = cast("StampedConnection[Any]", self._conn)
        if of is Kind.COMMIT or of is Kind.PREPARE:
            yield from conn._stamp_gen()
        if of in (Kind.COMMIT, Kind.PREPARE, Kind.ROLLBACK):
            try:
                yield from plain
            finally:
                conn._forget()
            return
        if of is Kind.BEGIN:
            if conn._lone() and not conn._pipeline and conn._grant is Grant.UNASKED:
                yield from conn._ask_gen()
            yield from plain
            conn._in_block = True
            return
        if of is Kind.SCRIPT_COMMIT:
            conn._refuse("several statements in one, with transaction control")
        elif conn._lone() and sessions.current() is not None:
            if of is Kind.WRITE:
                yield from conn._pend_gen()
            elif of is Kind.SCRIPT and not conn._pipeline and (yield from conn._may_stamp_gen()):
                plain = conn._in_block_gen(plain)
            else:
                conn._refuse(_UNSEEN.get(of) or conn._grant.value)
        yield from plain

    def _execute_stamped_gen(
        self, query: Query, params: Params | None, prepare: bool | None, binary: bool | None
    ) -> PQGen[None]:
        """Run a lone write and its stamp as one implicit transaction: a pipeline of two, one sync, one round trip."""
        conn = cast("StampedConnection[Any]", self._conn)
        session = sessions.current()
        if session is None or not (yield from conn._may_stamp_gen()):
            conn._refuse(conn._grant.value)
            yield from super()._execute_gen(query, params, prepare=prepare, binary=binary)
            return
        pipeline = conn._pipeline = BasePipeline(conn)
        try:
            yield from self._start_query(query)
            pgq = self._convert_query(query, params)
            yield from self._maybe_prepare_gen(pgq, prepare=prepare, binary=binary)
            conn._enqueue_stamp(pipeline, session)
            yield from _run_gen(pipeline)
        finally:
            conn._pipeline = None
        self._last_query = query
        yield from conn._prepared.maintain_gen(conn)

    def _executemany_gen_pipeline(self, query: Query, params_seq: Iterable[Params], returning: bool) -> PQGen[None]:
        conn = self._conn
        if isinstance(conn, StampedConnection) and sessions.current() is not None and conn._lone():
            of = _kind(query)
            if of is Kind.WRITE:
                yield from conn._pend_gen()
            elif of is not Kind.READ:
                conn._refuse(_UNSEEN.get(of) or of.value)
        yield from super()._executemany_gen_pipeline(query, params_seq, returning)

    def _stream_send_gen(
        self, query: Query, params: Params | None = None, *, binary: bool | None = None, size: int
    ) -> PQGen[None]:
        conn = self._conn
        if isinstance(conn, StampedConnection) and sessions.current() is not None and conn._lone():
            of = _kind(query)
            if of is not Kind.READ:
                conn._refuse("stream() in autocommit")
        yield from super()._stream_send_gen(query, params, binary=binary, size=size)

    def _copy_block_gen(self, statement: Query) -> PQGen[bool]:
        """Return whether a COPY is to run in a block, and open it."""
        conn = self._conn
        if not isinstance(conn, StampedConnection) or conn._pipeline or sessions.current() is None:
            return False
        if not conn._lone() or _kind(statement) is Kind.READ:
            return False
        if not (yield from conn._may_stamp_gen()):
            conn._refuse(conn._grant.value)
            return False
        yield from conn._open_block_gen()
        return True


class StampedPipeline(BasePipeline):
    """The part of a pipeline that stamps the implicit transaction which a sync ends."""

    def _enqueue_sync(self) -> None:
        conn = self._conn
        if isinstance(conn, StampedConnection):
            session, conn._pending = conn._pending, None
            if session is not None:
                conn._enqueue_stamp(self, session)
        super()._enqueue_sync()


class _StampResult:
    """Stands in a pipeline's queue where psycopg has the cursor of a statement."""

    def __init__(self, conn: BaseConnection[Any]) -> None:
        self._conn = conn

    def _check_results(self, results: list[PGresult]) -> None:
        # After a failed statement the stamp is skipped with the rest; the statement's own error is the one to raise.
        for result in results:
            if result.status == FATAL_ERROR:
                raise errors.error_from_result(result, encoding=self._conn.pgconn._encoding)

    def _set_results(self, results: list[PGresult]) -> None:
        """Nothing is kept of the stamp's position."""


_UNSEEN = {
    Kind.OPAQUE: "a statement that may refuse a transaction block, in autocommit",
    Kind.COPY: "COPY by execute() in autocommit",
}


def _run_gen(pipeline: BasePipeline) -> PQGen[None]:
    """Send all that a pipeline has queued with one sync, in one write, and take every result; raise the first error."""
    pgconn = pipeline.pgconn
    pgconn.enter_pipeline_mode()
    try:
        for command in pipeline.command_queue:
            command()
        pgconn.pipeline_sync()
        yield from send(pgconn)
        error: errors.Error | None = None
        queue = [*pipeline.result_queue]
        while (results := (yield from fetch_many(pgconn))) and results[0].status != PIPELINE_SYNC:
            # What comes after the last statement is the error of the implicit COMMIT, a deferred constraint's perhaps.
            queued = queue.pop(0) if queue else None
            try:
                pipeline._process_results(queued, results)
            except errors.Error as exc:
                error = error or exc
        if error is not None:
            raise error
    finally:
        if pgconn.status != pq.ConnStatus.BAD:
            pgconn.exit_pipeline_mode()


def _emit(session: sessions.Session) -> bytes:
    """Return the statement that emits a tag where the transaction wrote."""
    tag = session.tag.replace(b"'", b"''")
    if b"\\" in tag:
        # Only in an E string does a backslash mean the same under every standard_conforming_strings.
        return _EMIT + b"E'" + tag.replace(b"\\", b"\\\\") + b"'" + _IF_WROTE
    return _EMIT + b"'" + tag + b"'" + _IF_WROTE


def _kind(query: Query) -> Kind:
    if isinstance(query, str):
        return kind(query)
    if isinstance(query, bytes):
        return kind(query.decode("latin-1"))
    if isinstance(query, sql.Composable):
        return kind(query.as_string(None))
    # A template string; anything else is psycopg's to refuse.
    strings: Sequence[str] = getattr(query, "strings", ())
    return kind(" ? ".join(strings))
