"""From a parsed document, as YAML or JSON gives it, to an app schema. Whatever is wrong is refused with its place."""

import re
from collections.abc import Collection, Mapping
from typing import NoReturn, cast

from .app_schema import (
    ADDITIONAL,
    ADDITIONS,
    CLASSES,
    FORMAT,
    MERGES,
    AppSchema,
    Entity,
    Field,
    MalformedSchema,
    Path,
    nearest,
)
from .document_path import BSON_TYPES, WHOLE, Keys, document_path, is_within, written
from .table_name import table_name

_TOP_KEYS = ("schema", "app", "database", "builds", "default", "strict", "license", "entities")
_ENTITY_KEYS = ("from", "key", "subject", "additional", "fields")
_FIELD_KEYS = ("class", "merge", "path", "bson", "omit")
_ENTITY_NAME = re.compile(r"\w{1,63}")
_APP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LICENSE = re.compile(r"[A-Za-z0-9.+:()-]+( [A-Za-z0-9.+:()-]+)*")


def parse(document: object, *, origin: str = "") -> AppSchema:
    """Read a document.

    Args:
        document: Mappings, lists, text and booleans.
        origin: The file it came from, for messages.

    Raises:
        MalformedSchema: It is not an app schema.
    """
    top = _mapping(document, (), _TOP_KEYS)
    if top.get("schema") != FORMAT:
        raise MalformedSchema(f"schema must be {FORMAT}", ("schema",) if "schema" in top else ())
    entities = {
        name: _entity(name, value, ("entities", name))
        for name, value in _mapping(_need(top, "entities", ()), ("entities",), None).items()
    }
    spdx = _text(top, "license", (), otherwise="")
    if spdx and not _LICENSE.fullmatch(spdx):
        raise MalformedSchema("license must be an SPDX expression", ("license",), hint="such as CC-BY-4.0")
    builds, default = _texts(top, "builds", (), otherwise=()), _flag(top, "default")
    if not builds and not default:
        raise MalformedSchema("it holds for no build and is not the default", hint="name builds:, or say default: true")
    return AppSchema.make(
        app=_named(top, "app"),
        database=_named(top, "database"),
        builds=builds,
        default=default,
        strict=_flag(top, "strict"),
        license=spdx,
        entities=entities,
        origin=origin,
    )


def _entity(name: str, value: object, path: Path) -> Entity:
    if not _ENTITY_NAME.fullmatch(name):
        raise MalformedSchema("an entity's name is 1 to 63 letters, digits and _", path)
    document = _mapping(value, path, _ENTITY_KEYS)
    text = _text(document, "from", path)
    try:
        table = table_name(text)
    except ValueError:
        hint = 'write schema.table, in quotes what is not plain lower case: public."My Table"'
        raise MalformedSchema(f"{text!r} is not a table", (*path, "from"), hint=hint) from None
    fields = {
        field: _field(field, value, (*path, "fields", field))
        for field, value in _mapping(_need(document, "fields", path), (*path, "fields"), None).items()
    }
    key = _texts(document, "key", path)
    if not key or len(set(key)) != len(key):
        raise MalformedSchema("key must name one field or more, each once", (*path, "key"))
    subject = _text(document, "subject", path, otherwise="")
    for at, wanted in [((*path, "key", i), k) for i, k in enumerate(key)] + [((*path, "subject"), subject or key[0])]:
        if wanted not in fields:
            raise MalformedSchema(f"{wanted} is not a field of {name}", at, hint=nearest(wanted, fields))
    additional = _one_of(document, "additional", path, ADDITIONS) or "drop"
    entity = Entity(name, table, key, subject, fields, additional)
    if entity.of_documents:
        _check_documents(entity, path)
    return entity


def _check_documents(entity: Entity, path: Path) -> None:
    """Refuse an entity over documents that would tell one thing twice, or not tell documents apart."""
    if entity.key != ("_id",) or entity.fields["_id"].keys != ("_id",):
        raise MalformedSchema("the key of a collection is _id", (*path, "key"), hint="key: [_id], and no path for _id")
    if entity.additional == "public" and ADDITIONAL in entity.fields:
        message = "additional: public makes a field of this name"
        raise MalformedSchema(
            message, (*path, "fields", ADDITIONAL), hint="call the field otherwise, and give it a path"
        )
    places: dict[Keys, Field] = {}
    for name, field in entity.fields.items():
        here = (*path, "fields", name)
        if not field.path and ("." in name or name.startswith("$")):
            hint = f"say path: '{written((name,))}' for one key"
            raise MalformedSchema(f"whether {name} is a path or one key is not said", here, hint=hint)
        if field.path == WHOLE and field.cls != "internal" and entity.additional == "public":
            raise MalformedSchema("the whole document has what is additional, too", here, hint="leave out additional:")
        other = places.setdefault(field.keys, field)
        if other is not field:
            raise MalformedSchema(f"it is at the same path as {other.name}", here, hint="leave one of the two out")
    for name, field in entity.fields.items():
        _check_apart(field, places, (*path, "fields", name))


