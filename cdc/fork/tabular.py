"""The log of a MongoDB, forked into tables: the app schema's BSON types become columns. No I/O of its own.

A field with a type that tables have becomes a column of it; every other, and one whose type the app schema does not say, a column of JSON
that holds canonical Extended JSON as it stands in the log. What does not fit its column is a conflict.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ...schemas.shape import Column
from ...transforms.table_name import TableName
from .batch import Op, Step
from .merge import Value
from .model import EntityModel
from .state import Memory
from .store import Rejected, Store, Texts
from .table_plan import Evolution, TablePlan
from .units import Change

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING: Final = "null"
_INT32, _INT64 = 1 << 31, 1 << 63


@dataclass(frozen=True, slots=True)
class Form:
    """How values of one BSON type go into a column.

    Args:
        type: The canonical type of the column.
        engine_type: PostgreSQL's name of its type.
        plain: What a record of a table would hold for a value, which is parsed Extended JSON. Raises ValueError, KeyError, TypeError.
        extended: The way back, as Extended JSON.
        note: What the owner of the fork should know.
    """

    type: str
    engine_type: str
    plain: Callable[[Any], object]
    extended: Callable[[Any], object]
    note: str


def _integer(limit: int) -> Callable[[Any], str]:
    def plain(value: Any) -> str:
        number = int(_only(value, "$numberInt", "$numberLong"))
        if not -limit <= number < limit:
            raise ValueError(number)
        return str(number)

    return plain


def _only(value: Any, *names: str) -> Any:
    """What the one key of a wrapper holds that has one of these names."""
    ((name, held),) = value.items()
    if name not in names:
        raise ValueError(name)
    return held


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(value)
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError(value)
    return value


def _moment(value: Any) -> str:
    moment = _EPOCH + timedelta(milliseconds=int(_only(_only(value, "$date"), "$numberLong")))
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _of_moment(text: str) -> object:
    moment = datetime.fromisoformat(text)
    return {"$date": {"$numberLong": str((moment - _EPOCH) // timedelta(milliseconds=1))}}


_ONE_NULL: Final = "null and absent are one"

FORMS: Final[dict[str, Form]] = {
    "int": Form("int32", "integer", lambda v: int(_integer(_INT32)(v)), lambda t: {"$numberInt": t}, _ONE_NULL),
    "long": Form("int64", "bigint", _integer(_INT64), lambda t: {"$numberLong": t}, f"integers of 32 bits, too; {_ONE_NULL}"),
    "double": Form(
        "float64", "double precision", lambda v: _only(v, "$numberDouble"), lambda t: {"$numberDouble": t}, _ONE_NULL
    ),
    "decimal": Form(
        "decimal", "numeric", lambda v: _only(v, "$numberDecimal"), lambda t: {"$numberDecimal": t},
        f"by their value, not by their digits; {_ONE_NULL}",
    ),
    "string": Form("text", "text", _text, lambda t: t, _ONE_NULL),
    "objectId": Form("text", "character(24)", lambda v: _only(v, "$oid"), lambda t: {"$oid": t}, _ONE_NULL),
    "bool": Form("bool", "boolean", _bool, lambda t: t, _ONE_NULL),
    "date": Form("instant", "timestamp(3) with time zone", _moment, _of_moment, f"years 1 to 9999 only; {_ONE_NULL}"),
}  # fmt: skip
"""BSON type, as app schemas name it, to its column."""

_JSON: Final = "canonical Extended JSON, to the letter"


def tabular(model: EntityModel) -> EntityModel:
    """The model of a collection's table."""
    columns = tuple(_column(column, in_key=column.field in model.key) for column in model.columns)
    # Everything but the key may be absent from any document.
    optional = frozenset(column.field for column in columns) - set(model.key)
    return replace(model, columns=columns, optional=optional, engine="postgresql")


def _column(column: Column, *, in_key: bool) -> Column:
    form = FORMS.get(column.engine_type)
    if form is not None:
        return replace(column, type=form.type, engine_type=form.engine_type)
    # JSON is in no index: of a key its text is.
    return (
        replace(column, type="text", engine_type="text") if in_key else replace(column, type="json", engine_type="json")
    )


