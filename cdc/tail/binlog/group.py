"""The group that is being read: its row changes, tags and statements, until it ends."""

from itertools import islice

from ....schemas.errors import DecodeError
from ..spill import Spill
from ..transaction import Entry, Relation
from .gtid import GroupStart
from .transaction import BinlogTransaction, Statement


class Group:
    """Collects a group of the binlog.

    Args:
        start: What its first event says.
        position: Where that event begins.
        spill_bytes: With more bytes than this the changes go to a temporary file.
    """

    def __init__(self, start: GroupStart, position: int, spill_bytes: int) -> None:
        self.start = start
        self.position = position
        self.begun = start.begun
        self.statements: list[Statement] = []
        self._changes: list[Entry] = []
        self._spill: Spill[Relation | tuple[Relation, ...]] | None = None
        self._spill_bytes = spill_bytes
        self._room = spill_bytes
        self._count = 0
        self._tags: list[bytes] = []
        self._savepoints: dict[str, tuple[int, int]] = {}

    def keep(self, relation: Relation, rows: list[bytes], size: int) -> None:
        """Take the row changes of one event, of `size` bytes."""
        self._count += len(rows)
        if self._spill is not None:
            for row in rows:
                self._spill.append((relation, row))
            return
        self._changes.extend([(relation, row) for row in rows])
        self._room -= size
        if self._room < 0:
            self._spill = Spill(self._changes)
            self._changes = []

    def tag(self, content: bytes) -> None:
        """Take what the wrapped driver stamped on the transaction."""
        self._tags.append(content)

    def savepoint(self, name: str) -> None:
        """Remember this place; an older one of the same name is gone."""
        self._savepoints.pop(name, None)
        self._savepoints[name] = (self._count, len(self._tags))

    def roll_back_to(self, name: str) -> None:
        """Drop what came after a savepoint.

        Raises:
            DecodeError: There is none of this name.
        """
        if name not in self._savepoints:
            raise DecodeError(f"a rollback to savepoint {name!r}, which was never set")
        self._count, tags = self._savepoints[name]
        # Those that were set after it are gone with what they marked.
        self._savepoints = dict(islice(self._savepoints.items(), [*self._savepoints].index(name) + 1))
        del self._tags[tags:]
        if self._spill is None:
            del self._changes[self._count :]
        else:
            kept = Spill(islice(self._spill, self._count))
            self._spill.close()
            self._spill = kept

    def roll_back(self) -> None:
        """Drop all changes and tags."""
        self.close()
        self._room = self._spill_bytes
        self._changes, self._spill, self._count, self._tags = [], None, 0, []

    def transaction(self, end: int, time_us: int) -> BinlogTransaction:
        """The group as a transaction, which then owns the temporary file.

        Args:
            end: The position behind its last event.
            time_us: When it was committed, where its first event does not say.
        """
        return BinlogTransaction(
            xid=self.start.number,
            end=end,
            time_us=self.start.time_us or time_us,
            changes=self._changes if self._spill is None else self._spill,
            tags=self._tags[-1:],
            gtid=self.start.gtid,
            statements=tuple(self.statements),
        )

    def close(self) -> None:
        """Give back the temporary file."""
        if self._spill is not None:
            self._spill.close()
