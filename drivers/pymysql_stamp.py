"""How a tag gets into a transaction of PyMySQL: before a COMMIT the connection sends a stamp, where the transaction wrote.

It never retries, swallows or reorders, and adds nothing to a transaction that only read, or that ends in ROLLBACK.
"""
# pyright: reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pymysql import err
from pymysql.constants import CLIENT, COMMAND, SERVER_STATUS

from . import session as sessions
from .mysql_script import Script, Start, stamped
from .mysql_stamp import (
    AUTOCOMMIT,
    BEGIN_BLOCK,
    BY_ITSELF,
    END_BLOCK,
    FAILED,
    IN_TRANSACTION,
    LOCK_WAIT_TIMEOUT,
    ROLLED_BACK,
    SEVERAL,
    refusal,
    stamp,
)
from .mysql_statement import (
    ASKS_WARNINGS,
    BEGIN,
    CALL,
    COMMIT,
    ENDS,
    LOCK,
    READ,
    ROLLBACK,
    SCRIPT,
    STAYS,
    UNLOCK,
    WRITE,
    XA_END,
    Kind,
    kind,
    plain_kind,
)
from .mysql_untagged import RefusingConnection
from .pymysql_packets import PACKET_BYTES_MAX, MySQLResult, TrackedConnection

T = TypeVar("T")

_ENDING = ROLLED_BACK | {LOCK_WAIT_TIMEOUT}

_BESIDE = "a table without transactions"


class Untagged(sessions.Untagged, err.NotSupportedError):
    """A session is bound, its write cannot be tagged, and `on_untagged` is "raise". The write has not happened."""


