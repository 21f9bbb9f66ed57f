"""App schemas: what is accepted, what is refused and where, and that a schema is the same wherever it comes from."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc import json_schema
from commitlog.schemas.errors import SchemaError
from commitlog.transforms.app_schema import CLASSES, MERGES, AppSchema, MalformedSchema
from commitlog.transforms.app_schema_reader import parse
from commitlog.transforms.document_path import BSON_TYPES, document_path, written
from commitlog.transforms.table_name import quoted, table_name

RULES = json_schema.read("app")


def document(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "schema": "commitlog.app/v1",
        "app": "shop",
        "database": "main",
        "builds": ["sha256:9f2b", "1.4.*"],
        "default": True,
        "license": "CC-BY-4.0",
        "entities": {
            "Order": {
                "from": "public.orders",
                "key": ["id"],
                "subject": "email",
                "fields": {
                    "status": {"class": "public", "merge": "theirs"},
                    "id": {"class": "public"},
                    "email": {"class": "personal"},
                    "card": {"class": "private"},
                    "note": {"class": "internal"},
                },
            }
        },
    }
    whole.update(changes)
    return {key: value for key, value in whole.items() if value is not None}


def with_order(**changes: Any) -> dict[str, Any]:
    order = {**document()["entities"]["Order"], **changes}
    return document(entities={"Order": {key: value for key, value in order.items() if value is not None}})


def test_an_own_log_records_all_but_internal_and_a_shared_one_public_fields_only() -> None:
    order = parse(document()).entities["Order"]
    assert order.published("own") == {"status": "public", "id": "public", "email": "personal", "card": "private"}
    assert order.published("shared") == {"status": "public", "id": "public"}


def test_the_bytes_are_canonical_and_the_id_is_their_hash() -> None:
    schema = parse(document())
    assert schema.data == (
        b'{"schema":"commitlog.app/v1","app":"shop","database":"main","builds":["sha256:9f2b","1.4.*"],"default":true,'
        b'"license":"CC-BY-4.0","entities":{"Order":{"from":"public.orders","key":["id"],"subject":"email","fields":{'
        b'"card":{"class":"private"},"email":{"class":"personal"},"id":{"class":"public"},"note":{"class":"internal"},'
        b'"status":{"class":"public","merge":"theirs"}}}}}'
    )
    assert schema.id == hashlib.sha256(schema.data).hexdigest()
    assert parse(json.loads(schema.data)).id == schema.id


def test_the_order_of_entities_and_fields_does_not_change_a_schema() -> None:
    user = {"from": "public.users", "key": ["id"], "fields": {"id": {"class": "public"}}}
    whole = document(entities={"Order": document()["entities"]["Order"], "User": user})
    turned = document(entities=dict(reversed(whole["entities"].items())))
    fields = whole["entities"]["Order"]["fields"]
    turned["entities"]["Order"] = {**whole["entities"]["Order"], "fields": dict(reversed(fields.items()))}
    assert parse(turned).data == parse(whole).data


def test_a_shared_log_holds_the_published_part_of_a_schema_only() -> None:
    hidden = {"from": "public.secrets", "key": ["id"], "fields": {"id": {"class": "internal"}}}
    whole = document()
    whole["entities"]["Secret"] = hidden
    shared = parse(whole).projected("shared")
    assert list(shared.entities) == ["Order"]
    assert list(shared.entities["Order"].fields) == ["status", "id"]
    assert shared.entities["Order"].subject == ""
    assert b"secrets" not in shared.data
    assert b"email" not in shared.data
    assert parse(json.loads(shared.data)).id == shared.id
    own = parse(whole)
    assert own.projected("own") is own


@pytest.mark.parametrize(
    ("wrong", "where", "why"),
    [
        ([], (), "a mapping"),
        ("text", (), "a mapping"),
        (None, (), "a mapping"),
        (document(schema="commitlog.app/v2"), ("schema",), "commitlog.app/v1"),
        (document(schema=None), (), "commitlog.app/v1"),
        (document(app=None), (), "app is missing"),
        (document(app="../up"), ("app",), "letters"),
        (document(database=7), ("database",), "text"),
        (document(builds="1.4.*"), ("builds",), "a list"),
        (document(builds=[1.4]), ("builds", 0), "text"),
        (document(builds=[], default=False), (), "holds for no build"),
        (document(default="yes"), ("default",), "true or false"),
        (document(license="<script>"), ("license",), "SPDX"),
        (document(entities=None), (), "entities is missing"),
        (document(entities=[]), ("entities",), "a mapping"),
        (document(entities={"a/b": {}}), ("entities", "a/b"), "name"),
        ({**document(), "lisence": "MIT"}, ("lisence",), "no key"),
        (with_order(fields=None), ("entities", "Order"), "fields is missing"),
        (with_order(key=None), ("entities", "Order"), "key is missing"),
        (with_order(key=[]), ("entities", "Order", "key"), "one field or more"),
        (with_order(key=["id", "id"]), ("entities", "Order", "key"), "each once"),
        (with_order(key=["idd"]), ("entities", "Order", "key", 0), "not a field"),
        (with_order(subject="mail"), ("entities", "Order", "subject"), "not a field"),
        (with_order(**{"from": "orders"}), ("entities", "Order", "from"), "not a table"),
        (with_order(**{"from": "public.Orders"}), ("entities", "Order", "from"), "not a table"),
        (with_order(**{"from": 'public."a"b"'}), ("entities", "Order", "from"), "not a table"),
        (with_order(form="public.orders"), ("entities", "Order", "form"), "no key"),
        (with_order(fields={"id": {}}), ("entities", "Order", "fields", "id"), "class is missing"),
        (with_order(fields={"id": {"class": "pubic"}}), ("entities", "Order", "fields", "id", "class"), "one of"),
        (with_order(fields={"id": "public"}), ("entities", "Order", "fields", "id"), "a mapping"),
        (
            with_order(fields={"id": {"class": "public", "merge": ""}}),
            ("entities", "Order", "fields", "id", "merge"),
            "one of",
        ),
        (with_order(fields={"": {"class": "public"}}), ("entities", "Order", "fields", ""), "column"),
        (with_order(fields={1: {"class": "public"}}), ("entities", "Order", "fields"), "quotes|text"),
        (with_order(fields={"id": {"class": "public"}, "\ud800": {"class": "public"}}, subject=None), (), "surrogate"),
    ],
)
def test_s1_a_malformed_schema_is_refused_with_its_place(wrong: object, where: tuple[object, ...], why: str) -> None:
    with pytest.raises(MalformedSchema, match=why) as refusal:
        parse(wrong)
    assert refusal.value.path == where
    assert refusal.value.exit_code == 4


def test_a_mistyped_key_names_the_nearest() -> None:
    with pytest.raises(MalformedSchema) as refusal:
        parse({**document(), "lisence": "MIT"})
    assert refusal.value.hint == "write license"


CATALOG = {"public.orders": ["id", "status", "email", "card", "note", "added_later"], "public.users": ["id"]}


def test_a_schema_that_fits_has_no_problems_and_new_columns_are_none() -> None:
    assert list(parse(document()).problems("own", CATALOG)) == []
    parse(document()).check("shared", CATALOG)


def test_s2_an_unknown_table_or_column_is_refused_with_the_nearest() -> None:
    with pytest.raises(SchemaError, match=r"entities\.Order\.from: the database has no table public\.ordrs") as refusal:
        parse(with_order(**{"from": "public.ordrs"})).check("own", CATALOG)
    assert refusal.value.hint == "write public.orders"
    with pytest.raises(SchemaError, match=r"public\.orders has no column statsu") as refusal:
        parse(with_order(fields={"id": {"class": "public"}, "statsu": {"class": "public"}}, subject=None)).check(
            "own", CATALOG
        )
    assert refusal.value.hint == "write status"


def test_s3_two_entities_cannot_claim_one_table() -> None:
    order = document()["entities"]["Order"]
    quoted_alike = {**order, "from": 'public."orders"'}
    with pytest.raises(MalformedSchema, match="claimed by Order, too") as refusal:
        parse(document(entities={"Order": order, "Purchase": quoted_alike}))
    assert refusal.value.path == ("entities", "Purchase", "from")


def test_public_fields_need_a_license_in_a_shared_log_only() -> None:
    schema = parse(document(license=None))
    schema.check("own")
    with pytest.raises(SchemaError, match="license"):
        schema.check("shared")


def test_a_key_that_the_log_does_not_record_is_refused() -> None:
    by_email = parse(with_order(key=["email"]))
    by_email.check("own")
    with pytest.raises(SchemaError, match="key field email is personal"):
        by_email.check("shared")
    with pytest.raises(SchemaError, match="key field note is internal"):
        parse(with_order(key=["note"])).check("own")


def collection(fields: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A schema of one collection, whose fields beside _id are given."""
    customer = {"class": "personal", "path": "customer.name", "bson": "string"}
    given = {"customer": customer} if fields is None else fields
    entity = {"from": "shop.orders", "key": ["_id"], "fields": {"_id": {"class": "public"}, **given}, **changes}
    return document(entities={"Order": entity})


