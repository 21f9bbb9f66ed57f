"""What a connection of mysqlclient has in hand, and which stamp its server takes, as far as both can be known.

The library shows nothing of the server's session tracking: see `mysqlclient_transaction`.
"""
# pyright: reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any

from .mysql_stamp import ABANDON_BLOCK, TABLE, Form, stamp
from .mysql_statement import SCRIPT, SEMICOLON, Kind, kind, split
from .mysqlclient_results import MULTI_STATEMENTS, OUT_OF_SYNC, ScriptedConnection, plain
from .mysqlclient_transaction import BelievedTransaction

_CHAINS = b"SELECT @@completion_type"
_PROBES = (
    # A table that has more columns takes no row without their names.
    (Form.LOGGED, b"EXPLAIN INSERT INTO " + TABLE.encode() + b" VALUES ('')"),
    (Form.ROW, b"EXPLAIN " + stamp(Form.ROW, b"")),
)
_IN_TRANSACTION = (b"SAVEPOINT `commitlog_in_hand`", b"RELEASE SAVEPOINT `commitlog_in_hand`")
"""Fails where no transaction is open: a savepoint does not outlive one."""
_NO_SAVEPOINT = 1305
GONE = frozenset((2006, 2013, 2055, 4031, 1927))
_NO_BACKSLASH = b"\\"
_TRAILING_BACKSLASH = frozenset(("big5", "cp932", "gb18030", "gbk", "sjis"))
"""Character sets in which the second byte of a character may be a backslash."""
_MULTI_STATEMENTS_ON = 0


class KnowingConnection(ScriptedConnection):
    """The part of a connection that knows where it stands."""

    _form = Form.NONE
    _keeps_warnings = False
    """Whether the server has them still after a statement that names no table: MariaDB, not MySQL."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._transaction = BelievedTransaction()
        super().__init__(*args, **kwargs)
        self._several = bool(self.client_flag & MULTI_STATEMENTS)
        self._keeps_warnings = "MariaDB" in self.get_server_info()
        self._ask(clean="init_command" not in kwargs)

    def _ask(self, *, clean: bool) -> None:
        """Learn which stamp the server takes.

        Args:
            clean: Whether no transaction can be open that is the app's.
        """
        now = self._transaction
        now.doubtful = not clean
        # A server that does not start in autocommit has begun a transaction by the question.
        end = (ABANDON_BLOCK,) if clean and not self.get_autocommit() else ()
        self._form = Form.NONE
        for form, probe in _PROBES:
            try:
                (((chains,),), *_) = self._ask_server(_CHAINS, probe, *end)
            except plain.MySQLError as error:
                if error.args[0] in GONE:
                    raise
            else:
                self._form, now.chains = form, chains != "NO_CHAIN"
                return

    @property
    def _lone(self) -> bool:
        """Whether a statement sent now is a transaction of its own."""
        return not self._transaction.open and self.get_autocommit()

    def _kind(self, text: bytes) -> Kind:
        if self._several and SEMICOLON in text and b"\\" in text and self._unsure_of_backslashes():
            return SCRIPT
        return kind(text, several=self._several)

    def _unsure_of_backslashes(self) -> bool:
        """Whether a backslash may be another thing than the beginning of an escape."""
        return self.escape_string(_NO_BACKSLASH) == _NO_BACKSLASH or self.character_set_name() in _TRAILING_BACKSLASH

    def _single(self, text: bytes) -> bytes:
        """The one statement of a text, so that others can follow it."""
        if self._several and SEMICOLON in text:
            (statement,) = split(text.decode("latin-1")) or [text.decode("latin-1")]
            return statement.encode("latin-1")
        return text

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
            if code in GONE or code == OUT_OF_SYNC:
                raise
            if code == _NO_SAVEPOINT:
                now.ended()
                return
            now.doubtful = True
        now.open = True

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
