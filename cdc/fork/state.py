"""What a fork remembers, in the schema `_commitlog` of its own database: written in the transaction that it tells of.

There is no other memory: a process that dies at any moment leaves either both, the rows and the position behind them, or
neither.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ...schemas.errors import Locked, Refused
from ...schemas.record import Head
from ...schemas.shape import Shape
from .postgres import Target

SCHEMA: Final = "_commitlog"
FORMAT: Final = 1

_DDL: Final = (
    "CREATE SCHEMA _commitlog",
    "CREATE TABLE _commitlog.applied (one boolean PRIMARY KEY DEFAULT true CHECK (one), format integer NOT NULL,"
    " log text NOT NULL, name text NOT NULL, url text NOT NULL, only_entities text[] NOT NULL, epoch integer NOT NULL,"
    " seq bigint NOT NULL, hash text NOT NULL, token bigint NOT NULL, at timestamptz NOT NULL)",
    "CREATE TABLE _commitlog.shapes (n bigint GENERATED ALWAYS AS IDENTITY, hash text PRIMARY KEY, data text NOT NULL)",
    "CREATE TABLE _commitlog.entities (entity text PRIMARY KEY, snapshot text,"
    " snapshot_seq bigint NOT NULL, again boolean NOT NULL, complete boolean NOT NULL)",
    "CREATE TABLE _commitlog.made (n bigint GENERATED ALWAYS AS IDENTITY, kind text NOT NULL, namespace text NOT NULL,"
    " name text NOT NULL, object oid PRIMARY KEY)",
    "CREATE TABLE _commitlog.conflicts (id text PRIMARY KEY, status text NOT NULL DEFAULT 'open', kind text NOT NULL,"
    " entity text NOT NULL, key text NOT NULL, field text NOT NULL, base json, ours json, theirs json, ours_by json,"
    " theirs_by json, commit text NOT NULL, epoch integer NOT NULL, seq bigint NOT NULL, error text NOT NULL DEFAULT '',"
    " at timestamptz NOT NULL DEFAULT now(), closed_at timestamptz)",
    "CREATE UNIQUE INDEX conflicts_open ON _commitlog.conflicts (entity, key, field) WHERE status = 'open'",
    "CREATE INDEX conflicts_commit ON _commitlog.conflicts (commit)",
)

TABLES: Final = ("applied", "shapes", "entities", "made", "conflicts")


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


def exists(target: Target) -> bool:
    """Whether a fork lives in the database.

    Raises:
        Refused: A schema of that name is there, and no fork in it; or the fork is of a newer format.
    """
    schema, applied = target.rows(
        "SELECT to_regnamespace('_commitlog') IS NOT NULL, to_regclass('_commitlog.applied') IS NOT NULL"
    )[0]
    if schema and not applied:
        raise Refused(
            "the database has a schema _commitlog that no fork made", hint="give the fork a database of its own"
        )
    if not schema:
        return False
    rows = target.rows("SELECT format FROM _commitlog.applied")
    if rows and rows[0][0] != FORMAT:
        raise Refused(f"the fork has format {rows[0][0]}, this is {FORMAT}", hint="install a newer commitlog-cdc")
    return bool(rows)


def create(target: Target, upstream: Upstream) -> None:
    """Make the schema and its tables, with the position before the first record."""
    for statement in _DDL:
        target.execute(statement)
    target.execute(
        "INSERT INTO _commitlog.applied VALUES (true, %s, %s, %s, %s, %s, 1, -1, %s, 0, now())",
        (FORMAT, upstream.log, upstream.name, upstream.url, sorted(upstream.only), "0" * 64),
    )


def load(target: Target) -> Applied:
    """Read the position."""
    row = target.rows(
        "SELECT log, name, url, only_entities, epoch, seq, hash, token, at::text FROM _commitlog.applied"
    )[0]
    upstream = Upstream(row[0], row[1], row[2], frozenset(row[3]))
    return Applied(upstream, row[4], Head(row[5], row[6]), row[7], row[8])


def take_over(target: Target, url: str) -> Applied:
    """Become the one process that may move the position: every earlier one is refused from now on."""
    target.execute("UPDATE _commitlog.applied SET token = token + 1, url = %s", (url,))
    return load(target)


def advance(target: Target, applied: Applied, *, epoch: int, head: Head) -> None:
    """Move the position inside the transaction in hand.

    Raises:
        Locked: Another process has taken over, or moved it.
    """
    moved = target.execute(
        "UPDATE _commitlog.applied SET epoch = %s, seq = %s, hash = %s, at = now() WHERE token = %s AND seq = %s",
        (epoch, head.seq, head.hash, applied.token, applied.head.seq),
    )
    if moved != 1:
        raise Locked("another process has taken this fork over", hint="stop it, or let it do the work")


def shapes(target: Target) -> list[Shape]:
    """The shapes that the fork's tables are made of, in their order."""
    return [Shape.parse(row[0].encode()) for row in target.rows("SELECT data FROM _commitlog.shapes ORDER BY n")]


def add_shapes(target: Target, new: Iterable[Shape]) -> None:
    """Remember further shapes, also those that are told again, as the last."""
    for shape in new:
        target.execute(
            "INSERT INTO _commitlog.shapes (hash, data) VALUES (%s, %s) ON CONFLICT (hash) DO UPDATE SET n = DEFAULT",
            (shape.id, shape.data.decode()),
        )


def entities(target: Target) -> dict[str, EntityState]:
    """The entities that the fork has, by name."""
    rows = target.rows("SELECT entity, snapshot, snapshot_seq, again, complete FROM _commitlog.entities")
    return {row[0]: EntityState(*row) for row in rows}


def save_entity(target: Target, entity: EntityState) -> None:
    """Write what is known of an entity."""
    target.execute(
        "INSERT INTO _commitlog.entities VALUES (%s, %s, %s, %s, %s) ON CONFLICT (entity) DO UPDATE SET"
        " snapshot = excluded.snapshot, snapshot_seq = excluded.snapshot_seq, again = excluded.again,"
        " complete = excluded.complete",
        (entity.entity, entity.snapshot, entity.snapshot_seq, entity.again, entity.complete),
    )
