"""Projection: which change a row becomes, with what in it, in the one form and order of the record."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.log import canonical
from commitlog.cdc.tail.pgtypes import converter
from commitlog.schemas.change import DELETE, INSERT, UNSENT, UPDATE, RawChange, RawRow
from commitlog.schemas.errors import DecodeError, Refused
from commitlog.schemas.record import parse_json
from commitlog.schemas.shape import Column, Shape
from commitlog.transforms.project import Projection, PublishedColumn, truncate_item

KEYS = ["op", "entity", "entities", "shape", "key", "newkey", "image", "before", "after", "unsent"]
"""The keys of a change in the order of the specification; a truncate's flags stand behind."""

TYPES = [
    ("secret", "text"),
    ("line", "int32"),
    ("name", "text"),
    ("order", "int64"),
    ("paid", "bool"),
    ("note", "text"),
]


def projection(*unpublished: str, key: tuple[str, ...] = ("order", "line")) -> Projection:
    """Of a table of six columns, whose key's order is not that of its columns."""
    places = [
        PublishedColumn(index, name, converter(kind))
        for index, (name, kind) in enumerate(TYPES)
        if name not in unpublished
    ]
    columns = tuple(Column(name, kind, kind) for name, kind in TYPES if name not in unpublished)
    return Projection(Shape.make("line", "public.line", key=key, columns=columns), places, width=len(TYPES))


PLAN = projection("secret")


def raw(**changed: object) -> RawRow:
    row: dict[str, Any] = {"secret": b"s", "line": b"1", "name": b"n", "order": b"7", "paid": b"t", "note": None}
    return list({**row, **changed}.values())


def read(data: bytes | None) -> dict[str, Any] | None:
    """The item, held to the one form and to the order of the specification."""
    if data is None:
        return None
    item = parse_json(data)
    assert canonical.parse(data) == item
    known = [key for key in KEYS if key in item]
    assert list(item)[: len(known)] == known
    assert set(item) - set(known) <= {"cascade", "restart_identity"}
    return dict(item)


def change(change: RawChange, plan: Projection = PLAN) -> dict[str, Any] | None:
    return read(plan.item(change, 3))


HEAD = {"entity": "line", "shape": 3, "key": {"order": "7", "line": 1}}
WHOLE = {"line": 1, "name": "n", "order": "7", "paid": True, "note": None}


def test_an_insert_holds_the_whole_recorded_row() -> None:
    item = change((INSERT, None, False, raw()))
    assert item == {"op": "insert", **HEAD, "after": WHOLE}
    assert item is not None
    assert list(item["key"]) == ["order", "line"]
    assert list(item["after"]) == ["line", "name", "order", "paid", "note"]
    assert read(PLAN.insert(WHOLE, 3)) == item


def test_an_update_holds_what_has_changed() -> None:
    item = change((UPDATE, raw(), False, raw(secret=b"t", name=None, note=b"x")))
    assert item == {
        "op": "update", **HEAD, "image": "full", "before": {"name": "n", "note": None}, "after": {"name": None, "note": "x"},
    }  # fmt: skip


def test_a_value_that_was_not_sent_has_not_changed() -> None:
    item = change((UPDATE, raw(), False, raw(name=UNSENT, paid=b"f")))
    assert item == {"op": "update", **HEAD, "image": "full", "before": {"paid": True}, "after": {"paid": False}}


@pytest.mark.parametrize("new", [raw(), raw(secret=b"other"), raw(secret=UNSENT), raw(name=UNSENT)])
def test_an_update_of_nothing_published_is_no_change(new: RawRow) -> None:
    assert PLAN.item((UPDATE, raw(), False, new), 0) is None


def test_an_update_that_changes_the_key_is_a_rekey() -> None:
    item = change((UPDATE, raw(), False, raw(order=b"8", name=b"m")))
    assert item == {
        "op": "rekey", **HEAD, "newkey": {"order": "8", "line": 1}, "image": "full",
        "before": {"name": "n", "order": "7"}, "after": {"name": "m", "order": "8"},
    }  # fmt: skip


