"""What an update's oplog entry makes of a document: its after-image, byte for byte, from the whole document that stood there before.

A delta (`$v: 2`) names the fields that went (`d`), that got another value (`u`), that were put at the end (`i`), and for each document or array
in which something changed a delta of its own (`sNAME`; of an array, which says `a: true`, its new length `l`, and by place `uN` and `sN`). Modifiers
(`$v: 1`, of servers before 5.0) are `$set` and `$unset` by path. Anything else is a whole new document. A delta that does not fit what stood
there is refused: then it is not the image of this update.

A document keeps its `_id`, and has it first, even where an update says that it went, or came to the end: such are those by pipelines that
make a new document.

Source: MongoDB, src/mongo/db/update/document_diff_serialization.h, document_diff_applier.cpp, update_oplog_entry_serialization.h,
object_replace_executor.cpp.
"""

from collections.abc import Iterable
from typing import Final

from ....schemas.errors import DecodeError
from .document import ARRAY, BOOL, DOCUMENT, NULL, Value, array, document, element, elements, whole_number

_GROWTH_MAX: Final = 1_500_000
"""Places that an array can grow by at once; the server's own limit."""

_NULL: Final[Value] = (NULL, b"")

_KEY: Final = b"_id"
_KEY_FIRST: Final = _KEY + b"\0"
_NAME_AT: Final = 5
"""Where the name of a document's first field begins."""

Field = tuple[int, bytes, bytes]
"""Type, name and value."""


def apply_update(before: bytes, update: bytes) -> bytes:
    """The document after an update.

    Args:
        before: The whole document before it.
        update: The `o` of the update's oplog entry.

    Raises:
        DecodeError: One of them is malformed, they do not belong together, or the update is of a form that is not known here.
    """
    after = _updated(before, update)
    return after if after.startswith(_KEY_FIRST, _NAME_AT) else _keyed(before, after)


def _keyed(before: bytes, after: bytes) -> bytes:
    """A document with its `_id` where the server has it; as it is where there is none."""
    fields = _fields(after)
    keys = [field for field in (*fields, *_fields(before)) if field[1] == _KEY]
    return _joined([*keys[:1], *(field for field in fields if field[1] != _KEY)]) if keys else after


def _updated(before: bytes, update: bytes) -> bytes:
    given = _fields(update)
    if not given or not given[0][1].startswith(b"$"):
        return update
    version = 1
    if given[0][1] == b"$v":
        version, given = whole_number((given[0][0], given[0][2])) or 0, given[1:]
    if version == 1:
        return _modified(before, given)
    if version != 2 or [(kind, name) for kind, name, _ in given] != [(DOCUMENT, b"diff")]:
        raise DecodeError(f"an update of version {version} and a form that is not known here")
    return _patched(before, given[0][2])


def _fields(data: bytes) -> list[Field]:
    return [(kind, name, data[at:end]) for kind, name, at, end in elements(data)]


def _joined(fields: Iterable[Field]) -> bytes:
    return document(element(kind, name, value) for kind, name, value in fields)


class _Delta:
    """A document's delta, read once."""

    def __init__(self, delta: bytes) -> None:
        self.gone: set[bytes] = set()
        self.updated: dict[bytes, Field] = {}
        self.inserted: dict[bytes, Field] = {}
        self.nested: dict[bytes, bytes] = {}
        for kind, section, value in _fields(delta):
            if kind != DOCUMENT:
                raise DecodeError(f"a delta whose section {section!r} is no document")
            if section == b"d":
                self.gone.update(name for _, name, _ in _fields(value))
            elif section == b"u":
                self.updated.update((field[1], field) for field in _fields(value))
            elif section == b"i":
                self.inserted.update((field[1], field) for field in _fields(value))
            elif section.startswith(b"s"):
                self.nested[section[1:]] = value
            else:
                raise DecodeError(f"a delta with a section {section!r}, which is not known here")

    @property
    def names(self) -> set[bytes]:
        """The fields that it says something of."""
        return self.gone | self.updated.keys() | self.inserted.keys() | self.nested.keys()


