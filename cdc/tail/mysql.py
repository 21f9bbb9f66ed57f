"""The connection to a binlog dump of MySQL or MariaDB: it reads whole transactions, in commit order.

Ordered, unique per connection, atomic: a transaction comes after its commit, with all its changes. The server keeps no place for
us and is told nothing; a reconnect begins at the position that the worker says.

Source: MySQL Internals, "COM_BINLOG_DUMP"; sql/rpl_source.cc, Binlog_sender. MariaDB, "Replication Protocol".
"""

import select
import ssl
import struct
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal, cast

import orjson
import pymysql
from pymysql.constants import COMMAND

from ...schemas.errors import ACCEPT_GAP, HistoryLost, Refused, Unreachable
from ...schemas.position import binlog_position, parse_binlog
from .binlog.assembler import BinlogAssembler
from .binlog.ddl import truncated
from .binlog.transaction import BinlogTransaction
from .row_change import HEADER_BYTES
from .transaction import Notice, Relation, Transaction

Flavour = Literal["mysql", "mariadb"]

POLL_BYTES_MAX = 256 * 1024
"""Raw bytes that one poll returns at most, so that a backlog is flushed in steps."""

RECEIVE_BYTES = 256 * 1024

WRITE_TIMEOUT_S = 3600
"""How long the server waits for a worker that reads nothing, as while it waits for an app schema."""

PACKET_BYTES_MAX = 0xFFFFFF
"""A packet of this length goes on in the next one."""

TRUNCATE = bytes(HEADER_BYTES) + b"T" + struct.pack(">IBI", 1, 0, 0)
"""A TRUNCATE of one table, as tail/row_change.py has it."""

_FATAL_READING = 1236
_dump = struct.Struct("<BIHI").pack


