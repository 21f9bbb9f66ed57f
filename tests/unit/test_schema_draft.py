"""A first app schema from a database's catalogs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.app_schemas.draft import Sample, Seen, classify, draft, draft_collections
from commitlog.cdc.app_schemas.files import load_text
from commitlog.cdc.tail.catalog import CatalogColumn, Table
from commitlog.schemas.errors import Refused


def table(
    name: str, *columns: str, key: tuple[str, ...] = ("id",), namespace: str = "public", engine_type: str = "text"
) -> Table:
    described = tuple(
        CatalogColumn(
            name=column,
            type_oid=25,
            modifier=-1,
            engine_type=engine_type,
            canonical="text",
            nullable=True,
            generated=False,
            identity=False,
            labels=(),
            collation="",
        )
        for column in columns
    )
    return Table(namespace, name, "d", key, described)


def test_a_draft_marks_what_looks_personal_or_secret_and_explains_itself() -> None:
    text = draft(
        [
            table("users", "id", "name", "Email", "birthDate", "password_hash", "created_at"),
            table(
                "order_items", "order_id", "no", "name", "note", "ip_address", key=("order_id", "no"), engine_type="int"
            ),
            table("logs", "id", key=()),
        ],
        app="shop",
    )
    assert "#   public.logs\n" in text
    assert text.endswith(
        """
entities:
  users:
    from: public.users
    key: [id]
    fields:
      id: {class: public}  # text
      name: {class: personal}  # text
      Email: {class: personal}  # text
      birthDate: {class: personal}  # text
      password_hash: {class: internal}  # text
      created_at: {class: public}  # text

  order_items:
    from: public.order_items
    key: [order_id, "no"]
    fields:
      order_id: {class: public}  # int
      "no": {class: public}  # int
      name: {class: public}  # int
      note: {class: private}  # int; people write into it what they like
      ip_address: {class: personal}  # int
"""
    )


@pytest.mark.parametrize(
    ("column", "of", "expected"),
    [
        ("email", "orders", "personal"),
        ("customerEmail", "orders", "personal"),
        ("phone_number", "orders", "personal"),
        ("first_name", "orders", "personal"),
        ("username", "orders", "personal"),
        ("user_agent", "visits", "personal"),
        ("remote_addr", "visits", "personal"),
        ("IP", "visits", "personal"),
        ("name", "customers", "personal"),
        ("name", "products", "public"),
        ("file_name", "users", "public"),
        ("shipping", "orders", "public"),
        ("street2", "orders", "personal"),
        ("api_key", "clients", "internal"),
        ("password", "users", "internal"),
        ("comment", "orders", "private"),
        ("status", "orders", "public"),
        ("", "orders", "public"),
    ],
)
def test_a_column_is_classed_by_the_words_of_its_name(column: str, of: str, expected: str) -> None:
    assert classify(column, of) == expected


def test_a_database_without_a_key_is_refused() -> None:
    with pytest.raises(Refused, match="no table with a primary key"):
        draft([table("logs", "id", key=())], app="shop")


def test_a_secret_in_a_key_is_recorded_in_an_own_log_only() -> None:
    schema = load_text(draft([table("t", "token", key=("token",))], app="a").encode(), origin="t.yaml")
    assert schema.entities["t"].published("own") == {"token": "personal"}


names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
) | st.sampled_from(
    ["no", "null", "1", "~", "a b", 'q"q', "- x", "#", "a: b", "\n", "<<", "order", "Ünïcode", "x\u2028y", "🙂"]
)


@given(
    st.lists(
        st.tuples(names, names, st.lists(names, min_size=1, max_size=4, unique=True)),
        min_size=1,
        max_size=5,
        unique_by=lambda t: t[:2],
    ),
    names,
)
def test_n1_a_draft_of_any_names_is_a_schema_that_fits_the_database(
    tables: list[tuple[str, str, list[str]]], engine_type: str
) -> None:
    described = [
        table(name, *columns, key=(columns[0],), namespace=namespace, engine_type=engine_type)
        for namespace, name, columns in tables
    ]
    schema = load_text(draft(described, app="shop").encode(), origin="draft.yaml")
    catalog = {t.quoted: [column.name for column in t.columns] for t in described}
    assert list(schema.problems("own", catalog)) == []
    assert set(schema.by_table) == {(namespace, name) for namespace, name, _ in tables}
    assert all(set(schema.by_table[ns, name].fields) == set(columns) for ns, name, columns in tables)


def sample(name: str, documents: int, seen: dict[tuple[str, ...], dict[str, int]], *arrays: str) -> Sample:
    within = {keys: Seen(types, in_array=keys[0] in arrays and len(keys) > 1) for keys, types in seen.items()}
    return Sample(("shop", name), documents=documents, seen=within)


def test_a_draft_of_collections_takes_what_is_personal_out_of_what_is_around_it() -> None:
    orders = sample(
        "orders",
        20,
        {
            ("_id",): {"objectId": 20},
            ("status",): {"string": 20},
            ("total",): {"decimal": 19, "int": 1},
            ("count",): {"int": 12, "long": 1, "null": 2},
            ("customer",): {"object": 20},
            ("customer", "no"): {"int": 20},
            ("customer", "name"): {"string": 20},
            ("customer", "address"): {"object": 20},
            ("customer", "address", "street"): {"string": 20},
            ("customer_name",): {"string": 20},
            ("payments",): {"array": 20},
            ("payments", "token"): {"string": 40},
            ("note",): {"string": 20},
            ("a.b",): {"bool": 20},
            ("contact",): {"object": 20},
            ("contact", "pin"): {"string": 20},
        },
        "payments",
    )
    text = draft_collections([orders, Sample(("shop", "v"), unfit="it is a view"), Sample(("shop", "New"))], app="shop")
    assert "#   shop.v: it is a view\n" in text
    assert text.endswith(
        """
