"""The wrapped pymongo: every write carries its request's tag, read back from the server's oplog, and nothing else is changed."""

import gc
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import gridfs
import pytest
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DuplicateKeyError
from pymongo.monitoring import CommandListener, CommandStartedEvent
from pymongo.server_api import ServerApi
from pymongo.write_concern import WriteConcern

from commitlog.drivers import pymongo, pymongo_stamp, session
from fixtures.stamped_mongodb import Client, StampedOplog

OnUntagged = session.OnUntagged
Items = Collection[dict[str, Any]]

LONE: dict[str, tuple[str, Callable[[Items], object]]] = {
    "insert_one": ("I", lambda items: items.insert_one({"_id": 9}).inserted_id),
    "insert_many": ("III", lambda items: items.insert_many([{"_id": n} for n in (7, 8, 9)]).inserted_ids),
    "update_one": ("U", lambda items: items.update_one({"_id": 1}, {"$set": {"a": 5}}).raw_result["n"]),
    "upsert": ("I", lambda items: items.update_one({"_id": 9}, {"$set": {"a": 5}}, upsert=True).upserted_id),
    "replace_one": ("U", lambda items: items.replace_one({"_id": 1}, {"a": 6}).modified_count),
    "delete_one": ("D", lambda items: items.delete_one({"_id": 1}).deleted_count),
    "find_one_and_update": ("U", lambda items: items.find_one_and_update({"_id": 1}, {"$set": {"a": 5}})),
    "find_one_and_replace": ("U", lambda items: items.find_one_and_replace({"_id": 1}, {"a": 5})),
    "find_one_and_delete": ("D", lambda items: items.find_one_and_delete({"_id": 1})),
    "bulk_write": (
        "IUUD",
        lambda items: (
            items.bulk_write(
                [
                    InsertOne({"_id": 9}),
                    UpdateOne({"_id": 1}, {"$inc": {"a": 1}}),
                    ReplaceOne({"_id": 2}, {"b": 1}),
                    DeleteOne({"_id": 3}),
                ]
            ).bulk_api_result
        ),
    ),
    "unordered": (
        "IU",
        lambda items: (
            items.bulk_write(
                [UpdateOne({"_id": 1}, {"$inc": {"a": 1}}), InsertOne({"_id": 9})], ordered=False
            ).bulk_api_result
        ),
    ),
    "matches nothing": ("", lambda items: items.update_one({"_id": 77}, {"$set": {"a": 5}}).matched_count),
}
"""By name: what each write of the API logs, and the write."""

MANY: dict[str, tuple[str, Callable[[Items], object]]] = {
    "update_many": ("UUU", lambda items: items.update_many({}, {"$set": {"a": 5}}).modified_count),
    "delete_many": ("DDD", lambda items: items.delete_many({}).deleted_count),
    "bulk of many": (
        "IUUUU",
        lambda items: items.bulk_write([InsertOne({"_id": 9}), UpdateMany({}, {"$set": {"a": 5}})]),
    ),
    "unacknowledged": ("I", lambda items: items.with_options(write_concern=WriteConcern(0)).insert_one({"_id": 9})),
    "unacknowledged bulk": (
        "II",
        lambda items: items.with_options(write_concern=WriteConcern(0)).insert_many(
            [{"_id": 8}, {"_id": 9}], ordered=False
        ),
    ),
    "command": ("I", lambda items: items.database.command({"insert": "items", "documents": [{"_id": 9}]})),
    "$merge": ("III", lambda items: items.aggregate([{"$merge": "others"}]).to_list()),
}
"""What MongoDB logs no session with."""


@pytest.fixture
def client(stamped_oplog: StampedOplog) -> Client:
    return stamped_oplog.client()


@pytest.fixture
def items(stamped_oplog: StampedOplog, client: Client) -> Items:
    """Three documents that nobody wrote."""
    collection = client[stamped_oplog.name]["items"]
    collection.insert_many([{"_id": number, "a": number} for number in (1, 2, 3)])
    stamped_oplog.read()
    return collection


@pytest.fixture
def policy() -> Iterator[Callable[[OnUntagged], None]]:
    yield lambda on_untagged: session.configure(on_untagged=on_untagged) and None
    session.configure()


def untagged() -> int:
    return sum(count for what, count in session.counters().items() if what.startswith("untagged"))


