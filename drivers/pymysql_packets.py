"""How the server's answers are read where it tells its state with each, and how statements go out back to back.

The server says with each answer what the transaction has done (`session_track_transaction_info`), at the end of a result
set, too: the connection asks for both, and keeps it from the app. PyMySQL has no public hook at COMMIT, so private names
of its 1.x are used; the contract tests hold them.
"""
# pyright: reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import struct
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pymysql import err
from pymysql.constants import COMMAND, CR, SERVER_STATUS
from pymysql.protocol import MysqlPacket

from .mysql_stamp import (
    ABANDON_BLOCK,
    DEPRECATE_EOF,
    PROBES,
    READ_ONLY,
    SESSION_TRACK,
    STATE_CHANGED,
    STILL_READ_ONLY,
    TRACK,
    Form,
    Transaction,
    counters,
    said,
)
from .mysql_statement import kind, uses_no_table

if TYPE_CHECKING:
    # What PyMySQL's stubs leave out is most of what is used here.
    from typing import Any as PlainConnection
    from typing import Any as PlainResult
else:
    from pymysql.connections import Connection as PlainConnection
    from pymysql.connections import MySQLResult as PlainResult

_END_OF_COLUMNS = b"\xfe\0\0\0\0"
_NO_MESSAGE = b"\0"
_HEADER_BYTES = 4
_QUERY = struct.Struct("<iB")  # a header whose number of the packet is 0, and the command
_ERROR = 0xFF
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
        if data[0] != 0:
            super()._read_ok_packet(packet)
        else:  # as nearly always; PyMySQL's way takes several times as long
            self.affected_rows, self.insert_id, self.server_status, self.warning_count, self.message = counters(data)
            self.has_next = self.server_status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS
        if self.server_status & STATE_CHANGED:
            self.message, self.state = said(self.server_status, self.message)
            self.server_status &= ~STATE_CHANGED
        elif self.message == _NO_MESSAGE:
            self.message = b""

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
        _, _, status, self.warning_count, rest = counters(data)
        self.has_next = status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS
        connection = self.connection
        connection._warned = connection._warned or self.warning_count > 0
        connection._transaction.note(status, said(status, rest).state)
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
    _keeps_warnings = False
    """Whether the server has them still after a statement that names no table: MariaDB, not MySQL."""
    _warned = False  # whether the server may have warnings, or an error, for who asks
    _affected_rows: int
    _kept_warnings: MySQLResult | None = None  # what SHOW WARNINGS would say, had no stamp come after the statement

    def _request_authentication(self) -> None:
        self._transaction = Transaction()
        self._kept_warnings, self._warned = None, False
        self._keeps_warnings = "MariaDB" in self.server_version
        asked = SESSION_TRACK | DEPRECATE_EOF
        self._tracked = self.server_capabilities & asked == asked
        self._form = Form.SERVER
        self.client_flag = self.client_flag | asked if self._tracked else self.client_flag & ~asked
        super()._request_authentication()
        if self._tracked:
            self._ask()

    def _ask(self) -> None:
        """Have the server tell what transactions do, and learn which stamp it takes: one round trip, before all others."""
        self._send(TRACK, *(probe for _, probe in PROBES), ABANDON_BLOCK)
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
        self._write_bytes(b"".join([_QUERY.pack(len(sql) + 1, COMMAND.COM_QUERY) + sql for sql in statements]))

    def _answer(self) -> err.MySQLError | None:
        """Read the answer to a statement of ours, and return what went wrong; a lost connection is raised."""
        self._next_seq_id = 1
        try:
            packet = self._read_packet()
            data = packet.get_all_data()
            if data[0] != 0:
                MySQLResult(self)._read_result_packet(packet)
                return None
        except err.MySQLError as error:
            if self._sock is None:
                raise
            return error
        # The app's own statements tell it the status.
        _, _, status, _, rest = counters(data)
        self._transaction.note(status, said(status, rest).state)
        return None

    def _read_end(self) -> None:
        """Read the answer to a COMMIT."""
        error = self._answer()
        if error is not None:
            raise error
        self.server_status = self._transaction.status & ~STATE_CHANGED

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

    def _abandon_block(self) -> None:
        """End a block of ours in which a statement failed: it leaves nothing, as it would have alone, but its error for who asks."""
        again = (STILL_READ_ONLY,) if self._transaction.status & READ_ONLY else ()
        with suppress(err.MySQLError):  # the app's own error is the one that counts
            self._send(b"SHOW WARNINGS", ABANDON_BLOCK, *again)
            kept: MySQLResult | None = None
            with suppress(err.MySQLError):  # somebody may have killed this query, too
                kept = self._read_rows()
            for _ in (ABANDON_BLOCK, *again):
                self._answer()
            self._kept_warnings = kept

    def _read_warnings(self) -> MySQLResult | None:
        """Return what SHOW WARNINGS says now, where a stamp would wipe it out."""
        if self._kept_warnings is None and self._warned:
            self._send(b"SHOW WARNINGS")
            kept: MySQLResult = self._read_rows()
            self._warned = False
            return kept if kept.rows else None
        return self._kept_warnings

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
        if self._kept_warnings is not None:
            text = sql.encode(self.encoding) if isinstance(sql, str) else sql
            if not self._keeps_warnings or (command == COMMAND.COM_QUERY and not uses_no_table(kind(text), text)):
                self._kept_warnings = None
        super()._execute_command(command, sql)

    def _read_affected(self, unbuffered: bool) -> int:
        self._affected_rows = self._read_query_result(unbuffered)
        return self._affected_rows

    def _read_result(self, unbuffered: bool = False) -> int:
        if not self._tracked:
            plain: int = super()._read_query_result(unbuffered)
            return plain
        self._result = None
        result = MySQLResult(self)
        self._warned = self._warned and self._keeps_warnings
        try:
            if unbuffered:
                result.init_unbuffered_query()
            else:
                result.read()
        except err.MySQLError:
            self._warned = True
            raise
        self._warned = self._warned or result.warning_count > 0
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

    def _read_packet(self, packet_type: Any = MysqlPacket) -> Any:
        """As PyMySQL's, in half its time where a whole packet has been received, as nearly always; what is only looked at stays to be read."""
        if self._rfile is None or self._read_timeout != self._write_timeout:
            return super()._read_packet(packet_type)
        try:
            ahead = self._rfile.peek()
        except OSError as error:
            self._force_close()
            raise err.OperationalError(
                CR.CR_SERVER_LOST, f"Lost connection to MySQL server during query ({error})"
            ) from error
        except BaseException:
            self._force_close()
            raise
        if len(ahead) < _HEADER_BYTES or ahead[3] != self._next_seq_id:
            return super()._read_packet(packet_type)
        size = ahead[0] | ahead[1] << 8 | ahead[2] << 16
        if not 0 < size <= len(ahead) - _HEADER_BYTES or ahead[4] == _ERROR:
            return super()._read_packet(packet_type)
        self._next_seq_id = (self._next_seq_id + 1) % 256
        return packet_type(self._rfile.read(size + _HEADER_BYTES)[_HEADER_BYTES:], self.encoding)

    def _read_column(self, packet_type: Any = MysqlPacket) -> Any:
        """Read a packet of those that describe columns."""
        if packet_type is MysqlPacket:
            return MysqlPacket(_END_OF_COLUMNS, self.encoding)  # PyMySQL reads one, and the server sends none
        return TrackedConnection._read_packet(self, packet_type)