def test_a_collection_has_fields_by_paths_and_types_and_what_is_left_out_of_them() -> None:
    items = {"class": "public", "omit": ["card", "parts.price"], "path": "items"}
    whole = collection({"items": items, "total": {"class": "public", "bson": "decimal"}}, additional="internal")
    schema = parse(whole)
    assert schema.data.endswith(
        b'"entities":{"Order":{"from":"shop.orders","key":["_id"],"additional":"internal","fields":{"_id":{"class":"public"},'
        b'"items":{"class":"public","path":"items","omit":["card","parts.price"]},"total":{"class":"public","bson":"decimal"}}}}}'
    )
    assert json_schema.problems(whole, RULES) == []
    order = parse(json.loads(schema.data)).entities["Order"]
    assert (order.fields["items"].keys, order.fields["items"].omitted) == (("items",), (("card",), ("parts", "price")))
    assert order.fields["total"].keys == ("total",)
    assert order.additional == "internal"


def test_what_is_the_default_of_a_collection_is_not_in_the_bytes_of_any_schema() -> None:
    said = with_order(additional="drop")
    assert parse(said).data == parse(document()).data


def test_additional_fields_are_one_more_public_one() -> None:
    order = parse(collection(additional="public")).entities["Order"]
    assert order.published("own") == {"_id": "public", "customer": "personal", "additional": "public"}
    assert order.published("shared") == {"_id": "public", "additional": "public"}
    assert "additional" not in parse(collection(additional="internal")).entities["Order"].published("own")


