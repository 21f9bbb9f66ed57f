"""`init`, `setup` and `teardown` of a MongoDB; what they grant is what the worker and the app need, and no more."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from bson import Decimal128, Int64, MinKey, Regex
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from commitlog.cdc.app_schemas.files import load_file
from commitlog.cdc.log.state import LogState
from commitlog.cdc.servers.mongod import MongodSet
from commitlog.cdc.source.mongodb import provision
from commitlog.cdc.source.mongodb.beginning import Beginning
from commitlog.cdc.source.mongodb.checks import check_published
from commitlog.cdc.source.mongodb.grants import APP_NEEDS, lacking, may_write
from commitlog.cdc.source.mongodb.shell import read_shell
from commitlog.cdc.tail.mongodb_catalog import Catalog
from commitlog.schemas.errors import HistoryLost, Refused
from commitlog.transforms.registry import Registry
from fixtures.command import Commands
from fixtures.mongodb import make_user

ORDERS: list[dict[str, Any]] = [
    {
        "_id": 1,
        "status": "new",
        "total": Decimal128("1.50"),
        "customer": {"no": 7, "name": "Ada", "address": {"zip": 1}},
    },
    {"_id": 2, "status": "new", "total": Int64(3), "note": "x", "cards": [{"no": 1, "pin": "1"}, [{"token": "t"}]]},
    {"_id": 3, "at": datetime(2026, 1, 1, tzinfo=UTC), "a.b": Regex("x"), "least": MinKey(), "": 1, "status": None},
]


@pytest.fixture(scope="module")
def server() -> Iterator[MongodSet]:
    """A server for these tests alone: there is one collection of stamps for all its databases, and roles are the server's."""
    with MongodSet.start() as started:
        yield started


class Shop(Commands):
    """A database with two collections, and a folder with its configuration."""

    def __init__(self, server: MongodSet, folder: Path) -> None:
        self.server, self.name = server, f"Shop_{secrets.token_hex(4)}"
        super().__init__(folder, server.database_url(self.name))
        assert urlsplit(self.url).password
        self.catalog = Catalog(self.url)
        self.client: MongoClient[dict[str, Any]] = self.catalog.client
        self.client[self.name]["orders"].insert_many(ORDERS)
        self.client[self.name]["Line's"].insert_one({"_id": 1})
        self.commitlog("init", self.url, "--name", "shop")

    def has_images(self, name: str) -> bool:
        found = self.catalog.collection(self.name, name)
        assert found is not None
        return found.images

    @property
    def schema(self) -> Path:
        return self.folder / "schemas" / "shop.yaml"

    def maps(self, *collections: str) -> None:
        """Let the app schema map these collections and no other."""
        entities = "".join(
            f'  E{n}: {{from: "\\"{self.name}\\".{name}", key: [_id], fields: {{_id: {{class: public}}}}}}\n'
            for n, name in enumerate(collections)
        )
        self.schema.write_text(
            f"schema: commitlog.app/v1\napp: shop\ndatabase: main\ndefault: true\nentities:\n{entities}",
            encoding="utf-8",
        )

    def close(self) -> None:
        self.catalog.close()
        self.server.drop_database(self.name)
        self.server.drop_database("commitlog")
        for role in ("commitlogWorker", "commitlogApp"):
            self.server.command("rolesInfo", role)["roles"] and self.server.command("dropRole", role)


