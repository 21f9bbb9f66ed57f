"""The documents of an entity: rows as bytes, and their fields as texts. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ....schemas.errors import DecodeError
from ....transforms.app_schema import ADDITIONAL, Entity, Field
from ...tail.oplog.document import ARRAY, DOCUMENT, REGEX, UNDEFINED, Value, items
from ..model import EntityModel
from ..store import Rejected, Texts
from .forms import Form, form
from .paths import at_path, document, name_of, with_path, without

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
    """

    model: EntityModel
    name: str
    forms: Mapping[str, Form]
    declared: frozenset[bytes] | None

    @classmethod
    def of(cls, model: EntityModel, name: str) -> "Documents":
        """The documents of an entity's model."""
        fields: Mapping[str, Field] = model.documents.fields if model.documents else {}
        forms: dict[str, Form] = {}
        for column in model.columns:
            known = fields.get(column.field)
            keys = known.keys if known else _keys(model, column.field)
            forms[column.field] = form(column, model.engine, keys, known.omitted if known else ())
        return cls(model, name, forms, _declared(model.documents))

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
        return {field: each.of(self._at(each, whole)) for field, each in self.forms.items()}

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
        if form_.keys:
            return with_path(whole, form_.keys, value)
        return self._replaced(form_, whole, value)

    def _replaced(self, form_: Form, whole: bytes, value: Value | None) -> bytes:
        """All of a document but what is left out of the log's, and belongs to other fields or to the fork's owner."""
        if value is None or value[0] != DOCUMENT:
            raise DecodeError(f"{form_.field} is no document")
        before, after = items(whole), items(value[1])
        if KEY in after and after[KEY] != before[KEY]:
            raise DecodeError(f"{form_.field} has another _id than its document")
        found = document(after if KEY in after else {KEY: before[KEY], **after})
        for keys in form_.omitted:
            kept = at_path(whole, keys)
            if kept is not None:
                found = with_path(found, keys, kept)
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

    def _at(self, form_: Form, whole: bytes) -> Value | None:
        if self._is_additional(form_):
            assert self.declared is not None
            return DOCUMENT, document({n: each for n, each in items(whole).items() if n not in self.declared})
        found = at_path(whole, form_.keys)
        return without(found, form_.omitted) if found and form_.omitted else found

    def _is_additional(self, form_: Form) -> bool:
        return self.declared is not None and form_.field == ADDITIONAL


def _keys(model: EntityModel, field: str) -> tuple[str, ...]:
    """Where a column of a table stands in a document."""
    if field not in model.key:
        return (field,)
    return ("_id",) if len(model.key) == 1 else ("_id", field)


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
