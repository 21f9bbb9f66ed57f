"""What a fork remembers, in tables `_commitlog.…` of its own database: written in the transaction that it tells of.

There is no other memory: a process that dies at any moment leaves either both, the rows and the position behind them, or
neither.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ...schemas.errors import Locked, Refused
from ...schemas.record import Head
from ...schemas.shape import Shape
from .store import Store

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
    """

    upstream: Upstream
    epoch: int
    head: Head
    token: int
    at: str


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


def exists(target: Store) -> bool:
    """Whether a fork lives in the database.

    Raises:
        Refused: Something that no fork made is in its place; or the fork is of a newer format.
    """
    if not target.remembers():
        return False
    rows = target.rows("SELECT format FROM _commitlog.applied")
    if rows and int(rows[0][0]) != FORMAT:
        raise Refused(f"the fork has format {rows[0][0]}, this is {FORMAT}", hint="install a newer commitlog-cdc")
    return bool(rows)


def create(target: Store, upstream: Upstream) -> None:
    """Remember a new fork, at the position before the first record."""
    target.execute(
        "INSERT INTO _commitlog.applied VALUES (true, %s, %s, %s, %s, %s, 1, -1, %s, 0, CURRENT_TIMESTAMP(6))",
        (FORMAT, upstream.log, upstream.name, upstream.url, sorted(upstream.only), "0" * 64),
    )


def load(target: Store) -> Applied:
    """Read the position."""
    row = target.rows(
        f"SELECT log, name, url, only_entities, epoch, seq, hash, token, {target.moment('at')} FROM _commitlog.applied"  # noqa: S608
    )[0]
    upstream = Upstream(row[0], row[1], row[2], frozenset(_names(row[3])))
    return Applied(upstream, int(row[4]), Head(int(row[5]), row[6]), int(row[7]), row[8])


def _names(value: Any) -> list[str]:
    """A list, which an engine without lists keeps as JSON."""
    names: list[str] = orjson.loads(value) if isinstance(value, str) else value
    return names


def take_over(target: Store, url: str) -> Applied:
    """Become the one process that may move the position: every earlier one is refused from now on."""
    target.execute("UPDATE _commitlog.applied SET token = token + 1, url = %s", (url,))
    return load(target)


def advance(target: Store, applied: Applied, *, epoch: int, head: Head) -> None:
    """Move the position inside the transaction in hand.

    Raises:
        Locked: Another process has taken over, or moved it.
    """
    moved = target.execute(
        "UPDATE _commitlog.applied SET epoch = %s, seq = %s, hash = %s, at = CURRENT_TIMESTAMP(6)"
        " WHERE token = %s AND seq = %s",
        (epoch, head.seq, head.hash, applied.token, applied.head.seq),
    )
    if moved != 1:
        raise Locked("another process has taken this fork over", hint="stop it, or let it do the work")


def shapes(target: Store) -> list[Shape]:
    """The shapes that the fork's tables are made of, in their order."""
    return [Shape.parse(row[0].encode()) for row in target.rows("SELECT data FROM _commitlog.shapes ORDER BY n")]


def add_shapes(target: Store, new: Iterable[Shape]) -> None:
    """Remember further shapes, also those that are told again, as the last."""
    for shape in new:
        target.execute("DELETE FROM _commitlog.shapes WHERE hash = %s", (shape.id,))
        target.execute("INSERT INTO _commitlog.shapes (hash, data) VALUES (%s, %s)", (shape.id, shape.data.decode()))


def entities(target: Store) -> dict[str, EntityState]:
    """The entities that the fork has, by name."""
    rows = target.rows("SELECT entity, snapshot, snapshot_seq, again, complete FROM _commitlog.entities")
    return {row[0]: EntityState(row[0], row[1], int(row[2]), bool(int(row[3])), bool(int(row[4]))) for row in rows}


def save_entity(target: Store, entity: EntityState) -> None:
    """Write what is known of an entity."""
    known = target.execute(
        "UPDATE _commitlog.entities SET snapshot = %s, snapshot_seq = %s, again = %s, complete = %s WHERE entity = %s",
        (entity.snapshot, entity.snapshot_seq, entity.again, entity.complete, entity.entity),
    )
    if not known:
        target.execute(
            "INSERT INTO _commitlog.entities VALUES (%s, %s, %s, %s, %s)",
            (entity.entity, entity.snapshot, entity.snapshot_seq, entity.again, entity.complete),
        )