def test_rows_of_a_shared_log_are_made_without_what_its_schema_hides() -> None:
    """The schema that a shared log records makes its rows: whatever keeps a value out of them has to be in it."""
    doc = {"class": "public", "path": "$", "omit": ["card", "customer.name"]}
    shared = parse(collection({"doc": doc})).projected("shared").entities["Order"]
    assert shared.fields["doc"].omitted == (("card",), ("customer", "name"))
    beside = parse(collection(additional="public")).projected("shared").entities["Order"]
    assert beside.fields["customer"].keys == ("customer", "name")
    assert "customer" not in beside.published("shared")


WHOLE_DOCUMENT = {"class": "public", "path": "$"}


@pytest.mark.parametrize(
    ("wrong", "where", "why"),
    [
        (collection(key=["customer"]), ("key",), "key of a collection is _id"),
        (collection({"_id": {"class": "public", "path": "id"}}), ("key",), "key of a collection is _id"),
        (collection({"a": {"class": "public", "path": "a..b"}}), ("fields", "a", "path"), "empty"),
        (collection({"a": {"class": "public", "path": ""}}), ("fields", "a", "path"), "empty"),
        (collection({"a": {"class": "public", "path": "a."}}), ("fields", "a", "path"), "empty"),
        (collection({"a": {"class": "public", "path": "$a"}}), ("fields", "a", "path"), "begins with"),
        (collection({"a": {"class": "public", "path": "a.$b"}}), ("fields", "a", "path"), "begins with"),
        (collection({"a": {"class": "public", "path": "a\\b"}}), ("fields", "a", "path"), "stands for nothing"),
        (collection({"a": {"class": "public", "path": "\0"}}), ("fields", "a", "path"), "stands for nothing"),
        (collection({"a": {"class": "public", "path": 7}}), ("fields", "a", "path"), "text"),
        (collection({"a": {"class": "public", "bson": "int64"}}), ("fields", "a", "bson"), "one of"),
        (collection({"a": {"class": "public", "omit": "b"}}), ("fields", "a", "omit"), "a list"),
        (collection({"a": {"class": "public", "omit": ["$"]}}), ("fields", "a", "omit", 0), "left out"),
        (collection({"a": {"class": "public", "omit": ["b", "b"]}}), ("fields", "a", "omit", 1), "once"),
        (collection({"a": {"class": "public", "omit": ["b..c"]}}), ("fields", "a", "omit", 0), "empty"),
        (collection({"a.b": {"class": "public"}}, additional="public"), ("fields", "a.b"), "not said"),
        (collection({"$a": {"class": "public"}}, additional="public"), ("fields", "$a"), "not said"),
        (
            collection({"a": {"class": "public", "path": "x"}, "x": {"class": "internal"}}),
            ("fields", "x"),
            "same path as a",
        ),
        (
            collection({"a": {"class": "public", "path": "x.y"}, "x": {"class": "public"}}),
            ("fields", "a"),
            "within x",
        ),
        (
            collection({"a": {"class": "internal", "path": "x.y"}, "x": {"class": "public"}}),
            ("fields", "a"),
            "within x",
        ),
        (collection({"a": {"class": "public"}, "doc": WHOLE_DOCUMENT}), ("fields", "a"), "within doc"),
        (collection({"a": {"class": "public", "path": "_id.a"}}), ("fields", "a"), "within _id"),
        (collection({"doc": WHOLE_DOCUMENT}, additional="public"), ("fields", "doc"), "additional, too"),
        (collection({"additional": {"class": "public"}}, additional="public"), ("fields", "additional"), "this name"),
        (collection(additional="private"), ("additional",), "one of"),
    ],
)
def test_a_collection_that_would_be_told_wrongly_is_refused_with_its_place(
    wrong: dict[str, Any], where: tuple[object, ...], why: str
) -> None:
    with pytest.raises(MalformedSchema, match=why) as refusal:
        parse(wrong)
    assert refusal.value.path == ("entities", "Order", *where)