def _patched(before: bytes, delta: bytes) -> bytes:
    told = _Delta(delta)
    awaited = told.gone | told.nested.keys()
    met: set[bytes] = set()
    after: list[Field] = []
    for field in _fields(before):
        kind, name, value = field
        if name in met and name in told.names:
            raise _ambiguous()
        met.add(name)
        if name in told.updated:
            after.append(told.updated[name])
        elif name in told.nested:
            after.append((kind, name, _nested((kind, value), told.nested[name])))
        elif name not in told.gone and name not in told.inserted:
            after.append(field)
    if not awaited <= met:
        raise _unfit()
    # In this order the server puts behind the rest what was not there.
    after.extend(field for name, field in told.updated.items() if name not in met)
    after.extend(told.inserted.values())
    return _joined(after)


def _nested(before: Value, delta: bytes) -> bytes:
    kind, value = before
    if kind != (ARRAY if _is_of_array(delta) else DOCUMENT):
        raise _unfit()
    return _patched_array(value, delta) if kind == ARRAY else _patched(value, delta)


def _is_of_array(delta: bytes) -> bool:
    return next(((kind, name, delta[at:end]) for kind, name, at, end in elements(delta)), None) == (BOOL, b"a", b"\1")


def _patched_array(before: bytes, delta: bytes) -> bytes:
    after: list[Value] = [(kind, value) for kind, _, value in _fields(before)]
    length: int | None = None
    for kind, name, value in _fields(delta)[1:]:
        if name == b"l":
            length = whole_number((kind, value))
            if length is None:
                raise DecodeError("an array's delta whose length is no number")
            _resize(after, length)
            continue
        place = _place(name[1:])
        if name[:1] == b"u":
            _resize(after, max(len(after), place + 1))
            after[place] = kind, value
        elif name[:1] == b"s" and kind == DOCUMENT and place < len(after):
            after[place] = after[place][0], _nested(after[place], value)
        else:
            raise _unfit()
    if length is not None and len(after) != length:
        raise _unfit()
    return array(after)


def _place(name: bytes) -> int:
    if not name.isdigit() or len(name) > 9:
        raise DecodeError(f"an array's delta with a section {name!r}, which is not known here")
    return int(name)


def _resize(values: list[Value], length: int) -> None:
    if length < 0 or length > len(values) + _GROWTH_MAX:
        raise _unfit()
    del values[length:]
    values.extend([_NULL] * (length - len(values)))


def _ambiguous() -> DecodeError:
    return DecodeError(
        "an update of a document with two fields of one name, which does not say which of them it changes",
        hint="write the document anew with each name once, then commitlog resume --accept-gap",
    )


def _unfit() -> DecodeError:
    return DecodeError("an update that does not fit the document that it is said to change")


def _modified(before: bytes, modifiers: list[Field]) -> bytes:
    after: Value = (DOCUMENT, before)
    for kind, modifier, value in modifiers:
        if kind != DOCUMENT or modifier not in (b"$set", b"$unset"):
            raise DecodeError(f"an update with {modifier!r}, which is not known here")
        for each, path, new in _fields(value):
            after = _with(after, path.split(b"."), (each, new) if modifier == b"$set" else None)
    return after[1]


def _with(at: Value, path: list[bytes], new: Value | None) -> Value:
    """A document or array with another value at a path; None takes away what is there."""
    kind, data = at
    name, rest = path[0], path[1:]
    fields = _fields(data) if kind in (DOCUMENT, ARRAY) else []
    if kind == ARRAY:
        values: list[Value] = [(each, value) for each, _, value in fields]
        place = _place(name)
        if new is None and place >= len(values):
            return at
        _resize(values, max(len(values), place + 1))
        values[place] = _with(values[place], rest, new) if rest else new or _NULL
        return kind, array(values)
    if kind != DOCUMENT:
        if new is None:
            return at
        raise _unfit()
    there = next((place for place, field in enumerate(fields) if field[1] == name), len(fields))
    if new is None and there == len(fields):
        return at
    old: Value = (DOCUMENT, document(())) if there == len(fields) else (fields[there][0], fields[there][2])
    value = _with(old, rest, new) if rest else new
    fields[there : there + 1] = [] if value is None else [(value[0], name, value[1])]
    return kind, _joined(fields)
