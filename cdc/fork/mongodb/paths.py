"""Places in documents: what stands there, and the same document with something else there. No I/O.

Documents are their bytes, taken apart no further than a path goes. What is not touched stays what it was to the bit: types that Python
does not have, the order of keys, names with `$` and dots.
"""

from collections.abc import Mapping

from ....schemas.errors import DecodeError
from ....transforms.document_path import Keys
from ...tail.oplog.document import DOCUMENT, Value, element, items
from ...tail.oplog.document import document as joined

Fields = dict[bytes, Value]
"""The keys at the top of a document, in order."""


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


def at_path(fields: Fields, keys: Keys) -> Value | None:
    """What stands at a path; None where nothing does, or an array is on the way."""
    found = fields.get(name_of(keys[0]))
    for key in keys[1:]:
        if found is None or found[0] != DOCUMENT:
            return None
        found = items(found[1]).get(name_of(key))
    return found


def put(fields: Fields, keys: Keys, value: Value | None) -> None:
    """Write another value at a path, or take away what is there; documents on the way are made where there are none.

    Raises:
        DecodeError: Something on the way is no document.
    """
    name, rest = name_of(keys[0]), keys[1:]
    if rest:
        around = fields.get(name)
        if around is None and value is None:
            return
        if around is not None and around[0] != DOCUMENT:
            raise DecodeError(f"{keys[0]!r} is no document here")
        inner = items(around[1]) if around else {}
        put(inner, rest, value)
        value = (DOCUMENT, document(inner))
    if value is None:
        fields.pop(name, None)
    else:
        fields[name] = value
