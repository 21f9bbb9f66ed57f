"""Places in documents: what stands there, and the same document with something else there. No I/O.

Documents are their bytes, taken apart no further than a path goes. What is not touched stays what it was to the bit: types that Python
does not have, the order of keys, names with `$` and dots.
"""

from collections.abc import Mapping
from typing import Final

from ....schemas.errors import DecodeError
from ....transforms.document_path import Keys
from ...tail.oplog.document import DOCUMENT, Value, element, items
from ...tail.oplog.document import document as joined

EMPTY: Final = b"\x05\x00\x00\x00\x00"
"""A document without keys."""


def document(fields: Mapping[bytes, Value]) -> bytes:
    """The document of some keys and values, in their order."""
    return joined(element(kind, name, data) for name, (kind, data) in fields.items())


def name_of(key: str) -> bytes:
    """A key as documents hold it.

    Raises:
        DecodeError: It holds a NUL.
    """
    if "\0" in key:
        raise DecodeError(f"{key!r} cannot be a key")
    return key.encode(errors="surrogateescape")


def at_path(whole: bytes, keys: Keys) -> Value | None:
    """What stands at a path; None where nothing does, or an array is on the way."""
    found: Value | None = (DOCUMENT, whole)
    for key in keys:
        if found is None or found[0] != DOCUMENT:
            return None
        found = items(found[1]).get(name_of(key))
    return found


def with_path(whole: bytes, keys: Keys, value: Value | None) -> bytes:
    """The document with another value at a path, or without any; documents on the way are made where there are none.

    Raises:
        DecodeError: Something on the way is no document.
    """
    fields = items(whole)
    name, rest = name_of(keys[0]), keys[1:]
    if rest:
        inner = fields.get(name)
        if inner is None and value is None:
            return whole
        if inner is not None and inner[0] != DOCUMENT:
            raise DecodeError(f"{keys[0]!r} is no document here")
        value = (DOCUMENT, with_path(inner[1] if inner else EMPTY, rest, value))
    if value is None:
        fields.pop(name, None)
    else:
        fields[name] = value
    return document(fields)
