"""The collections of a fork in MongoDB: which are needed, which are there; made, changed and dropped.

A collection is made at once, in no transaction. What the fork made is remembered by name and uuid, before it is made and after, and only
such are ever dropped.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from ....schemas.errors import Refused
from ....transforms.table_name import TableName
from ...failpoint import failpoint
from ...tail.enums import renamed_labels
from ..model import EntityModel, without
from ..store import PUT_BACK
from ..table_plan import Evolution, TablePlan, TypeChoice
from .connection import Connected
from .documents import Documents
from .memory import PREFIX, MongoMemory

NAME_BYTES_MAX: Final = 255
"""Of a namespace: the database's name, a dot and the collection's."""

_WIDER: Final = (("int16", "int32", "int64"), ("float32", "float64"), ("json", "jsonb", "text"), ("enum", "text"))
"""Canonical types whose values are written alike, or are compared by what they say."""


def name_of(table: TableName) -> str:
    """What a table of the source is called: without its schema or database, as a fork has one database."""
    return table[1]


def described(connected: Connected, name: str) -> Mapping[str, Any] | None:
    """What the server says of a collection; None where there is none."""
    with connected.translated():
        found = connected.db.list_collections(filter={"name": name}).to_list()
    return found[0] if found else None


def plan_table(connected: Connected, memory: MongoMemory, model: EntityModel) -> TablePlan:
    """See what a collection needs.

    Raises:
        Refused: One of that name is there, and the fork cannot take it; or MongoDB cannot have such a collection or key.
    """
    name = name_of(model.table)
    _check_names(connected, model)
    documents = Documents.of(model, name)
    types = {field: TypeChoice(form.shown, note=form.note) for field, form in documents.forms.items()}
    actual = described(connected, name)
    if actual is None:
        return TablePlan(model, types, adopted=False)
    if connected.documents(name).find_one({}, {"_id": 1}) is not None:
        raise Refused(
            f"collection {name} is there already and holds documents that the fork did not make",
            hint="fork into a database of its own",
        )
    begun = memory.is_there() and _is_made(memory, name, actual)
    if not begun:
        _check_adoption(name, actual)
    return TablePlan(model, types, adopted=not begun)


def _check_names(connected: Connected, model: EntityModel) -> None:
    name = name_of(model.table)
    size = len(f"{connected.name}.{name}".encode())
    if size > NAME_BYTES_MAX or "\0" in name or "$" in name or name.startswith(("system.", ".", PREFIX)):
        raise Refused(f"{model.entity}: {name[:64]!r} cannot be a collection of a fork", hint=without(model.entity))
    for column in model.columns:
        if "\0" in column.field or not column.field:
            raise Refused(
                f"{model.entity}: {column.field[:64]!r} cannot be a key in MongoDB", hint=without(model.entity)
            )
    if model.engine == "mongodb":
        return
    if "_id" in model.by_field and model.key != ("_id",):
        raise Refused(f"{model.entity} has a column _id, which in MongoDB is the key", hint=without(model.entity))
    operators = [field for field in model.key if field.startswith("$") and len(model.key) > 1]
    if operators:
        raise Refused(f"{model.entity}: {operators[0]!r} cannot be in a key in MongoDB", hint=without(model.entity))


def _check_adoption(name: str, actual: Mapping[str, Any]) -> None:
    options: Mapping[str, Any] = actual.get("options", {})
    odd = "is a view or a time series" if actual.get("type") != "collection" else ""
    odd = odd or ("is capped" if options.get("capped") else "")
    odd = odd or ("has a collation, by which keys may be equal that are not" if options.get("collation") else "")
    if odd:
        raise Refused(f"collection {name} is there already and {odd}", hint=f"drop {name}, and the fork makes it")


def _uuid(actual: Mapping[str, Any]) -> bytes:
    uuid = actual["info"]["uuid"]
    return uuid.bytes if isinstance(uuid, UUID) else bytes(uuid)


def _is_made(memory: MongoMemory, name: str, actual: Mapping[str, Any]) -> bool:
    known = memory.made().get(name)
    return known is not None and known[1] in (b"", _uuid(actual))


def make(connected: Connected, memory: MongoMemory, plans: Iterable[TablePlan]) -> None:
    """Make collections; done again, nothing changes."""
    for plan in plans:
        name = name_of(plan.model.table)
        if plan.adopted:
            continue
        actual = described(connected, name)
        if actual is None:
            memory.add_made(name, plan.model.entity, b"")
            with connected.translated():
                connected.db.create_collection(name)
            failpoint("after_target_table")
            actual = described(connected, name)
            assert actual is not None
        memory.add_made(name, plan.model.entity, _uuid(actual))


def plan_evolution(connected: Connected, old: EntityModel, new: EntityModel) -> Evolution:
    """See what a further shape needs.

    Raises:
        Refused: A column got another type, whose values stay what they are in the fork; or the collection got another name, and there
            is one of that name.
    """
    _check_names(connected, new)
    before, now = name_of(old.table), name_of(new.table)
    if before != now and described(connected, now) and described(connected, before):
        raise Refused(
            f"{new.entity} moves from {before} to {now} upstream, and the fork has a collection of that name",
            hint=f"rename the fork's {now}, then run the same command again",
        )
    for column in new.columns:
        known = old.by_field.get(column.field)
        if known is not None and known.type != column.type and not _is_wider(known.type, column.type):
            raise Refused(
                f"{new.entity}.{column.field} becomes {column.type} upstream, and is {known.type} in the fork",
                hint="commitlog fork drop, and fork anew",
            )
    forms = Documents.of(new, now).forms
    added = {f: TypeChoice(forms[f].shown, note=forms[f].note) for f in forms if f not in old.by_field}
    return Evolution(old, new, added, {}, (), ())


def _is_wider(was: str, now: str) -> bool:
    return any(was in order and now in order and order.index(was) <= order.index(now) for order in _WIDER)


def evolve(connected: Connected, memory: MongoMemory, evolution: Evolution) -> None:
    """Change a collection for a further shape; done again, nothing changes."""
    before, now = name_of(evolution.old.table), name_of(evolution.model.table)
    actual = described(connected, before)
    if before != now and actual is not None:
        if _is_made(memory, before, actual):
            memory.add_made(now, evolution.model.entity, _uuid(actual))
        with connected.translated():
            connected.db[before].rename(now)
        failpoint("after_target_rename")
    if before != now:
        memory.forget_made(before)
    if evolution.model.engine == "postgresql":
        _rename_labels(connected, evolution, now)


def _rename_labels(connected: Connected, evolution: Evolution, name: str) -> None:
    """What PostgreSQL does to all rows when it renames a label."""
    documents = Documents.of(evolution.model, name)
    for column in evolution.model.columns:
        was = evolution.old.by_field.get(column.field)
        if was is None or (was.type, column.type) != ("enum", "enum") or column.field in evolution.model.key:
            continue
        (key,) = documents.forms[column.field].keys
        for before, after in renamed_labels(was.labels, column.labels).items():
            field: Any = {"$getField": {"$literal": key}}
            same = {"$expr": {"$eq": [field, {"$literal": before}]}}
            put = {"$setField": {"field": {"$literal": key}, "input": "$$ROOT", "value": {"$literal": after}}}
            with connected.translated():
                connected.db[name].update_many(same, [{"$replaceWith": put}])


def load(connected: Connected, memory: MongoMemory, models: Mapping[str, EntityModel]) -> dict[str, Documents]:
    """The collections as they are now in the target.

    Raises:
        Refused: A collection is not there any more.
    """
    found: dict[str, Documents] = {}
    for entity, model in models.items():
        name = name_of(model.table)
        if described(connected, name) is None and not _renamed(connected, memory, entity, name):
            raise Refused(f"the fork's collection {name} is gone", hint=PUT_BACK)
        found[entity] = Documents.of(model, name)
    return found


def _renamed(connected: Connected, memory: MongoMemory, entity: str, name: str) -> bool:
    """Give a collection its name back that was renamed for a shape whose record was not applied, until that is."""
    known = {other: uuid for other, (of, uuid) in memory.made().items() if of == entity and other != name}
    for other, uuid in known.items():
        actual = described(connected, other)
        if actual is not None and _uuid(actual) == uuid:
            with connected.translated():
                connected.db[other].rename(name)
            memory.add_made(name, entity, uuid)
            return True
    return False


def drop(connected: Connected, memory: MongoMemory) -> None:
    """Drop what the fork made, one collection after the other: begun and not ended, it is ended by the same command."""
    for name in memory.made():
        actual = described(connected, name)
        if actual is not None and _is_made(memory, name, actual):
            with connected.translated():
                connected.db.drop_collection(name)
        memory.forget_made(name)
        failpoint("after_target_drop")


def notes(plans: Iterable[TablePlan]) -> list[str]:
    """What the owner should know of all collections together."""
    found = list(plans)
    lines: list[str] = []
    if any(len(plan.model.key) > 1 for plan in found):
        lines.append("a key of several columns becomes the embedded document _id, in the key's order")
    if any(plan.model.engine != "mongodb" for plan in found):
        lines.append(
            "a key of one column becomes _id, and every other column the key of its name at the top of the document"
        )
    odd = sorted({c.field for plan in found for c in plan.model.columns if "." in c.field or c.field.startswith("$")})
    if odd and any(plan.model.engine != "mongodb" for plan in found):
        lines.append(f"keys with $ or dots, such as {odd[0]!r}, are read by $getField")
    if any(plan.model.documents and _ordered_here(plan.model) for plan in found):
        lines.append(
            'documents are put together of their fields, in the app schema\'s order; with path: "$" they are exact copies'
        )
    if any(choice.note for plan in found for choice in plan.types.values()):
        lines.append("a row with a value that has no place becomes a conflict, and the fork goes on")
    lines.append(
        "a commit is one transaction; one that writes more than 32 MB, or takes more than 20 s, is several: not atomic here, and"
        " `part` in _commitlog.applied says while it is under way"
    )
    return lines


def _ordered_here(model: EntityModel) -> bool:
    """Whether no field is the whole document."""
    assert model.documents is not None
    return all(field.keys for field in model.documents.fields.values())