@pytest.mark.parametrize(
    "fields",
    [
        {"doc": WHOLE_DOCUMENT},
        {"doc": {**WHOLE_DOCUMENT, "omit": ["x"]}, "a": {"class": "personal", "path": "x.y"}},
        {"a": {"class": "public", "path": "x.y"}, "x": {"class": "internal"}},
        {"a": {"class": "public", "path": "x.y"}, "b": {"class": "public", "path": "x.z"}},
        {"a": {"class": "public", "path": r"x\.y"}, "x": {"class": "public"}},
        {"a.b": {"class": "public", "path": "a.b"}, "c.d": {"class": "public", "path": r"c\.d"}},
    ],
)
def test_fields_of_a_collection_that_stand_apart_are_taken(fields: dict[str, Any]) -> None:
    assert parse(collection(fields)).entities["Order"].fields.keys() == {"_id", *fields}


def test_what_is_said_of_collections_only_is_refused_of_tables() -> None:
    with pytest.raises(SchemaError, match=r"shop\.orders is a table"):
        parse(collection()).check("own", engine="postgresql")
    parse(collection()).check("own", {"shop.orders": []}, engine="mongodb")
    with pytest.raises(SchemaError, match="the key of a collection is _id"):
        parse(document()).check("own", engine="mongodb")
    with pytest.raises(SchemaError, match=r"whether a\.b is a path or one key"):
        parse(
            document(
                entities={"O": {"from": "shop.o", "key": ["_id"], "fields": dict.fromkeys(("_id", "a.b"), PUBLIC)}}
            )
        ).check("own", engine="mongodb")
    with pytest.raises(SchemaError, match=r"no collection shop\.orders"):
        parse(collection()).check("own", {"shop.order": []}, engine="mongodb")