def test_a_rekey_takes_the_part_of_the_key_that_was_not_sent_from_the_old_row() -> None:
    item = change((UPDATE, raw(), False, raw(order=UNSENT, line=b"2")))
    assert item is not None
    assert (item["op"], item["newkey"]) == ("rekey", {"order": "7", "line": 2})


def test_a_rekey_is_whole_while_a_snapshot_is_taken() -> None:
    plan = projection("secret")
    plan.whole_rekeys = True
    item = change((UPDATE, raw(), False, raw(order=b"8", name=UNSENT)), plan)
    after = {**WHOLE, "order": "8"}
    assert item == {"op": "rekey", **HEAD, "newkey": {"order": "8", "line": 1}, "image": "key", "after": after}
    assert change((UPDATE, raw(), False, raw(paid=b"f")), plan) == change((UPDATE, raw(), False, raw(paid=b"f")))


def test_an_update_without_an_old_row_holds_the_whole_new_one() -> None:
    item = change((UPDATE, None, False, raw(name=UNSENT)))
    after = {field: value for field, value in WHOLE.items() if field != "name"}
    assert item == {"op": "update", **HEAD, "image": "key", "after": after, "unsent": ["name"]}


KEY_ONLY = raw(secret=None, name=None, paid=None)


def test_an_old_row_of_its_key_makes_a_rekey() -> None:
    item = change((UPDATE, KEY_ONLY, True, raw(line=b"2")))
    newkey = {"order": "7", "line": 2}
    assert item == {"op": "rekey", **HEAD, "newkey": newkey, "image": "key", "after": {**WHOLE, "line": 2}}


def test_a_wider_replica_identity_makes_no_rekey_of_an_update_that_leaves_the_key() -> None:
    item = change((UPDATE, raw(secret=None, paid=None), True, raw(name=b"m")))
    assert item == {"op": "update", **HEAD, "image": "key", "after": {**WHOLE, "name": "m"}}


def test_a_delete_holds_the_row_as_far_as_it_was_sent() -> None:
    assert change((DELETE, raw(), False, None)) == {"op": "delete", **HEAD, "before": WHOLE}
    unsent = {field: value for field, value in WHOLE.items() if field != "note"}
    assert change((DELETE, raw(note=UNSENT), False, None)) == {
        "op": "delete",
        **HEAD,
        "before": unsent,
        "unsent": ["note"],
    }
    assert change((DELETE, KEY_ONLY, True, None)) == {
        "op": "delete", **HEAD, "before": {"order": "7", "line": 1}, "unsent": ["name", "paid", "note"],
    }  # fmt: skip


def test_an_entity_of_nothing_but_its_key_has_nothing_unsent() -> None:
    plan = projection("secret", "name", "paid", "note")
    assert change((DELETE, KEY_ONLY, True, None), plan) == {"op": "delete", **HEAD, "before": {"order": "7", "line": 1}}


def test_a_row_of_a_snapshot_is_of_the_first_shape() -> None:
    assert read(PLAN.row(raw())) == {"op": "row", **HEAD, "shape": 0, "after": WHOLE}


def test_key_values_come_in_the_order_of_the_key() -> None:
    assert PLAN.key_values([b"1", b"7"]) == ["7", 1]


KEYLESS: list[RawChange] = [
    (INSERT, None, False, raw(line=None)),
    (DELETE, raw(order=UNSENT), False, None),
    (DELETE, raw(order=None), True, None),
    (UPDATE, None, False, raw(line=UNSENT)),
    (UPDATE, raw(), False, raw(line=None)),
]


@pytest.mark.parametrize("keyless", KEYLESS)
def test_a_row_without_its_key_is_refused_with_what_to_do(keyless: RawChange) -> None:
    with pytest.raises(Refused, match=r"public\.line: a row arrived without (line|order)") as refused:
        PLAN.item(keyless, 0)
    assert refused.value.hint.startswith("ALTER TABLE public.line REPLICA IDENTITY FULL")


