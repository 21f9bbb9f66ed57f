"""How a tag gets into a transaction of psycopg: the part that its connections and pipelines share, sync or async.

psycopg runs each operation as a generator over libpq, and so does this. Before a COMMIT it sends one message to the
server's log, in the same round trip, and only where the transaction wrote; a statement in autocommit and its message
share an implicit transaction. It never retries, swallows or reorders, and adds nothing to a failed transaction.

psycopg has no public hook at COMMIT, so private names of 3.3 are used; the contract tests hold them.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from psycopg import BaseConnection, errors, pq
from psycopg._cursor_base import BaseCursor
from psycopg._pipeline_base import BasePipeline
from psycopg.generators import copy_from, execute, fetch_many
from psycopg.rows import Row

from . import session as sessions
from .psycopg_message import EMIT_PARAMETER, emit
from .psycopg_results import FATAL_ERROR, StampResult, first_error, take_gen

if TYPE_CHECKING:
    from psycopg.abc import Buffer, PQGen, QueryNoTemplate
    from psycopg.pq.abc import PGresult

IDLE = pq.TransactionStatus.IDLE
ACTIVE = pq.TransactionStatus.ACTIVE
INTRANS = pq.TransactionStatus.INTRANS
INERROR = pq.TransactionStatus.INERROR
BAD = pq.ConnStatus.BAD
TEXT = pq.Format.TEXT

SERVER_VERSION_MIN = 140000
"""pgoutput sends logical messages since PostgreSQL 14."""

_TEXT_OID = 25
# Keys of psycopg's prepared statements: text and parameter types.
_STAMP_KEY = (EMIT_PARAMETER, (_TEXT_OID,))
_COMMIT_KEY = (b"COMMIT", ())

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
    UNCLEAR = "the server does not tell who may execute pg_logical_emit_message"
    NONE = "no privilege to execute pg_logical_emit_message"


# Looking up a member of an Enum is slow in Python 3.11, and this is done for every statement.
UNASKED = Grant.UNASKED
PUBLIC = Grant.PUBLIC
ROLE = Grant.ROLE


class StampedConnection(BaseConnection[Row]):
    """The part of a connection that stamps its transactions."""

    _session: sessions.Session | None = None  # of the transaction in hand
    _captured = False  # whether the transaction in hand has had a statement
    _block: bool | None = None  # whether what a pipeline has sent since its last sync is in a block; None if nothing
    _pending: sessions.Session | None = None  # of the writes since a pipeline's last sync, outside a block
    _own_block = False  # whether the block at work is one that we opened around a statement
    _announced = False  # whether the statement that starts now comes from a cursor of ours
    _grant: Grant = UNASKED

    def _start_query(self) -> PQGen[None]:
        """Note which session the transaction belongs to, at its first statement. Every cursor comes by here."""
        announced, self._announced = self._announced, False
        status = self.pgconn.transaction_status
        if self._block_open() if self._pipeline else status != IDLE:
            if not self._captured:
                self._session = sessions.current()
                self._captured = True
        elif self._autocommit or status != IDLE:
            # What a cursor of ours sends alone is stamped there; a BEGIN has its transaction's statements still to come.
            self._forget()
            if not announced and sessions.current() is not None:
                self._refuse("a cursor that is not of this driver, in autocommit")
        else:
            yield from super()._start_query()
            self._session = sessions.current()
            self._captured = True
        if self._pipeline:
            self._block = self._block_open()

    def _exec_command(self, command: QueryNoTemplate, result_format: pq.Format = TEXT) -> PQGen[PGresult | None]:
        """Send an internal command of psycopg; all its BEGIN, COMMIT and ROLLBACK come by here."""
        if command is self._begin_statement:
            self._begin()
            if sessions.current() is not None and not self._ready():
                return self._begin_gen(command)
        elif command == b"COMMIT":
            session = self._owner()
            self._end()
            if session is not None:
                return self._commit_stamped_gen(session)
        elif command == b"ROLLBACK":
            self._forget()
        return super()._exec_command(command, result_format)

    def _begin_gen(self, command: QueryNoTemplate) -> PQGen[PGresult | None]:
        yield from self._ready_gen()
        return (yield from super()._exec_command(command))

    def _commit_stamped_gen(self, session: sessions.Session) -> PQGen[PGresult | None]:
        """Send stamp and COMMIT in one round trip, and return or raise what COMMIT alone would have."""
        if self._nothing_to_commit():
            pass
        elif self._grant is not PUBLIC and not (yield from self._may_stamp_gen()):
            yield from self._commit_untagged_gen()
        elif self._pipeline:
            self._enqueue_stamp(self._pipeline, session)
        else:
            error = yield from self._stamp_and_commit_gen(session)
            if error is None:
                return None
            if self.pgconn.transaction_status == INERROR:
                # The stamp failed: cancelled, or the privilege is gone. As with a failed COMMIT, the transaction ends.
                self._grant = UNASKED
                yield from super()._exec_command(b"ROLLBACK")
            raise error
        return (yield from super()._exec_command(b"COMMIT"))

    def _stamp_and_commit_gen(self, session: sessions.Session) -> PQGen[errors.Error | None]:
        pgconn = self.pgconn
        self._check_connection_ok()
        if _STAMP_KEY not in self._prepared._names:
            pgconn.send_query(emit(session) + b";COMMIT")
            return first_error(pgconn, (yield from execute(pgconn)))
        pgconn.enter_pipeline_mode()
        try:
            self._send_prepared(_STAMP_KEY, [session.tag])
            self._send_prepared(_COMMIT_KEY, None)
            results, error = yield from take_gen(pgconn)
        finally:
            if pgconn.status != BAD:
                pgconn.exit_pipeline_mode()
        return first_error(pgconn, results) or error

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
        session = self._owner()
        if session is None or self._nothing_to_commit():
            return
        if not (yield from self._may_stamp_gen()):
            self._refuse(self._grant.value)
        elif self._pipeline:
            self._pending = None
            self._enqueue_stamp(self._pipeline, session)
        else:
            yield from super()._exec_command(emit(session))

    def _tpc_prepare_gen(self) -> PQGen[None]:
        if self._tpc and not self._tpc[1]:
            yield from self._stamp_gen()
        yield from super()._tpc_prepare_gen()
        self._forget()

    def _forget(self) -> None:
        self._session = None
        self._captured = self._own_block = False

    def _begin(self) -> None:
        """Note that a block begins. What a pipeline has written since its last sync becomes a part of it."""
        owner, self._pending = self._pending, None
        self._forget()
        if owner is not None:
            self._session, self._captured = owner, True

    def _end(self) -> None:
        """Note that a transaction ends, be it a block or what a pipeline has written since its last sync."""
        self._forget()
        self._pending = None

    def _owner(self) -> sessions.Session | None:
        """Return whose the transaction is that a COMMIT sent now would end."""
        return self._session if self._pending is None else self._pending

    def _nothing_to_commit(self) -> bool:
        """Return whether there is no transaction, or a failed one, or results of before that are still unread."""
        return self._block is None and self.pgconn.transaction_status != INTRANS

    def _block_open(self) -> bool:
        """Return whether a statement sent in a pipeline stands in a block; libpq says so only right after a sync."""
        if self._block is None:
            return self.pgconn.transaction_status in (INTRANS, INERROR)
        return self._block

    def _settle(self, owner: sessions.Session | None, *, begun: bool) -> None:
        """Note where a script has left the transaction: whose it is, and whether it has had a statement."""
        self._forget()
        if self.pgconn.transaction_status != IDLE:
            self._captured, self._session = begun, owner

    def _refuse(self, why: str) -> None:
        sessions.untagged(why, error=Untagged)

    def _may_stamp_gen(self) -> PQGen[bool]:
        """Return whether the stamp will succeed. A stamp that failed would take the transaction with it."""
        # Asking takes a sync in a pipeline, which would commit what it has under way outside a block.
        if (self._grant is UNASKED or self._grant is ROLE) and self._block is not False:
            yield from self._ask_gen()
        return self._grant is PUBLIC or self._grant is ROLE

    def _ready(self) -> bool:
        """Return whether it is known if this connection may emit, and the stamp is prepared where it can be."""
        if self._grant is UNASKED:
            return False
        manager = self._prepared
        # The stamp is prepared where the app's own statements are: a pooler in between then allows it.
        return _STAMP_KEY in manager._names or not 0 < len(manager._names) < manager.prepared_max - 1

    def _ready_gen(self) -> PQGen[None]:
        """Before a transaction, where nothing can be spoilt, do what the stamp needs and this connection lacks."""
        if self._block is not None or self.pgconn.transaction_status != IDLE:
            return
        if self._grant is UNASKED:
            yield from self._ask_gen()
        if self._pipeline or self._ready():
            return
        manager = self._prepared
        for query, types in (_STAMP_KEY, _COMMIT_KEY):
            name = f"_pg3_{manager._prepared_idx}".encode()
            manager._prepared_idx += 1
            self.pgconn.send_prepare(name, query, types)
            error = first_error(self.pgconn, (yield from execute(self.pgconn)))
            if error is not None:
                raise error
            manager._names[query, types] = name

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
            error = errors.error_from_result(result, encoding=pgconn._encoding)
            if not isinstance(error, errors.ProgrammingError) or pgconn.transaction_status == INERROR:
                raise error
            self._grant = Grant.UNCLEAR  # a server of another make, that does not know the question
        elif result.get_value(0, 0) == b"t":
            self._grant = PUBLIC
        else:
            self._grant = ROLE if result.get_value(0, 1) == b"t" else Grant.NONE

    # Autocommit, where a statement or a pipeline is a transaction of its own

    def _lone(self) -> bool:
        """Return whether a statement sent now commits by itself, or with its pipeline."""
        status = self.pgconn.transaction_status
        if self._pipeline:
            # Where psycopg has nothing to begin, what follows a COMMIT given as text stands alone, too.
            return not self._block_open() and (self._autocommit or status != IDLE)
        return self._autocommit and status == IDLE

    def _pending_gen(self) -> PQGen[sessions.Session | None]:
        """Return whose stamp a pipeline's next sync is to send, if a statement that may write is sent before."""
        if self._pending is not None or (session := sessions.current()) is None:
            return self._pending
        if self._grant is PUBLIC or (self._block is None and self.pgconn.transaction_status == IDLE):
            if (yield from self._may_stamp_gen()):
                return session
            self._refuse(self._grant.value)
        else:
            self._refuse("a session bound in the middle of a pipeline")
        return None

    def _send_stamp(self, session: sessions.Session) -> None:
        """Send the stamp in pipeline mode."""
        self._send_prepared(_STAMP_KEY, [session.tag])

    def _send_prepared(self, key: tuple[bytes, tuple[int, ...]], params: list[Buffer | None] | None) -> None:
        query, types = key
        names = self._prepared._names
        if name := names.get(key):
            names.move_to_end(key)
            self.pgconn.send_query_prepared(name, params)
        else:
            self.pgconn.send_query_params(query, params, param_types=types)

    def _enqueue_stamp(self, pipeline: BasePipeline, session: sessions.Session) -> None:
        """Have a pipeline of the app send the stamp after what it has queued."""
        pipeline.command_queue.append(partial(self._send_stamp, session))
        pipeline.result_queue.append((cast("BaseCursor[Any, Any]", StampResult(self)), None))

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
        self._own_block, self._captured = True, False

    def _close_block_gen(self) -> PQGen[None]:
        """End a block of ours as the statement in it would have ended alone: committed, or rolled back if it failed."""
        while (yield from fetch_many(self.pgconn)):
            pass
        yield from self._end_block_gen()

    def _end_block_gen(self) -> PQGen[None]:
        if self.pgconn.transaction_status == INTRANS:
            yield from self._exec_command(b"COMMIT")
        else:
            yield from self._abandon_gen()

    def _close_copy_gen(self) -> PQGen[None]:
        """Commit the block around a COPY. Its caller may have left off in the middle: the server has written all of it."""
        while self.pgconn.transaction_status == ACTIVE and isinstance((yield from copy_from(self.pgconn)), memoryview):
            pass
        yield from self._exec_command(b"COMMIT")

    def _abandon_gen(self) -> PQGen[None]:
        self._forget()
        if self.pgconn.transaction_status in (INTRANS, INERROR):
            yield from super()._exec_command(b"ROLLBACK")


class StampedPipeline(BasePipeline):
    """The part of a pipeline that stamps the implicit transaction which a sync ends."""

    def _enqueue_sync(self) -> None:
        conn = self._conn
        if isinstance(conn, StampedConnection):
            session, conn._pending = conn._pending, None
            conn._block = None
            if session is not None:
                conn._enqueue_stamp(self, session)
        super()._enqueue_sync()
