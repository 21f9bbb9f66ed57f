"""What a fork remembers, in tables or collections `_commitlog…` of its own database: written in the transaction that it tells of.

There is no other memory: a process that dies at any moment leaves either both, the rows and the position behind them, or
neither.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ...schemas.errors import Locked, Refused
from ...schemas.record import Head
from ...schemas.shape import Shape

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Upstream:
    """The log that a fork follows.

    Args:
        log: Its id.
        name: Its name.
        url: Where it was read last.
        only: The entities that the fork has; empty for all.
    """

    log: str
    name: str
    url: str
    only: frozenset[str]


@dataclass(frozen=True, slots=True)
class Applied:
    """How far a fork has come.

    Args:
        upstream: The log.
        epoch: The epoch of the last record applied.
        head: The last record applied; seq -1 for none.
        token: The number of the process that may write; it grows with each.
        at: When the fork moved last, as the server writes it.
        part: Where a commit behind `head` is applied in part, the place of the first change that is not.
    """

    upstream: Upstream
    epoch: int
    head: Head
    token: int
    at: str
    part: tuple[int, int] | None = None


@dataclass(slots=True)
class EntityState:
    """What the fork knows of an entity's snapshots.

    Args:
        entity: Its name.
        snapshot: The last snapshot seen, None before the first.
        snapshot_seq: The seq of that snapshot's first record.
        again: Whether upstream may have changed rows unseen since it told of them, until the next snapshot is complete.
        complete: Whether every row that upstream has is known, so that a row that is not here was deleted here.
    """

    entity: str
    snapshot: str | None = None
    snapshot_seq: int = -1
    again: bool = False
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Remembered:
    """A conflict as the fork keeps it; every value is its JSON text, or None for nothing.

    Args:
        id: 12 hex digits, the same whenever the same record meets the same row.
        kind: As `Disagreement` has it.
        entity: The entity.
        key: The row's key.
        field: The field, or empty for the whole row.
        base: What upstream said before.
        ours: What the fork has.
        theirs: What upstream says now.
        theirs_by: Who made upstream's change.
        commit: The id of upstream's commit.
        epoch: Its epoch.
        seq: Its record.
        error: What the target said.
    """

    id: str
    kind: str
    entity: str
    key: str
    field: str
    base: str | None
    ours: str | None
    theirs: str | None
    theirs_by: str | None
    commit: str
    epoch: int
    seq: int
    error: str


CONFLICT_FIELDS: Final = (
    "id status kind entity key field base ours theirs ours_by theirs_by commit epoch seq error at closed_at"
).split()
"""What is told of a conflict."""


class Memory(Protocol):
    """What a fork remembers. Raises what its store raises.

    Attributes:
        shown: What it is called, for the plan.
    """

    shown: str

    def is_there(self) -> bool:
        """Whether a place was made for it.

        Raises:
            Refused: Something else is there in its place.
        """
        ...

    def make(self) -> None:
        """Make a place for it, empty."""

    def drop(self) -> None:
        """Drop all of it."""

    # The position.

    def format(self) -> int | None:
        """The format of what is remembered; None before a fork has its position."""
        ...

    def begin(self, upstream: Upstream) -> None:
        """Remember a new fork, at the position before the first record."""

    def applied(self) -> Applied:
        """The position."""
        ...

    def take_over(self, url: str) -> None:
        """Count up the token, and remember where the log is read from now on."""

    def advance(self, applied: Applied, *, epoch: int, head: Head) -> bool:
        """Move the position; False where token or position are not those of `applied` any more."""
        ...

    # Shapes and entities.

    def shapes(self) -> list[Shape]:
        """The shapes that the fork's tables are made of, in their order."""
        ...

    def add_shape(self, shape: Shape) -> None:
        """Remember a further shape, also one that is told again, as the last."""

    def schemas(self) -> list[bytes]:
        """The app schemas that say where fields stand in documents, in their order; none of a source with tables."""
        ...

    def add_schema(self, id_: str, data: bytes) -> None:
        """Remember a further app schema."""

    def planned_to(self) -> int:
        """The seq of the last record when the fork was made, whose tables were made by all shapes up to there; -1 where it is not known."""
        ...

    def plan_to(self, seq: int) -> None:
        """Remember that."""

    def entities(self) -> dict[str, EntityState]:
        """The entities that the fork has, by name."""
        ...

    def save_entity(self, entity: EntityState) -> None:
        """Write what is known of an entity."""

    # Conflicts.

    def open_conflicts(self) -> int:
        """How many are open."""
        ...

    def open_conflict(self, entity: str, key: str, field: str) -> tuple[str, str | None] | None:
        """(id, theirs) of the one that is open on a field of a row."""
        ...

    def open_on(self, entity: str, keys: Sequence[str]) -> list[tuple[str, str, str]]:
        """(id, key, field) of those that are open on rows of these keys."""
        ...

    def add_conflict(self, conflict: Remembered) -> None:
        """Open one."""

    def renew_conflict(self, conflict: Remembered) -> None:
        """Write anew what an open one says of both sides; its beginning stays: kind, row, field and base."""

    def settle_conflicts(self, ids: Collection[str]) -> int:
        """Close some; how many there were."""
        ...

    def move_conflicts(self, entity: str, key: str, newkey: str) -> None:
        """A row has another key: so have those that are open on it."""

    def amend_conflicts(self, commit: str, epoch: int, by: str | None) -> None:
        """Upstream has learned later who made a commit."""

    def conflicts(self, *, closed: bool, entity: str, id_: str) -> list[Mapping[str, Any]]:
        """All that is remembered of conflicts, oldest first: the fields of Remembered, `status`, `ours_by`, `at` and `closed_at`.

        Args:
            closed: Those that are settled, too.
            entity: Only those of one entity; empty for all.
            id_: Only those whose id begins so.
        """
        ...


def exists(memory: Memory) -> bool:
    """Whether a fork lives in the database.

    Raises:
        Refused: Something that no fork made is in its place; or the fork is of a newer format.
    """
    known = memory.format() if memory.is_there() else None
    if known not in (None, FORMAT):
        raise Refused(f"the fork has format {known}, this is {FORMAT}", hint="install a newer commitlog-cdc")
    return known is not None


def take_over(memory: Memory, url: str) -> Applied:
    """Become the one process that may move the position: every earlier one is refused from now on."""
    memory.take_over(url)
    return memory.applied()


def advance(memory: Memory, applied: Applied, *, epoch: int, head: Head) -> None:
    """Move the position inside the transaction in hand.

    Raises:
        Locked: Another process has taken over, or moved it.
    """
    if not memory.advance(applied, epoch=epoch, head=head):
        raise Locked("another process has taken this fork over", hint="stop it, or let it do the work")
