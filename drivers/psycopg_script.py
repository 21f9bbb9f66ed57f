"""Several statements in one text: where the stamps go, and how its results look without them.

One message carries such a text, so a stamp must stand inside it: before each statement that ends a transaction, and at
the end where the text leaves no block open. The caller sees neither the results of the stamps nor, in the diagnostics of
an error, that they moved what stands behind them.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from psycopg import errors, pq
from psycopg._cursor_base import BaseCursor
from psycopg._preparing import Prepare
from psycopg.generators import execute
from psycopg.rows import Row

from . import session as sessions
from .psycopg_message import SCRIPT_STAMP, emit
from .psycopg_stamp import IDLE, INERROR, PUBLIC, StampedConnection
from .statement import HELD_WRITES, Kind, Part, holds, parts

if TYPE_CHECKING:
    from psycopg._queries import PostgresQuery
    from psycopg.abc import Params, PQGen, Query
    from psycopg.pq.abc import PGresult

_SYNTAX_ERROR = b"42601"
_ENDS = (Kind.COMMIT, Kind.PREPARE)
_UNCLEAR = "several statements in one text, with transaction control, that cannot be told apart for certain"


@dataclass(frozen=True, slots=True)
class Script:
    """A text with stamps in it; `inserted` holds the place of each in characters of the original text, and its length."""

    text: str
    inserted: list[tuple[int, int]]

    def original(self, position: int) -> int:
        """Return where a position, counted from 1 in the text with stamps, is in the original one."""
        before = sum(length for at, length in self.inserted if at + length < position)
        return position - before


@dataclass(slots=True)
class Block:
    """What a script runs in: whether a block is open, has failed, has had a statement, and whose transaction it is."""

    open: bool
    failed: bool
    begun: bool
    owner: sessions.Session | None


def stamped(text: str, statements: list[Part], block: Block, session: sessions.Session | None) -> Script:
    """Return a text with its stamps, and change `block` to what it is at the end.

    Args:
        text: The script.
        statements: Its parts.
        block: What it runs in.
        session: Whose the transactions are that begin in it.
    """
    pieces: list[str] = []
    inserted: list[tuple[int, int]] = []
    done = 0
    for part in statements:
        if part.kind in _ENDS or part.kind is Kind.ROLLBACK:
            if part.kind in _ENDS and block.owner is not None and not block.failed:
                message = emit(block.owner, column=SCRIPT_STAMP).decode() + ";"
                inserted.append((sum(map(len, pieces)) + part.start - done, len(message)))
                pieces += text[done : part.start], message
                done = part.start
            block.open, block.failed, block.begun, block.owner = part.chains, False, False, None
        elif part.to_savepoint:
            block.failed = False
        elif part.kind is Kind.BEGIN:
            block.open = True
        elif not block.begun:
            block.begun, block.owner = True, session
    pieces.append(text[done:])
    if not block.open and block.owner is not None and not block.failed:
        # The text may end in a comment, so the stamp has a line of its own.
        pieces.append("\n;" + emit(block.owner, column=SCRIPT_STAMP).decode())
    return Script("".join(pieces), inserted)


class ScriptCursor(BaseCursor[Any, Row]):
    """The part of a cursor that runs several statements in one text."""

    __slots__ = ()

    def _execute_script_gen(
        self,
        of: Kind,
        plain: PQGen[None],
        query: Query,
        params: Params | None,
        prepare: bool | None,
        binary: bool | None,
    ) -> PQGen[None]:
        """Run a script with a stamp wherever a statement of it, or its end, commits."""
        conn: StampedConnection[Any] = self._conn
        session = sessions.current()
        yield from self._start_query(query)
        pgq = self._convert_query(query, params)
        prep, name = self._get_prepared(pgq, prepare)
        conn._announced = True
        if prep is not Prepare.NO or pgq.params or (self.format if binary is None else binary):
            yield from plain  # several statements are refused there, and the server says so best
            return
        status = conn.pgconn.transaction_status
        text = pgq.query.decode(conn.pgconn._encoding)
        if holds(text):
            conn._refuse(HELD_WRITES)
        statements = self._statements(text) if of is Kind.SCRIPT_COMMIT else []
        why = _UNCLEAR if statements is None else None
        if why is None and conn._grant is not PUBLIC and (status == INERROR or not (yield from conn._may_stamp_gen())):
            why = conn._grant.value
        if statements is None or why is not None:
            conn._refuse(why or _UNCLEAR)
            yield from plain
            conn._settle(session, begun=True)
            return
        if of is Kind.SCRIPT:  # without transaction control it commits at its end
            before = Block(open=False, failed=False, begun=True, owner=session)
        else:
            before = Block(status != IDLE, status == INERROR, conn._captured, conn._session)
        script = stamped(text, statements, replace(before), session)
        results = yield from self._run_script_gen(pgq, script)
        stamped(text, statements[: len(results)], before, session)
        conn._settle(before.owner, begun=before.begun)
        if (key := conn._prepared.maybe_add_to_cache(pgq, prep, name)) is not None:
            conn._prepared.validate(key, prep, name, results)
        try:
            self._check_results(results)
        except errors.Error as error:
            _replace_position(error, results[-1], script)
            raise
        self._set_results(results)
        self._last_query = query
        yield from conn._prepared.maintain_gen(conn)

    def _statements(self, text: str) -> list[Part] | None:
        if "\\" in text and self._pgconn.parameter_status(b"standard_conforming_strings") == b"off":
            return None  # a backslash may hide a quote then
        return parts(text)

    def _run_script_gen(self, pgq: PostgresQuery, script: Script) -> PQGen[list[PGresult]]:
        """Send a script and return what its own statements gave."""
        self._query = pgq
        self._pgconn.send_query(script.text.encode(self._encoding))
        results: list[PGresult] = yield from execute(self._pgconn)
        if _refused_whole(results):
            # Nothing of it has run. What the server says of the text, it shall say of the original.
            self._pgconn.send_query(pgq.query)
            again: list[PGresult] = yield from execute(self._pgconn)
            return again if _refused_whole(again) else results
        return [result for result in results if not (result.nfields == 1 and result.fname(0) == SCRIPT_STAMP)]


def _refused_whole(results: list[PGresult]) -> bool:
    """Return whether a syntax error is all that came of a text."""
    return len(results) == 1 and results[0].error_field(pq.DiagnosticField.SQLSTATE) == _SYNTAX_ERROR


def _replace_position(error: errors.Error, result: PGresult, script: Script) -> None:
    """Have an error tell the position in the original text."""
    position = error.diag.statement_position
    if position is not None:
        info: dict[int, bytes | None] = {field: result.error_field(field) for field in pq.DiagnosticField}
        info[pq.DiagnosticField.STATEMENT_POSITION] = str(script.original(int(position))).encode()
        error._info = info