class BinlogStream:
    """A running dump.

    Args:
        connection: Logged in, for this alone; closed with the stream.
        flavour: Whose binlog it is.
        server: The server's id, which stands in the ids of commits.
        start: Where to begin: at the start of an event, as `binlog.000012:4567`.
        server_id: What we are called among those that read binlogs there; nobody else may have it.
        known: Transactions that end at this position or before were read in an earlier dump.
        held: Told where the oldest XA transaction begins that is prepared and not decided, whenever that changes; None for nowhere.
        spill_bytes: A transaction with more raw bytes goes to a temporary file.
        silence_s: A server that says nothing for so long is away.
        described: Database and name of a table to what it is now, None where it is no more: for TRUNCATE, which the binlog has as text.

    Raises:
        Unreachable: The server does not answer.
        Refused: It lets us read no binlog.
    """

    def __init__(
        self,
        connection: "pymysql.Connection[Any]",
        *,
        flavour: Flavour,
        server: str,
        start: str,
        server_id: int,
        known: int,
        held: Callable[[int | None], None],
        spill_bytes: int,
        silence_s: float,
        described: Callable[[str, str], Relation | None],
    ) -> None:
        self._connection, self._silence_s, self._server_id = connection, silence_s, server_id
        self._assembler = BinlogAssembler(spill_bytes, flavour=flavour, server_uuid=server, known=known)
        self._described, self._tell_held = described, held
        self._held: int | None = None
        self._buffer, self._at = bytearray(), 0
        self._long = b""
        self._heard_at = time.monotonic()
        file, offset = parse_binlog(start)
        self.server_end = binlog_position(file, offset)
        self.busy = False
        self.reply_due = False
        with self._errors():
            self._prepare(flavour)
            self._send(_dump(COMMAND.COM_BINLOG_DUMP, offset, 0, server_id) + file.encode())
        # PyMySQL would read a packet a call, and wait for each.
        self._socket: Any = cast(Any, connection)._sock
        self._socket.setblocking(False)
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)

    @property
    def in_transaction(self) -> bool:
        """Whether part of a transaction is in hand."""
        return self._assembler.in_transaction

    def poll(self, timeout_s: float) -> list[Transaction]:
        """The transactions that have ended, as many as are at hand up to POLL_BYTES_MAX; empty after `timeout_s`.

        Raises:
            Unreachable: The connection is gone.
            DecodeError: The server sent what is no binlog, or what ours cannot read.
            HistoryLost: The server has removed what comes next.
        """
        out: list[Transaction] = []
        room, waited = POLL_BYTES_MAX, False
        feed, drain = self._assembler.feed, self._assembler.drain
        while room > 0:
            if not self._long:
                at = drain(self._buffer, self._at, out, room)
                room, self._at = room - (at - self._at), at
            packet = self._packet()
            if packet is not None:
                room -= len(packet)
                transaction = feed(self._event(packet))
                if transaction is not None:
                    if transaction.statements:
                        self._interpret(transaction)
                    out.append(transaction)
            elif not self._receive():
                if out or waited:
                    break
                waited = True
                self._readable.poll(timeout_s * 1000)
        self._look_at_held()
        self.busy = room <= 0
        if room < POLL_BYTES_MAX:
            self._heard_at = time.monotonic()
            self.server_end = max(self.server_end, self._assembler.position)
        elif time.monotonic() - self._heard_at > self._silence_s:
            raise Unreachable(
                f"the server has said nothing for {time.monotonic() - self._heard_at:.0f} s, not even that it lives"
            )
        return out

    def _look_at_held(self) -> None:
        """Before anything of this poll is durable, so that a restart finds it."""
        held = min(self._assembler.held.values(), default=None)
        if held != self._held:
            self._tell_held(held)
            self._held = held

    def acknowledge(self, position: int, *, now: bool = False) -> None:
        """Nothing: the server keeps its binlog for as long as it is set to, whoever reads it."""

    def keep_alive(self) -> None:
        """Nothing: the server waits for readers."""

    def ask(self) -> None:
        """Nothing: the server tells of everything at once."""

    def close(self) -> None:
        """End the connection."""
        self._assembler.close()
        # A dump takes no COM_QUIT.
        cast(Any, self._connection)._force_close()

    def _interpret(self, transaction: BinlogTransaction) -> None:
        """Turn what stands in a transaction as text into a change where it is TRUNCATE, and else hand it on to whoever watches tables."""
        for statement in transaction.statements:
            table = truncated(statement.text, statement.database)
            relation = self._described(*table) if table else None
            if relation is not None and isinstance(transaction.changes, list):
                transaction.changes.append(((relation,), TRUNCATE))
            else:
                transaction.tags.append(Notice(orjson.dumps([statement.database, statement.text])))

    def _prepare(self, flavour: Flavour) -> None:
        """What the server is to know before: that checksums are checked here, that GTIDs are understood, how often to say that it lives."""
        name = "source" if flavour == "mysql" else "master"
        settings = [
            f"@{name}_binlog_checksum = 'CRC32'",
            f"@{name}_heartbeat_period = {int(self._silence_s / 4 * 1e9)}",
            f"net_write_timeout = {WRITE_TIMEOUT_S}",
        ]
        if flavour == "mariadb":
            settings.append("@mariadb_slave_capability = 4")
        with self._connection.cursor() as cursor:
            cursor.execute("SET " + ", ".join(settings))

    def _send(self, command: bytes) -> None:
        connection: Any = self._connection
        connection._next_seq_id = 0
        connection.write_packet(command)

    def _packet(self) -> bytes | None:
        """The next whole packet at hand."""
        buffer, at = self._buffer, self._at
        while len(buffer) - at >= 4:
            size = buffer[at] | buffer[at + 1] << 8 | buffer[at + 2] << 16
            end = at + 4 + size
            if len(buffer) < end:
                break
            packet = bytes(memoryview(buffer)[at + 4 : end])
            at = self._at = end
            if size == PACKET_BYTES_MAX:
                self._long += packet
                continue
            if self._long:
                packet, self._long = self._long + packet, b""
            return packet
        if at:
            del buffer[:at]
            self._at = 0
        return None

    def _receive(self) -> bool:
        """Take in what has come; whether anything had."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError as exc:
            raise Unreachable(f"the connection to the binlog was cut: {exc}") from exc
        if not data:
            raise Unreachable("the server closed the connection to its binlog: it shuts down, or ended it")
        self._buffer += data
        return True

    def _event(self, packet: bytes) -> bytes:
        """The event in a packet.

        Raises:
            Unreachable: The server ends the dump.
            HistoryLost: It cannot go on.
            Refused: It will not.
        """
        if packet[:1] == b"\0":
            return packet[1:]
        if packet[:1] == b"\xff":
            code = int.from_bytes(packet[1:3], "little")
            raise self._refusal(code, packet[9:].decode("utf-8", "replace"))
        raise Unreachable("the server ended the dump of its binlog: it shuts down")

    def _refusal(self, code: int, message: str) -> Exception:
        message = " ".join(message.split())
        if "same server_uuid/server_id" in message:
            return Refused(
                f"another reader of the binlog calls itself server {self._server_id}, as we do: {message}",
                hint="stop it, or write a number of your own to [source] server_id",
            )
        if code != _FATAL_READING:
            return Unreachable(f"the binlog cannot be read now: {message} ({code})")
        if "max_allowed_packet" in message:
            return Refused(
                f"the server does not send an event of this size: {message}",
                hint="SET GLOBAL max_allowed_packet = 1073741824 on the source",
            )
        return HistoryLost(f"the binlog cannot go on from the log's position: {message}", hint=ACCEPT_GAP)

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except pymysql.err.MySQLError as exc:
            cast(Any, self._connection)._force_close()
            raise Unreachable(f"the binlog cannot be read now: {' '.join(map(str, exc.args))}") from exc
