"""What a fork applies at once: one record, or all parts of a commit or snapshot that was too large for one. Reads logs, writes nothing.

Every body is checked against its header's tree before a fork sees its items. Parts are not kept: they are read again from the
log when the last of them has come, so a commit of any size needs no memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...schemas.errors import RecordError, Refused
from ...schemas.record import Head, Record, is_object
from ..log.home import LogReader
from ..log.pieces import Joiner
from ..log.verify import check_body

KINDS = frozenset({"genesis", "commit", "snapshot", "schema", "shape", "amend", "source", "gap", "coverage", "void"})
"""The kinds a fork knows; another stops it unless the record's header says `skip`."""

Change = dict[str, Any]
Place = tuple[int, int]
"""(seq, item) of a change."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One record, or all parts of one commit.

    Args:
        last: The record, or the last part.
        first_seq: The seq of the first part.
        before: The head before the first part.
        by: Who made the commit, as its first part says.
        items: All items of a unit of one record; None where there are parts.
        meta: Item 1 of the (last) record, empty where that is not an object.
    """

    last: Record
    first_seq: int
    before: Head
    by: dict[str, Any] | None
    items: list[Any] | None
    meta: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def kind(self) -> str:
        """The record's kind."""
        return self.last.kind

    @property
    def begins_anew(self) -> bool:
        """Whether it is a snapshot record without a range, which says that an entity's rows are going to be told anew."""
        meta = self.meta
        return (
            self.kind == "snapshot"
            and meta.get("to") is None
            and meta.get("last") is False
            and len(self.items or ()) == 2
        )

    def changes(self, reader: LogReader) -> Iterator[tuple[Place, Change]]:
        """The changes with their places, in order; parts are read from the log.

        Raises:
            RecordError: A body is damaged, or an item is not an object.
            Refused: A body is not shown whole.
        """
        for changes in self.records(reader):
            yield from changes

    def records(self, reader: LogReader) -> Iterator[list[tuple[Place, Change]]]:
        """As `changes`, one list a record."""
        joiner = Joiner()
        if self.items is not None:
            yield _changes(self.last, joiner.take(self.last.seq, self.items))
        else:
            for record in reader.records(self.first_seq, until=self.last.seq, after=self.before):
                yield _changes(record, joiner.take(record.seq, items_of(record)))
        if joiner.open:
            raise RecordError(f"record {self.last.seq}: the last piece of a change is missing", seq=self.last.seq)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change comes from.

    Args:
        unit: The commit or the snapshot.
        place: The change's place in the log.
    """

    unit: Unit
    place: Place


class Units:
    """Makes units of records given in their order.

    Args:
        before: The head before the first record; it must not be in the middle of a commit.
    """

    def __init__(self, before: Head) -> None:
        self._before = before
        self._open: tuple[int, Head, dict[str, Any] | None] | None = None

    def take(self, record: Record) -> Unit | None:
        """Take the next record; None where it is a part that is not the last.

        Raises:
            RecordError: A body is damaged.
            Refused: A body is not shown whole, or the kind is unknown.
        """
        before, self._before = self._before, record.head
        if record.kind not in KINDS and record.header.get("skip") is not True:
            raise Refused(
                f"record {record.seq} is of kind {record.kind[:64]!r}, which this version does not know",
                hint="install a newer commitlog-cdc, then run the same command again",
            )
        part = record.header.get("part")
        if part is None or record.kind not in ("commit", "snapshot"):
            self._open = None
            items: list[Any] = items_of(record) if record.kind in KINDS else [None, {}]
            return Unit(record, record.seq, before, _by(items), items, _meta(items))
        if part["n"] == 0:
            self._open = (record.seq, before, _by(items_of(record)))
        if self._open is None:
            raise RecordError(
                f"record {record.seq} is a part of a {record.kind} whose first part is missing", seq=record.seq
            )
        if not part["last"]:
            return None
        (first_seq, first_before, by), self._open = self._open, None
        return Unit(record, first_seq, first_before, by, None, _meta(items_of(record)))


def items_of(record: Record) -> list[Any]:
    """The items of a record, checked against its header's tree.

    Raises:
        RecordError: The body is not what the header says.
        Refused: The body is withheld or redacted.
    """
    items = check_body(record)
    if items is not None:
        return items
    raise Refused(
        f"record {record.seq} does not show what it holds: its body is withheld or redacted in this copy of the log",
        hint="fork from a copy of the log that holds it whole",
    )


def _by(items: list[Any]) -> dict[str, Any] | None:
    return items[0] if is_object(items[0]) else None


def _meta(items: list[Any]) -> dict[str, Any]:
    return items[1] if is_object(items[1]) else {}


def _changes(record: Record, items: list[Any]) -> list[tuple[Place, Change]]:
    for number, item in enumerate(items[2:], 2):
        if not is_object(item):
            raise RecordError(f"record {record.seq}: item {number} is not a change", seq=record.seq)
    return [((record.seq, number), item) for number, item in enumerate(items[2:], 2)]