def _check_apart(field: Field, places: Mapping[Keys, Field], here: Path) -> None:
    """Refuse a field that stands within another one's value, which would tell it again under its own class."""
    keys = field.keys
    for end in range(len(keys)):
        outer, inside = places.get(keys[:end]), keys[end:]
        # The whole document may stand beside the key, which has to be a field.
        if outer is None or outer.cls == "internal" or (end == 0 and field.name == "_id"):
            continue
        if not any(is_within(inside, left_out) for left_out in outer.omitted):
            hint = f"give {outer.name} omit: ['{written(inside)}'], or leave one of the two out"
            raise MalformedSchema(f"it is within {outer.name}, whose value has it, too", here, hint=hint)


def _field(name: str, value: object, path: Path) -> Field:
    if not name or "\0" in name:
        raise MalformedSchema("a field has the name of its column", path)
    document = _mapping(value, path, _FIELD_KEYS)
    _need(document, "class", path)
    at, omit = _text(document, "path", path, otherwise=""), _texts(document, "omit", path, otherwise=())
    if "path" in document:
        _check_path(at, (*path, "path"))
    for index, left_out in enumerate(omit):
        _check_path(left_out, (*path, "omit", index))
        if left_out == WHOLE or left_out in omit[:index]:
            raise MalformedSchema("omit names what is left out of the value, each path once", (*path, "omit", index))
    return Field(
        name,
        _one_of(document, "class", path, CLASSES),
        merge=_one_of(document, "merge", path, MERGES),
        path=at,
        bson=_one_of(document, "bson", path, BSON_TYPES),
        omit=omit,
    )


def _check_path(text: str, path: Path) -> None:
    try:
        document_path(text)
    except ValueError as exc:
        hint = r"write customer.name, a\.b for the one key a.b, or $ for the whole document"
        raise MalformedSchema(f"{text!r} is no path into a document: {exc}", path, hint=hint) from None


def _one_of(document: Mapping[str, object], key: str, path: Path, known: Collection[str]) -> str:
    """One word of some; empty where the document does not have the key."""
    word = _text(document, key, path, otherwise="")
    if key in document and word not in known:
        hint = nearest(word, known)
        raise MalformedSchema(f"{key} must be one of {', '.join(known)}", (*path, key), hint=hint)
    return word


def _mapping(value: object, path: Path, known: Collection[str] | None) -> dict[str, object]:
    if not isinstance(value, dict):
        _refuse("a mapping", path)
    document = cast(dict[object, object], value)
    for key in document:
        if not isinstance(key, str):
            raise MalformedSchema(f"the key {key!r} must be text", path, hint="write it in quotes")
        if known is not None and key not in known:
            near = nearest(key, known) or f"known are {', '.join(known)}"
            raise MalformedSchema(f"there is no key {key}", (*path, key), hint=near)
    return cast(dict[str, object], document)


def _need(document: Mapping[str, object], key: str, path: Path) -> object:
    if key not in document:
        raise MalformedSchema(f"{key} is missing", path)
    return document[key]


def _text(document: Mapping[str, object], key: str, path: Path, *, otherwise: str | None = None) -> str:
    value = _need(document, key, path) if otherwise is None else document.get(key, otherwise)
    return value if isinstance(value, str) else _refuse("text", (*path, key))


def _texts(
    document: Mapping[str, object], key: str, path: Path, *, otherwise: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    value = _need(document, key, path) if otherwise is None else document.get(key, otherwise)
    if not isinstance(value, list | tuple):
        _refuse("a list", (*path, key))
    texts: list[str] = []
    for index, item in enumerate(cast(list[object], value)):
        texts.append(item if isinstance(item, str) and item else _refuse("text", (*path, key, index)))
    return tuple(texts)


def _flag(document: Mapping[str, object], key: str) -> bool:
    value = document.get(key, False)
    return value if isinstance(value, bool) else _refuse("true or false", (key,))


def _named(document: Mapping[str, object], key: str) -> str:
    name = _text(document, key, ())
    if not _APP_NAME.fullmatch(name):
        raise MalformedSchema(f"{key} must be 1 to 63 letters, digits, '.', '_' and '-'", (key,))
    return name


def _refuse(wanted: str, path: Path) -> NoReturn:
    hint = "write it in quotes" if wanted == "text" else ""
    raise MalformedSchema(f"this must be {wanted}", path, hint=hint)
