"""How a tag gets to MongoDB: a connection sends a stamp before the commit, or before the lone write, that it is for.

Whatever pymongo does to a server, it does by `Connection.send_message`: every command of every method, of GridFS, of
`run_command`, of a version to come, with or without a session, the first time or again. And before each, pymongo hands the
connection the very command that it will encode (`send_cluster_time`, `add_server_api`), with the lsid, the txnNumber and the
`autocommit` that tell what MongoDB will log of it. So a command is judged by what it is, not by who called, and the server
session that the stamp names is the one that the write goes out with, however late pymongo took it from its pool.

A stamp goes out on the write's own connection, directly before it and without waiting. A server works off a connection one
message after the other, so the stamp is in the oplog before the write begins. Its answer is read before the write's. Where
it was refused, the write is untagged, and `on_untagged` has its say; under "raise" the stamp is waited for, and the write is
not sent.

A stamp that fails in a transaction aborts it, as every failed statement does (a want of privileges does not). Its commit then
says NoSuchTransaction, labelled TransientTransactionError: who tries again, as `with_transaction` does, gets through, because
refused stamps are not tried again on that server for a minute.
"""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Generator, Mapping, MutableMapping
from typing import Any

import bson
from bson.int64 import Int64

from . import session as sessions
from .pymongo_stamp import (
    COMMITTED,
    NO_NUMBER,
    TOO_OLD,
    UNKNOWN,
    WRITES,
    Failure,
    Marks,
    Message,
    Refusals,
    Transaction,
    Untagged,
    end,
    failure_in,
    marks_of,
    read,
    stamp,
    succeeded,
    writes,
    wrote,
)

Steps = Generator[tuple[bytes, int] | int | None, Any, Any]
"""What a connection does around a message: `(bytes, size)` is sent, a number is the reply to wait for. At None the message
has gone out; sent back is the number of its reply, which the generator returns."""

_JOINED_BYTES_MAX = 1 << 16


