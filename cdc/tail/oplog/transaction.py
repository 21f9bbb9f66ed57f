"""What the oplog's tail hands on, and a transaction while its entries come in."""

from dataclasses import dataclass

from ..spill import Spill
from ..transaction import Changes, Entry, Mark, Relation, Transaction


@dataclass(slots=True)
class OplogTransaction(Transaction):
    """A transaction of the oplog: `end` is the timestamp of its last entry, and `xid` that entry's number among those of its second, for records
    hold no number as large as a timestamp.

    Args:
        batched: It is many inserts that the server logs as one entry, though they were not made visible together.
    """

    batched: bool = False

    @property
    def atomic(self) -> bool:
        """Whether its changes were made visible together."""
        return not self.batched

    @property
    def mark(self) -> Mark:
        """What a snapshot knows it by."""
        return self.end


class Unfinished:
    """Collects a transaction that has no end yet.

    Args:
        begin: The timestamp of its first entry.
        term: The term in which it was written.
        spill_bytes: With more bytes of changes than this they go to a temporary file.
    """

    def __init__(self, begin: int, term: int, spill_bytes: int) -> None:
        self.begin = begin
        self.term = term
        self.last = begin
        self.prepared = False
        self.session = b""
        self.txn_number: int | None = None
        self.tag: bytes | None = None
        self.notices: list[bytes] = []
        self._changes: list[Entry] = []
        self._spill: Spill[Relation | tuple[Relation, ...]] | None = None
        self._room = spill_bytes

    def keep(self, relation: Relation | tuple[Relation, ...], change: bytes) -> None:
        """Take a change."""
        if self._spill is not None:
            self._spill.append((relation, change))
            return
        self._changes.append((relation, change))
        self._room -= len(change)
        if self._room < 0:
            self._spill = Spill(self._changes)
            self._changes = []

    def transaction(self, end: int, time_us: int, *, batched: bool = False) -> OplogTransaction:
        """It as a transaction, which then owns the temporary file.

        Args:
            end: The timestamp of its last entry.
            time_us: When that was written.
            batched: See OplogTransaction.
        """
        changes: Changes = self._changes if self._spill is None else self._spill
        return OplogTransaction(
            end & 0xFFFFFFFF, end, time_us, changes, [*([self.tag] if self.tag else []), *self.notices], batched
        )

    def close(self) -> None:
        """Give back the temporary file."""
        if self._spill is not None:
            self._spill.close()
