"""Where a fork and its upstream disagree: written in the transaction that met it, kept until both sides agree again.

While a conflict is open the fork's own value stands. It is settled when a later change of upstream finds the fork as upstream
expects it to be.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from ...schemas.record import is_object
from .state import Memory, Remembered
from .units import Change, Origin

ROW = ""
"""The field of a conflict that is about a whole row."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What one change met.

    Args:
        kind: `insert/insert`, `update/update`, `update/delete`, `delete/update`, or the name of what the target refused:
            `unique`, `foreign key`, `check`, `not null`, `exclusion`, `value`, `refused`.
        field: The field, or ROW.
        base: What upstream said before, where it said so: a value, or fields and values of a row; None for nothing.
        ours: What the fork has; None for nothing.
        theirs: What upstream says now; None for nothing.
        error: What the target said.
    """

    kind: str
    field: str
    base: Any
    ours: Any
    theirs: Any
    error: str = ""


class Conflicts:
    """The open conflicts of a fork, inside the transaction in hand.

    Args:
        memory: The fork's.
        log: The id of its log.
    """

    def __init__(self, memory: Memory, log: str) -> None:
        self._memory, self._log = memory, log
        self.recount()

    def recount(self) -> None:
        """Count what is open: a transaction was rolled back."""
        self.open = self._memory.open_conflicts()

    def record(self, change: Change, origin: Origin, what: Disagreement) -> None:
        """Write a disagreement; one that is open already on the same field goes on with what upstream says now.

        Its base stays what it was when both sides last agreed.
        """
        seq, item = origin.place
        key = key_text(change["key"])
        by, commit = _json(origin.unit.by), origin.unit.last.header["id"]
        epoch = origin.unit.last.header["epoch"]
        place = key_text([self._log, epoch, seq, item, change["entity"], key, what.field])
        told = Remembered(
            hashlib.sha256(place.encode()).hexdigest()[:12],
            what.kind,
            change["entity"],
            key,
            what.field,
            _json(what.base),
            _json(what.ours),
            _json(what.theirs),
            by,
            commit,
            epoch,
            seq,
            what.error,
        )
        known = self._memory.open_conflict(change["entity"], key, what.field)
        if known is None:
            self._memory.add_conflict(told)
            self.open += 1
            return
        before = _value(known[1])
        if what.field == ROW and is_object(before) and is_object(what.theirs):
            told = replace(told, theirs=_json({**before, **what.theirs}))
        self._memory.renew_conflict(replace(told, id=known[0]))

    def settle(self, agreed: Iterable[tuple[str, str, Collection[str] | None]]) -> None:
        """Close what is open where both sides now agree.

        Args:
            agreed: (entity, key as `key_text` writes it, fields); None for the fields: the whole row.
        """
        if not self.open:
            return
        found: dict[str, dict[str, list[Collection[str] | None]]] = {}
        for entity, key, fields in agreed:
            found.setdefault(entity, {}).setdefault(key, []).append(fields)
        for entity, keys in found.items():
            closed = [
                id_
                for id_, key, field in self._memory.open_on(entity, tuple(keys))
                if any(fields is None or field in fields for fields in keys[key])
            ]
            if closed:
                self.open -= self._memory.settle_conflicts(closed)

    def move(self, entity: str, key: object, newkey: object) -> None:
        """Upstream has given a row another key, and so has the fork."""
        self.settle([(entity, key_text(newkey), None)])
        self._memory.move_conflicts(entity, key_text(key), key_text(newkey))

    def exchange(self, ring: Sequence[Change]) -> None:
        """Rows have taken each other's keys, each that of the next one's, the last that of the first: so does what is open on them."""
        if not self.open:
            return
        aside, first = "", ring[0]
        self._memory.move_conflicts(first["entity"], key_text(first["key"]), aside)
        for change in reversed(ring[1:]):
            self._memory.move_conflicts(change["entity"], key_text(change["key"]), key_text(change["newkey"]))
        self._memory.move_conflicts(first["entity"], aside, key_text(first["newkey"]))
        self.settle((change["entity"], key_text(change["newkey"]), tuple(change["after"])) for change in ring)

    def amend(self, commit: str, epoch: int, by: dict[str, Any] | None) -> None:
        """Upstream has learned later who made a commit."""
        self._memory.amend_conflicts(commit, epoch, _json(by))


def key_text(key: object) -> str:
    """A key as conflicts name it: its JSON."""
    return orjson.dumps(key).decode()


def _json(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _value(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


def listed(memory: Memory, *, closed: bool = False, entity: str = "", id_: str = "") -> list[dict[str, Any]]:
    """Conflicts, oldest first.

    Args:
        memory: The fork's.
        closed: Those that are settled, too.
        entity: Only those of one entity.
        id_: Only those whose id begins so.
    """
    found = [dict(conflict) for conflict in memory.conflicts(closed=closed, entity=entity, id_=id_)]
    for conflict in found:
        for name in ("key", "base", "ours", "theirs", "ours_by", "theirs_by"):
            conflict[name] = _value(conflict[name])
        for name in ("epoch", "seq"):
            conflict[name] = int(conflict[name])
    return found