class StampedConnection(RefusingConnection, TrackedConnection):
    """The part of a connection that stamps its transactions."""

    _untagged = Untagged
    _own_block: sessions.Session | None = None  # of a block of ours around a statement whose rows are still to be read
    _script: Script | None = None  # whose results are still to be read

    def _request_authentication(self) -> None:
        self._own_block = self._script = None
        super()._request_authentication()

    def query(self, sql: Any, unbuffered: bool = False) -> int:
        """See `pymysql.connections.Connection.query`. All statements of all cursors come by here."""
        if isinstance(sql, str):
            sql = sql.encode(self.encoding)
        now = self._transaction
        self._drain()
        if now.status & IN_TRANSACTION and not now.doubtful and self._kept_warnings is None:
            of = plain_kind(sql) if type(sql) is bytes else None
            if of is not None and len(sql) + 1 < PACKET_BYTES_MAX:
                return self._query_at_once(of, sql, unbuffered)
        return self._query(sql, unbuffered)

    def _query(self, sql: bytes, unbuffered: bool) -> int:
        now = self._transaction
        session = sessions.current()
        if self._kept_warnings is not None and not unbuffered and ASKS_WARNINGS.fullmatch(sql):
            self._result = self._kept_warnings
            self._affected_rows = self._result.affected_rows
            return self._affected_rows
        if session is None and now.session is None:
            return self._query_unbound(sql, unbuffered)
        self._resolve()
        if self.client_flag & CLIENT.MULTI_STATEMENTS and kind(sql, several=True) is SCRIPT:
            return self._query_script(sql, unbuffered, session)
        of = kind(sql)
        if of is UNLOCK and not now.locked:
            of = READ
        if now.lone:
            return self._query_lone(of, sql, unbuffered, session)
        if of is COMMIT:
            return self._commit(sql, lambda: self._read_affected(unbuffered))
        if of is not ROLLBACK:
            if of not in STAYS:
                self._stamp_early()
            if not now.begun:
                now.begun, now.session = True, session
            now.run(of)
        return self._query_settled(of, sql, unbuffered)

    def _query_at_once(self, of: Kind, sql: bytes, unbuffered: bool) -> int:
        """Run a query or a write within a transaction, as most are, with as little ado as can be."""
        now = self._transaction
        if not now.begun:
            now.begun, now.session = True, sessions.current()
        if of is WRITE:
            now.only_locks = False
        self._result = None
        self._send(sql)
        self._next_seq_id = 1
        try:
            affected = self._affected_rows = self._read_result(unbuffered)
        except err.MySQLError as error:
            self._doubt(error, of)
            raise
        if not now.status & IN_TRANSACTION and not self._streams():
            now.forget()
        return affected

    def _query_lone(self, of: Kind, sql: bytes, unbuffered: bool, session: sessions.Session | None) -> int:
        """Run a statement that is a transaction of its own."""
        if of is READ or of is LOCK:
            return self._query_plain(sql, unbuffered)
        if session is not None:
            if of is WRITE and self._may_stamp():
                return self._query_in_block(sql, unbuffered, session)
            self._refuse_alone(of)
        return self._query_settled(of, sql, unbuffered)

    def _query_script(self, sql: bytes, unbuffered: bool, session: sessions.Session | None) -> int:
        """Run several statements of one text, with stamps among them."""
        now = self._transaction
        start = Start(bool(now.status & AUTOCOMMIT), now.open, now.begun, now.wrote, now.session)
        script: Script | None = None
        if self._may_stamp():
            script = None if unbuffered else stamped(sql, self._form, start, session)
            if script is None:
                self._refuse(SEVERAL)
        if script is None:
            self._stamp_early()
            now.run(SCRIPT)
            return self._query_settled(SCRIPT, sql, unbuffered)
        now.run(SCRIPT)
        self._script = script
        return self._query_plain(script.text, unbuffered)

    def _read_query_result(self, unbuffered: bool = False) -> int:
        script = self._script
        if script is None:
            return self._read_result(unbuffered)
        try:
            affected = self._read_result()
            while not script.shown.pop(0):
                affected = self._read_result()
            result = self._result
            while script.shown and not any(script.shown):
                self._read_result()
                script.shown.pop(0)
        except err.MySQLError:
            self._script = None
            self._transaction.begun, self._transaction.session = True, script.owner_now
            if script.in_own_block:
                self._abandon_block()
            self._transaction.doubtful = True
            raise
        self._result = result
        result.has_next = SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS if script.shown else 0
        if not script.shown:
            self._script = None
            now = self._transaction
            now.begun, now.session = script.begun and now.open, script.owner if now.open else None
        return affected

    def _query_plain(self, sql: bytes, unbuffered: bool) -> int:
        self._execute_command(COMMAND.COM_QUERY, sql)
        self._affected_rows = self._read_query_result(unbuffered)
        return self._affected_rows

    def _query_unbound(self, sql: bytes, unbuffered: bool) -> int:
        """Run a statement where no session is, and note whether a transaction has had its first by that."""
        now = self._transaction
        was_open = now.open
        try:
            return self._query_plain(sql, unbuffered)
        except err.MySQLError as error:
            self._doubt(error, kind(sql))
            raise
        finally:
            now.begun = self._streams() or (now.open and (was_open or kind(sql) is not BEGIN))

    def _query_settled(self, of: Kind, sql: bytes, unbuffered: bool) -> int:
        now = self._transaction
        was_lone = now.lone
        try:
            affected = self._query_plain(sql, unbuffered)
        except err.MySQLError as error:
            self._doubt(error, of)
            raise
        if of is CALL and not was_lone and not now.open:
            sessions.untagged_after_all(BY_ITSELF)
        if not self._streams():
            self._settle(of)
        return affected

    def _streams(self) -> bool:
        """Return whether rows are still to be read, behind which the server says what the statement did."""
        return self._result is not None and self._result.unbuffered_active

    def _settle(self, of: Kind) -> None:
        """After a statement, note whether the transaction is still there."""
        now = self._transaction
        if not now.open or of in (BEGIN, COMMIT, ROLLBACK):
            now.forget()
        elif of is XA_END:
            now.session = None  # what is left to do is its end

    def _doubt(self, error: err.MySQLError, of: Kind) -> None:
        """Note that an error may have ended the transaction."""
        if of not in STAYS or (error.args and error.args[0] in _ENDING):
            self._transaction.doubtful = True
        elif not self._transaction.open:
            self._transaction.forget()

    def _resolve(self) -> None:
        """Where the last statement failed, have the server say whether the transaction is still there."""
        now = self._transaction
        if now.doubtful and self._sock is not None:
            self._execute_command(COMMAND.COM_PING, b"")
            self._answer()
            if not now.open:
                now.forget()

    def _query_in_block(self, sql: bytes, unbuffered: bool, session: sessions.Session) -> int:
        """Run a statement of autocommit in a block of its own, so that COMMIT can carry the stamp."""
        if not self._sock:
            raise err.InterfaceError(0, "")
        self._result = None
        if len(sql) + 1 < PACKET_BYTES_MAX:
            self._send(BEGIN_BLOCK, sql)
            refused = self._answer()
            self._next_seq_id = 1
        else:
            self._send(BEGIN_BLOCK)
            refused = self._answer()
            self._execute_command(COMMAND.COM_QUERY, sql)
        try:
            affected = self._read_affected(unbuffered)
        except err.MySQLError:
            if refused is None:
                self._abandon_block()
            raise
        if refused is not None:
            sessions.untagged_after_all(FAILED)  # the statement stood alone, as it would have
            return affected
        self._own_block = session
        if not self._result.unbuffered_active:
            self._end_block(self._result)
        return affected

    def _ended(self, result: MySQLResult) -> None:
        """All rows of a result have been read."""
        if result is not self._result:
            return  # it is read whole, and dealt with then
        if self._own_block is not None:
            self._end_block(result)
        else:
            self._settle(READ)

    def _end_block(self, result: Any) -> None:
        now = self._transaction
        now.session, self._own_block = self._own_block, None
        self._commit(END_BLOCK, self._read_end, of=result)
        if result.server_status is not None:
            result.server_status = self.server_status

    def _row_failed(self) -> None:
        self._transaction.doubtful = True
        if self._own_block is not None:
            self._own_block = None
            self._abandon_block()

    # Transaction control

    def begin(self) -> None:
        """See `pymysql.connections.Connection.begin`."""
        self._drain()
        if self._transaction.begun or self._transaction.doubtful:
            self._resolve()
            self._stamp_early()
        self._execute_command(COMMAND.COM_QUERY, b"BEGIN")
        self._read_end()
        self._transaction.forget()

    def commit(self) -> None:
        """See `pymysql.connections.Connection.commit`. The stamp goes out with it, and costs no round trip."""
        self._drain()
        self._resolve()
        self._commit(b"COMMIT", self._read_end)

    def rollback(self) -> None:
        """See `pymysql.connections.Connection.rollback`."""
        super().rollback()
        self._settle(ROLLBACK)

    def _send_autocommit_mode(self) -> None:
        self._drain()
        self._resolve()
        self._stamp_early()
        super()._send_autocommit_mode()
        self._settle(ENDS)

    def _commit(self, sql: bytes, read: Callable[[], T], *, of: Any = None) -> T:
        """Send COMMIT, with a stamp before it where the transaction wrote, and return or raise what COMMIT gave.

        Args:
            sql: Text of the COMMIT.
            read: Reads its answer.
            of: The result of the statement before, where the block is ours.
        """
        now = self._transaction
        error: err.MySQLError | None = None
        session = now.session
        keeps = of is not None or self._keeps_warnings
        kept = self._read_warnings() if keeps and session is not None and now.wrote else self._kept_warnings
        with_stamp = now.wrote and refusal(self._form, locked=now.locked) is None
        if session is not None and with_stamp and sessions.settings().on_untagged != "raise":
            self._send(stamp(self._form, session.tag), sql)
            error = self._answer()
        else:
            # A stamp that must not fail is waited for.
            self._stamp_before_commit()
            self._send(sql)
        self._kept_warnings = kept if keeps else None
        self._next_seq_id = 1
        if of is None:
            self._result = None
        try:
            value = read()
        except err.MySQLError:
            now.doubtful = True
            raise
        self._settle(COMMIT)
        if error is not None:
            self._judge(error)
        return value

    def _stamp_before_commit(self) -> None:
        try:
            self._stamp_early()
        except Untagged:
            self.rollback()
            raise

    def _stamp_early(self) -> None:
        """Stamp the open transaction before a statement that ends it."""
        now = self._transaction
        if now.session is None or not now.open:
            return
        if now.wrote:
            if self._may_stamp():
                kept = self._read_warnings() if self._keeps_warnings else None
                self._send(stamp(self._form, now.session.tag))
                error = self._answer()
                self._kept_warnings = kept
                if error is not None:
                    self._judge(error)
        elif now.wrote_beside:
            sessions.untagged_after_all(_BESIDE)

    def _judge(self, error: err.MySQLError) -> None:
        """Deal with a stamp that failed: where it took the transaction with it, that is the app's error."""
        gone = error.args[0] in ROLLED_BACK
        if error.args[0] == LOCK_WAIT_TIMEOUT:
            gone = self._value(b"SELECT @@innodb_rollback_on_timeout") == 1
        if gone:
            self._transaction.doubtful = True
            raise error
        self._refuse(FAILED)
