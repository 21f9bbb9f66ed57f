"""One connection of a MongoDB's, spoken to directly: commands out, the documents of their replies in as they came.

pymongo makes, encrypts and authenticates it. Its own cursors block while they wait, ask for every batch, and take far longer over a batch
than the copying of it needs.

Source: MongoDB manual, "MongoDB Wire Protocol", OP_MSG.
"""

import contextlib
import itertools
import select
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import bson
from bson.int64 import Int64
from pymongo.errors import OperationFailure

from ...schemas.errors import CommitLogError, DecodeError, Unreachable
from .mongodb_catalog import position_of
from .mongodb_connection import CONNECT_TIMEOUT_S, ERRORS, Client, failure

RECEIVE_BYTES = 256 * 1024
MESSAGE_BYTES_MAX = 64 << 20
"""More than any server sends."""

EXHAUST_ALLOWED = 1 << 16
"""The server may send on without being asked."""

_MORE_TO_COME = 1 << 1
_OP_MSG = 2013
_OPENING = struct.Struct("<iiiiIB")
_size = struct.Struct("<i")
_CURSOR = b"\x03cursor\0"
_BATCHES = (b"\x04firstBatch\0", b"\x04nextBatch\0")

_documents = cast(Any, bson)._array_of_documents_to_buffer
_decode: Callable[[bytes | memoryview], dict[str, Any]] = cast(Any, bson).decode


class Batch(NamedTuple):
    """Part of what a cursor gives.

    Args:
        documents: Raw documents, one behind the other.
        cursor: The cursor's number, 0 where this is the last part.
        at: The cluster time that was read at, where the reply says it, as a position; else 0.
        until: Up to which position it may tell of what happened: the same, or where a collection is not there the time of the reply.
        more: The next part comes without being asked for.
    """

    documents: bytes
    cursor: int
    at: int
    until: int
    more: bool


