"""The documents of an entity: rows as bytes, and their fields as texts. No I/O."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from ....schemas.errors import DecodeError
from ....transforms.app_schema import ADDITIONAL, Entity, Field
from ...tail.oplog.document import ARRAY, DOCUMENT, REGEX, STRING, UNDEFINED, Value, items
from ...tail.oplog.explode import PathColumn, Paths, explode_document
from ..model import EntityModel
from ..store import Rejected, Texts
from .forms import Form, form
from .paths import Fields, at_path, document, name_of, put

KEY: Final = b"_id"
SIZE_MAX: Final = 16 << 20
"""Bytes of a document."""
_REFERENCE: Final = (b"$ref", b"$id", b"$db")


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

    def texts(self, whole: bytes, of: Collection[str] | None = None) -> Texts:
        """The fields of a document, or some of them."""
        if self.paths is None:
            fields = items(whole)
            names = self.forms if of is None else of
            return {name: self.forms[name].of(at_path(fields, self.forms[name].keys)) for name in names}
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
        return self._with({KEY: self.key(after)}, after)

    def changed(self, whole: bytes, key: Value, after: Mapping[str, Any]) -> bytes:
        """A document with an _id and other values of some fields; what is not of the log stays as it is.

        Raises:
            Rejected: A value has no place in it.
        """
        return self._with({**items(whole), KEY: key}, after)

    def _with(self, fields: Fields, after: Mapping[str, Any]) -> bytes:
        names = [name for name in after if name not in self.model.key]
        try:
            exact = self._exact(fields, names, after)
            if exact is None:
                # A field within another's value comes after that.
                for name in sorted(names, key=lambda name: len(self.forms[name].keys) > 0):
                    fields = self._put(self.forms[name], fields, self.forms[name].written(after[name]))
            whole = exact or document(fields)
        except DecodeError as exc:
            raise Rejected("value", str(exc)) from exc
        if len(whole) > SIZE_MAX:
            raise Rejected("value", f"a document of {len(whole)} bytes is larger than MongoDB takes")
        return whole

    def _exact(self, fields: Fields, names: Sequence[str], after: Mapping[str, Any]) -> bytes | None:
        """A document that the log tells as a whole, to the byte; None where it does not."""
        if len(names) != 1:
            return None
        form_ = self.forms[names[0]]
        if form_.keys or form_.omitted or self._is_additional(form_):
            return None
        value = form_.written(after[names[0]])
        return value[1] if value and KEY in _replaced(fields, form_, value) and KEY in items(value[1]) else None

    def _put(self, form_: Form, fields: Fields, value: Value | None) -> Fields:
        if self._is_additional(form_):
            return self._with_additional(fields, value)
        kept = {keys: at_path(fields, (*form_.keys, *keys)) for keys in form_.omitted}
        if form_.keys:
            put(fields, form_.keys, value)
        else:
            fields = _replaced(fields, form_, value)
        for keys, own in kept.items():
            # What is left out of a value belongs to another field, or to the fork's owner.
            path = (*form_.keys, *keys)
            around = at_path(fields, path[:-1]) if path[:-1] else (DOCUMENT, b"")
            if own is not None and around is not None and around[0] == DOCUMENT:
                put(fields, path, own)
        return fields

    def _with_additional(self, fields: Fields, value: Value | None) -> Fields:
        assert self.declared is not None
        if value is not None and value[0] != DOCUMENT:
            raise DecodeError(f"{ADDITIONAL} is no document")
        told = items(value[1]) if value else {}
        if not self.declared.isdisjoint(told):
            raise DecodeError(f"{ADDITIONAL} holds a key of another field")
        # In the order in which they were told, for that is part of their value.
        left, after = iter(told.items()), Fields()
        for name, each in fields.items():
            after.update([(name, each)] if name in self.declared else islice(left, 1))
        after.update(left)
        return after

    def _is_additional(self, form_: Form) -> bool:
        return self.declared is not None and form_.field == ADDITIONAL


def _keys(model: EntityModel, field: str) -> tuple[str, ...]:
    """Where a column of a table stands in a document."""
    if field not in model.key:
        return (field,)
    return ("_id",) if len(model.key) == 1 else ("_id", field)


def _replaced(fields: Fields, form_: Form, value: Value | None) -> Fields:
    """All of a document."""
    if value is None or value[0] != DOCUMENT:
        raise DecodeError(f"{form_.field} is no document")
    after = items(value[1])
    if after.get(KEY, fields[KEY]) != fields[KEY]:
        raise DecodeError(f"{form_.field} has another _id than its document")
    return after if KEY in after else {KEY: fields[KEY], **after}


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
    fields = items(data)
    return all(name in _reference(fields) or not name.startswith(b"$") for name in fields) and all(
        kind not in (DOCUMENT, ARRAY) or _without_operators(each) for kind, each in fields.values()
    )


def _reference(fields: Fields) -> tuple[bytes, ...]:
    """The names in a document with a dollar sign that the server takes for what they are: those of a reference (DBRef), in its order."""
    names = tuple(fields)[:3]
    if names[:2] != _REFERENCE[:2] or fields[names[0]][0] != STRING:
        return ()
    return names if names == _REFERENCE and fields[names[2]][0] == STRING else names[:2]
