"""What the readers of every home have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Generic, TypeVar

from ...schemas.errors import HistoryLost, UsageError
from ...schemas.record import Head, Record
from .headfile import DurableHead

_Location = TypeVar("_Location")


class Reading(ABC, Generic[_Location]):
    """One log, read record by record; where it lives says how.

    Attributes:
        location: The log.
        way_back: What to do where the log ends before a record that was read.
    """

    location: _Location
    way_back: ClassVar[str]

    @abstractmethod
    def durable(self) -> DurableHead:
        """The durable head and the place of its end."""

    @abstractmethod
    def records(self, from_seq: int = 0, *, until: int | None = None, after: Head | None = None) -> Iterator[Record]:
        """The records from `from_seq` on, to the head as it is now, or to `until` (included) where that is less."""

    def head(self) -> Head:
        """The durable head; `Head(-1, …)` of an empty log. Raises what `durable` raises."""
        return self.durable().head

    def record(self, seq: int) -> Record:
        """One record. Raises what `records` raises, and UsageError where the log has no such record."""
        for record in self.records(seq, until=seq) if 0 <= seq <= self.head().seq else ():
            return record
        raise UsageError(f"log {self.location} has no record {seq}")

    def check_reach(self, durable: DurableHead, from_seq: int) -> None:
        """Check that a log whose head is known can be read from `from_seq` on, now or later.

        Raises:
            UsageError: There is never such a record.
            HistoryLost: The log ends before `from_seq - 1`.
        """
        if from_seq < 0:
            raise UsageError(f"a log has no record {from_seq}")
        if from_seq > durable.head.seq + 1:
            raise self.cut(durable.head.seq, from_seq - 1)

    def cut(self, last: int, seq: int) -> HistoryLost:
        """The error for a log that ends at record `last`, and of which record `seq` was read."""
        return HistoryLost(
            f"log {self.location} ends at record {last}; record {seq} was read before", hint=self.way_back
        )
