"""What every tail hands on: whole transactions, their changes still bytes, each with the table as it was then.

Changes stay bytes until a transaction has ended, because its tag stands last and decides which app schema shapes it;
`row_change.py` then takes them apart.
"""

from dataclasses import dataclass

from .spill import Spill


class Notice(bytes):
    """Among a transaction's tags: what the event triggers of `setup` say of it (notices.py), which is no tag."""


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """A column as a Relation message describes it: name, whether it is part of the replica identity, type and typmod.

    `type_name`: schema and name of the type at the time, where it is not one of the system's; of a domain what it is at bottom.
    """

    name: str
    in_identity: bool
    type_oid: int
    modifier: int
    type_name: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """A table as it was when the server described it; a table that changes is described anew, as another object."""

    oid: int
    namespace: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]

    @property
    def table(self) -> tuple[str, str]:
        """Schema and name, unquoted."""
        return self.namespace, self.name


Entry = tuple[Relation | tuple[Relation, ...], bytes]
"""(the relation of a row change, or all those of a truncate; a row change, tail/row_change.py)."""

Changes = list[Entry] | Spill[Relation | tuple[Relation, ...]]
"""In their order; many of them on disk."""

Mark = int | tuple[str, int]
"""What tells the transactions of one source apart."""


@dataclass(slots=True)
class Transaction:
    """One committed transaction, its changes still bytes.

    Args:
        xid: The transaction's own number: of PostgreSQL the top-level transaction, of MySQL and MariaDB the last part of its GTID.
        end: Its position, 64 bits: where a reader that has it goes on.
        time_us: Commit time, microseconds since 1970 UTC.
        changes: The entries.
        tags: The contents of all its tags, and the Notices.
    """

    xid: int
    end: int
    time_us: int
    changes: Changes
    tags: list[bytes]

    @property
    def atomic(self) -> bool:
        """Whether its changes were made visible together."""
        return True

    @property
    def mark(self) -> Mark:
        """What a snapshot knows it by."""
        return self.xid

    def relations(self) -> list[Relation]:
        """All relations that the changes are of, in the order of their first change."""
        changes = self.changes
        places = changes.relations if isinstance(changes, Spill) else dict.fromkeys(place for place, _ in changes)
        return [*dict.fromkeys(r for place in places for r in ((place,) if isinstance(place, Relation) else place))]

    def close(self) -> None:
        """Give back the disk space of a large transaction."""
        if isinstance(self.changes, Spill):
            self.changes.close()
