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


@given(documents())
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
            st.sampled_from(["from", "key", "fields", "class", "merge", "id", "builds"]) | st.text(max_size=3), inner
        )
    ),
    max_leaves=12,
)


@given(json_like, st.sampled_from(["app", "builds", "default", "license", "entities", "Order", "fields", "key"]))
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
