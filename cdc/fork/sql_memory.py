"""What a fork remembers where its database speaks SQL. Tables are `_commitlog.NAME`; `key` is a column's name in double quotes."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from ...schemas.record import Head
from ...schemas.shape import Shape
from .state import CONFLICT_FIELDS, FORMAT, Applied, EntityState, Remembered, Upstream

Row = tuple[Any, ...]


class Database(Protocol):
    """What asks it."""

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run a query with %s for parameters. Numbers and booleans may come as text."""
        ...

    def execute(self, query: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement with %s for parameters, and give the number of rows it found to change."""
        ...


_FIELDS: Final = "id kind entity key field base ours theirs theirs_by commit epoch seq error".split()
_DOCUMENTS: Final = ("base", "ours", "theirs", "ours_by", "theirs_by")
_MOMENTS: Final = ("at", "closed_at")
_SCHEMA: Final = '{"schema":'
"""What an app schema begins with, and no shape."""
_PLANNED: Final = "planned"
"""Stands for a hash where no shape does, but a record's seq."""


class SqlMemory:
    """The queries that both engines run; what they write differently is in the classes below it.

    Args:
        database: Where it is.
    """

    moment: str
    """A time as text, in a query; {} is its column."""
    document: str
    """A JSON value as text, in a query; {} is its column."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def format(self) -> int | None:
        """The format of what is remembered; None before a fork has its position."""
        rows = self._database.rows("SELECT format FROM _commitlog.applied")
        return int(rows[0][0]) if rows else None

    def begin(self, upstream: Upstream) -> None:
        """Remember a new fork, at the position before the first record."""
        self._database.execute(
            "INSERT INTO _commitlog.applied VALUES (true, %s, %s, %s, %s, %s, 1, -1, %s, 0, CURRENT_TIMESTAMP(6))",
            (FORMAT, upstream.log, upstream.name, upstream.url, sorted(upstream.only), "0" * 64),
        )

    def applied(self) -> Applied:
        """The position."""
        row = self._database.rows(
            "SELECT log, name, url, only_entities, epoch, seq, hash, token, "  # noqa: S608 - constant names
            f"{self.moment.format('at')} FROM _commitlog.applied"
        )[0]
        upstream = Upstream(row[0], row[1], row[2], frozenset(_names(row[3])))
        return Applied(upstream, int(row[4]), Head(int(row[5]), row[6]), int(row[7]), row[8])

    def take_over(self, url: str) -> None:
        """Count up the token, and remember where the log is read from now on."""
        self._database.execute("UPDATE _commitlog.applied SET token = token + 1, url = %s", (url,))

    def advance(self, applied: Applied, *, epoch: int, head: Head) -> bool:
        """Move the position; False where token or position are not those of `applied` any more."""
        moved = self._database.execute(
            "UPDATE _commitlog.applied SET epoch = %s, seq = %s, hash = %s, at = CURRENT_TIMESTAMP(6)"
            " WHERE token = %s AND seq = %s",
            (epoch, head.seq, head.hash, applied.token, applied.head.seq),
        )
        return moved == 1

    def shapes(self) -> list[Shape]:
        """The shapes that the fork's tables are made of, in their order."""
        return [Shape.parse(data) for data in self._told(schemas=False)]

    def add_shape(self, shape: Shape) -> None:
        """Remember a further shape, also one that is told again, as the last."""
        self._tell(shape.id, shape.data)

    def schemas(self) -> list[bytes]:
        """The app schemas that say where fields stand in documents, in their order."""
        return self._told(schemas=True)

    def add_schema(self, id_: str, data: bytes) -> None:
        """Remember a further app schema, beside the shapes."""
        self._tell(id_, data)

    def planned_to(self) -> int:
        """The seq of the log's last record when the fork was made, beside the shapes; -1 where it is not known."""
        rows = self._database.rows("SELECT data FROM _commitlog.shapes WHERE hash = %s", (_PLANNED,))
        return int(rows[0][0]) if rows else -1

    def plan_to(self, seq: int) -> None:
        """Remember that."""
        self._tell(_PLANNED, str(seq).encode())

    def _told(self, *, schemas: bool) -> list[bytes]:
        rows = self._database.rows("SELECT data FROM _commitlog.shapes WHERE hash <> %s ORDER BY n", (_PLANNED,))
        return [row[0].encode() for row in rows if row[0].startswith(_SCHEMA) == schemas]

    def _tell(self, id_: str, data: bytes) -> None:
        self._database.execute("DELETE FROM _commitlog.shapes WHERE hash = %s", (id_,))
        self._database.execute("INSERT INTO _commitlog.shapes (hash, data) VALUES (%s, %s)", (id_, data.decode()))

    def entities(self) -> dict[str, EntityState]:
        """The entities that the fork has, by name."""
        rows = self._database.rows("SELECT entity, snapshot, snapshot_seq, again, complete FROM _commitlog.entities")
        return {row[0]: EntityState(row[0], row[1], int(row[2]), bool(int(row[3])), bool(int(row[4]))) for row in rows}

    def save_entity(self, entity: EntityState) -> None:
        """Write what is known of an entity."""
        known = self._database.execute(
            "UPDATE _commitlog.entities SET snapshot = %s, snapshot_seq = %s, again = %s, complete = %s WHERE entity = %s",
            (entity.snapshot, entity.snapshot_seq, entity.again, entity.complete, entity.entity),
        )
        if not known:
            self._database.execute(
                "INSERT INTO _commitlog.entities VALUES (%s, %s, %s, %s, %s)",
                (entity.entity, entity.snapshot, entity.snapshot_seq, entity.again, entity.complete),
            )

    def open_conflicts(self) -> int:
        """How many are open."""
        return int(self._database.rows("SELECT count(*) FROM _commitlog.conflicts WHERE status = 'open'")[0][0])

    def open_conflict(self, entity: str, key: str, field: str) -> tuple[str, str | None] | None:
        """(id, theirs) of the one that is open on a field of a row."""
        rows = self._database.rows(
            f"SELECT id, {self.document.format('theirs')} FROM _commitlog.conflicts"  # noqa: S608 - constant names
            " WHERE status = 'open' AND entity = %s AND \"key\" = %s AND field = %s",
            (entity, key, field),
        )
        return (rows[0][0], rows[0][1]) if rows else None

    def open_on(self, entity: str, keys: Sequence[str]) -> list[tuple[str, str, str]]:
        """(id, key, field) of those that are open on rows of these keys."""
        rows = self._database.rows(
            'SELECT id, "key", field FROM _commitlog.conflicts'  # noqa: S608 - places only
            f" WHERE status = 'open' AND entity = %s AND \"key\" IN ({_places(keys)})",
            (entity, *keys),
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def add_conflict(self, conflict: Remembered) -> None:
        """Open one."""
        names = ", ".join(f'"{name}"' if name == "key" else name for name in _FIELDS)
        self._database.execute(
            f"INSERT INTO _commitlog.conflicts ({names}) VALUES ({_places(_FIELDS)})",  # noqa: S608 - constant names
            [getattr(conflict, name) for name in _FIELDS],
        )

    def renew_conflict(self, conflict: Remembered) -> None:
        """Write anew what an open one says of both sides."""
        names = ("theirs", "theirs_by", "commit", "epoch", "seq", "ours", "error")
        self._database.execute(
            "UPDATE _commitlog.conflicts SET "  # noqa: S608 - constant names
            f"{', '.join(f'{name} = %s' for name in names)} WHERE id = %s",
            [*(getattr(conflict, name) for name in names), conflict.id],
        )

    def settle_conflicts(self, ids: Collection[str]) -> int:
        """Close some; how many there were."""
        return self._database.execute(
            "UPDATE _commitlog.conflicts SET status = 'settled', closed_at = CURRENT_TIMESTAMP(6)"  # noqa: S608
            f" WHERE id IN ({_places(ids)})",
            list(ids),
        )

    def move_conflicts(self, entity: str, key: str, newkey: str) -> None:
        """A row has another key: so have those that are open on it."""
        self._database.execute(
            'UPDATE _commitlog.conflicts SET "key" = %s WHERE status = \'open\' AND entity = %s AND "key" = %s',
            (newkey, entity, key),
        )

    def amend_conflicts(self, commit: str, epoch: int, by: str | None) -> None:
        """Upstream has learned later who made a commit."""
        self._database.execute(
            "UPDATE _commitlog.conflicts SET theirs_by = %s WHERE commit = %s AND epoch = %s", (by, commit, epoch)
        )

    def conflicts(self, *, closed: bool, entity: str, id_: str) -> list[Mapping[str, Any]]:
        """All that is remembered of conflicts, oldest first."""
        rows = self._database.rows(
            f"SELECT {', '.join(map(self._read, CONFLICT_FIELDS))} FROM _commitlog.conflicts"  # noqa: S608 - constant names
            " WHERE (%s OR status = 'open') AND (%s = '' OR entity = %s) AND left(id, char_length(%s)) = %s"
            " ORDER BY seq, at, id",
            (closed, entity, entity, id_, id_),
        )
        return [dict(zip(CONFLICT_FIELDS, row, strict=True)) for row in rows]

    def _read(self, column: str) -> str:
        if column in _DOCUMENTS:
            return self.document.format(column)
        return self.moment.format(column) if column in _MOMENTS else f'"{column}"'


def _names(value: Any) -> list[str]:
    """A list, which an engine without lists keeps as JSON."""
    names: list[str] = orjson.loads(value) if isinstance(value, str) else value
    return names


def _places(values: Collection[object]) -> str:
    return ", ".join(["%s"] * len(values))
