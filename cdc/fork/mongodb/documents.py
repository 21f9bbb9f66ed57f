"""The documents of an entity: rows as bytes, and their fields as texts. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ....schemas.errors import DecodeError
from ....transforms.app_schema import ADDITIONAL, Entity, Field
from ...tail.oplog.document import ARRAY, DOCUMENT, REGEX, UNDEFINED, Value, items
from ...tail.oplog.explode import PathColumn, Paths, explode_document
from ..model import EntityModel
from ..store import Rejected, Texts
from .forms import Form, form
from .paths import at_path, document, name_of, with_path

KEY: Final = b"_id"
SIZE_MAX: Final = 16 << 20
"""Bytes of a document."""


@dataclass(frozen=True, slots=True)
class Documents:
    """An entity's collection as it is in the target.

    Args:
        model: What the shapes say.
        name: The collection.
        forms: Field to how its values are written and read.
        declared: The keys at the top of a document with which a declared field begins; None where there is no field of all others.
        paths: Where the fields stand that a MongoDB's log tells; None of a table's.
    """

    model: EntityModel
    name: str
    forms: Mapping[str, Form]
    declared: frozenset[bytes] | None
    paths: Paths | None

    @classmethod
    def of(cls, model: EntityModel, name: str) -> "Documents":
        """The documents of an entity's model."""
        fields: Mapping[str, Field] = model.documents.fields if model.documents else {}
        forms: dict[str, Form] = {}
        for column in model.columns:
            known = fields.get(column.field)
            keys = known.keys if known else _keys(model, column.field)
            forms[column.field] = form(column, model.engine, keys, known.omitted if known else ())
        declared = _declared(model.documents)
        return cls(model, name, forms, declared, _paths(model) if model.engine == "mongodb" else None)

    def key(self, key: Mapping[str, Any]) -> Value:
        """The _id of a key.

        Raises:
            Rejected: It can be none.
        """
        found = {self.forms[field].keys[-1]: self.forms[field].written(key[field]) for field in self.model.key}
        if len(self.model.key) == 1:
            value = found[self.forms[self.model.key[0]].keys[-1]]
        else:
            value = (DOCUMENT, document({name_of(name): each for name, each in found.items() if each is not None}))
        if value is None or not _may_be_key(value):
            raise Rejected("value", f"{list(key.values())!r:.100} can be no _id")
        return value

    def texts(self, whole: bytes) -> Texts:
        """The fields of a document."""
        if self.paths is None:
            return {field: each.of(at_path(whole, each.keys)) for field, each in self.forms.items()}
        values = explode_document(whole, self.paths)
        return {field: None if text is None else text.decode() for field, text in zip(self.forms, values, strict=True)}

    def cast(self, values: Mapping[str, Any]) -> Texts:
        """Values of a record as `texts` would give them, had they been written.

        Raises:
            Rejected: One has no place in a document.
        """
        return {field: self.forms[field].text(value) for field, value in values.items()}

    def made(self, after: Mapping[str, Any]) -> bytes:
        """A new document.

        Raises:
            Rejected: A value has no place in it.
        """
        return self._with(document({KEY: self.key(after)}), after)

    def changed(self, whole: bytes, after: Mapping[str, Any]) -> bytes:
        """A document with other values of some fields; what is not of the log stays as it is.

        Raises:
            Rejected: A value has no place in it.
        """
        return self._with(whole, after)

    def with_key(self, whole: bytes, key: Value) -> bytes:
        """A document with another _id."""
        return document({**items(whole), KEY: key})

    def _with(self, whole: bytes, after: Mapping[str, Any]) -> bytes:
        try:
            for field in self._outer_first(after):
                whole = self._put(self.forms[field], whole, self.forms[field].written(after[field]))
        except DecodeError as exc:
            raise Rejected("value", str(exc)) from exc
        if len(whole) > SIZE_MAX:
            raise Rejected("value", f"a document of {len(whole)} bytes is larger than MongoDB takes")
        return whole

    def _outer_first(self, after: Mapping[str, Any]) -> list[str]:
        """Fields in such an order that one within another's value comes after it."""
        return sorted((f for f in after if f not in self.model.key), key=lambda field: len(self.forms[field].keys) > 0)

    def _put(self, form_: Form, whole: bytes, value: Value | None) -> bytes:
        if self._is_additional(form_):
            return self._with_additional(whole, value)
        found = with_path(whole, form_.keys, value) if form_.keys else _replaced(whole, form_, value)
        for keys in form_.omitted:
            # What is left out of a value belongs to another field, or to the fork's owner.
            path = (*form_.keys, *keys)
            kept, around = at_path(whole, path), at_path(found, path[:-1])
            if kept is not None and around is not None and around[0] == DOCUMENT:
                found = with_path(found, path, kept)
        return found

    def _with_additional(self, whole: bytes, value: Value | None) -> bytes:
        assert self.declared is not None
        if value is not None and value[0] != DOCUMENT:
            raise DecodeError(f"{ADDITIONAL} is no document")
        told = items(value[1]) if value else {}
        if not self.declared.isdisjoint(told):
            raise DecodeError(f"{ADDITIONAL} holds a key of another field")
        kept = {
            name: told.pop(name, each) for name, each in items(whole).items() if name in self.declared or name in told
        }
        return document({**kept, **told})

    def _is_additional(self, form_: Form) -> bool:
        return self.declared is not None and form_.field == ADDITIONAL


def _keys(model: EntityModel, field: str) -> tuple[str, ...]:
    """Where a column of a table stands in a document."""
    if field not in model.key:
        return (field,)
    return ("_id",) if len(model.key) == 1 else ("_id", field)


def _replaced(whole: bytes, form_: Form, value: Value | None) -> bytes:
    """All of a document."""
    if value is None or value[0] != DOCUMENT:
        raise DecodeError(f"{form_.field} is no document")
    before, after = items(whole), items(value[1])
    if KEY not in after:
        return document({KEY: before[KEY], **after})
    if after[KEY] != before[KEY]:
        raise DecodeError(f"{form_.field} has another _id than its document")
    return value[1]


def _paths(model: EntityModel) -> Paths:
    if model.documents is None:
        return Paths(tuple(PathColumn(c.field, (name_of(c.field),), None) for c in model.columns))
    return Paths.of(model.documents, {column.field: column.cls for column in model.columns})


def _declared(entity: Entity | None) -> frozenset[bytes] | None:
    if entity is None or entity.additional != "public":
        return None
    return frozenset({KEY, *(name_of(each.keys[0]) for each in entity.fields.values() if each.keys)})


def _may_be_key(value: Value) -> bool:
    """Whether a server takes a value for an _id: in a query one that it does not take might mean something else."""
    kind, data = value
    if kind in (ARRAY, REGEX, UNDEFINED):
        return False
    return kind != DOCUMENT or _without_operators(data)


def _without_operators(data: bytes) -> bool:
    return all(
        not name.startswith(b"$") and (kind not in (DOCUMENT, ARRAY) or _without_operators(each))
        for name, (kind, each) in items(data).items()
    )
