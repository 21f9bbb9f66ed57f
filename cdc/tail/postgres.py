"""The connection to PostgreSQL's replication stream: it reads whole transactions and acknowledges positions.

Ordered, unique per connection, atomic: a transaction comes after its commit, with all its changes, in commit order. After a
reconnect the server repeats what was not acknowledged; the worker drops what its log already holds.

Source: PostgreSQL manual, "Streaming Replication Protocol".
"""

import select
import time
from struct import Struct
from typing import Any

import psycopg
from psycopg import pq

from ...schemas.errors import ACCEPT_GAP, DecodeError, HistoryLost, Refused, SlotTaken, Unreachable
from ...schemas.position import PG_EPOCH_OFFSET_US
from ..config import Limits
from .assembler import Assembler, Messages
from .catalog import sql_name
from .connection import CONNECT_TIMEOUT_S, TOO_LARGE, one_line, opened
from .libpq import copy_functions
from .transaction import Transaction

_keepalive = Struct(">QQB").unpack_from
_status = Struct(">cQQQQB").pack

STATUS_INTERVAL_S = 1.0
"""How often a position is acknowledged: each one makes the server write its slot, so not with every flush."""

ASK_INTERVAL_S = 0.1

POLL_BYTES_MAX = 256 * 1024
"""Raw bytes that one poll returns at most, so that a backlog is flushed in steps."""

GATHER_BYTES, GATHER_S = 8 * 1024, 0.012
"""After a poll of so much, the next one that finds nothing lets the server go on for a moment: it sends each message by itself,
and waking a reader for each costs it more than decoding does. At the server's full speed that is some hundred kilobytes, which
the connection's buffers hold; at a few hundred small transactions a second no poll finds so much, and none waits."""


def connect(url: str, settings: str = "") -> "psycopg.Connection[tuple[Any, ...]]":
    """A replication connection, on which nothing streams yet.

    Args:
        url: A libpq URL.
        settings: Of this connection, as libpq's `options` takes them.

    Raises:
        Unreachable: The server does not answer, refuses the login, or is a standby.
        Refused: It does not prove who it is, or a privilege is missing.
    """
    connection = opened(psycopg.Connection[tuple[Any, ...]], url, settings=settings, replication="database")
    if connection.info.parameter_status("in_hot_standby") == "on":
        connection.close()
        raise Unreachable("the source is a standby, which takes no writes and cannot be tailed")
    return connection