class Wire:
    """A connection to one member.

    Args:
        client: Of the set; its read preference says which member.
        doing: What cannot be done when something fails, the beginning of a sentence.
        user: Who reads, for messages.

    Raises:
        Unreachable: No member answers. Every method may raise it.
    """

    def __init__(self, client: Client, *, doing: str, user: str) -> None:
        self._doing, self._user = doing, user
        self._buffer = bytearray()
        self._numbers = itertools.count(1)
        self._awaited = 0
        self._held = contextlib.ExitStack()
        try:
            checkout = cast(Any, client)._conn_for_reads(client.read_preference, None, "find")
            self._connection = self._held.enter_context(checkout)[0]
        except ERRORS as exc:
            raise self._failed(exc) from exc
        self.member = "{}:{}".format(*self._connection.address)
        """Host and port of the member."""
        self._socket: Any = self._connection.conn.get_conn
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)

    @property
    def at_hand(self) -> bool:
        """Whether anything has come that was not given yet."""
        return bool(self._buffer) or bool(self._readable.poll(0))

    def close(self) -> None:
        """End the connection, and with it all that runs there."""
        with contextlib.suppress(*ERRORS):
            self._connection.close_conn(None)
        self._held.close()

    def send(self, command: dict[str, Any], flags: int = 0) -> None:
        """Send a command, whose reply `batch` then gives."""
        document = bson.encode({**command, "$readPreference": {"mode": "secondaryPreferred"}})
        number = self._awaited = next(self._numbers)
        try:
            self._socket.settimeout(CONNECT_TIMEOUT_S)
            self._socket.sendall(_OPENING.pack(_OPENING.size + len(document), number, 0, _OP_MSG, flags, 0) + document)
            self._socket.settimeout(0)
        except OSError as exc:
            raise self._cut(exc) from exc

    def batch(self, timeout_s: float) -> Batch | None:
        """The next part of what was asked for, None where it has not come in time.

        Raises:
            Refused: The server refuses the command.
            DecodeError: It sent what is no reply.
        """
        reply = self._awaited_reply(timeout_s)
        return None if reply is None else self._batch(*reply)

    def end(self, cursor: int, database: str, collection: str) -> None:
        """End a cursor before its end."""
        self.send({"killCursors": collection, "cursors": [Int64(cursor)], "$db": database})
        if self._awaited_reply(CONNECT_TIMEOUT_S) is None:
            raise Unreachable(f"{self.member} does not answer", hint="check that the server runs")

    def _awaited_reply(self, timeout_s: float) -> tuple[memoryview, bool] | None:
        deadline: float | None = None
        while True:
            reply = self._reply()
            if reply is not None:
                return reply
            if self._receive():
                continue
            now = time.monotonic()
            deadline = now + timeout_s if deadline is None else deadline
            if now >= deadline or not self._readable.poll((deadline - now) * 1000):
                return None

    def _receive(self) -> bool:
        """Take in what has come; whether anything had."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, TimeoutError):
            return False
        except OSError as exc:
            raise self._cut(exc) from exc
        if not data:
            raise Unreachable(
                f"{self._doing}: {self.member} closed the connection: it shuts down, or is primary no more"
            )
        self._buffer += data
        return True

    def _reply(self) -> tuple[memoryview, bool] | None:
        """The next whole reply at hand, and whether another one follows unasked."""
        buffer = self._buffer
        if len(buffer) < _OPENING.size:
            return None
        size, number, answered, operation, flags, kind = _OPENING.unpack_from(buffer)
        if operation != _OP_MSG or kind or answered != self._awaited or not _OPENING.size < size <= MESSAGE_BYTES_MAX:
            raise DecodeError(f"{self.member} sent what is no reply of a MongoDB")
        if len(buffer) < size:
            return None
        data = bytes(memoryview(buffer)[_OPENING.size : size])
        del buffer[:size]
        more = bool(flags & _MORE_TO_COME)
        # Of replies that come unasked each answers the one before.
        self._awaited = number if more else 0
        return memoryview(data), more

    def _batch(self, reply: memoryview, more: bool) -> Batch:
        """The batch in a reply, its documents without decoding them."""
        if bytes(reply[4 : 4 + len(_CURSOR)]) != _CURSOR:
            raise self._refused(reply)
        try:
            at = 4 + len(_CURSOR)
            end = at + _size.unpack_from(reply, at)[0]
            name = next((name for name in _BATCHES if bytes(reply[at + 4 : at + 4 + len(name)]) == name), None)
            if name is None:
                return self._nothing(reply)
            first = at + 4 + len(name)
            behind = first + _size.unpack_from(reply, first)[0]
            told = bytes(reply[behind:end])
            rest = _decode(_size.pack(4 + len(told)) + told)
            seen = position_of(rest["atClusterTime"]) if "atClusterTime" in rest else 0
            return Batch(_documents(reply[first:behind]), int(rest["id"]), seen, seen, more)
        except (struct.error, StopIteration, KeyError, ValueError, *ERRORS) as exc:
            raise DecodeError(f"{self.member} sent a reply that cannot be read: {exc}") from exc

    @staticmethod
    def _nothing(reply: memoryview) -> Batch:
        """The batch of a collection that is not there, of which replies have another order."""
        told = _decode(reply)
        if told["cursor"]["id"] or told["cursor"]["firstBatch"]:
            raise ValueError("a batch that is not where it should be")
        return Batch(b"", 0, 0, position_of(told["operationTime"]), False)

    def _refused(self, reply: memoryview) -> CommitLogError:
        try:
            told: dict[str, Any] = _decode(reply)
        except ERRORS as exc:
            raise DecodeError(f"{self.member} sent a reply that cannot be read: {exc}") from exc
        refusal = OperationFailure(str(told.get("errmsg", "")), told.get("code"), told)
        error = self._failed(refusal)
        error.__cause__ = refusal
        return error

    def _failed(self, exc: Exception) -> CommitLogError:
        return failure(exc, doing=self._doing, user=self._user)

    def _cut(self, exc: OSError) -> Unreachable:
        return Unreachable(f"{self._doing}: the connection to {self.member} was cut: {exc}")
