"""One change on one row, exactly: read what is there, decide field by field, write what may be, record what may not.

This is the slow way. It is taken for the changes that the statements of a batch did not find as upstream says.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
from psycopg import errors, sql

from ..tail.connection import one_line
from ..tail.pgtypes import converter
from . import statements
from .batch import Op, malformed
from .conflicts import ROW, Conflicts, Disagreement, Origin, key_text
from .merge import UNKNOWN, Unknown, Value, decide, unchanged
from .postgres import REJECTED, Target, translated
from .state import EntityState
from .statements import Table
from .told import Told
from .units import Change

Texts = dict[str, Value]


class Rows:
    """Applies single changes inside the transaction in hand.

    Args:
        target: The fork.
        tables: Entity to table.
        conflicts: Where disagreements go.
        entities: Entity to what is known of its snapshots.
        told: Gives what the log told of an entity before a change.
    """

    def __init__(
        self,
        target: Target,
        tables: Mapping[str, Table],
        *,
        conflicts: Conflicts,
        entities: Mapping[str, EntityState],
        told: Callable[[str, Origin], Told],
    ) -> None:
        self._target, self._tables, self._entities, self._conflicts = target, tables, entities, conflicts
        self._told = told

    def apply(self, op: Op, *, last: bool) -> bool:
        """Apply one change, or record why not.

        Args:
            op: The change.
            last: Nothing of its transaction comes after it that could take a row out of its way.

        Returns:
            False where there is one, and it is not the last: nothing was done.
        """
        change, origin = op
        table = self._tables[change["entity"]]
        again = self._entities[table.entity].again
        ours: Texts | None = None
        self._target.execute("SAVEPOINT one")
        try:
            with translated():
                ours = self._read(table, change)
                if again and not (change["op"] == "insert" and ours is None):
                    change = self._since_told(change, origin)
                if change["op"] == "insert" and ours is not None:
                    if not last:
                        self._target.execute("RELEASE SAVEPOINT one")
                        return False
                    # A row that upstream has told of is not there any more, and nobody told.
                    change = self._since_told(change, origin)
                if change["op"] == "rekey" and last and again:
                    self._clear_stale(table, change["newkey"], origin)
                found = self._apply(table, change, origin, ours)
        except REJECTED as exc:
            self._target.execute("ROLLBACK TO SAVEPOINT one")
            if not last and change["op"] == "rekey" and isinstance(exc, errors.UniqueViolation):
                self._target.execute("RELEASE SAVEPOINT one")
                return False
            found = [_rejection(table, change, ours, exc)]
        self._target.execute("RELEASE SAVEPOINT one")
        moved = change["op"] == "rekey" and all(what.field != ROW for what in found)
        where = {**change, "key": change["newkey"]} if moved else change
        for what in found:
            self._conflicts.record(where, origin, what)
        return True

    def exchange(self, ops: Sequence[Op]) -> bool:
        """Let rows take each other's keys, where changes do nothing but that and every row is as upstream says.

        Returns:
            False where they do not, or where other tables refer to the rows, which go for a moment: nothing was done.
        """
        keys = {(change["entity"], key_text(change["key"])) for change, _ in ops}
        moved = {(change["entity"], key_text(change["newkey"])) for change, _ in ops if change["op"] == "rekey"}
        if keys != moved or len(keys) != len(ops):
            return False
        self._target.execute("SAVEPOINT one")
        try:
            with translated():
                done = self._exchange([(self._tables[change["entity"]], change) for change, _ in ops])
        except REJECTED:
            done = False
        if not done:
            self._target.execute("ROLLBACK TO SAVEPOINT one")
        self._target.execute("RELEASE SAVEPOINT one")
        return done

    def _exchange(self, moves: Sequence[tuple[Table, Change]]) -> bool:
        rows: list[Change] = []
        for table, change in moves:
            ours, bases = self._read(table, change), self._cast(table, change.get("before", {}))
            if ours is None or self._referred_to(table):
                return False
            if not all(unchanged(_base(table, field, ours, bases), ours[field]) for field in bases):
                return False
            rows.append({**change, "after": {f: _value(table, f, text) for f, text in ours.items()} | change["after"]})
        for table, change in moves:
            self._write(statements.delete(table, ()), change)
        for (table, _), change in zip(moves, rows, strict=True):
            self._write(statements.insert(table, tuple(change["after"])), change)
        return True

    def _referred_to(self, table: Table) -> bool:
        query = sql.SQL("SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = {}::regclass)")
        name = table.name.as_string(self._target.connection)
        return bool(self._target.rows(query.format(sql.Literal(name)))[0][0])

    def _clear_stale(self, table: Table, key: Mapping[str, Any], origin: Origin) -> None:
        """Take away a row that upstream told of before its rows became others, where it is in another's way and nobody changed it
        here."""
        told = self._told(table.entity, origin).first(dict(key))
        ours = self._read(table, {"key": key})
        if told is not None and ours is not None:
            bases = self._cast(table, told)
            if all(unchanged(_base(table, field, ours, bases), ours[field]) for field in bases):
                self._write(statements.delete(table, ()), {"key": key})

    def _since_told(self, change: Change, origin: Origin) -> Change:
        """A change that may come after others that nobody saw, as one from what upstream told last."""
        before = self._told(change["entity"], origin).get(change["key"])
        if before is None:
            return change
        if change["op"] in ("insert", "row"):
            return {**change, "op": "update", "image": "full", "before": before}
        return {**change, "before": {field: before.get(field, was) for field, was in change.get("before", {}).items()}}

    def _apply(self, table: Table, change: Change, origin: Origin, ours: Texts | None) -> list[Disagreement]:
        match change["op"]:
            case "insert" | "row":
                return self._insert(table, change, ours)
            case "update" | "rekey":
                return self._update(table, change, origin, ours)
            case "delete":
                return self._delete(table, change, ours)
            case op:
                raise malformed(origin, repr(op))

    def _insert(self, table: Table, change: Change, ours: Texts | None) -> list[Disagreement]:
        after = change["after"]
        if ours is None:
            self._write(statements.insert(table, tuple(after)), change)
            self._settle(change, None)
            return []
        theirs = self._cast(table, after)
        never_told = {f for f in after if ours[f] is None and f in table.model.partial}
        self._take(table, change, [f for f in never_told if theirs[f] is not None])
        other = [f for f in after if ours[f] != theirs[f] and f not in never_told]
        self._settle(change, {*after, ROW} - set(other))
        return [_on_field("insert/insert", table, change, f, ours) for f in other]

    def _update(self, table: Table, change: Change, origin: Origin, ours: Texts | None) -> list[Disagreement]:
        after, before = change["after"], change.get("before", {})
        if ours is None:
            return self._update_of_nothing(table, change, origin)
        theirs, bases = self._cast(table, after), self._cast(table, before)
        decisions = {f: decide(_base(table, f, ours, bases), ours[f], theirs[f]) for f in after}
        self._take(table, change, [f for f in after if decisions[f] == "take"])
        other = [f for f in after if decisions[f] == "conflict"]
        self._settle(change, set(after) - set(other))
        return [_on_field("update/update", table, change, f, ours) for f in other]

    def _update_of_nothing(self, table: Table, change: Change, origin: Origin) -> list[Disagreement]:
        """A row that is not here was deleted here, unless nobody has told of it yet: a snapshot will."""
        if change["op"] == "rekey" and self._read(table, {"key": change["newkey"]}) is not None:
            arrived = {**change, "op": "update", "key": change["newkey"]}
            return self._update(table, arrived, origin, self._read(table, arrived))
        entity = self._entities[table.entity]
        known = entity.complete or (entity.again and self._told(table.entity, origin).get(change["key"]) is not None)
        if not known:
            if change["image"] == "key" and not change.get("unsent"):
                return self._insert(table, {**change, "key": change.get("newkey", change["key"])}, None)
            return []
        return [Disagreement("update/delete", ROW, change.get("before"), None, change["after"])]

    def _delete(self, table: Table, change: Change, ours: Texts | None) -> list[Disagreement]:
        before = change["before"]
        if ours is not None:
            bases = self._cast(table, before)
            if not all(unchanged(_base(table, f, ours, bases), ours[f]) for f in before):
                shown = {f: _value(table, f, ours[f]) for f in before}
                return [Disagreement("delete/update", ROW, before, shown, None)]
            self._write(statements.delete(table, ()), change)
        self._settle(change, None)
        return []

    def _read(self, table: Table, change: Change) -> Texts | None:
        rows = self._target.prepared(statements.read(table), _parameter({"key": change["key"]})).fetchall()
        return dict(zip((c.field for c in table.model.columns), rows[0], strict=True)) if rows else None

    def _cast(self, table: Table, values: Mapping[str, Any]) -> Texts:
        """Values of a record as the target writes them after a cast to its types."""
        if not values:
            return {}
        fields = tuple(values)
        rows = self._target.prepared(statements.cast_values(table, fields), _parameter({"after": values})).fetchall()
        return dict(zip(fields, rows[0], strict=True))

    def _take(self, table: Table, change: Change, fields: list[str]) -> None:
        if fields:
            self._write(statements.update(table, (), tuple(fields)), change)

    def _write(self, query: sql.Composed, change: Change) -> None:
        self._target.prepared(query, _parameter(change))

    def _settle(self, change: Change, fields: Iterable[str] | None) -> None:
        agree(self._conflicts, [change], None if fields is None else tuple(fields))


def agree(conflicts: Conflicts, changes: Iterable[Change], fields: tuple[str, ...] | None) -> None:
    """Both sides agree on these fields of the rows of these changes, None for the whole rows."""
    if not conflicts.open:
        return
    changes = list(changes)
    conflicts.settle((c["entity"], key_text(c["key"]), fields) for c in changes)
    for change in changes:
        if change["op"] == "rekey":
            conflicts.move(change["entity"], change["key"], change["newkey"])


def _base(table: Table, field: str, ours: Texts, bases: Texts) -> Value | Unknown:
    """What a field was; unknown where nobody told, or told the fork."""
    if field not in bases or (ours[field] is None and field in table.model.partial):
        return UNKNOWN
    return bases[field]


def _on_field(kind: str, table: Table, change: Change, field: str, ours: Texts) -> Disagreement:
    base = change.get("before", {}).get(field)
    return Disagreement(kind, field, base, _value(table, field, ours[field]), change["after"][field])


def _rejection(table: Table, change: Change, ours: Texts | None, exc: Exception) -> Disagreement:
    fields: dict[str, Any] = change.get("after") or change.get("before") or {}
    shown = None if ours is None else {f: _value(table, f, ours[f]) for f in fields if f in ours}
    return Disagreement(_refusal(exc), ROW, change.get("before"), shown, change.get("after"), one_line(exc))


def _refusal(exc: Exception) -> str:
    match exc:
        case errors.UniqueViolation():
            return "unique"
        case errors.ForeignKeyViolation() | errors.RestrictViolation():
            return "foreign key"
        case errors.CheckViolation():
            return "check"
        case errors.NotNullViolation():
            return "not null"
        case errors.ExclusionViolation():
            return "exclusion"
        case errors.DataError():
            return "value"
        case _:
            return "refused"


def _value(table: Table, field: str, text: Value) -> object:
    """What a record would hold for a value of the fork."""
    column = table.model.by_field[field]
    if text is None:
        return None
    if column.type == "bool":
        return text == "true"
    try:
        return converter(column.type)(text.encode())
    except ValueError:
        # The owner of the fork has given the column another type.
        return text


def _parameter(change: Mapping[str, Any]) -> str:
    return orjson.dumps([change]).decode()
