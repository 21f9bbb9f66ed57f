"""The compiled reader of documents and the Python it stands in for give the same bytes, and fail alike."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc import native
from commitlog.cdc.tail.items import shape_item
from commitlog.cdc.tail.oplog.collection import CollectionRelation, row_change, untold_change
from commitlog.cdc.tail.oplog.explode import Paths, explode
from commitlog.cdc.tail.oplog.shapes import project
from commitlog.schemas.change import DELETE, INSERT, UPDATE
from commitlog.schemas.errors import CommitLogError
from commitlog.transforms.app_schema import Entity, Field
from fixtures.bson_values import KEYS, ODD, RAW
from fixtures.oplog_entries import after_images

pytestmark = pytest.mark.skipif(not native.COMPILED, reason="no compiled part")

ORDERS = CollectionRelation.of(7, "shop", "orders", bytes(16))


def entity(*fields: Field, additional: str = "drop") -> Entity:
    every = {"_id": Field("_id", "public"), **{each.name: each for each in fields}}
    return Entity("Order", ("shop", "orders"), ("_id",), "", every, additional)


def escaped(key: str) -> str:
    text = key.replace("\\", "\\\\").replace(".", "\\.")
    return f"\\{text}" if text.startswith("$") else text


_PATHS = st.lists(KEYS.filter(bool), min_size=1, max_size=3).map(lambda keys: ".".join(map(escaped, keys)))
_FIELDS = st.builds(
    Field,
    st.sampled_from(["a", "b", "c", "d"]),
    st.sampled_from(["public", "public", "internal"]),
    path=st.one_of(st.just(""), st.just("$"), _PATHS),
    omit=st.lists(_PATHS, max_size=2).map(tuple),
)
_ENTITIES = st.builds(
    lambda fields, additional: entity(*fields, additional=additional),
    st.lists(_FIELDS, max_size=4),
    st.sampled_from(["drop", "public"]),
)
_DOCUMENTS = st.one_of(RAW, ODD)
_CHANGES = st.one_of(
    st.builds(lambda new: row_change(INSERT, ORDERS, None, new), _DOCUMENTS),
    st.builds(lambda old: row_change(DELETE, ORDERS, old, None), _DOCUMENTS),
    st.builds(lambda old, new: row_change(UPDATE, ORDERS, old, new), _DOCUMENTS, _DOCUMENTS),
    st.builds(lambda old: row_change(UPDATE, ORDERS, old, old), _DOCUMENTS),
)


def outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except (CommitLogError, ValueError, KeyError) as exc:
        return type(exc), str(exc)


def both(of: Entity) -> tuple[Callable[[bytes, int], object], Callable[[bytes, int], object]]:
    projection, paths = project(ORDERS, of, published=of.published("own"))
    given: dict[str, Any] = {"row": lambda data: explode(data, paths), "paths": paths.described}
    return shape_item(projection, compiled=True, **given), shape_item(projection, compiled=False, **given)


@given(_ENTITIES, _CHANGES)
def test_documents_become_items_alike(of: Entity, change: bytes) -> None:
    compiled, python = both(of)
    assert outcome(lambda: compiled(change, 3)) == outcome(lambda: python(change, 3))


@given(_ENTITIES, _CHANGES, st.integers(0, 300), st.binary(min_size=1, max_size=4), st.booleans())
def test_damaged_documents_fail_alike(of: Entity, change: bytes, at: int, damage: bytes, cut: bool) -> None:
    compiled, python = both(of)
    at = 30 + at % (len(change) - 30)
    damaged = change[:at] + damage + (b"" if cut else change[at + len(damage) :])
    assert outcome(lambda: compiled(damaged, 0)) == outcome(lambda: python(damaged, 0))


def test_changes_that_hold_nothing_fail_alike() -> None:
    compiled, python = both(entity())
    for op in (INSERT, UPDATE, DELETE):
        change = untold_change(op, ORDERS)
        assert outcome(lambda change=change: compiled(change, 0)) == outcome(lambda change=change: python(change, 0))


def test_plain_documents_are_taken_by_the_compiled_part_itself() -> None:
    def never(data: bytes) -> bytes:
        raise AssertionError(f"fell back for {data!r}")

    of = entity(Field("all", "public", path="$"), additional="public")
    projection, paths = project(ORDERS, of, published=of.published("own"))
    compiled = shape_item(projection, compiled=True, row=never, paths=paths.described)
    scoped = 0
    for _, document in after_images():
        if b"f()\0" in document:  # code with a scope
            scoped += 1
            continue
        assert compiled(row_change(INSERT, ORDERS, None, document), 0)
        assert compiled(row_change(DELETE, ORDERS, document, None), 0)
        assert compiled(row_change(UPDATE, ORDERS, document, document), 0) is None
    assert 0 < scoped < len(after_images()) / 2


@pytest.mark.parametrize(
    "paths", [(), ((1, None),), (((), None), ((), None)), (((b"a",), 5),), (((b"a",), {b"b": 1}),), (((1,), None),)]
)
def test_paths_that_are_none_are_refused(paths: Any) -> None:
    with pytest.raises(TypeError):
        native.Shaper(b"", ((b'"a":', 0, None),), (0,), lambda data, index: None, paths)


def test_paths_of_an_entity_are_resolved_once() -> None:
    of = entity(Field("a", "public", path="x.y", omit=("z",)))
    assert Paths.of(of, of.published("own")).described == (((b"_id",), None), ((b"x", b"y"), {b"z": None}))