@pytest.mark.parametrize("name", LONE)
def test_each_lone_write_carries_the_tag_and_says_what_pymongo_says(
    stamped_oplog: StampedOplog, items: Items, name: str
) -> None:
    changes, write = LONE[name]
    plain = stamped_oplog.plain()[stamped_oplog.name]["plain"]
    plain.insert_many(items.find())
    expected = write(plain)
    stamped_oplog.read()
    before = untagged()

    with session.bind(request="r"):
        assert write(items) == expected

    assert sorted(stamped_oplog.seen()) == sorted(("r", letter) for letter in changes)
    assert stamped_oplog.stamps == 1
    assert untagged() == before


def test_gridfs_is_tagged(stamped_oplog: StampedOplog, client: Client) -> None:
    files = gridfs.GridFS(Database(client, stamped_oplog.name))
    with session.bind(request="r"):
        key = files.put(b"x" * 600_000, filename="f")
        assert files.get(key).read() == b"x" * 600_000
    seen = stamped_oplog.seen()
    assert len(seen) == 4
    assert set(seen) == {("r", "I")}


@pytest.mark.parametrize("name", MANY)
def test_what_is_logged_without_a_session_goes_untagged_and_is_counted(
    stamped_oplog: StampedOplog, items: Items, policy: Callable[[OnUntagged], None], name: str
) -> None:
    changes, write = MANY[name]
    with session.bind(request="r"):
        policy("raise")
        with pytest.raises(pymongo.Untagged, match="no session"):
            write(items)
        with items.database.client.start_session():  # the connection is as it was
            assert items.count_documents({}) == 3
        assert stamped_oplog.seen() == []
        policy("warn")
        before = untagged()
        with pytest.warns(session.TagWarning, match="no session"):
            write(items)
        assert untagged() == before + (2 if name == "bulk of many" else 1), "once for each command"
    items.database["end"].insert_one({})  # w=0 has got through when this has
    assert sorted(stamped_oplog.seen(), key=str) == sorted([(None, each) for each in [*changes, "I"]], key=str)
    assert stamped_oplog.stamps == 0


def test_commands_that_drop_and_rename_are_counted(stamped_oplog: StampedOplog, items: Items) -> None:
    before = untagged()
    with session.bind(request="r"):
        items.aggregate([{"$match": {}}, {"$out": "out"}]).to_list()
        items.database["out"].drop()
        items.aggregate([{"$match": {}}]).to_list()
        items.create_index("a")
    assert untagged() == before + 2


def test_writes_without_retries_are_untagged(stamped_oplog: StampedOplog, items: Items) -> None:
    client = stamped_oplog.client(retryWrites=False)
    before = untagged()
    with session.bind(request="r"):
        client[stamped_oplog.name].items.insert_one({})
        with client.start_session() as of, of.start_transaction():
            client[stamped_oplog.name].items.insert_one({}, session=of)
    assert stamped_oplog.seen() == [(None, "I"), ("r", "I")]
    assert untagged() == before + 1


def test_without_a_session_nothing_is_stamped(stamped_oplog: StampedOplog, client: Client, items: Items) -> None:
    items.insert_one({})
    items.update_many({}, {"$set": {"b": 1}})
    with client.start_session() as of, of.start_transaction():
        items.insert_one({}, session=of)
    assert stamped_oplog.seen() == [(None, "I"), *[(None, "U")] * 4, (None, "I")]
    assert stamped_oplog.stamps == 0


