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
    END_BLOCK,
    END_PROBES,
    FAILED,
    LOCK_WAIT_TIMEOUT,
    LOCKED,
    ROLLED_BACK,
    SCRIPT,
    STAMPS,
    TABLE,
    UNTAGGED_ALONE,
    Form,
    stamp,
)
from .mysql_statement import Kind, kind, split
from .mysqlclient_results import MULTI_STATEMENTS, OUT_OF_SYNC, SHOW_WARNINGS, ScriptedConnection, plain
from .mysqlclient_transaction import LOCK, READ, STAYS, WRITE, BelievedTransaction

COMMIT = Kind.COMMIT
_UNSURE = (WRITE, Kind.CALL, Kind.FILL, Kind.SCRIPT)

_ROLLBACK = END_PROBES
_CHAINS = b"SELECT @@completion_type"
_PROBES = (
    # A table that has more columns takes no row without their names.
    (Form.LOGGED, b"EXPLAIN INSERT INTO " + TABLE.encode() + b" VALUES ('')"),
    (Form.ROW, b"EXPLAIN " + stamp(Form.ROW, b"")),
)
_IN_TRANSACTION = (b"SAVEPOINT `commitlog in hand`", b"RELEASE SAVEPOINT `commitlog in hand`")
"""Fails where no transaction is open: a savepoint does not outlive one."""
_NO_SAVEPOINT = 1305
_NOTHING_WRITTEN = frozenset((1290, 1792, 1836))
"""Errors of a stamp where server or transaction is read only: what was written was temporary tables."""
_GONE = frozenset((2006, 2013, 2055, 4031, 1927))
_NO_BACKSLASH = b"\\"
_TRAILING_BACKSLASH = frozenset(("big5", "cp932", "gb18030", "gbk", "sjis"))
"""Character sets in which the second byte of a character may be a backslash."""
_UNREAD = "a statement sent without waiting for its answer"
_MULTI_STATEMENTS_ON = 0


class Untagged(sessions.Untagged, plain.NotSupportedError):  # type: ignore[misc] # not typed
    """A session is bound, its write cannot be tagged, and `on_untagged` is "raise". The write has not happened."""