@pytest.fixture
def shop(server: MongodSet, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(server, tmp_path)
    yield made
    made.close()


def test_a_draft_is_a_schema_of_what_documents_hold(shop: Shop) -> None:
    text = shop.schema.read_text(encoding="utf-8")
    schema = load_file(shop.schema)

    assert (
        "\n".join(
            [
                "      customer: {class: public, bson: object, omit: [name, address]}  # in 1 of 3",
                "      customer_name: {class: personal, path: customer.name, bson: string}  # in 1 of 3",
                "      customer_address: {class: personal, path: customer.address, bson: object}  # in 1 of 3",
            ]
        )
        in text
    )
    assert "cards: {class: public, bson: array, omit: [pin, token]}" in text
    assert 'a.b: {class: public, path: "a\\\\.b", bson: regex}' in text
    fields = schema.entities["orders"].fields
    assert {name: field.bson for name, field in fields.items() if "_" not in name} == {
        "status": "string",
        "total": "",
        "customer": "object",
        "note": "string",
        "cards": "array",
        "at": "date",
        "a.b": "regex",
        "least": "minKey",
    }
    assert "ok: " in shop.commitlog("schema", "check", str(shop.schema)).stdout


def test_a_schema_is_compared_with_the_collections_there_are(shop: Shop) -> None:
    shop.schema.write_text(shop.schema.read_text().replace(".orders", ".order", 1))

    said = shop.commitlog("schema", "check", str(shop.schema), code=4).stderr

    assert f'the database has no collection "{shop.name}".order' in said
    assert f'write "{shop.name}".orders' in said


def test_a_database_is_made_ready_once_and_taken_back(shop: Shop) -> None:
    printed = shop.commitlog("setup", "--sql").stdout
    assert not shop.has_images("orders")

    done = shop.commitlog("setup").stdout

    assert shop.has_images("orders")
    assert shop.has_images("Line's")
    assert f'done: collection "{shop.name}".orders: the server keeps what documents were before a change' in done
    assert "done: collection commitlog.stamps" in done
    commands = [read_shell(line.removesuffix(";")) for line in printed.splitlines() if not line.startswith("//")]
    assert [next(iter(one)) for _, one in commands] == ["collMod", "collMod", "create", "createIndexes"]
    expiry = shop.client["commitlog"]["stamps"].index_information()["expiry"]
    assert (expiry["key"], expiry["expireAfterSeconds"]) == ([("at", 1)], 86_400)
    assert "nothing to do: the source is ready" in shop.commitlog("setup").stdout

    gone = shop.commitlog("teardown", "--yes").stdout
    assert "dropped: collection commitlog.stamps\n" in gone
    assert "goes on keeping what documents were" in gone
    assert "commitlog" not in shop.client.list_database_names()
    assert "nothing to do: there is no collection commitlog.stamps" in shop.commitlog("teardown", "--yes").stdout


def test_a_log_that_has_not_begun_begins_where_setup_was_done_first(shop: Shop) -> None:
    shop.commitlog("setup")
    (path,) = (shop.folder / ".commitlog").glob("*.begin.json")
    first = Beginning.noted(path, shop.catalog)
    assert first is not None

    shop.client[shop.name]["orders"].update_one({"_id": 1}, {"$set": {"status": "paid"}})
    shop.commitlog("setup")

    assert Beginning.noted(path, shop.catalog) == first
    path.write_text(path.read_text().replace(first.replica_set, "0" * 24))
    assert Beginning.noted(path, shop.catalog) is None
    shop.commitlog("teardown", "--yes")
    assert not path.exists()


def test_a_collection_that_is_not_there_yet_is_told_and_set_up_later(shop: Shop) -> None:
    shop.maps("orders", "later")

    assert f'collection "{shop.name}".later of E1 does not exist' in shop.commitlog("setup").stdout
    assert "nothing to do" in shop.commitlog("setup").stdout
    shop.client[shop.name].create_collection("later")
    assert "later: the server keeps what documents were" in shop.commitlog("setup").stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"viewOn": "orders", "pipeline": []}, "it is a view"),
        ({"timeseries": {"timeField": "at"}}, "it is a time series"),
        ({"capped": True, "size": 4096}, "it is capped"),
    ],
    ids=["view", "time series", "capped"],
)
def test_what_cannot_be_recorded_is_refused_and_drafted_as_such(
    shop: Shop, options: dict[str, Any], words: str
) -> None:
    shop.client[shop.name].create_collection("odd", **options)
    assert f'#   "{shop.name}".odd: {words}' in shop.commitlog("schema", "draft").stdout
    shop.maps("orders", "odd")

    refusal = shop.commitlog("setup", code=4).stderr

    assert f'collection "{shop.name}".odd is mapped by an app schema: {words}' in refusal
    assert not shop.has_images("orders")


def test_app_schemas_of_tables_and_of_other_databases_are_refused(shop: Shop) -> None:
    shop.maps("orders")
    right = shop.schema.read_text(encoding="utf-8")
    shop.schema.write_text(right.replace("key: [_id]", "key: [id]").replace("_id:", "id:"), encoding="utf-8")
    assert "the key of a collection is _id" in shop.commitlog("setup", code=4).stderr
    shop.schema.write_text(right.replace(shop.name, "other"), encoding="utf-8")
    assert "E0 is of other.orders, and [source] url names the database" in shop.commitlog("setup", code=4).stderr
    shop.maps("nothing_there")
    assert "no app schema maps a collection of" in shop.commitlog("setup", code=4).stderr


def test_images_that_are_switched_off_are_refused_and_lost_history_where_the_log_has_documents(shop: Shop) -> None:
    shop.commitlog("setup")
    registry = Registry([load_file(shop.schema)])
    check_published(shop.catalog, registry, LogState(), visibility="own")

    off = {"changeStreamPreAndPostImages": {"enabled": False}}
    shop.client[shop.name].command({"collMod": "orders", **off})

    with pytest.raises(Refused, match="does not keep what its documents were") as refusal:
        check_published(shop.catalog, registry, LogState(), visibility="own")
    database, way = read_shell(refusal.value.hint.removeprefix("commitlog setup, or: "))
    known = LogState(snapshots={"orders": None})  # type: ignore[dict-item] # which chunks it has is not asked
    with pytest.raises(HistoryLost, match="changes of it may be missing"):
        check_published(shop.catalog, registry, known, visibility="own")
    shop.client[database].command(way)
    check_published(shop.catalog, registry, known, visibility="own")