def test_an_insert_without_its_key_is_refused() -> None:
    with pytest.raises(Refused, match="without line"):
        PLAN.insert({**WHOLE, "line": None}, 0)


WRONG: list[RawChange] = [
    (INSERT, None, False, raw()[:-1]),
    (INSERT, None, False, [*raw(), None]),
    (INSERT, None, False, []),
    (DELETE, raw()[1:], False, None),
    (UPDATE, raw()[1:], False, raw()),
    (UPDATE, raw(), False, raw()[1:]),
    (UPDATE, raw(), True, None),
    (INSERT, None, False, raw(line=b"x")),
    (INSERT, None, False, raw(name=b"\xff")),
    (UPDATE, raw(paid=b"maybe"), False, raw()),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_D1_a_row_that_is_not_of_the_table_is_refused(wrong: RawChange) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind: whoever reads a change names it
        PLAN.item(wrong, 0)


def test_an_old_row_without_what_changed_is_refused_with_what_to_set() -> None:
    with pytest.raises(DecodeError, match="without what name was") as caught:
        PLAN.item((UPDATE, raw(name=UNSENT), False, raw()), 0)

    assert "whole rows" in caught.value.hint


def test_what_is_not_published_is_nowhere() -> None:
    old, new = raw(secret=b"hidden"), raw(secret=b"hidden, too", name=b"m")
    kinds: list[RawChange] = [
        (INSERT, None, False, new), (UPDATE, old, False, new), (UPDATE, None, False, new), (UPDATE, KEY_ONLY, True, new),
        (DELETE, old, False, None),
    ]  # fmt: skip
    for data in [PLAN.row(new), *(PLAN.item(kind, 0) or b"" for kind in kinds)]:
        assert data
        assert b"hidden" not in data
        assert b"secret" not in data


def test_a_truncate_names_its_tables_and_its_flags_where_true() -> None:
    assert read(truncate_item(["a", "b"], cascade=False, restart_identity=False)) == {
        "op": "truncate", "entities": ["a", "b"],
    }  # fmt: skip
    whole = truncate_item(["a"], cascade=True, restart_identity=True)
    assert whole == b'{"op":"truncate","entities":["a"],"cascade":true,"restart_identity":true}'


texts = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(str.encode)
numbers = st.integers(-(2**31), 2**31 - 1).map(lambda n: str(n).encode())
rows = st.tuples(texts, numbers, texts, numbers, st.sampled_from([None, b"t", b"f"]), texts).map(list[Any])


def recorded(row: RawRow) -> dict[str, Any]:
    """The row's published values, thought out anew."""
    _, line, name, order, paid, note = (value.decode() if isinstance(value, bytes) else None for value in row)
    assert line is not None
    return {
        "line": int(line),
        "name": name,
        "order": order,
        "paid": None if paid is None else paid == "t",
        "note": note,
    }


@given(rows, rows, st.booleans())
def test_a_change_says_the_same_of_any_two_rows(old: RawRow, new: RawRow, whole_rekeys: bool) -> None:
    plan = projection("secret")
    plan.whole_rekeys = whole_rekeys
    was, now = recorded(old), recorded(new)
    inserted = change((INSERT, None, False, new), plan)
    assert inserted is not None
    assert inserted["after"] == now
    deleted = change((DELETE, old, False, None), plan)
    assert deleted is not None
    assert deleted["before"] == was
    updated = change((UPDATE, old, False, new), plan)
    if updated is None:
        assert was == now
        return
    assert {**was, **updated["after"]} == now
    assert {**now, **updated.get("before", was)} == was
    assert (updated["op"] == "rekey") == (deleted["key"] != inserted["key"])
    assert updated["key"] == deleted["key"]
    assert updated.get("newkey", updated["key"]) == inserted["key"]
