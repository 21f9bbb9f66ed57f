"""A document's row change as the columns that an app schema makes of the document: values at paths, as texts of canonical Extended JSON.

Absent is null, and a null is the text `null`. A path goes through documents only; of a key that stands there twice the first holds, as for the
server. What an app schema omits is left out also within arrays. Compiled in native/shaper.c.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, TypeAlias

from ....schemas.change import INSERT
from ....schemas.errors import DecodeError
from ....transforms.app_schema import ADDITIONAL, Entity
from ..items import DescribedPaths
from ..row_change import MALFORMED
from .document import DOCUMENT, elements
from .extended_json import Omitted, text_of, value_text

_OLD: Final = 0x4F
_NEW: Final = 0x4E
_TEXT: Final = 0x74
_CHANGE_AT: Final = 25
_ROWS_AT: Final = 30

_count = Struct(">H").pack
_length = Struct(">cI").pack
_head = Struct(">HBI").unpack_from
_HEAD_BYTES: Final = 7


Branch: TypeAlias = dict[bytes, tuple[list[int], "Branch"]]
"""Key to the columns that the value there makes, and to what is looked for below it."""


@dataclass(frozen=True, slots=True)
class PathColumn:
    """A column: the value at these keys, of the document itself where there are none, without what is omitted below it."""

    name: str
    keys: tuple[bytes, ...]
    omitted: Omitted | None


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """The columns that documents of a collection become, in the order of the shape's. Resolved once per app schema."""

    columns: tuple[PathColumn, ...]
    branch: Branch = field(init=False, repr=False)
    whole: tuple[int, ...] = field(init=False)
    """The places of the columns that are the document itself."""

    def __post_init__(self) -> None:
        branch: Branch = {}
        for place, column in enumerate(self.columns):
            at, places = branch, [0]
            for key in column.keys:
                places, at = at.setdefault(key, ([], {}))
            places.append(place)
        object.__setattr__(self, "branch", branch)
        object.__setattr__(self, "whole", tuple(n for n, column in enumerate(self.columns) if not column.keys))

    @property
    def described(self) -> DescribedPaths:
        """The columns as the compiled form takes them."""
        return tuple((column.keys, column.omitted) for column in self.columns)

    @staticmethod
    def of(entity: Entity, published: Mapping[str, str]) -> "Paths":
        """Of an entity.

        Args:
            entity: Whose.
            published: The fields that the log's visibility records, in the order of columns.
        """
        columns: list[PathColumn] = []
        for name in published:
            told = entity.fields.get(name)
            if told is None:
                if name != ADDITIONAL:
                    raise ValueError(f"{entity.name} has no field {name}")
                columns.append(PathColumn(name, (), dict.fromkeys(_declared(entity))))
                continue
            omitted = _omitted([tuple(map(str.encode, keys)) for keys in told.omitted])
            columns.append(PathColumn(name, tuple(map(str.encode, told.keys)), omitted or None))
        return Paths(tuple(columns))


def _declared(entity: Entity) -> list[bytes]:
    """The keys at the top of documents with which the path of any field begins, also of one that is not recorded."""
    return [key.encode() for key in dict.fromkeys(told.keys[0] for told in entity.fields.values() if told.keys)]


def _omitted(paths: list[tuple[bytes, ...]]) -> dict[bytes, Omitted | None]:
    below: dict[bytes, list[tuple[bytes, ...]]] = {}
    for keys in paths:
        below.setdefault(keys[0], []).append(keys[1:])
    return {key: None if () in rest else _omitted(rest) for key, rest in below.items()}


def explode_document(document: bytes, paths: Paths) -> list[bytes | None]:
    """The values of a document's columns; None for what is absent.

    Raises:
        DecodeError: The document is malformed.
    """
    values: list[bytes | None] = [None] * len(paths.columns)
    for place in paths.whole:
        values[place] = text_of(document, paths.columns[place].omitted)
    _gather(document, 0, len(document), paths.branch, paths, values)
    return values


def _gather(data: bytes, at: int, end: int, branch: Branch, paths: Paths, values: list[bytes | None]) -> None:
    missing = set(branch)
    for kind, name, begin, behind in elements(data, at, end):
        if name not in missing:
            continue
        missing.discard(name)
        places, below = branch[name]
        for place in places:
            values[place] = value_text(kind, data, begin, behind, paths.columns[place].omitted)
        if below and kind == DOCUMENT:
            _gather(data, begin, behind, below, paths, values)


def explode(data: bytes, paths: Paths) -> bytes:
    """The change of a document as a change of a row of these columns.

    Args:
        data: As collection.py writes it.
        paths: The columns.

    Raises:
        DecodeError: It is malformed, or its document is.
    """
    try:
        at, parts = _ROWS_AT, [data[:_ROWS_AT]]
        for mark in (_NEW,) if data[_CHANGE_AT] == INSERT else (_OLD, _NEW):
            if at == len(data) and mark == _NEW and len(parts) > 1:
                break
            width, kind, size = _head(data, at + 1)
            begin = at + 1 + _HEAD_BYTES
            if data[at] != mark or width != 1 or kind != _TEXT:
                raise DecodeError("a document's change that holds something else")
            parts += (data[at : at + 1], _row(explode_document(data[begin : begin + size], paths)))
            at = begin + size
    except MALFORMED as exc:
        raise DecodeError(f"malformed change of a document: {exc}") from exc
    if at != len(data):
        raise DecodeError("a document's change of another length than it says")
    return b"".join(parts)


def _row(values: list[bytes | None]) -> bytes:
    parts = [_count(len(values))]
    for value in values:
        parts += (b"n",) if value is None else (_length(b"t", len(value)), value)
    return b"".join(parts)