PUBLIC = {"class": "public"}


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1), min_size=1, max_size=4))
def test_any_keys_of_documents_can_be_written_as_a_path(keys: list[str]) -> None:
    assert document_path(written(tuple(keys))) == tuple(keys)


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
tables = st.tuples(names, names)


@given(tables)
def test_n1_any_table_name_is_written_and_read_back(table: tuple[str, str]) -> None:
    assert table_name(quoted(table)) == table


@given(st.text(max_size=20))
def test_a_text_is_a_table_name_or_a_value_error(text: str) -> None:
    try:
        schema, name = table_name(text)
    except ValueError:
        return
    assert table_name(quoted((schema, name))) == (schema, name)


fields = st.dictionaries(
    names,
    st.fixed_dictionaries({"class": st.sampled_from(CLASSES)}, optional={"merge": st.sampled_from(MERGES)}),
    min_size=1,
    max_size=5,
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    entities: dict[str, Any] = {}
    for index, table in enumerate(draw(st.lists(tables, unique=True, max_size=3))):
        of = draw(fields)
        key = draw(st.lists(st.sampled_from(sorted(of)), min_size=1, max_size=3, unique=True))
        entities[f"E{index}"] = {"from": quoted(table), "key": key, "fields": of}
    return document(entities=entities, license=draw(st.sampled_from([None, "MIT", "MIT OR Apache-2.0"])))


paths = st.lists(names, min_size=1, max_size=3).map(tuple)


@st.composite
def collections(draw: st.DrawFn) -> dict[str, Any]:
    optional = {
        "merge": st.sampled_from(MERGES),
        "bson": st.sampled_from(BSON_TYPES),
        "omit": st.lists(paths.map(written), unique=True, max_size=2),
    }
    drawn = draw(st.lists(st.fixed_dictionaries({"class": st.sampled_from(CLASSES)}, optional=optional), max_size=4))
    places = draw(st.lists(paths, min_size=len(drawn), max_size=len(drawn), unique_by=lambda keys: keys[0]))
    of = {
        f"f{index}": {**f, "path": f"x.{written(at)}"} for index, (f, at) in enumerate(zip(drawn, places, strict=True))
    }
    return collection(of, additional=draw(st.sampled_from(["drop", "internal", "public"])))


@given(documents() | collections())
def test_what_is_read_is_valid_and_survives_its_own_bytes(whole: dict[str, Any]) -> None:
    assert json_schema.problems(whole, RULES) == []
    schema = parse(whole)
    again = parse(json.loads(schema.data))
    assert (again, again.id, again.data) == (schema, schema.id, schema.data)
    assert json_schema.problems(json.loads(schema.data), RULES) == []
    assert set(schema.by_table) == {entity.table for entity in schema.entities.values()}


json_like: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["public.orders", "id", "public"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["from", "key", "fields", "class", "merge", "id", "builds", "path", "omit", "bson", "additional"]
            )
            | st.text(max_size=3),
            inner,
        )
    ),
    max_leaves=12,
)


@given(
    json_like,
    st.sampled_from(["app", "builds", "default", "license", "entities", "Order", "fields", "key", "additional"]),
)
def test_d1_whatever_stands_in_a_document_is_read_or_refused_by_name(garbage: Any, where: str) -> None:
    whole = document(**{where: garbage}) if where in document() else with_order(**{where: garbage})
    if where == "Order":
        whole = document(entities={"Order": garbage})
    try:
        schema: AppSchema = parse(whole)
    except MalformedSchema:
        return
    assert json_schema.problems(whole, RULES) == []
    assert parse(json.loads(schema.data)).id == schema.id
