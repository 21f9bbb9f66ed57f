"""How the server's answers are read where it tells its state with each, and how statements go out back to back.

The server says with each answer what the transaction has done (`session_track_transaction_info`), at the end of a result
set, too: the connection asks for both, and keeps it from the app. PyMySQL has no public hook at COMMIT, so private names
of its 1.x are used; the contract tests hold them.
"""
# pyright: reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import socket
import struct
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pymysql import err
from pymysql.constants import COMMAND, SERVER_STATUS
from pymysql.protocol import MysqlPacket

from .mysql_stamp import (
    DEPRECATE_EOF,
    END_PROBES,
    PROBES,
    SESSION_TRACK,
    STATE_CHANGED,
    TRACK,
    Form,
    Transaction,
    ending,
    said,
)

if TYPE_CHECKING:
    # What PyMySQL's stubs leave out is most of what is used here.
    from typing import Any as PlainConnection
    from typing import Any as PlainResult
else:
    from pymysql.connections import Connection as PlainConnection
    from pymysql.connections import MySQLResult as PlainResult

_END_OF_COLUMNS = b"\xfe\0\0\0\0"
_ONE_BYTE_MAX = 250  # a larger number has more than one byte
_ANSWER_BYTES_MIN = 11  # an OK packet with its header
PACKET_BYTES_MAX = 0xFFFFFF


class MySQLResult(PlainResult):  # type: ignore[misc] # see above
    """See `pymysql.connections.MySQLResult`. It reads what a server says to a client that asked for its state."""

    message: Any
    server_status: Any
    has_next: Any
    unbuffered_active: Any
    state: bytes | None = None

    def _read_ok_packet(self, packet: Any) -> None:
        data = packet.get_all_data()
        if data[0] != 0 or data[1] > _ONE_BYTE_MAX or data[2] > _ONE_BYTE_MAX:
            super()._read_ok_packet(packet)
        else:  # as nearly always; PyMySQL's way takes several times as long
            self.affected_rows, self.insert_id = data[1], data[2]
            self.server_status, self.warning_count = data[3] | data[4] << 8, data[5] | data[6] << 8
            self.message = data[7:]
            self.has_next = self.server_status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS
        if self.message:
            self.message, self.state = said(self.server_status, self.message)
        self.server_status &= ~STATE_CHANGED

    def _get_descriptions(self) -> None:
        connection = self.connection
        connection._read_packet = connection._read_column
        try:
            super()._get_descriptions()
        finally:
            del connection._read_packet

    def _check_packet_is_eof(self, packet: Any) -> bool:
        data = packet.get_all_data()
        if data[0] != 0xFE or len(data) >= PACKET_BYTES_MAX:  # a longer one that starts like this is a row
            return False
        status, self.warning_count, state = ending(data)
        self.has_next = status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS
        connection = self.connection
        connection._transaction.note(status, state)
        connection._ended(self)
        return True

    def _read_rowdata_packet_unbuffered(self) -> Any:
        connection = self.connection
        try:
            return super()._read_rowdata_packet_unbuffered()
        except err.MySQLError:
            connection._row_failed()
            raise


