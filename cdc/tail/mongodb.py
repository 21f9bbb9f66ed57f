"""The read of a replica set's oplog: it gives whole transactions, in commit order.

Ordered, unique per connection, atomic: a transaction comes when a majority of the set has its commit, so nothing that comes is ever rolled
back. The server keeps no place for us and is told nothing; a reconnect begins at the position that the worker says.

Source: MongoDB manual, "Replica Set Oplog" and "Read Concern majority".
"""

import time
from collections.abc import Callable
from contextlib import closing
from struct import Struct

from bson.raw_bson import RawBSONDocument

from ...schemas.errors import ACCEPT_GAP, HistoryLost, Unreachable
from ...schemas.position import format_oplog
from .mongodb_catalog import Catalog, position_of
from .mongodb_cursor import DOING, OplogCursor, entries
from .mongodb_images import PreImages
from .mongodb_wire import Wire
from .oplog.assembler import OplogAssembler
from .oplog.stamps import STAMPS
from .transaction import Transaction

LOOK_BACK_S = 1200
"""How far before the start stamps are looked for that still hold there."""

_LOOK_BACK_STEP_S = 120
"""As much at once, so that every answer comes soon, however large the oplog is."""

BEHIND_S = 15.0
"""A primary writes an entry every ten seconds, if only to say that it lives. After so long without one another member is asked."""

_size = Struct("<i").unpack_from


class OplogStream:
    """A running read.

    Args:
        catalog: The source's; its client is used, by connections of the stream's own.
        replica_set: The set's id, which stands in the ids of commits.
        start: Where to begin: the position of an entry.
        wanted: Whether a collection is to be told with its documents, by database and name.
        held: Told where the oldest transaction begins that is prepared and not decided, whenever that changes; None for nowhere.
        spill_bytes: A transaction with more raw bytes goes to a temporary file.
        silence_s: A server that says nothing for so long is away.

    Raises:
        Unreachable: No member answers.
        Refused: The user may not read the oplog.
        HistoryLost: The entry at `start` is not there.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        replica_set: str,
        start: int,
        wanted: Callable[[str, str], bool],
        held: Callable[[int | None], None],
        spill_bytes: int,
        silence_s: float,
    ) -> None:
        self._catalog, self._start, self._silence_s = catalog, start, silence_s
        self._user = catalog.address.user
        self._images = PreImages(catalog.client, user=self._user, patience_s=silence_s)
        self._assembler = OplogAssembler(
            replica_set=replica_set,
            wanted=wanted,
            spill_bytes=spill_bytes,
            pre_images=self._images.read,
            database=catalog.address.database,
        )
        self._tell_held = held
        self._held: int | None = None
        self._begun = False
        self._behind = 0
        self.server_end = start
        self.busy = False
        self.reply_due = False
        self._look_back()
        self._cursor = OplogCursor(catalog.client, start=start, user=self._user, silence_s=silence_s)
        self._heard_at = self._moved_at = time.monotonic()

    @property
    def in_transaction(self) -> bool:
        """Whether part of a transaction is in hand."""
        return self._assembler.held is not None

    def poll(self, timeout_s: float) -> list[Transaction]:
        """The transactions that have ended, as many as come in one batch; empty after `timeout_s`.

        Raises:
            Unreachable: The connection is gone, or the member that is read has fallen behind.
            DecodeError: The server sent what is no oplog, or what is not known here.
            HistoryLost: The oplog does not go on from where we stand, or what a document was before is not kept.
        """
        if self._assembler.rest:
            return self._feed(b"")
        batch = self._cursor.batch(timeout_s)
        self.busy = batch is not None and self._cursor.at_hand
        now = time.monotonic()
        if batch is None:
            if now - self._heard_at > self._silence_s:
                raise Unreachable(f"{self._cursor.member} has said nothing for {now - self._heard_at:.0f} s")
            return []
        self._heard_at = now
        if not batch:
            self._look_behind(now)
            return []
        if not self._begun:
            self._check_begin(batch)
        self._moved_at, self._behind = now, 0
        return self._feed(batch)

    def _feed(self, batch: bytes) -> list[Transaction]:
        out: list[Transaction] = [*self._assembler.feed(batch)]
        self.busy = self._assembler.rest or self._cursor.at_hand
        self.server_end = max(self.server_end, self._assembler.position)
        held = self._assembler.held
        if held != self._held:
            # Before anything of this poll is durable, so that a restart finds it.
            self._tell_held(held)
            self._held = held
        return out

    def acknowledge(self, position: int, *, now: bool = False) -> None:
        """Nothing: the server keeps its oplog for as long as it is set to, whoever reads it."""

    def keep_alive(self) -> None:
        """Nothing: the server waits for readers."""

    def ask(self) -> None:
        """Nothing: the server tells of everything at once."""

    def close(self) -> None:
        """End the connections."""
        self._assembler.close()
        self._cursor.close()
        self._images.close()

    def _look_back(self) -> None:
        """Learn which stamps hold at the start."""
        namespace = {"ns": ".".join(STAMPS)}
        seconds = self._start >> 32
        with closing(Wire(self._catalog.client, doing=DOING, user=self._user)) as wire:
            for begin in range(seconds - LOOK_BACK_S, seconds + 1, _LOOK_BACK_STEP_S):
                end = min(begin + _LOOK_BACK_STEP_S << 32, self._start)
                for batch in entries(wire, begin << 32, end, more=namespace, patience_s=self._silence_s):
                    self._assembler.stamps(batch)

    def _check_begin(self, batch: bytes) -> None:
        first = position_of(RawBSONDocument(batch[: _size(batch)[0]])["ts"])
        if first != self._start:
            raise HistoryLost(
                f"the source's oplog has no entry at {format_oplog(self._start)}, and goes on at {format_oplog(first)}: it has rolled over,"
                " or its history is another one",
                hint=ACCEPT_GAP,
            )
        self._begun = True

    def _look_behind(self, now: float) -> None:
        """Ask whether the set has gone on without the member that is read."""
        if now - self._moved_at < BEHIND_S:
            return
        self._moved_at = now
        point = self._catalog.majority_point()
        if self._behind and self.server_end < self._behind:
            raise Unreachable(
                f"{self._cursor.member} has fallen behind the other members of its set, and is not read any more"
            )
        self._behind = point if point > self.server_end else 0
