"""Applies units to the fork's tables, inside the transaction in hand: fast where the fork is as upstream expects, exact where not.

Its rules, for every change:

- insert: no row of that key: written; an equal one: nothing; another: a conflict for each field that differs.
- update: fields that are what upstream says they were are written, fields that are what they become stay; any other field is a
  conflict and stays, and the rest of the change is applied all the same. No row: deleted here, a conflict.
- delete: a row as upstream had it is deleted, a row changed here is a conflict and stays, also where that is in a column which upstream
  does not publish any more: there what it told last counts, and null where it never told. No row: nothing.
- rekey: an update that moves the row. Key taken here: a conflict, at both keys. No row: a conflict at its new key, or as in insert where
  there is one. Of rows that exchange their keys those that are here move.
- truncate: the delete of every row that upstream had, as the log told them last. Rows made here stay.
- update without its old row (image `key`): written whole, whatever is here.
- snapshot: rows that are not there are written, others compared as in insert. One that comes again, after a gap or because
  something changed the table's rows that the source does not log, is compared with what the log told before it: what upstream changed
  is an update, what it no longer has a delete. Until it is complete, changes are compared with that, too, where they find a
  row other than they say: nobody told what came between.
- What the target refuses (a constraint, a type, a trigger) is a conflict about the whole row.
- A fork tells rows by key and value: where its own row stands at the key of one that was kept out, later commits mean that row by the key,
  which then moves, with its conflicts.

Before the first snapshot of an entity is complete, an update or delete of a row that is not there is passed over: the snapshot
will hold the row, or not. Where commits told rows before its first chunk, it counts as one that comes again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from ..log.home import LogReader
from .batch import Batches, Op, malformed
from .conflicts import Conflicts
from .model import EntityModel
from .rows import Rows, agree
from .state import EntityState
from .store import Rejected, Store, Undone
from .told import Told
from .turns import Turns, stretches
from .units import Change, Origin, Place, Unit

BATCH_OPS = 2000
"""Changes in one statement at most: enough to make a round trip cheap, few enough to search for the one that does not fit."""

BATCH_CHARACTERS = 16 << 20
"""Of the values in them, beyond which there is no further change in a statement."""


class Applier:
    """Applies units in their order.

    Args:
        target: The fork.
        reader: The log, for parts and for what it told before.
        models: The entities that the fork has. The owner may add to them, and then calls `forget`.
        entities: Entity to what is known of its snapshots.
        conflicts: Where disagreements go.

    Attributes:
        changes: How many changes were applied, those of transactions that were rolled back included.
        pause: Called between batches; what it raises ends the transaction.
        part: Called with the next change where all before it are applied.
        begun: The place in a commit before which its changes are applied already.
    """

    def __init__(
        self,
        target: Store,
        reader: LogReader,
        *,
        models: Mapping[str, EntityModel],
        entities: Mapping[str, EntityState],
        conflicts: Conflicts,
    ) -> None:
        self._target, self._reader, self._models, self._entities = target, reader, models, entities
        self._conflicts = conflicts
        self._batches = Batches(models)
        self._rows = Rows(target, models, conflicts=conflicts, entities=entities, told=self._told_before)
        self._told: dict[str, Told] = {}
        self._turns = Turns(self._rows)
        self.changes = 0
        self.pause: Callable[[], None] = lambda: None
        self.part: Callable[[Origin], None] = lambda _: None
        self.begun: Place | None = None

    def forget(self) -> None:
        """A table has changed: nothing that was made for it is used again."""
        self._batches.forget()

    def close(self) -> None:
        """Throw away what the log told."""
        for told in self._told.values():
            told.close()
        self._told.clear()
        self._turns.clear()

    def apply(self, units: Sequence[Unit]) -> None:
        """Apply commits and snapshots; other units change no rows."""
        waiting: list[Op] = []
        for unit in units:
            if unit.kind == "snapshot":
                self._run(waiting)
                self._snapshot(unit)
                waiting = []
            elif unit.kind == "commit":
                for changes in unit.records(self._reader):
                    waiting = self._commit(unit, changes, waiting)
                    if unit.items is None:
                        self._run(waiting, finish=False)
                        waiting = []
        self._run(waiting)

    def _commit(self, unit: Unit, changes: Iterable[tuple[tuple[int, int], Change]], waiting: list[Op]) -> list[Op]:
        for place, change in changes:
            if self.begun is not None and place < self.begun:
                continue
            origin = Origin(unit, place)
            if change.get("op") == "truncate":
                self._run(waiting)
                waiting = []
                self._truncate(change, origin)
            elif self._is_ours(change, origin):
                self._told_early(change["entity"])
                waiting.append((self._whole(change), origin))
        return waiting

    def _told_early(self, name: str) -> None:
        """Before the first chunk of a snapshot nobody says what became of rows unseen: a table may have been rewritten, or made anew."""
        entity = self._entities[name]
        if entity.snapshot is None and not entity.again:
            entity.again = True
            self._target.memory.save_entity(entity)

    def _whole(self, change: Change) -> Change:
        """A delete with null for the fields that its shape lacks: another value is compared with what upstream told last."""
        before, model = change.get("before"), self._models[change["entity"]]
        if change.get("op") != "delete" or type(before) is not dict:
            return change
        fields: list[str] = [*before, *change.get("unsent", ())]
        if len(fields) == len(model.columns):
            return change
        return {**change, "before": {**before, **dict.fromkeys(model.besides(fields))}}

    def _is_ours(self, change: Change, origin: Origin) -> bool:
        entity = change.get("entity")
        if not isinstance(entity, str):
            raise malformed(origin, "it names no entity")
        return entity in self._models

    def _truncate(self, change: Change, origin: Origin) -> None:
        entities: Any = change.get("entities")
        if type(entities) is not list:
            raise malformed(origin, "it names no entities")
        for entity in [entity for entity in self._models if entity in entities]:
            told = self._told_before(entity, origin)
            self._run_all((self._gone(entity, key, fields), origin) for key, fields in told.rows())

    def _snapshot(self, unit: Unit) -> None:
        meta = unit.meta
        entity = self._entities.get(str(meta.get("entity")))
        if entity is None or entity.entity not in self._models:
            return
        if unit.begins_anew:
            entity.complete, entity.again = False, True
            self._target.memory.save_entity(entity)
            return
        snapshot = str(meta.get("snapshot"))
        if snapshot != entity.snapshot:
            entity.again = entity.again or entity.snapshot is not None
            entity.snapshot, entity.snapshot_seq = snapshot, unit.first_seq
        last = meta.get("last") is True
        ops = ((change, Origin(unit, place)) for place, change in unit.changes(self._reader))
        if entity.again:
            self._snapshot_again(unit, entity, list(ops), last=last)
        else:
            self._run_all(ops)
        if last:
            entity.complete, entity.again = True, False
        self._target.memory.save_entity(entity)

    def _snapshot_again(self, unit: Unit, entity: EntityState, ops: list[Op], *, last: bool) -> None:
        """What a snapshot says anew, as the changes that must have led there."""
        told = self._told_of(entity.entity)
        told.advance(unit, (unit.first_seq, 0))
        changes = ((_difference(told, change, origin), origin) for change, origin in ops)
        self._run_all((change, origin) for change, origin in changes if change is not None)
        if last:
            here = {told.text(change["key"]) for change, _ in ops} | set(told.omitted(unit))
            origin = Origin(unit, (unit.last.seq, 1))
            gone = told.rows(before_seq=entity.snapshot_seq, besides=here)
            self._run_all(
                (self._gone(entity.entity, key, fields), origin)
                for key, fields in gone
                if not self._told_anew(entity, key, told, here)
            )

    def _told_anew(self, entity: EntityState, key: dict[str, Any], told: Told, here: Collection[str]) -> bool:
        """Whether the fork's row at a key that upstream does not tell of any more is one that the snapshot told, under another spelling:
        the type of a key may have changed, or its letters' case where that makes no other key."""
        spelled = self._rows.spelled(entity.entity, key)
        if spelled is None:
            return False
        text = told.text(spelled)
        return text != told.text(key) and (text in here or told.since(spelled, entity.snapshot_seq))

    def _gone(self, entity: str, key: dict[str, Any], fields: dict[str, Any]) -> Change:
        """The delete of a row that upstream had told of."""
        return self._whole({"op": "delete", "entity": entity, "key": key, "before": fields})

    def _told_before(self, entity: str, origin: Origin) -> Told:
        told = self._told_of(entity)
        told.advance(origin.unit, origin.place)
        return told

    def _told_of(self, entity: str) -> Told:
        model = self._models[entity]
        key = tuple(model.by_field[name] for name in model.key)
        if entity in self._told and self._told[entity].key != key:
            # It finds rows by their keys as they were spelled.
            self._told.pop(entity).close()
        if entity not in self._told:
            self._told[entity] = Told(self._reader, entity, key, lambda fields: self._models[entity].as_now(fields))
        return self._told[entity]

    def _run_all(self, ops: Iterable[Op]) -> None:
        batch: list[Op] = []
        size = 0
        for op in ops:
            batch.append(op)
            size += _size(op[0])
            if len(batch) == BATCH_OPS or size > BATCH_CHARACTERS:
                self._run(batch)
                batch, size = [], 0
        if batch:
            self._run(batch)

    def _run(self, ops: list[Op], *, finish: bool = True) -> None:
        for stretch, ring in stretches(ops):
            for at in range(0, len(stretch), len(stretch) if ring else BATCH_OPS):
                self.pause()
                if not self._turns.waiting:
                    self.part(stretch[at][1])
                if ring:
                    self._turns.ring(stretch)
                else:
                    self._batch(stretch[at : at + BATCH_OPS])
        if finish:
            self._turns.finish()
        self.changes += len(ops)

    def _batch(self, ops: Sequence[Op]) -> None:
        """Apply by statements; where one finds something else than it should, by halves, and one change exactly."""
        if not ops or (not self._turns.waiting and self._by_statements(ops)):
            return
        if not self._turns.waiting and (told := self._deletes_as_told(ops)):
            ops = told
            if self._by_statements(ops):
                return
        if len(ops) == 1 or self._turns.waiting:
            for op in ops:
                self._turns.take(op)
            return
        half = len(ops) // 2
        self._batch(ops[:half])
        self._batch(ops[half:])

    def _deletes_as_told(self, ops: Sequence[Op]) -> list[Op]:
        """Deletes of rows with fields that their shape lacks, with what upstream told last of these; none where there are other changes."""
        if any(change["op"] != "delete" or self._entities[change["entity"]].again for change, _ in ops):
            return []
        found: list[Op] = []
        for change, origin in ops:
            entity, before = change["entity"], change["before"]
            untold = [f for f in before if before[f] is None and f in self._models[entity].partial]
            if untold:
                known = self._told_before(entity, origin).get(change["key"]) or {}
                before = {**before, **{f: known.get(f) for f in untold}}
            found.append(({**change, "before": before}, origin))
        told = any(new["before"] != old["before"] for (new, _), (old, _) in zip(found, ops, strict=True))
        return found if told else []

    def _by_statements(self, ops: Sequence[Op]) -> bool:
        """Apply changes; False, with nothing applied, when a row is not what upstream says, or the target refuses one."""
        steps = self._batches.steps(ops)
        try:
            with self._target.savepoint():
                other = self._target.run(steps)
                if other is None:
                    raise Undone
        except (Rejected, Undone):
            return False
        differing = {id(change) for change, _ in other}
        for step in steps:
            agree(self._conflicts, (c for c, _ in step.ops if id(c) not in differing), step.fields)
        for op in other:
            self._rows.apply(op, last=True)
        return True


def _size(change: Change) -> int:
    """How many characters the texts in a change have, about."""
    images = (change.get("before", {}), change.get("after", {}))
    return sum(len(value) for image in images for value in image.values() if type(value) is str)


def _difference(told: Told, change: Change, origin: Origin) -> Change | None:
    """The change that makes a row what a snapshot says, of what the log told before; None where it is that already."""
    try:
        entity, key, after = change["entity"], change["key"], change["after"]
    except KeyError as exc:
        raise malformed(origin, repr(exc)) from exc
    before = told.get(key)
    if before is None:
        return {"op": "insert", "entity": entity, "key": key, "after": after}
    # What was never told is null here, as a column begins that upstream adds.
    changed = [field for field in after if before.get(field) != after[field]]
    if not changed:
        return None
    return {
        "op": "update",
        "entity": entity,
        "key": key,
        "image": "full",
        "before": {field: before.get(field) for field in changed},
        "after": {field: after[field] for field in changed},
    }
