"""Keys of rows, as commands take and print them (`Order/17`, `Line/17,1`, `Line/{"order":17,"no":1}`) and as an index keeps them.

An index keeps a key's values without their fields, so that a field may get another name. Nothing is looked up here.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import orjson

from ...schemas.errors import UsageError
from ...schemas.record import is_object
from ...schemas.shape import Shape

NO_KEY = ""
"""Stands for the table as a whole; no key is encoded so."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_FIELD = re.compile(r'\{\s*"[^"]*"\s*:')
_OBJECT_ID = re.compile(r"[0-9a-f]{24}")
_BOOLS = {"true": True, "false": False, "t": True, "f": False}


def encode(values: Iterable[Any]) -> str:
    """The text under which an index keeps a key: its values, in the order of the key's fields."""
    return orjson.dumps(list(values)).decode()


def format_key(key: Mapping[str, Any], types: Mapping[str, str] | None = None) -> str:
    """A record's key as commands print it, and take it again.

    Args:
        key: Field to value, as in a change.
        types: Field to canonical type, where it is known.
    """
    if len(key) == 1 and types:
        ((field, value),) = key.items()
        if types.get(field) == "bson":
            return _plain_bson(value, field)
    texts = [value if isinstance(value, str) else json.dumps(value) for value in key.values()]
    if any(_needs_json(text, alone=len(texts) == 1) for text in texts):
        return json.dumps(key, ensure_ascii=not all(map(str.isprintable, texts)), separators=(",", ":"))
    return ",".join(texts)


def _needs_json(text: str, *, alone: bool) -> bool:
    return not text or text[0] == "{" or not text.isprintable() or (not alone and "," in text)


def parse_keys(text: str, shape: Shape) -> list[str]:
    """The keys that a text may mean: several of the key of a document, which is a value of any type.

    Returns:
        Each as `encode` writes it.

    Raises:
        UsageError: It is not a key of this shape.
    """
    if [column.type for column in shape.columns if column.field in shape.key] != ["bson"]:
        return [parse_key(text, shape)]
    return [encode([reading]) for reading in _bson_readings(text, shape.key[0])]


def parse_key(text: str, shape: Shape) -> str:
    """Read a key as commands take it, by the types that a shape gives its fields.

    Returns:
        The key as `encode` writes it.

    Raises:
        UsageError: It is not a key of this shape.
    """
    types = {column.field: column.type for column in shape.columns}
    given = _json_values(text, shape) if _is_json(text, shape) else _plain_values(text, shape)
    return encode(_value(given[field], types.get(field, "text"), field, shape) for field in shape.key)


def _bson_readings(text: str, field: str) -> Iterator[str]:
    """What a text may stand for, as exact Extended JSON."""
    if _INTEGER.fullmatch(text):
        number = int(text)
        yield from (f'{{"${kind}":"{number}"}}' for kind in ("numberInt", "numberLong"))
    if _OBJECT_ID.fullmatch(text.lower()):
        yield f'{{"$oid":"{text.lower()}"}}'
    with suppress(ValueError):
        document: Any = json.loads(text)
        named = is_object(document) and document.keys() == {field} and isinstance(document[field], str)
        yield document[field] if named else text
    yield json.dumps(text, ensure_ascii=False)


def _plain_bson(value: str, field: str) -> str:
    """The shortest text that is read as this value."""
    document: Any = json.loads(value)
    plain = document
    if is_object(document) and document.keys() <= {"$numberInt", "$oid"}:
        plain = "".join(document.values())
    if not isinstance(plain, str) or not plain or not plain.isprintable():
        return value
    return plain if next(_bson_readings(plain, field)) == value else value


def _is_json(text: str, shape: Shape) -> bool:
    """Whether a key is given by its fields. One that has a single field may be an array, `{1,2}`."""
    if not text.startswith("{") or len(shape.key) > 1:
        return text.startswith("{")
    try:
        return is_object(json.loads(text))
    except ValueError:
        return _FIELD.match(text) is not None


def _plain_values(text: str, shape: Shape) -> dict[str, Any]:
    values = [text] if len(shape.key) == 1 else text.split(",")
    if len(values) != len(shape.key):
        raise UsageError(
            f"{shape.entity}/{text} is not a key: {shape.entity} has the key {', '.join(shape.key)}",
            hint=f"write {_example(shape)}",
        )
    return dict(zip(shape.key, values, strict=True))


def _json_values(text: str, shape: Shape) -> dict[str, Any]:
    try:
        values: Any = json.loads(text)
    except ValueError as exc:
        raise UsageError(f"{shape.entity}/{text} is not JSON: {exc}", hint=f"write {_example(shape)}") from exc
    if not is_object(values) or values.keys() != set(shape.key):
        raise UsageError(
            f"{shape.entity}/{text} is not a key: {shape.entity} has the key {', '.join(shape.key)}",
            hint=f"write {_example(shape)}",
        )
    return values


def _example(shape: Shape) -> str:
    fields = shape.key
    if len(fields) == 1:
        return f"{shape.entity}/{fields[0].upper()}"
    named = ",".join(f'"{field}":…' for field in fields)
    return f"{shape.entity}/{','.join(map(str.upper, fields))}, or '{shape.entity}/{{{named}}}'"


def _value(given: Any, kind: str, field: str, shape: Shape) -> int | bool | str:
    """A value in the form that records of this type have (README §3)."""
    if not isinstance(given, str | int):
        raise UsageError(f"{json.dumps(given)} is no value of {field}, the key of {shape.entity}")
    text = given if isinstance(given, str) else json.dumps(given)
    if kind in ("int16", "int32", "int64"):
        if not _INTEGER.fullmatch(text):
            raise UsageError(
                f"{text!r} is not a number, as {field} is, the key of {shape.entity}", hint=f"write {_example(shape)}"
            )
        return str(int(text)) if kind == "int64" else int(text)
    if kind == "bool":
        if text.lower() not in _BOOLS:
            raise UsageError(f"{text!r} is neither true nor false, as {field} of {shape.entity} is")
        return _BOOLS[text.lower()]
    return text.lower() if kind == "uuid" else text