class Stamper:
    """What one connection stamps, and when; sending is left to it.

    Args:
        address: Of the server.
        why_never: Why no stamp can be written there, or None.
        rest: What every command must carry: the server API that the client declares.
        refusals: Of that server.
        wraps: Whether lone writes of a request become transactions.
    """

    def __init__(
        self, address: object, why_never: str | None, rest: Mapping[str, Any], *, refusals: Refusals, wraps: bool
    ) -> None:
        self._address = address
        self._why_never = why_never
        self._rest = rest
        self._refusals = refusals
        self._may_wrap = wraps
        self._command: MutableMapping[str, Any] | None = None  # what will be sent next
        self._session: Any = None
        self._concern: dict[str, Any] | None = None  # write concern of a lone write that has become a transaction
        self._wrapped = False

    def options(self, spec: Mapping[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        """Return what a command is called with. The write concern of what becomes a transaction is its commit's."""
        concern = options.get("write_concern")
        self._concern = None
        if concern is not None and concern.acknowledged and self._wraps(spec, options.get("session")):
            self._concern = options.pop("write_concern").document
        return options

    def note(self, command: MutableMapping[str, Any], session: Any) -> None:
        """Note a command that has a session, or may have. It is complete but for its write concern."""
        if command is not self._command:
            self._concern = None  # a bulk write's stands in the command
        self._command, self._session = command, session
        self._wrapped = self._wraps(command, session)
        if self._wrapped:
            self._wrap(command, session._server_session)
        elif session is not None and "txnNumber" in command and "autocommit" not in command:
            self._number(command, session._server_session)

    def note_any(self, command: MutableMapping[str, Any]) -> None:
        """Note a command of which `note` may never hear."""
        if command is not self._command:
            self._command, self._session, self._wrapped = command, None, False

    def _number(self, command: MutableMapping[str, Any], server_session: Any) -> None:
        """Give a lone write the txnNumber that its tag hangs on, before it is encoded."""
        number = int(command["txnNumber"])
        if number != server_session._transaction_id or next(iter(command)) not in WRITES:
            return  # the app's own
        marks = marks_of(server_session)
        ctx = _ctx()
        if marks.ctx is not None or ctx:
            server_session._transaction_id = marks.next_number(number, ctx)
            command["txnNumber"] = Int64(server_session._transaction_id)

    def steps(self, data: bytes, size: int) -> Steps | None:
        """Return what is to be done around the message that goes out now, or None."""
        command, session = self._command, self._session
        self._command = self._session = None  # a connection in its pool keeps no client alive
        if command is None:
            return None
        name = next(iter(command))
        if self._wrapped:
            return self._run_wrapped(name, command, data, size)
        if "autocommit" in command:
            return self._steps_in_transaction(name, command, session, data, size)
        if writes(command, name):
            return self._steps_of_lone_write(name, command, session, data, size)
        return None

    # Lone writes

    def _steps_of_lone_write(
        self, name: str, command: MutableMapping[str, Any], session: Any, data: bytes, size: int
    ) -> Steps | None:
        ctx, why, marks = _ctx(), self._why_untagged(), None
        if session is not None and "txnNumber" in command:
            marks = marks_of(session._server_session)
        if why is None and ctx and (marks is None or marks.sent != command["txnNumber"]):
            why = NO_NUMBER
        if why is not None:
            if ctx:
                sessions.untagged(why, error=Untagged)
            return None
        if session is None or marks is None or (marks.ctx is None and not ctx):
            return None
        election = self._election(session.client)
        if marks.holds(ctx, int(command["txnNumber"]), election):
            return None
        return self._stamp_lone(name, marks, ctx, command, data, size, election=election)

    def _stamp_lone(
        self,
        name: str,
        marks: Marks,
        ctx: bytes,
        command: MutableMapping[str, Any],
        data: bytes,
        size: int,
        *,
        election: object,
    ) -> Steps:
        number = int(command["txnNumber"])
        marks.ctx = UNKNOWN
        ours = stamp(command["lsid"], ctx, number - 1, {"writeConcern": {"w": 1}, **self._rest})
        failure, request_id = yield from self._send(ours, data, size, waits=bool(ctx))
        if failure is None:
            marks.stamped(ctx, number, election)
        elif ctx and failure.lasts and request_id is None:
            self._refuse(failure)
        if request_id is None:
            yield data, size
            request_id = yield None
        reply = yield request_id
        # Too old is what is said to a retry whose write got through, behind its stamp.
        if failure is not None and ctx and failure.code != TOO_OLD and wrote(name, read(reply)):
            sessions.untagged_after_all(failure.why)
        return reply

    # Transactions

    def _steps_in_transaction(
        self, name: str, command: MutableMapping[str, Any], session: Any, data: bytes, size: int
    ) -> Steps | None:
        if session is None:
            return None
        marks, number = marks_of(session._server_session), int(command["txnNumber"])
        if "startTransaction" in command:
            marks.transaction = Transaction(number, sessions.current())
        now = marks.transaction
        if now is None or now.number != number or now.session is None:
            return None
        if name in WRITES:
            self._refuse_known(now)
            return None if now.wrote else _watch(now, name, data, size)
        if name == "commitTransaction" and now.wrote and not now.over and not now.refused:
            return self._stamp_commit(now, now.session, command, data, size)
        return None

    def _refuse_known(self, now: Transaction) -> None:
        """Say once that a transaction goes untagged, where that is known before it writes."""
        why = self._why_untagged()
        if why is not None and not now.refused:
            now.refused = sessions.settings().on_untagged != "raise"
            sessions.untagged(why, error=Untagged)

    def _stamp_commit(
        self,
        now: Transaction,
        session: sessions.Session,
        command: MutableMapping[str, Any],
        data: bytes,
        size: int,
    ) -> Steps:
        if now.stamp is None:  # the same again, should its answer be lost: that changes nothing then
            now.stamp = stamp(command["lsid"], session.tag, now.number, {"autocommit": False, **self._rest})
        failure, request_id = yield from self._send(now.stamp, data, size, waits=True)
        now.over = failure is None  # it is part of the transaction now, whatever becomes of that
        if failure is not None and failure.lasts and request_id is None:
            now.over = True
            yield from self._abort(command["lsid"], now.number)
            self._refuse(failure)
        if request_id is None:
            yield data, size
            request_id = yield None
        reply = yield request_id
        if succeeded(reply):
            # Committed is what is said where the commit got through before, behind its stamp.
            if failure is not None and failure.code != COMMITTED:
                sessions.untagged_after_all(failure.why)
            now.over = True
        return reply

    # Lone writes in transactions of their own

    def _wraps(self, command: Mapping[str, Any], session: Any) -> bool:
        return (
            self._may_wrap
            and session is not None
            and not session.in_transaction
            and next(iter(command)) in WRITES
            and sessions.current() is not None
            and self._why_untagged() is None
        )

    def _wrap(self, command: MutableMapping[str, Any], server_session: Any) -> None:
        server_session.inc_transaction_id()
        command.update(txnNumber=server_session.transaction_id, startTransaction=True, autocommit=False)
        self._concern = command.pop("writeConcern", self._concern)

    def _run_wrapped(self, name: str, command: MutableMapping[str, Any], data: bytes, size: int) -> Steps:
        session, lsid, number = sessions.current(), command["lsid"], int(command["txnNumber"])
        rest = self._rest
        yield data, size
        reply = yield (yield None)
        answer = read(reply)
        if not answer.get("ok"):
            return reply
        if answer.get("writeErrors"):
            # The server has aborted it, so nothing that went well before counts.
            kept = {key: value for key, value in answer.items() if key != "upserted"}
            return _amended(reply, kept, {key: 0 for key in _COUNTS if key in answer})
        commit = end(
            "commitTransaction", lsid, number, {"writeConcern": self._concern, **rest} if self._concern else rest
        )
        if session is None or not wrote(name, answer):
            yield commit.data, 0
            failure = None
        else:
            stamped = stamp(lsid, session.tag, number, {"autocommit": False, **rest})
            waits = sessions.settings().on_untagged == "raise"
            yield (stamped.data if waits else stamped.data + commit.data), 0
            failure = failure_in((yield stamped.id))
            self._refusals.note(failure)
            if waits and failure is not None and failure.lasts:
                yield from self._abort(lsid, number)
                self._refuse(failure)
            if waits:
                yield commit.data, 0
        committed = yield commit.id
        outcome = read(committed)
        if not outcome.get("ok"):
            yield from self._abort(lsid, number)  # nobody will commit it again
            return committed
        if failure is not None:
            sessions.untagged_after_all(failure.why)
        told = ("operationTime", "$clusterTime", "writeConcernError")
        return _amended(reply, answer, {key: outcome[key] for key in told if key in outcome})

    # Both

    def _send(
        self, ours: Message, data: bytes, size: int, *, waits: bool
    ) -> Generator[tuple[bytes, int] | int | None, Any, tuple[Failure | None, int | None]]:
        """Send a stamp and then the app's message, unless the stamp must be waited for.

        Returns:
            Why the stamp failed, and the number of the app's reply, or None where the app's message has not been sent.
        """
        request_id: int | None = None
        if waits and sessions.settings().on_untagged == "raise":
            yield ours.data, 0
        else:
            if len(data) <= _JOINED_BYTES_MAX:
                yield ours.data + data, size
            else:
                yield ours.data, 0
                yield data, size
            request_id = yield None
        failure = failure_in((yield ours.id))
        self._refusals.note(failure)
        return failure, request_id

    def _abort(self, lsid: Any, number: int) -> Generator[tuple[bytes, int] | int | None, Any, None]:
        abort = end("abortTransaction", lsid, number, self._rest)
        yield abort.data, 0
        yield abort.id

    def _refuse(self, failure: Failure) -> None:
        sessions.untagged(failure.why, error=Untagged)

    def _why_untagged(self) -> str | None:
        """Return why no stamp can be written, as far as that is known."""
        return self._why_never or self._refusals.why()

    def _election(self, client: Any) -> object:
        """Return the id of the election that made this server primary. A stamp may be lost with the one before."""
        server = client._topology.get_server_by_address(self._address)
        return server.description.election_id if server is not None else None


_COUNTS = ("n", "nModified")


def _watch(now: Transaction, name: str, data: bytes, size: int) -> Steps:
    """Note whether a statement of a transaction wrote; without an answer it may have."""
    now.wrote = True
    yield data, size
    reply = yield (yield None)
    now.wrote = wrote(name, read(reply))
    return reply


def _amended(reply: Any, answer: Mapping[str, Any], also: Mapping[str, Any]) -> Any:
    """Return the reply with another document."""
    return type(reply)(reply.flags, bson.encode({**answer, **also}))


def _ctx() -> bytes:
    session = sessions.current()
    return session.tag if session is not None else b""
