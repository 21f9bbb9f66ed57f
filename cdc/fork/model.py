"""The fork's tables as the shapes of a log make them, one after the other. No I/O, and nothing of the target's types."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...schemas.errors import Refused
from ...schemas.shape import Column, Shape
from ...transforms.app_schema import ADDITIONAL, Entity
from ...transforms.app_schema_reader import parse
from ...transforms.table_name import TableName, quoted, table_name
from ..tail.enums import renamed_labels

_NUMBERS = frozenset(("int16", "int32"))
"""Types whose values are JSON numbers; wider ones are strings."""
_INTEGER = re.compile(r"(-?[0-9]{1,18})(?:\.0+)?")


@dataclass(frozen=True, slots=True)
class EntityModel:
    """One entity and its table in the fork.

    Args:
        entity: Its name.
        table: The table's schema and name, the same as at the source.
        key: The fields of the key, in order.
        columns: All columns that any shape had, each as the newest shape with it says.
        partial: The fields that some shape lacks. What they hold in rows written under that shape was never told.
        optional: The fields that some shape lacks or lets be null.
        engine: The source's engine: what `engine_type` means.
        renamed: Field to the labels that its enum once had, each to what it is called now.
        documents: Of a collection, where fields stand in its documents: all that any app schema said.
    """

    entity: str
    table: TableName
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partial: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    engine: str = "postgresql"
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    documents: Entity | None = None

    @classmethod
    def of(cls, shape: Shape, engine: str = "postgresql") -> "EntityModel":
        """The model of an entity's first shape.

        Raises:
            Refused: The table's name is none, or the key is not among the columns.
        """
        try:
            table = table_name(shape.table)
        except ValueError as exc:
            raise Refused(f"{shape.entity}: {exc}", hint=without(shape.entity)) from exc
        fields = [column.field for column in shape.columns]
        if not shape.key or not set(shape.key) <= set(fields) or len(set(fields)) != len(fields):
            raise Refused(f"{shape.entity}: its shape is without a usable key", hint=without(shape.entity))
        optional = frozenset(column.field for column in shape.columns if column.nullable) - set(shape.key)
        return cls(shape.entity, table, shape.key, shape.columns, optional=optional, engine=engine)

    def then(self, shape: Shape) -> "EntityModel":
        """The model after a further shape of the same entity.

        Raises:
            Refused: The shape has another key, or turns bytes into something else.
        """
        new = EntityModel.of(shape, self.engine)
        if new.key != self.key:
            raise Refused(
                f"{self.entity} gets another key: {', '.join(new.key)} after {', '.join(self.key)}",
                hint=without(self.entity),
            )
        known, named = self.by_field, new.by_field
        for name in known.keys() & named.keys():
            if (known[name].type == "bytes") != (named[name].type == "bytes"):
                raise Refused(
                    f"{self.entity}.{name} changes from {known[name].type} to {named[name].type}",
                    hint=without(self.entity),
                )
        columns = [named.get(column.field, column) for column in self.columns]
        columns += [column for column in new.columns if column.field not in known]
        partial = self.partial | (known.keys() ^ named.keys())
        optional = self.optional | new.optional | partial
        # Only PostgreSQL renames a label.
        both = named if self.engine == "postgresql" else {}
        renamed = {f: _renamed(self.renamed.get(f, {}), known[f], column) for f, column in both.items() if f in known}
        return replace(
            self, table=new.table, columns=tuple(columns), partial=partial, optional=optional,
            renamed={f: labels for f, labels in renamed.items() if labels},
        )  # fmt: skip

    def as_now(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Fields as records told them once, as they would tell them now: enums' labels as they are called, numbers in the form of
        their type, which is another one where an integer became wider, or a number an integer."""
        known = self.by_field
        return {f: self._as_now(known.get(f), value) for f, value in fields.items()}

    def _as_now(self, column: Column | None, value: Any) -> Any:
        if column is None:
            return value
        if column.field in self.renamed:
            return self.renamed[column.field].get(value, value)
        if column.type in _NUMBERS or column.type == "int64":
            found = _INTEGER.fullmatch(value) if type(value) is str else None
            whole = int(found[1]) if found else value
            return str(whole) if column.type == "int64" and type(whole) is int else whole
        return str(value) if type(value) is int else value

    def under(self, entity: Entity) -> "EntityModel":
        """The model after a further app schema; the same where that says nothing new.

        Raises:
            Refused: A field stands elsewhere in documents than before.
        """
        if self.documents is None:
            return replace(self, documents=entity)
        fields = {**self.documents.fields, **entity.fields}
        for name, known in self.documents.fields.items():
            now = fields[name]
            if (known.keys, known.omitted) != (now.keys, now.omitted):
                raise Refused(
                    f"{self.entity}.{name} stands elsewhere in documents under a further app schema, or without something else",
                    hint="give what is new a name of its own in the app schema; or commitlog fork drop, and fork anew",
                )
        additional = "public" if "public" in (self.documents.additional, entity.additional) else "drop"
        both = replace(entity, fields=fields, additional=additional)
        return self if both == self.documents else replace(self, documents=both)

    def besides(self, fields: Collection[str]) -> list[str]:
        """The fields other than these; of documents without those that may hold the same values."""
        others = [column.field for column in self.columns if column.field not in fields]
        if self.documents is None:
            return others
        places = {f: place.keys for f, place in self.documents.fields.items() if f != ADDITIONAL}
        taken = [places.get(f, ()) for f in fields]
        apart = [f for f in others if f in places]
        return [f for f in apart if all(place[: len(places[f])] != places[f][: len(place)] for place in taken)]

    @property
    def by_field(self) -> dict[str, Column]:
        """Field to column."""
        return {column.field: column for column in self.columns}


