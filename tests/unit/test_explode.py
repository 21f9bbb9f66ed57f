"""Documents become the columns that an app schema makes of them."""

from typing import Any

import pytest
from bson import decode, encode

from commitlog.cdc.tail.oplog.collection import CollectionRelation, row_change, untold_change
from commitlog.cdc.tail.oplog.explode import Paths, explode, explode_document
from commitlog.cdc.tail.oplog.extended_reading import value_to_bson
from commitlog.cdc.tail.oplog.shapes import project
from commitlog.cdc.tail.row_change import parse_change
from commitlog.schemas.change import DELETE, INSERT, UPDATE
from commitlog.schemas.errors import DecodeError, SchemaError
from commitlog.transforms.app_schema import Entity, Field

ORDERS = CollectionRelation.of(7, "shop", "orders", bytes(16))


def entity(*fields: Field, additional: str = "drop") -> Entity:
    every = (Field("_id", "public"), *fields)
    return Entity("Order", ("shop", "orders"), ("_id",), "", {each.name: each for each in every}, additional)


def columns(document: dict[str, Any], *fields: Field, additional: str = "drop") -> dict[str, Any]:
    """Field to value, of what is not absent."""
    of = entity(*fields, additional=additional)
    published = of.published("own")
    values = explode_document(encode(document), Paths.of(of, published))
    out: dict[str, Any] = {}
    for name, value in zip(published, values, strict=True):
        if value is not None:
            kind, data = value_to_bson(value)
            out[name] = decode(
                encode({})
                if kind == 0
                else (len(data) + 8).to_bytes(4, "little") + bytes([kind]) + b"v\0" + data + b"\0"
            )["v"]
    return out


def test_a_field_is_the_key_of_its_name_and_a_null_is_not_absent() -> None:
    assert columns({"_id": 1, "a": None, "c": 1}, Field("a", "public"), Field("b", "public")) == {"_id": 1, "a": None}


def test_a_path_goes_into_documents_and_not_into_arrays() -> None:
    document = {"_id": 1, "a": {"b": {"c": 5}}, "d": [{"c": 1}], "x.y": {"$z": 2}}
    fields = (
        Field("deep", "public", path="a.b.c"),
        Field("half", "public", path="a.b"),
        Field("beyond", "public", path="a.b.c.d"),
        Field("within", "public", path="d.c"),
        Field("odd", "public", path=r"x\.y.\$z"),
        Field("twice", "public", path="a.b.c"),
    )
    assert columns(document, *fields) == {"_id": 1, "deep": 5, "half": {"c": 5}, "odd": 2, "twice": 5}


def test_the_whole_document_keeps_the_order_of_its_keys_and_leaves_out_what_is_omitted() -> None:
    document = {"_id": 1, "z": 1, "card": "4111", "items": [{"price": 1, "n": 2}]}
    found = columns(document, Field("all", "public", path="$", omit=("card", "items.price")))
    assert [*found["all"].items()] == [("_id", 1), ("z", 1), ("items", [{"n": 2}])]


def test_undeclared_keys_are_one_more_column_without_those_that_are_declared_and_not_recorded() -> None:
    fields = (Field("secret", "internal"), Field("name", "public", path="customer.name"))
    document = {"_id": 1, "secret": 1, "customer": {"name": "n", "card": 1}, "more": [1], "most": None}
    assert columns(document, *fields, additional="public") == {
        "_id": 1,
        "name": "n",
        "additional": {"more": [1], "most": None},
    }
    assert columns(document, *fields, additional="internal") == {"_id": 1, "name": "n"}
    assert columns({"_id": 1}, additional="public") == {"_id": 1, "additional": {}}


def test_of_a_key_that_stands_there_twice_the_first_holds() -> None:
    one, two = encode({"_id": 1, "a": 1}), encode({"a": 2})
    data = (len(one) + len(two) - 5).to_bytes(4, "little") + one[4:-1] + two[4:]
    of = entity(Field("a", "public"))
    assert explode_document(data, Paths.of(of, of.published("own")))[1] == b'{"$numberInt":"1"}'


def test_changes_are_exploded_row_by_row() -> None:
    of = entity(Field("a", "public"))
    paths = Paths.of(of, of.published("own"))
    old, new = encode({"_id": 1, "a": "x"}), encode({"_id": 1})
    one, text = b'{"$numberInt":"1"}', b'"x"'
    assert parse_change(explode(row_change(INSERT, ORDERS, None, old), paths)) == (INSERT, None, False, [one, text])
    assert parse_change(explode(row_change(DELETE, ORDERS, old, None), paths)) == (DELETE, [one, text], False, None)
    assert parse_change(explode(row_change(UPDATE, ORDERS, old, new), paths)) == (
        UPDATE,
        [one, text],
        False,
        [one, None],
    )


def test_what_is_no_change_of_a_document_is_refused() -> None:
    of = entity()
    paths = Paths.of(of, of.published("own"))
    good = row_change(INSERT, ORDERS, None, encode({"_id": 1}))
    for bad in (good[:-1], good + b"x", good[:30], b"", untold_change(DELETE, ORDERS), good[:30] + b"O" + good[31:]):
        with pytest.raises(DecodeError):
            explode(bad, paths)


def test_the_shape_has_the_columns_in_the_order_of_the_paths() -> None:
    of = entity(Field("n", "public", bson="long"), Field("all", "public", path="$"), additional="public")
    projection, paths = project(ORDERS, of, published=of.published("own"))
    assert [(c.field, c.type, c.engine_type, c.nullable) for c in projection.shape.columns] == [
        ("_id", "bson", "any", False),
        ("n", "bson", "long", True),
        ("all", "bson", "object", True),
        ("additional", "bson", "object", True),
    ]
    assert [column.name for column in paths.columns] == ["_id", "n", "all", "additional"]
    item = projection.item(parse_change(explode(row_change(INSERT, ORDERS, None, encode({"_id": 1})), paths)), 0)
    assert item is not None
    assert b'"key":{"_id":"{\\"$numberInt\\":\\"1\\"}"}' in item
    with pytest.raises(SchemaError, match="_id"):
        project(ORDERS, of, published={"n": "public"})
