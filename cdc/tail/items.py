"""From a row change's bytes to the bytes of its item in a commit: compiled where that is plain, Python's own elsewhere."""

from collections.abc import Callable
from typing import Any, Final

import orjson

from ...schemas.change import INSERT
from ...schemas.errors import DecodeError
from ...transforms.project import Projection
from .. import native
from . import pgtypes
from .enums import Labels
from .row_change import parse_change, read_insert

ShapeItem = Callable[[bytes, int], bytes | None]
"""XLogData of a row change and the index of its shape, to the item; None where nothing that is published changed."""

_KINDS: Final[dict[Callable[[bytes], object], int]] = {
    pgtypes.text: 0,
    pgtypes.number: 1,
    pgtypes.boolean: 2,
    pgtypes.timestamp: 3,
    pgtypes.instant: 4,
    pgtypes.octets: 5,
}
"""Converter to its number in native/text.h."""


DescribedPaths = tuple[tuple[tuple[bytes, ...], Any], ...]
"""For each column the keys that lead to its value in a document, and what is left out of it."""


def shape_item(
    plan: Projection,
    *,
    compiled: bool = native.COMPILED,
    row: Callable[[bytes], bytes] | None = None,
    paths: DescribedPaths | None = None,
) -> ShapeItem:
    """How changes of one table become items.

    The compiled form hands over to Python's whatever is not plain, so both raise what `Projection.item` raises.

    Args:
        plan: The table's projection.
        compiled: Use the compiled form, where every published column is of a kind that it knows.
        row: Makes a row's change of a document's, where changes are of documents (oplog/explode.py).
        paths: By what the compiled form does the same.
    """

    def python(data: bytes, shape_index: int) -> bytes | None:
        if row is not None:
            data = row(data)
        if data[25] == INSERT:
            try:
                new = read_insert(data, plan.readers)
            except DecodeError as exc:
                raise DecodeError(f"entity {plan.entity}: {exc}", hint=exc.hint) from exc
            return plan.insert(new, shape_index)
        return plan.item(parse_change(data), shape_index)

    columns = [_column(field, convert) for field, convert in plan.readers]
    if not compiled or None in columns:
        return python
    places = {field: index for index, (field, _) in enumerate(plan.readers)}
    return native.Shaper(
        b',"entity":' + orjson.dumps(plan.entity) + b',"shape":',
        tuple(filter(None, columns)),
        tuple(places[field] for field in plan.shape.key),
        python,
        paths,
    )


def _column(
    field: str | None, convert: Callable[[bytes], object]
) -> tuple[bytes | None, int, dict[bytes, str] | None] | None:
    """A column as the compiled form wants it; None where it does not know the kind."""
    if field is None:
        return None, 0, None
    label = orjson.dumps(field) + b":"
    labels = getattr(convert, "__self__", None)
    if isinstance(labels, Labels):
        return label, _KINDS[pgtypes.text], labels
    kind = _KINDS.get(convert)
    return None if kind is None else (label, kind, None)