def test_a_stamp_is_written_once_per_request_and_session_and_cleared_after_it(
    stamped_oplog: StampedOplog, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    for request in ("one", "two"):
        with session.bind(request=request):
            for _ in range(3):
                items.insert_one({})
                assert items.find_one() is not None
    assert stamped_oplog.seen() == [("one", "I")] * 3 + [("two", "I")] * 3
    assert stamped_oplog.stamps == 2
    items.insert_one({})
    items.insert_one({})
    assert stamped_oplog.seen() == [(None, "I")] * 2
    assert stamped_oplog.stamps == 3
    with session.bind(request="three"):
        items.insert_one({})
        monkeypatch.setattr(pymongo_stamp, "RENEWED_AFTER_S", 0.0)
        items.insert_one({})
    assert stamped_oplog.seen() == [("three", "I")] * 2
    assert stamped_oplog.stamps == 5


def test_the_requests_of_a_session_do_not_run_into_each_other_where_numbers_run_out(
    stamped_oplog: StampedOplog, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("fixtures.stamped_mongodb", "commitlog.drivers.pymongo_stamp"):
        monkeypatch.setattr(f"{module}.SPAN", 8)
    for request in ("one", "two"):
        with session.bind(request=request):
            for _ in range(20):
                items.insert_one({})
    assert stamped_oplog.seen() == [("one", "I")] * 20 + [("two", "I")] * 20


def test_explicit_and_bound_sessions_are_stamped(stamped_oplog: StampedOplog, client: Client, items: Items) -> None:
    with session.bind(request="r"), client.start_session() as of:
        items.insert_one({}, session=of)
        with of.bind(end_session=False):
            items.insert_one({})
        items.insert_one({})
    assert stamped_oplog.seen() == [("r", "I")] * 3
    assert stamped_oplog.stamps == 2


def test_errors_of_writes_are_pymongos(stamped_oplog: StampedOplog, items: Items) -> None:
    plain = stamped_oplog.plain()[stamped_oplog.name]["items"]
    for write in (
        lambda items: items.insert_one({"_id": 1}),
        lambda items: items.insert_many([{"_id": 1}, {"_id": 9}], ordered=False),
        lambda items: items.update_one({"_id": 1}, {"$nope": {"a": 1}}),
        lambda items: items.with_options(write_concern=WriteConcern(7)).insert_one({"_id": 2}),
        lambda items: items.insert_one({"a": "x" * (17 << 20)}),
    ):
        refused: list[Any] = []
        for collection in (plain, items):
            with session.bind(request="r"), pytest.raises(Exception, match=r".") as error:
                write(collection)  # type: ignore[no-untyped-call]
            items.delete_one({"_id": 9})
            refused.append(error.value)
        assert type(refused[0]) is type(refused[1])
        assert getattr(refused[0], "code", None) == getattr(refused[1], "code", None)
    with session.bind(request="r"), pytest.raises(DuplicateKeyError):
        items.insert_one({"_id": 1})
    with session.bind(request="r"), pytest.raises(BulkWriteError) as bulk:
        items.insert_many([{"_id": 8}, {"_id": 1}, {"_id": 9}])
    assert bulk.value.details["nInserted"] == 1


def test_a_write_larger_than_any_packet_is_tagged(stamped_oplog: StampedOplog, items: Items) -> None:
    with session.bind(request="r"):
        items.insert_many([{"text": "x" * 5_000_000} for _ in range(12)])  # two commands
    assert stamped_oplog.seen() == [("r", "I")] * 12
    assert stamped_oplog.stamps == 1


class Heard(CommandListener):
    """The names of the commands an app is told of."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: object) -> None:
        self.names.append("ok")

    def failed(self, event: object) -> None:
        self.names.append("failed")


def test_command_listeners_hear_of_the_apps_commands_alone(stamped_oplog: StampedOplog) -> None:
    heard: list[list[str]] = []
    for make in (stamped_oplog.plain, stamped_oplog.client):
        listener = Heard()
        client = make(event_listeners=[listener])
        items = client[stamped_oplog.name][f"items{len(heard)}"]
        with session.bind(request="r"):
            items.insert_one({"_id": 1})
            with pytest.raises(DuplicateKeyError):
                items.insert_one({"_id": 1})
            in_transaction(client, lambda of, items=items: items.insert_one({}, session=of))
        heard.append(listener.names)
    assert heard[0] == heard[1]
    assert heard[0][-2:] == ["commitTransaction", "ok"]


def test_compressed_messages_and_a_declared_api_are_stamped(stamped_oplog: StampedOplog) -> None:
    for options in ({"compressors": "zlib"}, {"server_api": ServerApi("1", strict=True)}):
        client = stamped_oplog.client(**options)
        items = client[stamped_oplog.name]["items"]
        with session.bind(request="r"):
            items.insert_one({"text": "x" * 1000})
            in_transaction(client, lambda of, items=items: items.insert_one({"text": "x" * 1000}, session=of))
        assert stamped_oplog.seen() == [("r", "I")] * 2


# Transactions


def in_transaction(client: Client, work: Callable[[ClientSession], object]) -> None:
    with client.start_session() as of:
        of.with_transaction(work)


def test_a_transaction_ends_with_its_stamp_whatever_it_wrote(
    stamped_oplog: StampedOplog, client: Client, items: Items
) -> None:
    writes: dict[str, Callable[[ClientSession], object]] = {
        "I": lambda of: items.insert_one({}, session=of),
        "UUU": lambda of: items.update_many({"_id": {"$in": [1, 2, 3]}}, {"$inc": {"a": 1}}, session=of),
        "U": lambda of: items.find_one_and_update({"_id": 1}, {"$inc": {"a": 1}}, session=of),
        "DI": lambda of: items.bulk_write([DeleteOne({"_id": 1}), InsertOne({})], session=of),
        "IU": lambda of: [
            items.database.command({"insert": "items", "documents": [{"_id": 50}]}, session=of),
            items.find_one(session=of),
            items.update_one({"_id": 50}, {"$set": {"b": 1}}, session=of),
        ],
        "D": lambda of: items.find_one_and_delete({"_id": 2}, session=of),
    }
    for changes, work in writes.items():
        with session.bind(request=changes):
            in_transaction(client, work)
            in_transaction(client, lambda of: items.insert_one({}, session=of))
    assert {logged.lone for logged in stamped_oplog.read()} == {False}
    assert stamped_oplog.stamps == 0
    for changes, work in writes.items():
        items.delete_many({"_id": 50})
        items.update_many({"_id": {"$in": [1, 2, 3]}}, {"$set": {"a": 0}})
        for number in (1, 2, 3):
            items.replace_one({"_id": number}, {"a": 0}, upsert=True)
        stamped_oplog.read()
        with session.bind(request=changes):
            in_transaction(client, work)
        assert stamped_oplog.seen() == [(changes, changes)]


def test_a_transaction_that_wrote_nothing_leaves_nothing(
    stamped_oplog: StampedOplog, client: Client, items: Items
) -> None:
    with session.bind(request="r"), client.start_session() as of:
        with of.start_transaction():
            assert len(items.find({}, session=of).to_list()) == 3
        with of.start_transaction():
            items.update_one({"_id": 77}, {"$set": {"a": 1}}, session=of)
            items.update_one({"_id": 1}, {"$set": {"a": 1}}, session=of)
            items.delete_many({"_id": 77}, session=of)
            items.find_one_and_update({"_id": 77}, {"$set": {"a": 1}}, session=of)
        with of.start_transaction():
            pass
        of.start_transaction()
        items.insert_one({}, session=of)
        of.abort_transaction()
        items.insert_one({}, session=of)
    assert stamped_oplog.seen() == [("r", "I")]


def test_the_session_of_the_first_statement_is_the_transactions(
    stamped_oplog: StampedOplog, client: Client, items: Items
) -> None:
    with client.start_session() as of:
        of.start_transaction()
        with session.bind(request="first"):
            items.find_one(session=of)
        with session.bind(request="second"):
            items.insert_one({}, session=of)
            of.commit_transaction()
            items.insert_one({}, session=of)
        of.start_transaction()
        items.insert_one({}, session=of)
        with session.bind(request="late"):
            items.insert_one({}, session=of)
            of.commit_transaction()
    assert stamped_oplog.seen() == [("first", "I"), ("second", "I"), (None, "II")]


def test_a_transaction_between_lone_writes_leaves_their_tag(
    stamped_oplog: StampedOplog, client: Client, items: Items
) -> None:
    with client.start_session() as of:
        for request in ("one", "two"):
            with session.bind(request=request):
                items.insert_one({}, session=of)
                with of.start_transaction():
                    items.insert_many([{}, {}], session=of)
                items.insert_one({}, session=of)
    assert stamped_oplog.seen() == [(request, each) for request in ("one", "two") for each in ("I", "II", "I")]


def test_threads_on_one_client_never_swap_tags(stamped_oplog: StampedOplog, client: Client, items: Items) -> None:
    start = threading.Barrier(4)

    def work(thread: int) -> None:
        start.wait(10)
        for number in range(12):
            request = f"{thread}-{number}"
            with session.bind(request=request):
                items.insert_one({"request": request})
                items.insert_one({"request": request})
            items.insert_one({"request": None})
            with session.bind(request=request):
                in_transaction(client, lambda of, request=request: items.insert_one({"request": request}, session=of))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    read = stamped_oplog.read()
    assert len(read) == 4 * 12 * 4
    assert [logged.request for logged in read] == [logged.documents[0]["request"] for logged in read]


def test_a_client_that_nobody_has_any_more_goes_at_once(stamped_oplog: StampedOplog) -> None:
    client: Client = pymongo.MongoClient(stamped_oplog.url)
    items = client[stamped_oplog.name]["items"]
    with session.bind(request="r"):
        items.insert_one({})
        with client.start_session() as of, of.start_transaction():
            items.insert_one({}, session=of)
        items.find_one()
    gone = weakref.ref(client)
    client.close()
    gc.disable()
    try:
        del client, items, of
        assert gone() is None
    finally:
        gc.enable()


def test_nothing_is_warned_of(stamped_oplog: StampedOplog, items: Items) -> None:
    with warnings.catch_warnings(), session.bind(request="r"):
        warnings.simplefilter("error")
        items.insert_one({})
