"""The commands that write stamps, what is known of those written, and what a server's answers say: see `mongodb_stamp`."""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

from __future__ import annotations

import random
import struct
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import bson
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS
from pymongo.errors import OperationFailure
from pymongo.helpers_shared import _RETRYABLE_ERROR_CODES

from . import session as sessions
from .mongodb_stamp import COLLECTION, DATABASE, RENEWED_AFTER_S, SPAN

WRITES = frozenset(("insert", "update", "delete", "findAndModify", "findandmodify", "bulkWrite"))
"""Commands that write documents, and that MongoDB logs with the session where they carry a txnNumber."""

_WRITES_WITHOUT_SESSION = frozenset(
    ("drop", "dropDatabase", "renameCollection", "convertToCapped", "cloneCollectionAsCapped", "applyOps")
)
_STAGES_THAT_WRITE = ("$out", "$merge")

_UNAUTHORIZED = 13
TOO_OLD = 225
COMMITTED = 256
_PASSING = frozenset(_RETRYABLE_ERROR_CODES) | {24, 46, 50, 112, 117, TOO_OLD, 251, COMMITTED, 263, 11601}
"""Codes of errors that say nothing of the next stamp: another primary, an operation cut short, a transaction that is over."""

NOT_ALLOWED = "the user may not write commitlog.stamps: see `commitlog setup`"
REFUSED = "the server refused the stamp"
STANDALONE = "a standalone server keeps no oplog"
SHARDED = "written through mongos"
NO_NUMBER = "MongoDB logs no session with it: many documents, w:0, retryWrites off, or a command that cannot be retried"

UNKNOWN = b"?"
"""What a server session is stamped with where that is not known. It equals no tag."""

_OK = b"\x01ok\0" + struct.pack("<d", 1)
_WRITE_ERRORS = b"\x04writeErrors\0"
_HEADER = struct.Struct("<iiiiIB").pack
_OP_MSG = 2013


class Untagged(sessions.Untagged, OperationFailure):
    """A session is bound, its write cannot be tagged, and `on_untagged` is "raise". The write has not happened."""


class Message(NamedTuple):
    """A command as it is sent, and the number its reply will name."""

    id: int
    data: bytes


class Failure(NamedTuple):
    """Why a stamp was not written."""

    why: str
    code: int | None
    transient: bool = False
    """The server says itself that the transaction may be tried again."""

    @property
    def lasts(self) -> bool:
        """Whether the next stamp will fail alike."""
        return not self.transient and self.code not in _PASSING


class Transaction:
    """A transaction that has begun, as far as its stamp goes."""

    __slots__ = ("number", "over", "refused", "session", "stamp", "wrote")

    def __init__(self, number: int, session: sessions.Session | None) -> None:
        self.number = number
        self.session = session
        self.wrote = False
        self.refused = False  # it was said already that it goes untagged
        self.over = False  # no stamp is to be written any more
        self.stamp: Message | None = None


