"""How a tag gets into a transaction of mysqlclient: COMMIT is sent behind a stamp, in one text, where the transaction wrote.

It never retries, swallows or reorders, and adds nothing to a transaction of queries only, or that ends in ROLLBACK.
"""
# pyright: reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import session as sessions
from .mysql_script import Script, Start, stamped
from .mysql_stamp import (
    ABANDON_BLOCK,
    END_BLOCK,
    FAILED,
    LOCK_WAIT_TIMEOUT,
    NOT_IN_READ_ONLY,
    ROLLED_BACK,
    SEVERAL,
    STAMPS,
    STILL_READ_ONLY,
    stamp,
)
from .mysql_statement import (
    BEGIN,
    CALL,
    COMMIT,
    FILL,
    LOCK,
    READ,
    ROLLBACK,
    SCRIPT,
    STAYS,
    WRITE,
    Kind,
    kind,
    plain_kind,
    uses_no_table,
)
from .mysql_untagged import RefusingConnection
from .mysqlclient_connection import GONE, KnowingConnection
from .mysqlclient_results import OUT_OF_SYNC, SHOW_WARNINGS, NativeConnection, plain
from .mysqlclient_transaction import is_xa

_BEGINS: dict[bytes, Kind] = dict.fromkeys((b"BEGIN", b"START TRANSACTION"), BEGIN)
# What the library's own methods of these names call.
run, commit, next_result = NativeConnection.query, NativeConnection.commit, NativeConnection.next_result
count_warnings, insert_id = NativeConnection.warning_count, NativeConnection.insert_id
_UNSURE = (WRITE, CALL, FILL, SCRIPT)

_NOTHING_WRITTEN = frozenset((1290, NOT_IN_READ_ONLY, 1836))
"""Errors of a stamp where server or transaction is read only: what was written was temporary tables."""
_UNREAD = "a statement sent without waiting for its answer"


class Untagged(sessions.Untagged, plain.NotSupportedError):  # type: ignore[misc] # not typed
    """A session is bound, its write cannot be tagged, and `on_untagged` is "raise". The write has not happened."""