def _renamed(before: Mapping[str, str], old: Column, new: Column) -> dict[str, str]:
    if (old.type, new.type) != ("enum", "enum"):
        return {}
    now = renamed_labels(old.labels, new.labels)
    labels = {**now, **{first: now.get(label, label) for first, label in before.items()}}
    return {first: label for first, label in labels.items() if first not in new.labels}


def fold(
    shapes: Iterable[Shape],
    only: frozenset[str] = frozenset(),
    *,
    engine: str = "postgresql",
    schemas: Iterable[bytes] = (),
) -> dict[str, EntityModel]:
    """The models that shapes in their order make, by entity.

    Args:
        shapes: The shapes.
        only: The entities to look at; empty for all.
        engine: The source's engine.
        schemas: App schemas in their order, of a source with documents.

    Raises:
        Refused: As `then`, `under` and `EntityModel.of`, or two entities claim one table.
    """
    models: dict[str, EntityModel] = {}
    for shape in shapes:
        if only and shape.entity not in only:
            continue
        model = models.get(shape.entity)
        models[shape.entity] = model.then(shape) if model else EntityModel.of(shape, engine)
        check_tables(models)
    place(models, schemas)
    return models


def place(models: dict[str, EntityModel], schemas: Iterable[bytes]) -> None:
    """Take over from app schemas, in their order, where fields stand in documents.

    Raises:
        Refused: A field stands elsewhere than before.
    """
    for data in schemas:
        for name, entity in parse(json.loads(data)).entities.items():
            if name in models:
                models[name] = models[name].under(entity)


def check_tables(models: Mapping[str, EntityModel], shown: Callable[[TableName], str] = quoted) -> None:
    """Refuse two entities with one table.

    Args:
        models: All entities.
        shown: Gives the name of a table in the fork.

    Raises:
        Refused: There are two.
    """
    claimed: dict[str, str] = {}
    for model in models.values():
        other = claimed.setdefault(shown(model.table), model.entity)
        if other != model.entity:
            raise Refused(
                f"{other} and {model.entity} both come from table {shown(model.table)}, and a fork has it once",
                hint=f"commitlog fork … --only with one of {other}, {model.entity}",
            )


def without(entity: str) -> str:
    """The hint of a refusal that is about one entity."""
    return f"commitlog fork … --only with the entities other than {entity}"
