"""Where a fork stands, for the people who run it. Reads the target, and the log where it can be read from here."""

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ...schemas.errors import CommitLogError, UsageError
from ..log.home import open_reader, parse_location
from . import state
from .model import fold
from .store import Store


@dataclass(frozen=True, slots=True)
class Status:
    """One fork.

    Args:
        applied: How far it has come.
        head_seq: The log's last record; None where the log cannot be read from here.
        lag_s: How long the next record has been waiting, in seconds, 0 for none; None where the log cannot be read.
        conflicts: How many are open.
        tables: `{"entity","table","snapshot"}` of each table; the snapshot is `complete`, `loading` or `none`.
    """

    applied: state.Applied
    head_seq: int | None
    lag_s: float | None
    conflicts: int
    tables: tuple[dict[str, str], ...]

    @property
    def behind(self) -> int | None:
        """How many records are not applied yet."""
        return None if self.head_seq is None else self.head_seq - self.applied.head.seq

    def to_json(self) -> dict[str, Any]:
        """The status as `commitlog fork status --json` prints it."""
        applied = self.applied
        return {
            "log": applied.upstream.log,
            "name": applied.upstream.name,
            "url": applied.upstream.url,
            "only": sorted(applied.upstream.only),
            "epoch": applied.epoch,
            "seq": applied.head.seq,
            "hash": applied.head.hash,
            "at": applied.at,
            "part": None if applied.part is None else dict(zip(("seq", "item"), applied.part, strict=True)),
            "head_seq": self.head_seq,
            "behind": self.behind,
            "lag_s": self.lag_s,
            "conflicts": self.conflicts,
            "tables": list(self.tables),
        }


def read(target: Store) -> Status:
    """See where a fork stands.

    Raises:
        UsageError: There is no fork in the database.
    """
    require(target)
    applied = target.memory.applied()
    entities = target.memory.entities()
    models = fold(target.memory.shapes(), applied.upstream.only)
    tables = tuple(
        {"entity": entity, "table": target.shown(model.table), "snapshot": _snapshot(entities.get(entity))}
        for entity, model in models.items()
    )
    head_seq, lag_s = _log_head(applied)
    return Status(applied, head_seq, lag_s, target.memory.open_conflicts(), tables)


def require(target: Store) -> None:
    """Refuse a database without a fork.

    Raises:
        UsageError: There is none.
    """
    if not state.exists(target.memory):
        raise UsageError("there is no fork in this database", hint="commitlog fork LOG --into URL")


def _snapshot(entity: state.EntityState | None) -> str:
    if entity is None or entity.snapshot is None:
        return "none"
    return "complete" if entity.complete else "loading"


def _log_head(applied: state.Applied) -> tuple[int | None, float | None]:
    """(the log's last seq, seconds that the next record has waited), as far as the log can be read from here."""
    try:
        with closing(open_reader(parse_location(applied.upstream.url))) as reader:
            head_seq = reader.head().seq
            if head_seq <= applied.head.seq:
                return head_seq, 0.0
            recorded = datetime.fromisoformat(reader.record(applied.head.seq + 1).recorded)
    except CommitLogError:
        return None, None
    return head_seq, round(max(0.0, (datetime.now(UTC) - recorded).total_seconds()), 3)