class Stream:
    """A running replication connection.

    Args:
        url: A libpq URL.
        slot: The slot to read.
        publication: What to read of it.
        limits: Bounds of memory and silence.
        settings: Of the connection, as libpq's `options` takes them.
    """

    def __init__(self, url: str, *, slot: str, publication: str, limits: Limits, settings: str = "") -> None:
        self._assembler = Assembler(limits.spill_bytes)
        self._silence_s = limits.silence_s
        self._connection = connect(url, settings)
        self._pgconn = self._connection.pgconn
        self._libpq = copy_functions(self._pgconn)
        self.system, self.timeline = self._identify()
        self._start(slot, publication)
        self._readable = select.poll()
        self._readable.register(self._pgconn.socket, select.POLLIN)
        self._acknowledged = 0
        self._status_at = self._asked_at = 0.0
        self._heard_at = time.monotonic()
        self.server_end = 0
        """The furthest WAL position the server has told of."""
        self.busy = False
        """The last poll ended because it had read enough: more is at hand."""
        self.reply_due = False
        """The server asked for a reply; the next `acknowledge` answers."""
        self._flowing = False

    @property
    def in_transaction(self) -> bool:
        """Whether part of a transaction is in hand."""
        return self._assembler.in_transaction

    @property
    def backend_pid(self) -> int:
        """The server's process at the other end."""
        return self._pgconn.backend_pid

    def poll(self, timeout_s: float) -> list[Transaction]:
        """The transactions that have ended, as many as are at hand up to POLL_BYTES_MAX; empty after `timeout_s`.

        Raises:
            Unreachable: The connection is gone.
            DecodeError: The server sent what is not the protocol.
            HistoryLost: The server has removed what comes next.
        """
        out: list[Transaction] = []
        drain, get = self._assembler.drain, self._messages()
        room = POLL_BYTES_MAX
        waited = consumed = False
        try:
            while room > 0:
                before = room
                room, size, message = drain(get, out, room)
                consumed = consumed and room == before and message is None
                if message is not None:
                    self._control(message)
                    if self.reply_due:
                        break
                elif room <= 0:
                    break
                elif size < 0:
                    self._ended(size)
                elif not consumed:
                    consumed = True
                    self._pgconn.consume_input()
                elif out or waited:
                    break
                else:
                    waited, consumed = True, False
                    if self._flowing:
                        time.sleep(GATHER_S)
                    self._readable.poll(timeout_s * 1000)
        except psycopg.OperationalError as exc:
            raise Unreachable(f"the replication connection was cut: {one_line(exc)}") from exc
        self.busy = room <= 0
        self._flowing = POLL_BYTES_MAX - room >= GATHER_BYTES
        if room < POLL_BYTES_MAX:
            self._heard_at = time.monotonic()
        else:
            self._check_silence()
        return out

    def _messages(self) -> Messages:
        """Where messages come from: libpq itself, where it can be called and the connection is open."""
        connection: int | None = getattr(self._pgconn, "pgconn_ptr", None)
        return (connection, *self._libpq) if self._libpq and connection else self._pgconn.get_copy_data

    def _check_silence(self) -> None:
        """A connection may be dead without either end being told; a server that was asked answers within moments."""
        silent_s = time.monotonic() - self._heard_at
        if silent_s > self._silence_s:
            raise Unreachable(f"the server has said nothing for {silent_s:.0f} s, though it was asked")
        if silent_s > self._silence_s / 2:
            self.ask()

    def acknowledge(self, position: int, *, now: bool = False) -> None:
        """Tell the server that everything up to `position` is durable here; at most once a second unless `now`.

        Whatever is sent next says it, too.
        """
        self._acknowledged = position
        if now or self.reply_due or time.monotonic() - self._status_at >= STATUS_INTERVAL_S:
            self.reply_due = False
            self._send_status(ask=False)

    def keep_alive(self) -> None:
        """Repeat the last acknowledgement, where something else takes long."""
        self.acknowledge(self._acknowledged)

    def ask(self) -> None:
        """Ask the server how far it has read, at most ten times a second; `server_end` will say it."""
        if time.monotonic() - self._asked_at >= ASK_INTERVAL_S:
            self._asked_at = time.monotonic()
            self._send_status(ask=True)

    def _send_status(self, *, ask: bool) -> None:
        clock = time.time_ns() // 1000 - PG_EPOCH_OFFSET_US
        position = self._acknowledged
        try:
            self._pgconn.put_copy_data(_status(b"r", position, position, position, clock, ask))
            self._flush()
        except psycopg.OperationalError as exc:
            raise Unreachable(f"the replication connection was cut: {one_line(exc)}") from exc
        self._status_at = time.monotonic()

    def close(self) -> None:
        """End the connection; the slot is free at once."""
        self._assembler.close()
        self._connection.close()

    def _flush(self) -> None:
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while self._pgconn.flush():
            if time.monotonic() > deadline:
                raise Unreachable("the server does not take our acknowledgements")
            select.select([self._pgconn.socket], [self._pgconn.socket], [], 1.0)
            self._pgconn.consume_input()

    def _control(self, message: bytes) -> None:
        if message[0] != 0x6B or len(message) != 18:  # k
            raise DecodeError(f"unknown replication message {message[:1]!r} of {len(message)} bytes")
        self._heard_at = time.monotonic()
        end, _, reply = _keepalive(message, 1)
        self.server_end = max(self.server_end, end)
        self.reply_due = self.reply_due or bool(reply)

    def _ended(self, size: int) -> None:
        """The stream is over: say why."""
        if size == -1:
            result = self._pgconn.get_result()
            if result is not None and result.status != pq.ExecStatus.COMMAND_OK:
                raise self._server_error(result)
            raise Unreachable("the server ended the replication stream: it shuts down")
        raise Unreachable(f"the replication connection was cut: {self._pgconn.get_error_message()}")

    def _identify(self) -> tuple[str, int]:
        """System identifier and timeline of the server at the other end."""
        result = self._pgconn.exec_(b"IDENTIFY_SYSTEM")
        if result.status != pq.ExecStatus.TUPLES_OK:
            error = self._server_error(result)
            self._connection.close()
            raise error
        return (result.get_value(0, 0) or b"").decode(), int(result.get_value(0, 1) or b"0")

    def _start(self, slot: str, publication: str) -> None:
        names = sql_name(publication).replace("'", "''")
        options = f"proto_version '1', publication_names '{names}', messages 'true'"
        # 0/0 is the slot's own position: the server repeats the last transactions, and the worker compares them with its log.
        command = f"START_REPLICATION SLOT {sql_name(slot)} LOGICAL 0/0 ({options})"
        result = self._pgconn.exec_(command.encode())
        if result.status != pq.ExecStatus.COPY_BOTH:
            error = self._server_error(result)
            self._connection.close()
            raise error
        self._pgconn.nonblocking = 1

    def _server_error(self, result: "pq.abc.PGresult") -> Exception:
        state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        if not state:  # libpq's word, not the server's: the connection was cut before there was an answer
            return Unreachable(f"the replication connection was cut: {' '.join(result.get_error_message().split())}")
        message = " ".join(
            (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode(errors="replace").split()
        )
        if state == "55006":
            return SlotTaken(
                f"the slot is in use: {message}", hint="stop the other worker, or give this one a slot of its own"
            )
        if state == "42704" and "publication" in message:
            return HistoryLost(
                f"the slot cannot go on: {message}, or was not there for a while, over which a server before PostgreSQL 18"
                " cannot read on",
                hint="drop the slot, then commitlog resume --accept-gap",
            )
        if state == "42704":  # dropped since it was looked at: the next attempt looks again, and says what that means
            return Unreachable(f"the slot is gone: {message}")
        if state in ("55000", "58P01") and "wal_level" not in message:
            return HistoryLost(f"the slot cannot go on: {message}", hint=ACCEPT_GAP)
        if state in ("22021", "22P05"):
            return Refused(
                f"the source holds text that is not in its own encoding, or in none that UTF-8 has: {message}",
                hint="mend the rows, drop the slot, then commitlog resume --accept-gap",
            )
        if state == "54000" or TOO_LARGE in message:
            return Refused(
                f"the server cannot send a row of the source, which as text is above 1 GB (bytea counts twice): {message}",
                hint="make its values smaller, drop the slot, then commitlog resume --accept-gap",
            )
        if state in ("57P01", "57P02", "57P03", "08006", "53300"):
            return Unreachable(f"the source cannot be read now: {message}")
        return Refused(f"the server refused to stream: {message} ({state})", hint="commitlog doctor")
