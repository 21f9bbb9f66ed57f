"""The running read of an oplog: batches as the server sends them, one after the other without being asked for each.

A tailable cursor on local.oplog.rs, of what a majority has, with `exhaustAllowed`: the server sends on by itself, and the operating system
keeps what comes while the worker works. It is how members of a set read from each other.

Source: src/mongo/db/repl/oplog_fetcher.cpp.
"""

from collections.abc import Iterator
from typing import Any

from bson.int64 import Int64

from ...schemas.errors import Unreachable
from .mongodb_catalog import OPLOG, timestamp
from .mongodb_connection import CONNECT_TIMEOUT_S, Client
from .mongodb_wire import EXHAUST_ALLOWED, Batch, Wire

BATCH_ENTRIES = 2_000
"""Entries of one batch at most: a backlog is flushed in steps."""

AWAIT_MS = 1_000
"""How long the server waits for an entry before it says that there was none."""

DOING = "the source's oplog cannot be read"
MAJORITY = {"level": "majority"}


class OplogCursor:
    """A read from a position on.

    Args:
        client: Of the set. The read has a connection of its own.
        start: Where to begin; the entry there is the first that comes.
        user: Who reads, for messages.
        silence_s: How long to wait for the first batch.

    Raises:
        Unreachable: No member answers.
        Refused: The user may not read the oplog.
    """

    def __init__(self, client: Client, *, start: int, user: str, silence_s: float) -> None:
        self._wire = Wire(client, doing=DOING, user=user)
        self.member = self._wire.member
        """Host and port of the member that is read."""
        self._first = b""
        database, name = OPLOG
        try:
            self._wire.send(
                {
                    "find": name,
                    "filter": {"ts": {"$gte": timestamp(start)}},
                    "tailable": True,
                    "awaitData": True,
                    "noCursorTimeout": True,
                    "batchSize": BATCH_ENTRIES,
                    "readConcern": MAJORITY,
                    "$db": database,
                }
            )
            batch = self._wire.batch(max(silence_s, CONNECT_TIMEOUT_S))
            if batch is None:
                raise Unreachable(f"{self.member} does not answer", hint="check that the server runs")
            self._first = batch.documents
            self._go_on(batch)
        except BaseException:
            self.close()
            raise

    def batch(self, timeout_s: float) -> bytes | None:
        """The next batch: BSON documents one behind the other, none where the server waited in vain; None where nothing came in time.

        Raises:
            Unreachable: The connection is gone, or the member ended the read.
            DecodeError: It sent what is no reply.
        """
        if self._first:
            first, self._first = self._first, b""
            return first
        batch = self._wire.batch(timeout_s)
        if batch is None:
            return None
        if not batch.more:
            self._go_on(batch)
        return batch.documents

    @property
    def at_hand(self) -> bool:
        """Whether more has come already."""
        return self._wire.at_hand

    def close(self) -> None:
        """End the read."""
        self._wire.close()

    def _go_on(self, batch: Batch) -> None:
        """Ask for more; the server then sends batch after batch."""
        if not batch.cursor:
            raise Unreachable(f"{self.member} has ended the read of its oplog")
        database, name = OPLOG
        command: dict[str, Any] = {"getMore": Int64(batch.cursor), "collection": name, "batchSize": BATCH_ENTRIES}
        self._wire.send({**command, "maxTimeMS": AWAIT_MS, "$db": database}, EXHAUST_ALLOWED)


def entries(wire: Wire, first: int, end: int, *, more: dict[str, Any], patience_s: float) -> Iterator[bytes]:
    """The entries from one position up to before another, in batches.

    Args:
        wire: Where to read.
        first: Where to begin.
        end: Where to end; a member that has not come so far is waited for.
        more: What else they must be, as a query says it.
        patience_s: How long to wait for each batch.

    Raises:
        Unreachable: The member goes away, or says nothing for so long.
        Refused: The user may not read the oplog.
    """
    database, name = OPLOG
    filter_ = {"ts": {"$gte": timestamp(first), "$lt": timestamp(end)}, **more}
    concern = {**MAJORITY, "afterClusterTime": timestamp(end)}
    return read_all(wire, {"find": name, "filter": filter_, "readConcern": concern, "$db": database}, patience_s)


def read_all(wire: Wire, command: dict[str, Any], patience_s: float) -> Iterator[bytes]:
    """All that a `find` gives, in batches of raw documents, none empty.

    Raises:
        Unreachable: The member goes away, or says nothing for `patience_s`.
        Refused: It refuses the command.
    """
    wire.send(command)
    while True:
        batch = wire.batch(patience_s)
        if batch is None:
            raise Unreachable(f"{wire.member} does not answer", hint="check that the server runs")
        if batch.documents:
            yield batch.documents
        if not batch.cursor:
            return
        wire.send({"getMore": Int64(batch.cursor), "collection": command["find"], "$db": command["$db"]})