class StampedConnection(RefusingConnection, KnowingConnection):
    """The part of a connection that stamps its transactions."""

    _untagged = Untagged
    _failed = False  # whether a stamp of the script at hand was refused

    def query(self, query: Any) -> None:
        """See `MySQLdb.connections.Connection.query`. All statements of all cursors come by here."""
        now = self._transaction
        of = None
        if type(query) is bytes and not now.doubtful and not self._covered:
            of = plain_kind(query) if now.begun or now.open else _BEGINS.get(query)
        if of is None:
            self._query(query)
            return
        # Nearly all statements are of a transaction, and plain: they are run with as little ado as can be.
        if not now.begun and of is not BEGIN:
            now.begun, now.session = True, sessions.current()
        try:
            run(self, query)
        except plain.MySQLError as error:
            now.warned = True
            now.failed(of, query, error.args[0], lone=of is BEGIN, autocommit=False)
            raise
        if of is WRITE:
            now.wrote, now.warned = True, False
        elif of is BEGIN:
            now.open, now.locked = True, False
        if count_warnings(self):
            now.warned = True

    def _query(self, query: Any) -> None:
        text = query.encode() if isinstance(query, str) else bytes(query)
        now = self._transaction
        self._enter()
        session = sessions.current()
        if self._repeat_warnings(text):
            return
        of = self._kind(text)
        if session is None and now.session is None:
            self._query_plain(of, text, None)
            return
        if of in _UNSURE:
            self._resolve()
        if of is SCRIPT:
            self._query_script(text, session)
        elif self._lone:
            self._query_lone(of, text, session)
        elif of is not COMMIT or not self._commit_stamped(text):
            if now.ends_by(of, text):
                self._stamp_early()
            self._query_plain(of, text, session)

    def _query_plain(self, of: Kind, text: bytes, session: sessions.Session | None) -> None:
        now = self._transaction
        lone = self._lone
        if not lone and (of in STAYS or of is CALL or of is SCRIPT):
            now.take(of, text, session)
        self._plainly(of, text, super().query, text, lone=lone)

    def _plainly(self, of: Kind, text: bytes, run: Callable[..., None], *args: bytes, lone: bool) -> None:
        now = self._transaction
        kept = self._warnings if self._keeps_warnings and uses_no_table(of, text) else None
        self._said = self._warnings = self._repeated = None
        try:
            run(*args)
        except plain.MySQLError as error:
            now.warned = True
            now.failed(of, text, error.args[0], lone=lone, autocommit=self.get_autocommit())
            raise
        if super().warning_count():
            now.warned = True
        else:
            self._warnings = kept
            now.warned = now.warned and of is not WRITE
        self._arrived()
        now.ran(of, text, lone=lone, autocommit=self.get_autocommit())

    def _query_lone(self, of: Kind, text: bytes, session: sessions.Session | None) -> None:
        """Run a statement that is a transaction of its own."""
        if session is not None and of not in (READ, LOCK):
            if of is WRITE and self._may_stamp():
                script = Script()
                script.add_alone(self._single(text), self._form, session, SHOW_WARNINGS)
                self._run_script(script)
                return
            self._refuse_alone(of)
        self._query_plain(of, text, session)

    def _query_script(self, text: bytes, session: sessions.Session | None) -> None:
        """Run several statements of one text, with stamps among them."""
        now = self._transaction
        script: Script | None = None
        if self._may_stamp():
            autocommit = self.get_autocommit()
            start = Start(autocommit, now.open, now.begun, now.wrote, now.session)
            unsure = b"\\" in text and self._unsure_of_backslashes()
            script = None if unsure else stamped(text, self._form, start, session)
            if script is None:
                self._refuse(SEVERAL)
        if script is None:
            self._stamp_early()
            self._query_plain(SCRIPT, text, session)
        else:
            self._run_script(script)

    def _script_ended(self, script: Script) -> None:
        now = self._transaction
        now.warned = True
        now.begun, now.session = script.begun, script.owner
        now.open, now.wrote = script.open, script.wrote
        now.doubtful = now.chains or any(map(is_xa, script.statements))
        if self._failed:
            self._failed = False
            self._refuse(FAILED)

    def _script_failed(self, script: Script, error: Any) -> None:
        now = self._transaction
        at = len(script.statements) - len(script.shown) - (error is None)
        statement, code = script.statements[at], error.args[0] if error is not None else None
        self._failed = False
        if at in script.own or statement is END_BLOCK:
            now.ended()
            if code not in GONE:
                with suppress(plain.MySQLError):  # the app's own error is the one that counts
                    self._keep_warnings()
                    super().query(ABANDON_BLOCK)
                    if code == NOT_IN_READ_ONLY:
                        super().query(STILL_READ_ONLY)
            return
        now.begun = now.wrote = now.doubtful = True
        now.session = script.owners[at]
        now.failed(kind(statement), statement, code, lone=False, autocommit=self.get_autocommit())

    def _stamp_failed(self, script: Script, error: Any) -> None:
        at = len(script.statements) - len(script.shown) - 1
        if error.args[0] in _NOTHING_WRITTEN:
            return
        try:
            self._raise_if_gone(error)
            if sessions.settings().on_untagged == "raise":
                if at in script.own or kind(script.statements[at + 1]) is COMMIT:
                    super().query(ABANDON_BLOCK)
                    self._transaction.ended()
                else:
                    self._transaction.doubtful = True
                self._refuse(FAILED)
        except plain.MySQLError:
            self._script, self._failed = None, False
            raise
        self._failed = True

    # Transaction control

    def commit(self) -> None:
        """See `MySQLdb.connections.Connection.commit`. The stamp goes out with it, and costs no round trip."""
        now = self._transaction
        if now.begun and not (self._covered or now.chains or now.locked):
            session = now.session if now.wrote else None
            if session is None:
                self._commit_plain()
                return
            if self._form in STAMPS and self._several and not (self._keeps_warnings and now.warned):
                self._commit_at_once(b"COMMIT", session)
                now.ended()
                return
        self._enter()
        if not self._commit_stamped(b"COMMIT"):
            self._plainly(COMMIT, b"", super().commit, lone=self._lone)

    def _commit_plain(self) -> None:
        now = self._transaction
        try:
            commit(self)
        except plain.MySQLError as error:
            now.warned = True
            now.failed(COMMIT, b"", error.args[0], lone=False, autocommit=self.get_autocommit())
            raise
        if count_warnings(self):
            now.warned = True
        now.ended()

    def rollback(self) -> None:
        """See `MySQLdb.connections.Connection.rollback`."""
        self._enter()
        self._plainly(ROLLBACK, b"", super().rollback, lone=self._lone)

    def autocommit(self, on: Any) -> None:
        """See `MySQLdb.connections.Connection.autocommit`."""
        self._enter()
        if bool(on) == self.get_autocommit():
            return  # nothing is sent, and what the connection says stays
        commits = bool(on)
        if commits:
            self._stamp_early()
        self._said = None
        super().autocommit(on)
        self._arrived()
        if commits:
            self._transaction.ended()

    def _commit_stamped(self, text: bytes) -> bool:
        """Commit with a stamp, where the transaction wrote and may have one; return whether it did."""
        now = self._transaction
        session = now.session
        if session is None or not now.wrote:
            return False
        if not self._may_stamp_or_roll_back():
            return False
        asks = self._keeps_warnings and now.warned
        if asks or not self._several:
            self._run_script(self._commit_script(text, session, asks=asks))
        else:
            self._commit_at_once(self._single(text), session)
        now.ran(COMMIT, text, lone=False, autocommit=self.get_autocommit())
        return True

    def _commit_script(self, text: bytes, session: sessions.Session, *, asks: bool = False) -> Script:
        script = Script(begun=True, owner=session)
        if asks:
            script.add(SHOW_WARNINGS, shown=False)
        script.add_stamp(self._form, session)
        script.add(self._single(text), shown=True)
        script.begun, script.owner = False, None
        return script

    def _commit_at_once(self, text: bytes, session: sessions.Session) -> None:
        """Do what the script would, in a fraction of its time: nearly all stamps go this way."""
        self._said = self._warnings = self._repeated = None
        stamped, last_id = False, insert_id(self)
        try:
            run(self, stamp(self._form, session.tag) + b"\n;" + text)
            stamped = True
            next_result(self)
        except plain.MySQLError as error:
            script = self._commit_script(text, session)
            del script.shown[0]
            self._cover()
            self._held_id = last_id if self._held_id is None else self._held_id
            if stamped:
                self._script_failed(script, error)
                raise
            self._script, self._ahead = script, 0
            self._stamp_failed(script, error)
            self._to_shown()
        else:
            self._transaction.warned = False
            if self._covered:
                self._arrived()

    def _may_stamp_or_roll_back(self) -> bool:
        try:
            return self._may_stamp()
        except Untagged:
            self.rollback()
            raise

    def _stamp_early(self) -> None:
        """Stamp the open transaction before a statement that ends it."""
        now = self._transaction
        if now.session is None or not now.wrote or not self._may_stamp():
            return
        try:
            if self._keeps_warnings and now.warned:
                self._keep_warnings()
            self._ask_server(stamp(self._form, now.session.tag))
        except plain.MySQLError as error:
            if error.args[0] in GONE or error.args[0] == OUT_OF_SYNC:
                raise
            if error.args[0] not in _NOTHING_WRITTEN:
                self._raise_if_gone(error)
                self._refuse(FAILED)
        now.wrote = False

    def _raise_if_gone(self, error: Any) -> None:
        """Where a stamp that failed took the transaction with it, that is the app's error."""
        code = error.args[0]
        gone = code in ROLLED_BACK or code in GONE
        if code == LOCK_WAIT_TIMEOUT:
            ((answer,),) = self._ask_server(b"SELECT @@innodb_rollback_on_timeout")[0]
            gone = answer == 1
        if gone:
            self._transaction.forget()
            self._transaction.doubtful = True
            raise error

    # The connection

    def send_query(self, query: Any) -> None:
        """See `MySQLdb.connections.Connection.send_query`. What it commits by itself goes untagged."""
        text = query.encode() if isinstance(query, str) else bytes(query)
        session = sessions.current()
        self._enter()
        of = self._kind(text)
        if session is not None or self._transaction.session is not None:
            self._resolve()
            if self._lone and of not in (READ, LOCK, BEGIN):
                self._refuse(_UNREAD)
            elif self._transaction.ends_by(of, text):
                self._stamp_early()
        if not self._lone:
            self._transaction.take(of, text, session)
        self._plainly(of, text, super().send_query, text, lone=self._lone)

    def close(self) -> None:
        """See `MySQLdb.connections.Connection.close`."""
        try:
            if self.open:
                self._enter()
        except plain.MySQLError as error:
            if isinstance(error, Untagged):
                raise
        finally:
            super().close()
