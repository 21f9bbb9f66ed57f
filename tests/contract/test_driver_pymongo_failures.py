"""The wrapped pymongo where stamps, writes and commits fail: results stay pymongo's, and no write carries another's tag."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from commitlog.cdc.servers.mongod import COMMON, HOST, PARAMETERS, Mongod, MongodSet
from commitlog.drivers import pymongo, pymongo_stamp, session
from fixtures.patience import until
from fixtures.stamped_mongodb import Client, StampedOplog

Items = Collection[dict[str, Any]]
OnUntagged = session.OnUntagged

LASTING = {"errorCode": 121, "namespace": "commitlog.stamps"}
PASSING = {"errorCode": 11602, "namespace": "commitlog.stamps"}
BROKEN = {"closeConnection": True}
UNCLEAR = {"errorCode": 262, "errorLabels": ["RetryableWriteError"]}
WRITTEN = {"writeConcernError": {"code": 262, "errmsg": "", "errorLabels": ["RetryableWriteError"]}}
LATE = {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}}


@pytest.fixture
def log(stamped_oplog: StampedOplog) -> Iterator[StampedOplog]:
    yield stamped_oplog
    stamped_oplog.fail_no_more()


@pytest.fixture(autouse=True)
def as_configured_by_default() -> Iterator[None]:
    yield
    session.configure()


@pytest.fixture
def client(log: StampedOplog) -> Client:
    return log.client(appname=log.name)


@pytest.fixture
def items(log: StampedOplog, client: Client) -> Items:
    collection = client[log.name].create_collection("items")
    log.read()
    return collection


def untagged() -> int:
    return sum(count for what, count in session.counters().items() if what.startswith("untagged"))


@pytest.mark.parametrize(
    "how",
    [
        {"command": "insert", **BROKEN},
        {"command": "insert", **UNCLEAR},
        {"command": "insert", **WRITTEN},
        {"command": "update", "namespace": "commitlog.stamps", **BROKEN},
    ],
    ids=["connection broken", "error", "after it was written", "connection of the stamp"],
)
def test_a_write_that_pymongo_tries_again_happens_once_and_is_tagged(
    log: StampedOplog, items: Items, how: dict[str, Any]
) -> None:
    before = untagged()
    with session.bind(request="first"):
        items.insert_one({"_id": 1})
    for request in ("one", "two"):
        log.fail(how["command"], **{key: value for key, value in how.items() if key != "command"})
        with session.bind(request=request):
            items.insert_one({"request": request})
            items.insert_one({"request": request})
    assert log.seen() == [("first", "I"), *[("one", "I")] * 2, *[("two", "I")] * 2]
    assert untagged() == before


@pytest.mark.parametrize("how", [BROKEN, WRITTEN], ids=["connection broken", "after it was written"])
def test_a_retry_behind_other_writes_of_its_request_may_be_stamped(
    log: StampedOplog, items: Items, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    before = untagged()
    with session.bind(request="r"):
        items.insert_one({})
        items.insert_one({})
        log.fail("insert", **how)
        monkeypatch.setattr(pymongo_stamp, "RENEWED_AFTER_S", 0.0)
        items.insert_one({})
    assert log.seen() == [("r", "I")] * 3
    assert log.stamps >= 2
    assert untagged() == before


def test_a_stamp_that_is_late_stands_before_the_write(log: StampedOplog, items: Items) -> None:
    with session.bind(request="one"):
        items.insert_one({})
    log.fail("update", namespace="commitlog.stamps", blockConnection=True, blockTimeMS=300)
    with session.bind(request="two"):
        items.insert_one({})
    assert log.seen() == [("one", "I"), ("two", "I")]


def test_a_refused_stamp_leaves_the_write_untagged_and_never_under_the_tag_before(
    log: StampedOplog, items: Items, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session.bind(request="one"):
        items.insert_one({})
    log.fail("update", times="alwaysOn", **LASTING)
    before = untagged()
    with session.bind(request="two"):
        items.insert_one({})
        items.insert_one({})
        items.update_one({"_id": "not there"}, {"$set": {"a": 1}})
    assert log.seen() == [("one", "I"), (None, "I"), (None, "I")]
    assert untagged() == before + 3
    log.fail_no_more()
    with session.bind(request="two"):
        items.insert_one({})
        monkeypatch.setattr(pymongo_stamp.Refusals, "SECONDS", 0.0)
        next(iter(items.database.client._topology._servers.values())).pool.refusals._until = 0.0
        items.insert_one({})
    assert log.seen() == [(None, "I"), ("two", "I")]


def test_a_stamp_cut_short_is_tried_again_with_the_next_write(log: StampedOplog, items: Items) -> None:
    with session.bind(request="one"):
        items.insert_one({})
    log.fail("update", **PASSING)
    with session.bind(request="two"):
        items.insert_one({})
        items.insert_one({})
    log.fail("update", **PASSING)
    items.insert_one({})
    assert log.seen() == [("one", "I"), (None, "I"), ("two", "I"), (None, "I")]


def test_on_untagged_has_its_say_about_refused_stamps(log: StampedOplog, items: Items) -> None:
    log.fail("update", times="alwaysOn", **LASTING)
    session.configure(on_untagged="raise")
    with session.bind(request="r"):
        for _ in range(2):
            with pytest.raises(pymongo.Untagged, match="refused the stamp") as refused:
                items.insert_one({})
        assert isinstance(refused.value, OperationFailure)
        assert isinstance(refused.value, session.Untagged)
        assert log.seen() == []
        session.configure(on_untagged="warn")
        with pytest.warns(session.TagWarning, match="refused the stamp"):
            items.insert_one({})
        with pytest.warns(session.TagWarning, match="refused the stamp"):
            log.client(appname=log.name)[log.name]["items"].insert_one({})
    assert log.seen() == [(None, "I")] * 2


def test_under_raise_a_stamp_is_in_the_oplog_before_its_write_is_sent(log: StampedOplog, items: Items) -> None:
    session.configure(on_untagged="raise")
    for request in ("one", "two"):
        with session.bind(request=request):
            items.insert_one({})
            with items.database.client.start_session() as of, of.start_transaction():
                items.insert_one({}, session=of)
    assert log.seen() == [("one", "I"), ("one", "I"), ("two", "I"), ("two", "I")]


# Transactions


def twice(items: Items) -> Callable[[ClientSession], object]:
    return lambda of: [items.insert_one({}, session=of), items.insert_one({}, session=of)]


@pytest.mark.parametrize(
    ("command", "how", "times"),
    [
        ("commitTransaction", BROKEN, 1),
        ("commitTransaction", BROKEN, 3),
        ("commitTransaction", UNCLEAR, 1),
        ("commitTransaction", UNCLEAR, 5),
        ("commitTransaction", LATE, 1),
        ("insert", BROKEN, 1),
        ("insert", {"errorCode": 112, "errorLabels": ["TransientTransactionError"]}, 1),
        ("update", {"namespace": "commitlog.stamps", **BROKEN}, 1),
    ],
)
def test_with_transaction_gets_through_once_with_one_stamp(
    log: StampedOplog, items: Items, command: str, how: dict[str, Any], times: int
) -> None:
    before = untagged()
    log.fail(command, times=times, **how)
    with session.bind(request="r"), items.database.client.start_session() as of:
        of.with_transaction(twice(items))
    assert log.seen() == [("r", "II")]
    assert untagged() == before
    assert items.count_documents({}) == 2


def test_a_commit_that_the_app_repeats_has_one_stamp(log: StampedOplog, items: Items) -> None:
    with session.bind(request="r"), items.database.client.start_session() as of:
        of.start_transaction()
        items.insert_one({}, session=of)
        log.fail("commitTransaction", times=2, **UNCLEAR)
        with pytest.raises(PyMongoError) as unclear:
            of.commit_transaction()
        assert unclear.value.has_error_label("UnknownTransactionCommitResult")
        of.commit_transaction()
        of.commit_transaction()
        log.fail("commitTransaction", **LATE)
        with pytest.raises(PyMongoError) as late:
            of.commit_transaction()
        assert late.value.has_error_label("UnknownTransactionCommitResult")
        of.commit_transaction()
    assert log.seen() == [("r", "I")]


def test_a_commit_without_an_answer_has_one_stamp_when_it_is_tried_again(log: StampedOplog) -> None:
    client = log.client(appname=log.name, socketTimeoutMS=400)
    items, before = client[log.name]["items"], untagged()
    with session.bind(request="r"), client.start_session() as of:
        of.start_transaction()
        items.insert_one({}, session=of)
        log.fail("commitTransaction", blockConnection=True, blockTimeMS=1500)
        of.commit_transaction()
    assert log.seen() == [("r", "I")]
    assert untagged() == before, "the stamp of the second try is refused, and was written by the first"


def test_an_open_transaction_with_a_stamp_does_not_hold_up_the_lone_writes_behind_it(
    log: StampedOplog, items: Items
) -> None:
    with session.bind(request="r"), items.database.client.start_session() as of:
        of.start_transaction()
        items.insert_one({}, session=of)
        log.fail("commitTransaction", errorCode=50)
        with pytest.raises(OperationFailure, match="fail"):
            of.commit_transaction()
        items.insert_one({}, session=of)
        items.insert_one({})
    assert log.seen() == [("r", "I")] * 2


@pytest.fixture
def invalid(log: StampedOplog) -> Iterator[None]:
    """Stamps are not valid documents."""
    with log.server.client() as admin:
        admin.commitlog.command("collMod", "stamps", validator={"never": {"$exists": True}})
        try:
            yield
        finally:
            admin.commitlog.command("collMod", "stamps", validator={})


@pytest.mark.usefixtures("invalid")
def test_a_refused_stamp_aborts_the_transaction_and_the_next_goes_untagged(log: StampedOplog, items: Items) -> None:
    client, before = items.database.client, untagged()
    with session.bind(request="r"), client.start_session() as of:
        of.start_transaction()
        items.insert_one({}, session=of)
        with pytest.raises(OperationFailure, match="aborted") as aborted:
            of.commit_transaction()
        assert aborted.value.has_error_label("TransientTransactionError")
        assert log.seen() == []
        assert untagged() == before
        with of.start_transaction():
            items.insert_one({}, session=of)
            items.insert_one({}, session=of)
        assert log.seen() == [(None, "II")]
        assert untagged() == before + 1
    other = log.client(appname=log.name)
    with session.bind(request="r"), other.start_session() as of:
        of.with_transaction(twice(other[log.name]["items"]))
    assert log.seen() == [(None, "II")]


@pytest.mark.usefixtures("invalid")
def test_under_raise_a_refused_stamp_leaves_nothing_of_the_transaction(log: StampedOplog, items: Items) -> None:
    session.configure(on_untagged="raise")
    client = items.database.client
    with session.bind(request="r"), client.start_session() as of:
        with pytest.raises(pymongo.Untagged, match="refused the stamp"):
            of.with_transaction(twice(items))
        with pytest.raises(pymongo.Untagged, match="refused the stamp"), of.start_transaction():
            items.insert_one({}, session=of)
        assert items.find_one({}, session=of) is None
    items.insert_one({})
    assert log.seen() == [(None, "I")]


@pytest.mark.parametrize("on_untagged", ["raise", "allow"])
def test_transactions_older_than_the_collection_of_stamps_may_be_tried_again(
    own_mongodb: MongodSet, on_untagged: OnUntagged
) -> None:
    """The first stamp of all makes that collection: to transactions begun before it the server says SnapshotUnavailable, once."""
    log = StampedOplog(own_mongodb, "t", own_mongodb.database_url("t"))
    session.configure(on_untagged=on_untagged)
    client, before = log.client(), untagged()
    items = client.t.create_collection("items")
    with session.bind(request="r"), client.start_session() as one, client.start_session() as other:
        for of in (one, other):
            of.start_transaction()
            items.insert_one({}, session=of)
        other.commit_transaction()
        with pytest.raises(OperationFailure) as transient:
            one.commit_transaction()
        assert transient.value.has_error_label("TransientTransactionError")
        one.with_transaction(twice(items))
    assert log.seen() == [("r", "I"), ("r", "II")]
    assert untagged() == before
    log.close()


# Rights, and servers without an oplog


def test_who_may_not_write_stamps_writes_untagged(make_stamped_oplog: Callable[..., StampedOplog]) -> None:
    log = make_stamped_oplog()
    client = log.client()
    items, before = client[log.name]["items"], untagged()
    with session.bind(request="r"):
        items.insert_one({})
        with client.start_session() as of:
            of.with_transaction(twice(items))
    assert log.seen() == [(None, "I"), (None, "II")]
    assert untagged() == before + 2
    assert any("commitlog setup" in what for what in session.counters())
    fresh = log.client()
    with session.bind(request="r"), fresh.start_session() as of:
        of.with_transaction(twice(fresh[log.name]["items"]))
    assert log.seen() == [(None, "II")], "a want of rights does not abort the transaction"
    session.configure(on_untagged="raise")
    with session.bind(request="r"), client.start_session() as of:
        with pytest.raises(pymongo.Untagged, match="commitlog setup"):
            log.client()[log.name]["items"].insert_one({})
        fresh = log.client()
        with fresh.start_session() as of, pytest.raises(pymongo.Untagged, match="commitlog setup"):
            of.with_transaction(twice(fresh[log.name]["items"]))
    assert log.seen() == []


def test_a_standalone_server_is_named(tmp_path: Any) -> None:
    server = Mongod(tmp_path, {**COMMON, "bind_ip": HOST}, PARAMETERS, outlive=False)
    server.start_on_free_port()
    try:
        with pymongo.MongoClient[dict[str, Any]](f"mongodb://{server.address}/") as client:
            client.t.items.insert_one({})
            before = untagged()
            with session.bind(request="r"):
                client.t.items.insert_one({})
                assert untagged() == before + 1
                session.configure(on_untagged="raise")
                with pytest.raises(pymongo.Untagged, match="standalone"):
                    client.t.items.insert_one({})
            assert client.t.items.count_documents({}) == 2
            assert "commitlog" not in client.list_database_names()
    finally:
        server.close()


def test_another_election_means_another_stamp(own_mongodb: MongodSet) -> None:
    log = StampedOplog(own_mongodb, "t", own_mongodb.database_url("t"))
    client = log.client()
    with session.bind(request="r"):
        client.t.items.insert_one({})
        client.t.items.insert_one({})
        assert log.seen() == [("r", "I")] * 2
        assert log.stamps == 1
        with own_mongodb.client() as admin, suppress(AutoReconnect):
            admin.admin.command("replSetStepDown", 1, force=True)
        client.t.items.insert_one({})
    assert log.seen() == [("r", "I")]
    assert log.stamps == 2
    log.close()


@pytest.mark.full
@pytest.mark.timeout(180)
def test_no_write_loses_its_tag_or_has_anothers_while_primaries_change(own_mongodb_set: MongodSet) -> None:
    log = StampedOplog(own_mongodb_set, "t", own_mongodb_set.database_url("t"))
    client = log.client(serverSelectionTimeoutMS=30_000)
    client.t.create_collection("items")
    written: dict[int, str] = {}
    done = threading.Event()

    def work(thread: int) -> None:
        number = thread
        while not done.is_set():
            request = f"{thread}-{number}"
            with session.bind(request=request):
                for _ in range(3):
                    number += 4
                    try:
                        client.t.items.insert_one({"_id": number, "request": request})
                    except PyMongoError:
                        continue
                    written[number] = request

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for how in ("step down", "kill", "step down"):
        mark = len(written) + 200
        until(lambda mark=mark: len(written) > mark, "the next write")
        if how == "kill":
            own_mongodb_set.primary.restart("kill")
        else:
            with own_mongodb_set.client() as admin, suppress(AutoReconnect):
                admin.admin.command("replSetStepDown", 5, force=True)
    mark = len(written) + 200
    until(lambda: len(written) > mark, "the next write")
    done.set()
    for thread in threads:
        thread.join(60)
    found = [(each["_id"], logged.request, each["request"]) for logged in log.read() for each in logged.documents]
    assert written.keys() <= {number for number, _, _ in found}
    assert len({number for number, _, _ in found}) == len(found), "nothing is written twice"
    assert [each for each in found if each[1] != each[2]] == []
    log.close()