class Tables:
    """A store of tables as one for documents.

    Args:
        inner: The store.
    """

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.engine, self.ddl_in_transaction = inner.engine, inner.ddl_in_transaction
        self.parts = inner.parts
        self._forms: dict[str, dict[str, Form]] = {}

    # What is decided here: models and values.

    def plan_table(self, model: EntityModel) -> TablePlan:
        """See what a table needs."""
        plan = self._inner.plan_table(tabular(model))
        types = dict(plan.types)
        for column in model.columns:
            form, choice = FORMS.get(column.engine_type), types[column.field]
            note = form.note if form else _JSON
            if column.field in model.key:
                note = "" if form else note
            types[column.field] = replace(choice, note="; ".join(filter(None, (choice.note, note))))
        return replace(plan, types=types)

    def plan_evolution(self, old: EntityModel, new: EntityModel) -> Evolution:
        """See what a further shape needs."""
        return self._inner.plan_evolution(tabular(old), tabular(new))

    def load(self, models: Mapping[str, EntityModel]) -> None:
        """Take over the tables as they are now."""
        self._inner.load({name: tabular(model) for name, model in models.items()})
        self._forms = {
            name: {c.field: FORMS[c.engine_type] for c in model.columns if c.engine_type in FORMS}
            for name, model in models.items()
        }

    def run(self, steps: Sequence[Step]) -> list[Op] | None:
        """Apply changes."""
        plain = [
            Step(step.signature, [(self._change(change), origin) for change, origin in step.ops]) for step in steps
        ]
        differing = self._inner.run(plain)
        if not differing:
            return differing
        told = {
            id(new[0]): old
            for step, made in zip(steps, plain, strict=True)
            for new, old in zip(made.ops, step.ops, strict=True)
        }
        return [told[id(change)] for change, _ in differing]

    def read(self, entity: str, key: Mapping[str, Any]) -> Texts | None:
        """The row of a key."""
        return self._inner.read(entity, self._plain(entity, key))

    def cast(self, entity: str, values: Mapping[str, Any]) -> Texts:
        """Values of a record as `read` would give them."""
        return self._inner.cast(entity, self._plain(entity, values))

    def cast_all(self, entity: str, rows: Sequence[Mapping[str, Any]]) -> list[Texts]:
        """As `cast`, of many rows."""
        return self._inner.cast_all(entity, [self._plain(entity, row) for row in rows])

    def insert(self, entity: str, after: Mapping[str, Any]) -> None:
        """Write a new row."""
        self._inner.insert(entity, self._plain(entity, after))

    def update(self, entity: str, key: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Set fields of the row of a key."""
        self._inner.update(entity, self._plain(entity, key), self._plain(entity, after))

    def delete(self, entity: str, key: Mapping[str, Any]) -> None:
        """Delete the row of a key."""
        self._inner.delete(entity, self._plain(entity, key))

    def value(self, entity: str, field: str, text: Value) -> object:
        """What a record would hold for a value of the fork."""
        form, found = self._forms[entity].get(field), self._inner.value(entity, field, text)
        if form is None or found is None:
            return found
        try:
            extended = form.extended(found if isinstance(found, bool) else str(found))
            return json.dumps(extended, ensure_ascii=False, separators=(",", ":"))
        except ValueError:
            # The owner of the fork has given the column another type.
            return found

    def _change(self, change: Change) -> Change:
        entity = change["entity"]
        found = dict(change)
        for name in ("key", "newkey", "before", "after"):
            if name in change:
                found[name] = self._plain(entity, change[name])
        return found

    def _plain(self, entity: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values as a record of a table would hold them.

        Raises:
            Rejected: One does not fit in its column.
        """
        forms = self._forms[entity]
        found = dict(values)
        for field, value in values.items():
            form = forms.get(field)
            if form is None or value is None:
                continue
            try:
                found[field] = None if value == _NOTHING else form.plain(json.loads(value))
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as exc:
                raise Rejected("value", f"{value[:100]!r} does not fit in column {field} {form.engine_type}") from exc
        return found

    # What is the inner store's.

    def close(self) -> None:
        """End the connection."""
        self._inner.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.close()

    @property
    def broken(self) -> bool:
        """Whether the connection is lost."""
        return self._inner.broken

    @property
    def memory(self) -> Memory:
        """What the fork remembers."""
        return self._inner.memory

    def database(self) -> tuple[str, str]:
        """The server's identifier and the database's name."""
        return self._inner.database()

    def place(self) -> str:
        """What tells the server from others."""
        return self._inner.place()

    def lock(self) -> None:
        """Keep every other fork process off this database."""
        self._inner.lock()

    def transaction(self) -> AbstractContextManager[object]:
        """A transaction."""
        return self._inner.transaction()

    def savepoint(self) -> AbstractContextManager[object]:
        """A part of the transaction in hand."""
        return self._inner.savepoint()

    def shown(self, table: TableName) -> str:
        """What a table of the source is called here."""
        return self._inner.shown(table)

    def make_tables(self, plans: Sequence[TablePlan]) -> None:
        """Make what tables need."""
        self._inner.make_tables(plans)

    def evolve(self, change: Evolution) -> None:
        """Change a table for a further shape."""
        self._inner.evolve(change)

    def drop_tables(self) -> list[str]:
        """Drop what the fork made."""
        return self._inner.drop_tables()

    def notes(self, plans: Sequence[TablePlan]) -> list[str]:
        """What the owner should know of all tables together."""
        missing = "documents become rows: what no field of the app schema names is not there, and a row with a value that does not fit its"
        return [*self._inner.notes(plans), f"{missing} column becomes a conflict"]

    def mark(self, tags: Sequence[str]) -> None:
        """Write tags into the transaction."""
        self._inner.mark(tags)

    def check_at_once(self) -> None:
        """Check constraints at each statement."""
        self._inner.check_at_once()

    def scan(self, entity: str) -> Iterator[Texts]:
        """All rows."""
        return self._inner.scan(entity)

    def holds_more(self, entity: str, keys: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a row might lose something."""
        return self._inner.holds_more(entity, [self._plain(entity, key) for key in keys])


def suited(target: Store, engine: str) -> Store:
    """A store for the log of a source's engine."""
    return Tables(target) if engine == "mongodb" and target.engine != "MongoDB" else target