def test_the_apps_role_may_stamp_and_no_more(shop: Shop) -> None:
    name = f"u_{secrets.token_hex(4)}"
    shop.server.command("createUser", name, pwd="geheim", roles=[])
    url = shop.server.user_url(name, "geheim", shop.name)
    done = shop.commitlog("setup", "--app-role", name).stdout
    assert "done: role commitlogApp: " in done
    assert f"done: user {name} of admin: the role commitlogApp" in done
    assert "nothing to do" in shop.commitlog("setup", "--app-role", name).stdout

    with MongoClient[dict[str, Any]](url) as client:
        stamps = client["commitlog"]["stamps"]
        stamps.replace_one({"_id": 1}, {"ctx": "a"}, upsert=True)
        stamps.replace_one({"_id": 1}, {"ctx": "b"}, upsert=True)
        assert stamps.find_one({"_id": 1}) == {"_id": 1, "ctx": "b"}
        for denied in (
            lambda: stamps.delete_one({"_id": 1}),
            stamps.drop,
            lambda: client[shop.name]["orders"].find_one(),
            lambda: client["commitlog"]["other"].insert_one({}),
        ):
            with pytest.raises(OperationFailure, match="not authorized"):
                denied()


def test_an_app_that_may_do_everything_gets_nothing(shop: Shop) -> None:
    shop.commitlog("setup")
    assert "nothing to do" in shop.commitlog("setup", "--app-role", urlsplit(shop.url).username or "").stdout


def test_a_role_of_its_own_is_made_and_grows_with_the_app_schema(shop: Shop) -> None:
    role = f"r_{secrets.token_hex(4)}"
    shop.maps("orders")
    made = shop.commitlog("setup", "--role", role).stdout
    assert f"done: role {role}: may do what is needed, and no more" in made
    assert "nothing to do" in shop.commitlog("setup", "--role", role).stdout
    shop.server.command("createUser", role, pwd="geheim", roles=[role])
    catalog = Catalog(shop.server.user_url(role, "geheim", shop.name))
    try:
        assert not may_write(catalog.privileges())
        check_published(catalog, Registry([load_file(shop.schema)]), LogState(), visibility="own")

        shop.maps("orders", "second")
        grown = shop.commitlog("setup", "--role", f"{role}@admin").stdout

        assert f'done: role {role}: may read collection "{shop.name}".second' in grown
        assert list(lacking(APP_NEEDS, catalog.privileges())) == APP_NEEDS
    finally:
        catalog.close()


def test_a_role_of_another_database_is_refused(shop: Shop) -> None:
    shop.commitlog("setup")
    shop.server.command("createRole", "local_one", database=shop.name, privileges=[], roles=[])
    assert "only one of admin" in shop.commitlog("setup", "--role", f"local_one@{shop.name}", code=4).stderr
    refusal = shop.commitlog("setup", "--role", "ann@example.org", code=4).stderr
    assert "the database example.org has neither a user nor a role ann" in refusal
    assert "--role ann@example.org@admin" in refusal


def test_an_address_without_a_database_is_refused(shop: Shop) -> None:
    url = shop.server.database_url("")
    for arguments in (("schema", "draft"), ("doctor",), ("schema", "check", "schemas/shop.yaml")):
        assert "[source] url names no database" in shop.commitlog(*arguments, "--source", url, code=2).stderr
    assert "names no database" in shop.commitlog("setup", "--source", url, code=4).stderr


def test_who_may_not_set_up_is_told_and_shown_what_a_dba_would_run(shop: Shop) -> None:
    url = make_user(shop.server, roles=[{"role": "read", "db": shop.name}], database=shop.name)
    refusal = shop.commitlog("setup", "--source", url, code=4).stderr
    assert "not authorized" in refusal
    assert "lsid" not in refusal  # the server repeats the whole command, with all that is in it
    assert (urlsplit(url).password or "") not in refusal


def test_transactions_are_waited_for_in_short_turns_and_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "LOCK_TURNS", 2)
    monkeypatch.setattr(provision, "LOCK_PAUSE_S", 0.01)
    with shop.client.start_session() as session, session.start_transaction():
        shop.client[shop.name]["orders"].insert_one({"_id": 9}, session=session)
        refused = shop.commitlog("setup", code=4).stderr
    assert "orders: the server keeps what documents were before a change: waiting for transactions to end" in refused
    assert "transactions did not end in time" in refused
    assert "done: " in shop.commitlog("setup").stdout


def test_a_step_that_the_server_refuses_is_refused(shop: Shop) -> None:
    shop.client.admin.command({"setFeatureCompatibilityVersion": "5.0"})
    try:
        refused = shop.commitlog("setup", code=4).stderr
    finally:
        shop.client.admin.command({"setFeatureCompatibilityVersion": "6.0"})
    assert "the server keeps what documents were before a change: " in refused
    assert 'try: db.adminCommand({setFeatureCompatibilityVersion: "6.0"})' in refused
