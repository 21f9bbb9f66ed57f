"""Snapshots: the rows that were there before the log began, recorded chunk by chunk while the stream goes on.

A chunk is read in a short transaction of its own, together with that transaction's snapshot. It is appended only when everything the
snapshot could see is in the log; what later transactions did to its rows in the meantime is laid over them. So a chunk is the exact
state of its range at its place in the log. To resume is to go on after the last chunk in the log.

Source: DBLog (Andreakis, Papapanagiotou 2020) for chunks beside a stream; by what a snapshot sees instead of watermarks, so that no row
is written to the source.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ...schemas.change import DELETE, INSERT, UNSENT, RawRow
from ...transforms.app_schema import AppSchema, Entity
from ...transforms.project import Projection
from ..config import Limits
from ..log.state import Progress
from ..tail.row_change import parse_change
from ..tail.transaction import Mark, Relation, Transaction

RECENT_TRANSACTIONS = 65_536
"""Transactions remembered as decoded since the last chunk: one that a snapshot does not see yet, for it waits for a standby,
spoils it."""

COLUMN_BYTES = 24
"""What a field takes in a record besides its value, about: its name, quotes, a colon and a comma, and null."""

OMITTED_MAX = 100_000
"""Keys that may come into a table while a chunk of it waits; above that it is read again, so that memory stays bounded."""

FIRST_ROWS = 10
"""Rows asked for first; their size says how many may come at once, so that rows of a megabyte do not fill the memory."""

SURPLUS_BYTES = 32 << 20
"""Rows of very different sizes come as many as small ones would be: beyond this more than a record takes, the rest is left."""

Key = tuple[bytes, ...]


@dataclass(slots=True)
class Chunk:
    """Rows of one entity, not yet in the log.

    Args:
        entity: Whose.
        projection: How its rows become items.
        start: The key before the range, None for the first chunk.
        end: The last key of the range, None for the last chunk.
        rows: Key to row, both the source's text.
        name: Of the snapshot that it begins, where it is the first of its entity.
        sees: Whether it holds what a transaction in the log did, for sure.
        due: The position up to which the stream must have come.
        columns: Name and type of each as they were read, to notice a change of the table in the meantime.
        places: Where the key stands in a row.
        omitted: Keys that came into the table after the chunk was read, within its range or not: commits have them.
        spoiled: It cannot be made right any more and must be read again.
        expected: Rows from its start to the table's end, as the source's planner thinks.
        source_order: Keys are in an order that only the source knows.
    """

    entity: Entity
    projection: Projection
    start: list[object] | None
    end: list[object] | None
    rows: dict[Key, RawRow]
    name: str
    sees: Callable[[Mark], bool]
    due: int
    columns: list[tuple[str, int]]
    places: list[int]
    omitted: set[Key] = field(default_factory=set[Key])
    spoiled: bool = False
    expected: int = 0
    source_order: bool = False

    def omit(self, key: Key) -> None:
        """Leave a key to the commit that brought it here after the chunk was read."""
        self.rows.pop(key, None)
        self.omitted.add(key)
        self.spoiled = self.spoiled or len(self.omitted) > OMITTED_MAX


class Snapshotter(ABC):
    """Takes the snapshots that a log still lacks, one chunk at a time.

    Args:
        schema: Says which entities, and which of their fields.
        visibility: That of the log.
        progress: The log's own record of how far each entity has come; kept up to date here.
        recent: The transactions in the log of which a snapshot may not know yet; those of which one knew are taken out here.
        limits: Rows and bytes of a chunk.
    """

    def __init__(
        self,
        *,
        schema: AppSchema,
        visibility: str,
        progress: dict[str, Progress],
        recent: deque[Mark],
        limits: Limits,
    ) -> None:
        self.schema = schema
        self.chunk: Chunk | None = None
        self._visibility, self._progress, self._recent = visibility, progress, recent
        self._rows_max, self._bytes_max = limits.snapshot_rows, limits.part_bytes

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    @abstractmethod
    def take(self) -> bool:
        """Read the next chunk. False when there is none left, or the moment is not right.

        Raises:
            Unreachable: The source does not answer.
            Refused: A table may not be read, or its key does not tell its rows apart.
        """

    @abstractmethod
    def hurry(self) -> None:
        """While the chunk in hand waits for the server's log: make that move, where the server is at rest.

        Raises:
            Unreachable: The source does not answer.
        """

    @property
    def done(self) -> bool:
        """Whether every entity has its whole snapshot."""
        return self.chunk is None and not self.missing

    @property
    def missing(self) -> list[Entity]:
        """The entities that lack their whole snapshot."""
        return [
            entity
            for name, entity in sorted(self.schema.entities.items())
            if entity.published(self._visibility) and not (name in self._progress and self._progress[name].last)
        ]

    def _all_seen(self, sees: Callable[[Mark], bool]) -> bool:
        """Whether a snapshot sees all that the log holds; from here on only what it does not see is asked about."""
        unseen = [mark for mark in self._recent if not sees(mark)]
        self._recent.clear()
        self._recent.extend(unseen)
        return not unseen

    def observe(self, transaction: Transaction) -> None:
        """Lay over the chunk in hand what a transaction, just committed to the log, did to its rows."""
        chunk = self.chunk
        if chunk is None or chunk.sees(transaction.mark):
            return
        for relation, data in transaction.changes:
            if isinstance(relation, tuple):
                if any(r.table == chunk.entity.table for r in relation):
                    chunk.rows.clear()
            elif relation.table == chunk.entity.table:
                self._lay_over(chunk, relation, data)

    def _described(self, relation: Relation) -> list[tuple[str, int]]:
        """What a table must still be like for the chunk of it to be right."""
        return [(column.name, column.type_oid) for column in relation.columns]

    def _lay_over(self, chunk: Chunk, relation: Relation, data: bytes) -> None:
        if self._described(relation) != chunk.columns:
            chunk.spoiled = True
            return
        op, old, _, new = parse_change(data)
        places = chunk.places
        if op == INSERT:
            chunk.omit(key_of(new, places))
            return
        before = key_of(old or new, places)
        present = chunk.rows.pop(before, None)
        if op == DELETE or new is None:
            return
        after = key_of([was if now is UNSENT else now for now, was in zip(new, old or new, strict=True)], places)
        if after != before:
            chunk.omit(after)
        elif present is not None:
            chunk.rows[before] = [was if now is UNSENT else now for now, was in zip(new, present, strict=True)]

    def finish(self) -> tuple[dict[str, object], list[bytes]]:
        """The chunk in hand as a snapshot record: meta and items. From here on it counts as recorded.

        Raises:
            UnknownLabel: An enum was altered since it was read; it is thrown away.
        """
        chunk = self.chunk
        if chunk is None:
            raise ValueError("there is no chunk to finish")
        self.chunk = None
        name, last = chunk.entity.name, chunk.end is None
        snapshot = self._progress[name].snapshot if name in self._progress else chunk.name
        meta: dict[str, object] = {
            "snapshot": snapshot,
            "entity": name,
            "from": chunk.start,
            "to": chunk.end,
            "last": last,
        }
        if chunk.source_order:
            meta["order"] = "source"
        if chunk.omitted:
            meta["omitted"] = [chunk.projection.key_values(key) for key in sorted(chunk.omitted)]
        items = [chunk.projection.row(row) for row in chunk.rows.values()]
        self._progress[name] = Progress(snapshot, chunk.end, last)
        return meta, items


def key_of(row: RawRow | None, places: list[int]) -> Key:
    """The texts of a row's key."""
    return tuple(value for place in places if row is not None and isinstance(value := row[place], bytes))


def fitting(rows: list[RawRow], bytes_max: int) -> int:
    """How many of the rows fit into one record; at least one."""
    size = 0
    for count, row in enumerate(rows):
        size += row_size(row)
        if size > bytes_max and count:
            return count
    return len(rows)


def row_size(row: RawRow) -> int:
    """About how many bytes a row takes in a record."""
    return COLUMN_BYTES * len(row) + sum(len(value) for value in row if isinstance(value, bytes))