class Marks:
    """What is known of the stamps of one server session. It lives as long as that does, and one thread uses it at a time."""

    __slots__ = ("at", "ctx", "election", "sent", "span", "transaction")

    def __init__(self) -> None:
        self.ctx: bytes | None = None  # of the last stamp of lone writes; None: there was none
        self.span = 0
        self.at = 0.0
        self.election: object = None
        self.sent = -1  # txnNumber of the last lone write: who sends it again retries
        self.transaction: Transaction | None = None

    def holds(self, ctx: bytes, number: int, election: object) -> bool:
        """Return whether a lone write is tagged, or untagged, as it should be without another stamp."""
        if self.ctx != ctx or self.span != number // SPAN or election is None or self.election != election:
            return False
        return not ctx or time.monotonic() - self.at < RENEWED_AFTER_S

    def stamped(self, ctx: bytes, number: int, election: object) -> None:
        """Note that a stamp was written."""
        self.ctx, self.span, self.election, self.at = ctx, number // SPAN, election, time.monotonic()

    def next_number(self, number: int, ctx: bytes) -> int:
        """Return the txnNumber of a lone write, from the one pymongo has for it.

        The number before is left free for a stamp: who sends a write again to another primary may need one, and the write
        must keep its number. A retry gets the number it had.
        """
        if number == self.sent:
            return number
        if self.ctx is not None and self.ctx != ctx:
            number = (number // SPAN + 1) * SPAN
        elif number % SPAN == SPAN - 1:
            number += 1
        self.sent = number + 1
        return self.sent


def marks_of(server_session: Any) -> Marks:
    """Return what is known of a server session, which carries it."""
    marks: Marks | None = getattr(server_session, "commitlog_marks", None)
    if marks is None:
        marks = server_session.commitlog_marks = Marks()
    return marks


class Refusals:
    """Whether stamps are refused on one server at the time, so that they are not tried with each write."""

    __slots__ = ("_until", "_why")

    SECONDS = 60.0

    def __init__(self) -> None:
        self._why: str | None = None
        self._until = 0.0

    def why(self) -> str | None:
        if self._why is not None and time.monotonic() >= self._until:
            self._why = None
        return self._why

    def note(self, failure: Failure | None) -> None:
        if failure is not None and failure.lasts:
            self._why, self._until = failure.why, time.monotonic() + self.SECONDS


def writes(command: Mapping[str, Any], name: str) -> bool:
    """Return whether a command changes documents, with or without a session in the oplog."""
    if name in WRITES or name in _WRITES_WITHOUT_SESSION:
        return True
    if name == "aggregate":
        pipeline: Any = command.get("pipeline")
        return bool(pipeline) and any(stage in pipeline[-1] for stage in _STAGES_THAT_WRITE)
    out: Any = command.get("out") or ()
    return name in ("mapReduce", "mapreduce") and "inline" not in out


def wrote(name: str, reply: Mapping[str, Any]) -> bool:
    """Return whether a command of `WRITES` changed a document, by the server's answer."""
    if not reply.get("ok"):
        return False
    if name == "update":
        return bool(reply.get("nModified")) or "upserted" in reply
    if name == "bulkWrite":
        return any(reply.get(count) for count in ("nInserted", "nModified", "nUpserted", "nDeleted"))
    if name in ("insert", "delete"):
        return bool(reply.get("n"))
    error: Mapping[str, Any] = reply.get("lastErrorObject") or {}
    return bool(error.get("n"))


def message(command: dict[str, Any]) -> Message:
    """Return a command as OP_MSG."""
    document = bson.encode(command)
    number = random.getrandbits(31)
    return Message(number, _HEADER(len(document) + 21, number, 0, _OP_MSG, 0, 0) + document)


def stamp(lsid: Mapping[str, Any], ctx: bytes, number: int, rest: Mapping[str, Any]) -> Message:
    """Return the command that writes a stamp.

    Args:
        lsid: Id of the server session, as commands carry it.
        ctx: The tag, or b"" for writes of no request.
        number: Its txnNumber.
        rest: What else the command carries: its write concern or its transaction, and the server API.
    """
    key = lsid["id"]
    rest = {"lsid": lsid, "txnNumber": Int64(number), **rest}
    document = {"_id": key, "ctx": ctx.decode(), "txn": Int64(number), "at": DatetimeMS(int(time.time() * 1000))}
    update = {"q": {"_id": key}, "u": document, "upsert": True}
    return message({"update": COLLECTION, "updates": [update], **rest, "$db": DATABASE})


def end(name: str, lsid: Mapping[str, Any], number: int, rest: Mapping[str, Any]) -> Message:
    """Return the command that ends a transaction: `commitTransaction` or `abortTransaction`."""
    of = {"lsid": lsid, "txnNumber": Int64(number), "autocommit": False}
    return message({name: 1, **of, **rest, "$db": "admin"})


def read(reply: Any) -> Mapping[str, Any]:
    """Return the document of a reply; only what is asked of it is decoded."""
    document: Mapping[str, Any] = reply.unpack_response(codec_options=DEFAULT_RAW_BSON_OPTIONS)[0]
    return document


def succeeded(reply: Any) -> bool:
    """Return whether a reply is that of a command that did what it should; it is not decoded for that."""
    data = bytes(reply.raw_command_response())
    return _OK in data and _WRITE_ERRORS not in data


def failure_in(reply: Any) -> Failure | None:
    """Return why a stamp was not written, or None where it was."""
    if succeeded(reply):
        return None
    document = read(reply)
    errors = document.get("writeErrors")
    if document.get("ok") and not errors:
        return None
    code = errors[0].get("code") if errors else document.get("code")
    transient = "TransientTransactionError" in document.get("errorLabels", ())
    return Failure(NOT_ALLOWED if code == _UNAUTHORIZED else REFUSED, code, transient)