class StampedConnection(ScriptedConnection):
    """The part of a connection that stamps its transactions."""

    _form = Form.NONE
    _failed = False  # whether a stamp of the script at hand was refused

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._transaction = BelievedTransaction()
        super().__init__(*args, **kwargs)
        self._several = bool(self.client_flag & MULTI_STATEMENTS)
        self._ask(clean="init_command" not in kwargs)

    def _ask(self, *, clean: bool) -> None:
        """Learn which stamp the server takes.

        Args:
            clean: Whether no transaction can be open that is the app's.
        """
        now = self._transaction
        now.doubtful = not clean
        # A server that does not start in autocommit has begun a transaction by the question.
        end = (_ROLLBACK,) if clean and not self.get_autocommit() else ()
        self._form = Form.NONE
        for form, probe in _PROBES:
            try:
                (((chains,),), *_) = self._ask_server(_CHAINS, probe, *end)
            except plain.MySQLError as error:
                if error.args[0] in _GONE:
                    raise
            else:
                self._form, now.chains = form, chains != "NO_CHAIN"
                return

    @property
    def _lone(self) -> bool:
        """Whether a statement sent now is a transaction of its own."""
        return not self._transaction.open and self.get_autocommit()

    def query(self, query: Any) -> None:
        """See `MySQLdb.connections.Connection.query`. All statements of all cursors come by here."""
        text = query.encode() if isinstance(query, str) else bytes(query)
        session = sessions.current()
        now = self._transaction
        self._enter()
        if self._repeat_warnings(text):
            return
        of = self._kind(text)
        if session is None and now.session is None:
            self._query_plain(of, text, None)
            return
        if of in _UNSURE:
            self._resolve()
        if of is Kind.SCRIPT:
            self._query_script(text, session)
        elif self._lone:
            self._query_lone(of, text, session)
        elif of is COMMIT:
            self._commit(text, lambda: self._query_plain(of, text, session))
        else:
            if of not in STAYS and of is not Kind.ROLLBACK:
                self._stamp_early()
            self._query_plain(of, text, session)

    def _kind(self, text: bytes) -> Kind:
        if self._several and b";" in text and b"\\" in text and self._unsure_of_backslashes():
            return Kind.SCRIPT
        return kind(text, several=self._several)

    def _unsure_of_backslashes(self) -> bool:
        """Whether a backslash may be another thing than the beginning of an escape."""
        return self.escape_string(_NO_BACKSLASH) == _NO_BACKSLASH or self.character_set_name() in _TRAILING_BACKSLASH

    def _query_plain(self, of: Kind, text: bytes, session: sessions.Session | None) -> None:
        now = self._transaction
        lone = self._lone
        if not lone and (of in STAYS or of is Kind.CALL or of is Kind.SCRIPT):
            now.take(of, text, session)
        self._plainly(of, text, lambda: super(StampedConnection, self).query(text), lone=lone)

    def _plainly(self, of: Kind, text: bytes, run: Callable[[], None], *, lone: bool) -> None:
        self._said = self._warnings = self._repeated = None
        now = self._transaction
        try:
            run()
        except plain.MySQLError as error:
            now.failed(of, error.args[0], lone=lone, autocommit=self.get_autocommit())
            raise
        now.ran(of, text, lone=lone, autocommit=self.get_autocommit())

    def _query_lone(self, of: Kind, text: bytes, session: sessions.Session | None) -> None:
        """Run a statement that is a transaction of its own."""
        if session is not None and of not in (READ, LOCK):
            if of in UNTAGGED_ALONE:
                self._refuse(UNTAGGED_ALONE[of])
            elif of is WRITE and self._may_stamp():
                script = Script()
                script.add_alone(self._single(text), self._form, session, SHOW_WARNINGS)
                self._warnings = self._repeated = None
                self._run_script(script)
                return
        self._query_plain(of, text, session)

    def _single(self, text: bytes) -> bytes:
        """The one statement of a text, so that others can follow it."""
        if self._several and b";" in text:
            (statement,) = split(text.decode("latin-1")) or [text.decode("latin-1")]
            return statement.encode("latin-1")
        return text

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
                self._refuse(SCRIPT)
        if script is None:
            self._stamp_early()
            self._query_plain(Kind.SCRIPT, text, session)
        else:
            self._warnings = self._repeated = None
            self._run_script(script)

    def _script_ended(self, script: Script) -> None:
        now = self._transaction
        now.begun, now.session = script.begun, script.owner
        now.open, now.wrote = script.open, script.wrote
        now.doubtful = now.chains or any(text.lstrip()[:2].lower() == b"xa" for text in script.statements)
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
            if code not in _GONE:
                with suppress(plain.MySQLError):  # the app's own error is the one that counts
                    self._keep_warnings()
                    super().query(_ROLLBACK)
            return
        now.begun = now.wrote = now.doubtful = True
        now.session = script.owners[at]
        now.failed(kind(statement), code, lone=False, autocommit=self.get_autocommit())

    def _stamp_failed(self, script: Script, error: Any) -> None:
        at = len(script.statements) - len(script.shown) - 1
        if error.args[0] in _NOTHING_WRITTEN:
            return
        try:
            self._raise_if_gone(error)
            if sessions.settings().on_untagged == "raise":
                if at in script.own or kind(script.statements[at + 1]) is COMMIT:
                    super().query(_ROLLBACK)
                    self._transaction.ended()
                else:
                    self._transaction.doubtful = True
                self._refuse(FAILED)
        except plain.MySQLError:
            self._script, self._failed = None, False
            raise
        self._failed = True

    def _resolve(self) -> None:
        """Where that is not known, have the server say whether a transaction is open."""
        now = self._transaction
        if not now.doubtful:
            return
        now.doubtful = False
        if not self.get_autocommit():
            return
        try:
            self._ask_server(*_IN_TRANSACTION)
        except plain.MySQLError as error:
            code = error.args[0]
            if code in _GONE or code == OUT_OF_SYNC:
                raise
            if code == _NO_SAVEPOINT:
                now.ended()
                return
            now.doubtful = True
        now.open = True

    # Transaction control

    def commit(self) -> None:
        """See `MySQLdb.connections.Connection.commit`. The stamp goes out with it, and costs no round trip."""
        self._enter()
        run = super().commit
        lone = self._lone
        self._commit(b"COMMIT", lambda: self._plainly(COMMIT, b"", run, lone=lone))

    def rollback(self) -> None:
        """See `MySQLdb.connections.Connection.rollback`."""
        self._enter()
        self._plainly(Kind.ROLLBACK, b"", super().rollback, lone=self._lone)

    def autocommit(self, on: Any) -> None:
        """See `MySQLdb.connections.Connection.autocommit`."""
        self._enter()
        commits = bool(on) and not self.get_autocommit()
        if commits:
            self._stamp_early()
        self._said = None
        super().autocommit(on)
        if commits:
            self._transaction.ended()

    def _commit(self, text: bytes, run: Callable[[], None]) -> None:
        """Commit, with a stamp before it where the transaction wrote.

        Args:
            text: What commits.
            run: Commits without a stamp.
        """
        now = self._transaction
        session = now.session
        if session is None or not now.wrote or not self._may_stamp_or_roll_back():
            run()
            return
        script = Script(begun=True, owner=session)
        if super().warning_count() and "MariaDB" in self.get_server_info():
            script.add(SHOW_WARNINGS, shown=False)  # MySQL forgets them at COMMIT
        script.add_stamp(self._form, session)
        script.add(self._single(text), shown=True)
        script.begun, script.owner = False, None
        self._warnings = self._repeated = None
        self._run_script(script)
        now.ran(COMMIT, text, lone=False, autocommit=self.get_autocommit())

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
            self._ask_server(stamp(self._form, now.session.tag))
        except plain.MySQLError as error:
            if error.args[0] in _GONE or error.args[0] == OUT_OF_SYNC:
                raise
            if error.args[0] not in _NOTHING_WRITTEN:
                self._raise_if_gone(error)
                self._refuse(FAILED)
        now.wrote = False

    def _may_stamp(self) -> bool:
        """Return whether the stamp will succeed, as far as that can be known; do what `on_untagged` says if not."""
        if self._transaction.locked:
            self._refuse(LOCKED)
        elif self._form not in STAMPS:
            self._refuse(self._form.value)
        else:
            return True
        return False

    def _raise_if_gone(self, error: Any) -> None:
        """Where a stamp that failed took the transaction with it, that is the app's error."""
        code = error.args[0]
        gone = code in ROLLED_BACK or code in _GONE
        if code == LOCK_WAIT_TIMEOUT:
            ((answer,),) = self._ask_server(b"SELECT @@innodb_rollback_on_timeout")[0]
            gone = answer == 1
        if gone:
            self._transaction.forget()
            self._transaction.doubtful = True
            raise error

    def _refuse(self, why: str) -> None:
        sessions.untagged(why, error=Untagged)

    # The connection

    def ping(self, *args: Any) -> None:
        """See `MySQLdb.connections.Connection.ping`."""
        self._enter()
        before = self.thread_id()
        self._said = None
        super().ping(*args)
        if self.thread_id() != before:
            self._begin_anew()

    def change_user(self, *args: Any, **kwargs: Any) -> None:
        """See `MySQLdb.connections.Connection.change_user`."""
        self._enter()
        self._said = None
        super().change_user(*args, **kwargs)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._transaction = BelievedTransaction()
        self._warnings = self._repeated = None
        self._ask(clean=True)

    def set_server_option(self, option: int) -> None:
        """See `MySQLdb.connections.Connection.set_server_option`."""
        self._enter()
        super().set_server_option(option)
        self._several = option == _MULTI_STATEMENTS_ON

    def send_query(self, query: Any) -> None:
        """See `MySQLdb.connections.Connection.send_query`. What it commits by itself goes untagged."""
        text = query.encode() if isinstance(query, str) else bytes(query)
        session = sessions.current()
        self._enter()
        of = self._kind(text)
        if session is not None or self._transaction.session is not None:
            self._resolve()
            if self._lone and of not in (READ, LOCK, Kind.BEGIN):
                self._refuse(_UNREAD)
            elif of not in STAYS and of is not Kind.ROLLBACK:
                self._stamp_early()
        if not self._lone:
            self._transaction.take(of, text, session)
        self._plainly(of, text, lambda: super(StampedConnection, self).send_query(text), lone=self._lone)

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