class TrackedConnection(PlainConnection):  # type: ignore[misc] # see above
    """The part of a connection that speaks with the server."""

    client_flag: int
    _result: Any
    _transaction: Transaction
    _form = Form.SERVER
    _tracked = False
    _kept_warnings: Any = None  # what SHOW WARNINGS would say, had no stamp come after the statement

    def _request_authentication(self) -> None:
        self._transaction = Transaction()
        self._kept_warnings = None
        asked = SESSION_TRACK | DEPRECATE_EOF
        self._tracked = self.server_capabilities & asked == asked
        self._form = Form.SERVER
        self.client_flag = self.client_flag | asked if self._tracked else self.client_flag & ~asked
        super()._request_authentication()
        if self._tracked:
            self._ask()

    def _ask(self) -> None:
        """Have the server tell what transactions do, and learn which stamp it takes: one round trip, before all others."""
        self._send(TRACK, *(probe for _, probe in PROBES), END_PROBES)
        refused = self._answer()
        answers = [(form, self._answer()) for form, _ in PROBES]
        self._answer()
        if refused is None:
            self._form = next((form for form, error in answers if error is None), Form.NONE)

    def _ended(self, result: MySQLResult) -> None:
        """All rows of a result have been read."""

    def _row_failed(self) -> None:
        """An error came in the middle of a result's rows."""

    def _send(self, *statements: bytes) -> None:
        """Send statements, each in one packet, without waiting in between; each has its answer to be read."""
        if not self._sock:
            raise err.InterfaceError(0, "")
        self._kept_warnings = None
        self._write_bytes(b"".join(struct.pack("<iB", len(sql) + 1, COMMAND.COM_QUERY) + sql for sql in statements))

    def _first_answer(self) -> err.MySQLError | None:
        """As `_answer`, of the first of two statements: to be woken for both answers at once takes half the time."""
        waits = not self._secure  # where TLS is, bytes are not those of packets
        if waits:
            self._wake_at(2 * _ANSWER_BYTES_MIN)
        try:
            return self._answer()
        finally:
            if waits:
                self._wake_at(1)

    def _wake_at(self, size: int) -> None:
        if self._sock is not None:
            with suppress(OSError):  # a socket of a kind that does not know it
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def _answer(self) -> err.MySQLError | None:
        """Read the answer to a statement of ours, and return what went wrong; a lost connection is raised."""
        self._next_seq_id = 1
        try:
            packet = self._read_packet()
            data = packet.get_all_data()
            if data[0] == 0:
                status, _, state = ending(data)
            else:
                MySQLResult(self)._read_result_packet(packet)
                return None
        except err.MySQLError as error:
            if self._sock is None:
                raise
            return error
        # The app's own statements tell it the status.
        self._transaction.note(status, state)
        return None

    def _note(self, result: MySQLResult) -> None:
        if result.server_status is not None:
            self.server_status = result.server_status
            self._transaction.note(result.server_status, result.state)

    def _value(self, sql: bytes) -> object:
        self._send(sql)
        return self._read_rows().rows[0][0]

    def _read_rows(self) -> Any:
        """Read the answer to a query of ours."""
        self._next_seq_id = 1
        of: Any = MySQLResult if self._tracked else PlainResult
        result = of(self)
        result.read()
        return result

    def _read_warnings(self, result: Any) -> MySQLResult | None:
        """Return what SHOW WARNINGS says now, where a stamp would wipe it out."""
        if result is None or not result.warning_count:
            return None
        self._send(b"SHOW WARNINGS")
        kept: MySQLResult = self._read_rows()
        return kept

    def show_warnings(self) -> Any:
        """See `pymysql.connections.Connection.show_warnings`."""
        if self._kept_warnings is not None:
            return self._kept_warnings.rows
        self._execute_command(COMMAND.COM_QUERY, "SHOW WARNINGS")
        return self._read_rows().rows

    def _drain(self) -> None:
        """Read what is left of the last statement's results, as PyMySQL does before it sends the next one."""
        result = self._result
        if result is None or not (result.unbuffered_active or result.has_next):
            return
        if result.unbuffered_active:
            warnings.warn("Previous unbuffered result was left incomplete", stacklevel=2)
            result._finish_unbuffered_query()
        while self._result.has_next:
            self.next_result()

    def _execute_command(self, command: int, sql: Any) -> None:
        self._kept_warnings = None
        super()._execute_command(command, sql)

    def _read_affected(self, unbuffered: bool) -> int:
        self._affected_rows = self._read_query_result(unbuffered)
        return self._affected_rows

    def _read_query_result(self, unbuffered: bool = False) -> int:
        if not self._tracked:
            plain: int = super()._read_query_result(unbuffered)
            return plain
        self._result = None
        result = MySQLResult(self)
        if unbuffered:
            result.init_unbuffered_query()
        else:
            result.read()
        self._result = result
        self._note(result)
        affected: int = result.affected_rows
        return affected

    def _read_ok_packet(self) -> Any:
        ok = super()._read_ok_packet()
        if self._tracked:
            ok.message, state = said(ok.server_status, ok.message)
            ok.server_status = self.server_status = ok.server_status & ~STATE_CHANGED
            self._transaction.note(ok.server_status, state)
        return ok

    def _read_column(self, packet_type: Any = MysqlPacket) -> Any:
        """Read a packet of those that describe columns."""
        if packet_type is MysqlPacket:
            return MysqlPacket(_END_OF_COLUMNS, self.encoding)  # PyMySQL reads one, and the server sends none
        return super()._read_packet(packet_type)