entities:
  orders:
    from: shop.orders
    key: [_id]
    fields:
      _id: {class: public, bson: objectId}
      status: {class: public, bson: string}
      total: {class: public}  # decimal or int
      count: {class: public, bson: long}  # int or long; in 15 of 20
      customer: {class: public, bson: object, omit: [name, address]}
      customer_name_2: {class: personal, path: customer.name, bson: string}
      customer_address: {class: personal, path: customer.address, bson: object}
      customer_name: {class: personal, bson: string}
      payments: {class: public, bson: array, omit: [token]}
      note: {class: private, bson: string}  # people write into it what they like
      a.b: {class: public, path: "a\\\\.b", bson: bool}
      contact: {class: personal, bson: object, omit: [pin]}
      contact_pin: {class: internal, path: contact.pin, bson: string}

  New:
    from: 'shop."New"'
    key: [_id]
    # There is no document in it yet: name its fields.
    fields:
      _id: {class: public}
"""
    )
    load_text(text.encode(), origin="draft.yaml").check("own", engine="mongodb")


keys_of_documents = st.lists(
    names | st.sampled_from(["name", "email", "pin", "$a", "a.b", "\\", ""]), min_size=1, max_size=3
)


@given(st.lists(keys_of_documents.map(tuple), unique=True, max_size=8), st.sampled_from([(), ("name",)]))
def test_a_draft_of_any_documents_is_a_schema_of_them(paths: list[tuple[str, ...]], arrays: tuple[str, ...]) -> None:
    of = sample("any", 1, {keys: {"string": 1} for keys in paths}, *arrays)
    schema = load_text(draft_collections([of], app="shop").encode(), origin="draft.yaml")
    schema.check("own", {"shop.any": []}, engine="mongodb")
    tops = {keys for keys in paths if len(keys) == 1 and keys[0]}
    assert tops | {("_id",)} <= {field.keys for field in schema.entities["any"].fields.values()}


def test_a_database_without_a_collection_is_refused() -> None:
    with pytest.raises(Refused, match="no collection"):
        draft_collections([], app="shop")


@pytest.mark.parametrize(
    ("name", "seen", "expected"),
    [
        ("users", {("_id",): {"objectId": 1}}, "public"),
        ("users", {("_id",): {"string": 1}}, "personal"),
        ("orders", {("_id",): {"string": 1}}, "public"),
        ("visits", {("_id",): {"object": 1}, ("_id", "email"): {"string": 1}, ("_id", "day"): {"date": 1}}, "personal"),
        ("visits", {("_id",): {"object": 1}, ("_id", "day"): {"date": 1}}, "public"),
    ],
)
def test_the_key_of_documents_is_personal_where_it_may_name_people(
    name: str, seen: dict[tuple[str, ...], dict[str, int]], expected: str
) -> None:
    schema = load_text(draft_collections([sample(name, 1, seen)], app="shop").encode(), origin="draft.yaml")
    assert schema.entities[name].fields["_id"].cls == expected
