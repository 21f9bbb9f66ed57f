"""One change on one row, exactly: read what is there, decide field by field, write what may be, record what may not.

This is the slow way. It is taken for the changes that the statements of a batch did not find as upstream says.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .batch import Op, malformed
from .conflicts import ROW, Conflicts, Disagreement, key_text
from .merge import UNKNOWN, decide
from .model import EntityModel
from .state import EntityState
from .store import Rejected, Store, Texts, Undone
from .told import Told
from .units import Change, Origin


class Rows:
    """Applies single changes inside the transaction in hand.

    Args:
        target: The fork.
        models: The entities that the fork has.
        conflicts: Where disagreements go.
        entities: Entity to what is known of its snapshots.
        told: Gives what the log told of an entity before a change.
    """

    def __init__(
        self,
        target: Store,
        models: Mapping[str, EntityModel],
        *,
        conflicts: Conflicts,
        entities: Mapping[str, EntityState],
        told: Callable[[str, Origin], Told],
    ) -> None:
        self._target, self._models, self._entities, self._conflicts = target, models, entities, conflicts
        self._told = told

    def apply(self, op: Op, *, last: bool, behind: bool = False) -> Op | None:
        """Apply one change, or record why not.

        Args:
            op: The change.
            last: Nothing of its transaction comes after it that could take a row out of its way.
            behind: A row at its new key waits to leave that.

        Returns:
            None where it is done. Where there is a row in its way, and it is not the last, nothing was done, and it is the change to
            try again.
        """
        change, origin = op
        table = self._models[change["entity"]]
        again = self._entities[table.entity].again
        ours: Texts | None = None
        try:
            with self._target.savepoint():
                ours = None if change.get("gone") else self._read(table, change)
                if again and not (change["op"] == "insert" and ours is None):
                    change = self._since_told(change, origin)
                if change["op"] == "insert" and ours is not None:
                    # A row that upstream has told of is not there any more, and nobody told.
                    change = self._after_told(change, origin)
                    if again and change["told"] is None:
                        change = self._told_otherwise(change, origin, ours)
                    if not last:
                        return change, origin
                    if change["told"] is not None:
                        change = _since(change, change["told"])
                gone = change["op"] == "rekey" and ours is None
                if gone and not last and (behind or self._is_behind(table, change, origin)):
                    return {**change, "gone": True}, origin
                if change["op"] == "rekey" and last and again:
                    self._clear_stale(table, change["newkey"], origin)
                found = self._apply(table, change, origin, ours)
        except Rejected as exc:
            if not last and change["op"] == "rekey" and exc.kind == "unique":
                return change, origin
            found = [self._rejection(table, change, ours, exc)]
            if change["op"] == "rekey":
                self._record(there := {**change, "key": change["newkey"]}, origin, [self._kept_out(table, there, exc)])
                self._record(change, origin, found)
                return None
        self._record({**change, "key": change.get("newkey", change["key"])}, origin, found)
        return None

    def one_only(self, op: Op) -> bool:
        """Whether upstream has one row at the key of a change, and not two for the moment."""
        change, origin = op
        return not self._told(change["entity"], origin).shared(change)

    def spelled(self, entity: str, key: Mapping[str, Any]) -> dict[str, object] | None:
        """A key as the fork has it: equal to it there, and maybe another text. None where no row is at it, or none can be."""
        table = self._models[entity]
        ours = self._there(table, {"key": key})
        return None if ours is None else self._key_of(table, ours)

    def _record(self, change: Change, origin: Origin, found: Iterable[Disagreement]) -> None:
        for what in found:
            self._conflicts.record(change, origin, what)

    def ring(self, ops: Sequence[Op]) -> bool:
        """Rows that take each other's keys upstream: let those do so that are here, where all are as upstream says, or some are gone.

        Returns:
            False where they cannot, or upstream means one row that goes to another key and back: nothing was done.
        """
        told = self._told(ops[0][0]["entity"], ops[0][1])
        # What the log told before the first of them: later it has told of the others.
        ops = [({**change, "told": told.get(change["key"])}, origin) for change, origin in ops]
        if any(change["told"] is None for change, _ in ops):
            return False
        if self.exchange(ops):
            return True
        models = self._models
        gone = {at: None for at, (change, _) in enumerate(ops) if self._there(models[change["entity"]], change) is None}
        for place in gone:
            # The key of a row that is gone is free for the one that goes there, and then that one's for the next.
            at = place - 1
            while at % len(ops) not in gone:
                self.apply(ops[at], last=True)
                at -= 1
        for change, origin in (ops[at] for at in gone):
            self.apply(({**change, "gone": True}, origin), last=True)
        return bool(gone)

    def exchange(self, ops: Sequence[Op]) -> bool:
        """Let rows take each other's keys, where changes do nothing but that and every row is as upstream says.

        Returns:
            False where they do not, or where something hangs on the rows, which go for a moment: nothing was done.
        """
        keys = {(change["entity"], key_text(change["key"])) for change, _ in ops}
        moved = {(change["entity"], key_text(change["newkey"])) for change, _ in ops if change["op"] == "rekey"}
        if keys != moved or len(keys) != len(ops):
            return False
        try:
            with self._target.savepoint():
                if not self._exchange(self._models[ops[0][0]["entity"]], ops):
                    raise Undone
        except (Rejected, Undone):
            return False
        self._conflicts.exchange([change for change, _ in ops])
        return True

    def _exchange(self, table: EntityModel, ops: Sequence[Op]) -> bool:
        rows: list[Change] = []
        for change, origin in ops:
            ours = self._read(table, change)
            if ours is None:
                return False
            if any(ours[field] != was for field, was in self._bases(table, change, origin, ours).items()):
                return False
            rows.append({**change, "after": self._values(table, ours) | change["after"]})
        if self._target.holds_more(table.entity, [change["key"] for change in rows]):
            return False
        for change in rows:
            self._target.delete(table.entity, change["key"])
        for change in rows:
            self._target.insert(table.entity, change["after"])
        return True

    def _clear_stale(self, table: EntityModel, key: Mapping[str, Any], origin: Origin) -> None:
        """Take away a row that upstream told of before its rows became others, where it is in another's way and nobody changed it
        here."""
        told = self._told(table.entity, origin).first(dict(key))
        ours = self._read(table, {"key": key})
        if told is not None and ours is not None:
            was = self._cast(table, {**told, **dict.fromkeys(table.besides(told))})
            if all(ours[field] == text for field, text in was.items()):
                self._target.delete(table.entity, key)

    def _since_told(self, change: Change, origin: Origin) -> Change:
        """A change that may come after others that nobody saw, as one from what upstream told last."""
        before = self._before(change, origin)
        return change if before is None else _since(change, before)

    def _before(self, change: Change, origin: Origin) -> dict[str, Any] | None:
        """What upstream told last of a change's row."""
        known: dict[str, Any] | None = change.get("told")
        return known if "told" in change else self._told(change["entity"], origin).get(change["key"])

    def _after_told(self, change: Change, origin: Origin) -> Change:
        """An insert with what upstream had told of its key, which is asked once: later it would be what the insert itself says."""
        return {**change, "told": self._before(change, origin)}

    def _told_otherwise(self, change: Change, origin: Origin, ours: Texts) -> Change:
        """An insert with what upstream had told of the row here, whose key may be another spelling of the same."""
        table = self._models[change["entity"]]
        return {**change, "told": self._told(table.entity, origin).get(self._key_of(table, ours))}

    def _is_behind(self, table: EntityModel, change: Change, origin: Origin) -> bool:
        """Whether another row is at the new key of one that is not here, and has yet to leave it."""
        if self._read(table, {"key": change["newkey"]}) is None:
            return False
        return "gone" in change or self._told(table.entity, origin).get(change["newkey"]) is not None

    def _apply(self, table: EntityModel, change: Change, origin: Origin, ours: Texts | None) -> list[Disagreement]:
        match change["op"]:
            case "insert" | "row":
                return self._insert(table, change, origin, ours)
            case "update" | "rekey":
                return self._update(table, change, origin, ours)
            case "delete":
                return self._delete(table, change, origin, ours)
            case op:
                raise malformed(origin, repr(op))

    def _insert(self, table: EntityModel, change: Change, origin: Origin, ours: Texts | None) -> list[Disagreement]:
        after = change["after"]
        if ours is None:
            self._target.insert(table.entity, after)
            self._settle(change, None)
            return []
        theirs = self._cast(table, after)
        nothing = [f for f in after if ours[f] is None and f in table.partial and theirs[f] is not None]
        told = self._told_last(table, change, origin, nothing)
        never_told = [f for f in nothing if told[f] is None]
        self._take(table, change, never_told)
        other = [f for f in after if ours[f] != theirs[f] and f not in never_told]
        self._settle(change, {*after, ROW} - set(other))
        return [self._on_field("insert/insert", table, change, f, ours) for f in other]

    def _update(self, table: EntityModel, change: Change, origin: Origin, ours: Texts | None) -> list[Disagreement]:
        after = change["after"]
        if ours is None:
            return self._update_of_nothing(table, change, origin)
        theirs, bases = self._cast(table, after), self._bases(table, change, origin, ours)
        decisions = {f: decide(bases.get(f, UNKNOWN), ours[f], theirs[f]) for f in after}
        self._take(table, change, [f for f in after if decisions[f] == "take"])
        other = [f for f in after if decisions[f] == "conflict"]
        self._settle(change, set(after) - set(other))
        return [self._on_field("update/update", table, change, f, ours) for f in other]

    def _update_of_nothing(self, table: EntityModel, change: Change, origin: Origin) -> list[Disagreement]:
        """A row that is not here was deleted here, unless nobody has told of it yet: a snapshot will."""
        if change["op"] == "rekey" and "gone" not in change:
            there = self._read(table, {"key": change["newkey"]})
            whole = change["image"] == "key" and not change.get("unsent")
            was = {} if whole or there is None else self._before(change, origin)
            if there is not None and was is not None:
                # Here it has moved before, or the fork's own row is there.
                self._settle(change, ())
                arrived = {**change, "op": "insert", "key": change["newkey"], "after": {**was, **change["after"]}}
                return self._insert(table, arrived, origin, there)
        entity = self._entities[table.entity]
        known = entity.complete or (entity.again and self._told(table.entity, origin).get(change["key"]) is not None)
        if not known:
            if change["image"] == "key" and not change.get("unsent"):
                return self._insert(table, {**change, "key": change.get("newkey", change["key"])}, origin, None)
            return []
        if change["op"] == "rekey" and "gone" not in change:
            self._settle(change, ())
        return [Disagreement("update/delete", ROW, change.get("before"), None, change["after"])]

    def _delete(self, table: EntityModel, change: Change, origin: Origin, ours: Texts | None) -> list[Disagreement]:
        before = change["before"]
        if ours is not None:
            other = [f for f, was in self._bases(table, change, origin, ours).items() if ours[f] != was]
            if other:
                before = {**before, **self._told_last(table, change, origin, [f for f in other if before[f] is None])}
                shown = self._values(table, {f: ours[f] for f in before})
                return [Disagreement("delete/update", ROW, before, shown, None)]
            self._target.delete(table.entity, change["key"])
        self._settle(change, None)
        return []

    def _bases(self, table: EntityModel, change: Change, origin: Origin, ours: Texts) -> Texts:
        """What the fields of a row were. Of a field that some shape lacks a change may not tell, or be the first to: where its value is
        not what the change says, it counts as unchanged if it is what upstream told last, null where it never told."""
        bases = self._cast(table, change.get("before", {}))
        other = [f for f, was in bases.items() if f in table.partial and ours[f] != was]
        told = self._cast(table, self._told_last(table, change, origin, other))
        return {**bases, **{f: was for f, was in told.items() if was == ours[f]}}

    def _told_last(self, table: EntityModel, change: Change, origin: Origin, fields: Sequence[str]) -> dict[str, Any]:
        """What upstream told last of fields of a row; None where it never told."""
        known = (self._before(change, origin) or {}) if fields else {}
        return {field: known.get(field) for field in fields}

    def _read(self, table: EntityModel, change: Change) -> Texts | None:
        return self._target.read(table.entity, change["key"])

    def _key_of(self, table: EntityModel, ours: Texts) -> dict[str, object]:
        return self._values(table, {field: ours[field] for field in table.key})

    def _there(self, table: EntityModel, change: Change) -> Texts | None:
        """As `_read`; none, too, of a key that the target does not take."""
        try:
            with self._target.savepoint():
                return self._read(table, change)
        except Rejected:
            return None

    def _cast(self, table: EntityModel, values: Mapping[str, Any]) -> Texts:
        return self._target.cast(table.entity, values) if values else {}

    def _values(self, table: EntityModel, texts: Texts) -> dict[str, object]:
        return {field: self._target.value(table.entity, field, text) for field, text in texts.items()}

    def _take(self, table: EntityModel, change: Change, fields: list[str]) -> None:
        if fields:
            self._target.update(table.entity, change["key"], {f: change["after"][f] for f in fields})

    def _settle(self, change: Change, fields: Iterable[str] | None) -> None:
        agree(self._conflicts, [change], None if fields is None else tuple(fields))

    def _on_field(self, kind: str, table: EntityModel, change: Change, field: str, ours: Texts) -> Disagreement:
        base, here = change.get("before", {}).get(field), self._target.value(table.entity, field, ours[field])
        return Disagreement(kind, field, base, here, change["after"][field])

    def _kept_out(self, table: EntityModel, change: Change, exc: Rejected) -> Disagreement:
        """What a refused rekey leaves at the key that the row has upstream: the fork's own row, or none."""
        ours = self._there(table, change)
        shown = None if ours is None else self._values(table, {f: ours[f] for f in change["after"] if f in ours})
        return Disagreement(exc.kind, ROW, None, shown, change["after"], str(exc))

    def _rejection(self, table: EntityModel, change: Change, ours: Texts | None, exc: Rejected) -> Disagreement:
        fields: dict[str, Any] = change.get("after") or change.get("before") or {}
        shown = None if ours is None else self._values(table, {f: ours[f] for f in fields if f in ours})
        return Disagreement(exc.kind, ROW, change.get("before"), shown, change.get("after"), str(exc))


def _since(change: Change, before: Mapping[str, Any]) -> Change:
    """A change as one from what upstream had told of its row."""
    if change["op"] in ("insert", "row"):
        return {**change, "op": "update", "image": "full", "before": {f: before.get(f) for f in change["after"]}}
    return {**change, "before": {field: before.get(field, was) for field, was in change.get("before", {}).items()}}


def agree(conflicts: Conflicts, changes: Iterable[Change], fields: tuple[str, ...] | None) -> None:
    """Both sides agree on these fields of the rows of these changes, None for the whole rows."""
    if not conflicts.open:
        return
    changes = list(changes)
    conflicts.settle((c["entity"], key_text(c["key"]), fields) for c in changes)
    for change in changes:
        if change["op"] == "rekey":
            conflicts.move(change["entity"], change["key"], change["newkey"])
