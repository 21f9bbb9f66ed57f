"""The wrapped AsyncMongoClient, and lone writes in transactions of their own on either client."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from pymongo import DeleteOne, InsertOne, UpdateMany
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure
from pymongo.write_concern import WriteConcern

from commitlog.drivers import pymongo, session
from fixtures.stamped_mongodb import StampedOplog

AsyncClient = pymongo.AsyncMongoClient[dict[str, Any]]
LASTING = {"errorCode": 121, "namespace": "commitlog.stamps"}


@pytest.fixture
def log(stamped_oplog: StampedOplog) -> Iterator[StampedOplog]:
    with stamped_oplog.server.client() as admin:
        admin[stamped_oplog.name].create_collection("items")
    stamped_oplog.read()
    yield stamped_oplog
    stamped_oplog.fail_no_more()
    session.configure()


def untagged() -> int:
    return sum(count for what, count in session.counters().items() if what.startswith("untagged"))


def play(log: StampedOplog, work: Callable[[AsyncClient, Any], Awaitable[object]], **options: Any) -> None:
    """Run what is done with an asynchronous client and the collection `items`."""

    async def main() -> None:
        async with pymongo.AsyncMongoClient[dict[str, Any]](log.url, appname=log.name, **options) as client:
            await work(client, client[log.name]["items"])

    asyncio.run(main())


def test_every_write_of_a_request_is_tagged(log: StampedOplog) -> None:
    async def work(client: AsyncClient, items: Any) -> None:
        with session.bind(request="r"):
            await items.insert_one({"_id": 1})
            await items.insert_many([{"_id": 2}, {"_id": 3}])
            await items.update_one({"_id": 1}, {"$set": {"a": 1}})
            await items.replace_one({"_id": 1}, {"a": 2})
            assert await items.find_one_and_delete({"_id": 1}) == {"_id": 1, "a": 2}
            await items.bulk_write([InsertOne({"_id": 4}), DeleteOne({"_id": 2})])
            async with client.start_session() as of:
                await of.with_transaction(lambda of: items.update_many({}, {"$set": {"a": 1}}, session=of))
                async with await of.start_transaction():
                    assert len(await items.find(session=of).to_list()) == 2
        await items.insert_one({})

    play(log, work)
    assert log.seen() == [("r", each) for each in ("I", "I", "I", "U", "U", "D", "I", "D", "UU")] + [(None, "I")]


def test_tasks_on_one_client_never_swap_tags(log: StampedOplog) -> None:
    async def work(client: AsyncClient, items: Any) -> None:
        together = asyncio.Barrier(5)

        async def request(number: int) -> None:
            with session.bind(request=f"r{number}"):
                await together.wait()
                for _ in range(3):
                    await items.insert_one({"request": f"r{number}"})
                async with client.start_session() as of, await of.start_transaction():
                    await items.insert_one({"request": f"r{number}"}, session=of)
                    await asyncio.sleep(0)
                    await items.insert_one({"request": f"r{number}"}, session=of)

        async def nobody() -> None:
            await together.wait()
            for _ in range(6):
                await items.insert_one({"request": None})

        for turn in range(4):
            await asyncio.gather(*(request(4 * turn + number) for number in range(4)), nobody())

    play(log, work)
    read = log.read()
    assert len(read) == 4 * (4 * 4 + 6)
    assert all({logged.request} == {document["request"] for document in logged.documents} for logged in read)


def test_a_task_that_is_cancelled_leaves_no_tag_behind(log: StampedOplog) -> None:
    async def work(client: AsyncClient, items: Any) -> None:
        log.fail("insert", blockConnection=True, blockTimeMS=500)
        with session.bind(request="cancelled"), pytest.raises(TimeoutError):
            await asyncio.wait_for(items.insert_one({"request": "cancelled"}), 0.2)
        for request in ("one", "two"):
            with session.bind(request=request):
                await items.insert_one({"request": request})
        await items.insert_one({"request": None})
        await asyncio.sleep(0.5)

    play(log, work)
    assert all(logged.request == logged.documents[0]["request"] for logged in log.read())


def test_refused_stamps_follow_on_untagged(log: StampedOplog) -> None:
    async def work(client: AsyncClient, items: Any) -> None:
        log.fail("update", times="alwaysOn", **LASTING)
        session.configure(on_untagged="raise")
        with session.bind(request="r"):
            with pytest.raises(pymongo.Untagged, match="refused"):
                await items.insert_one({})
            with pytest.raises(pymongo.Untagged, match="refused"):
                await items.update_many({}, {"$set": {"a": 1}})
            session.configure(on_untagged="warn")
            with pytest.warns(session.TagWarning, match="refused"):
                await items.insert_one({})

    play(log, work)
    assert log.seen() == [(None, "I")]


def test_a_write_that_is_tried_again_happens_once(log: StampedOplog) -> None:
    async def work(client: AsyncClient, items: Any) -> None:
        with session.bind(request="r"):
            log.fail("insert", closeConnection=True)
            await items.insert_one({})
            log.fail("commitTransaction", closeConnection=True)
            async with client.start_session() as of:
                await of.with_transaction(lambda of: items.insert_one({}, session=of))

    play(log, work)
    assert log.seen() == [("r", "I")] * 2


# Lone writes in transactions of their own


def test_each_command_that_writes_is_a_transaction_of_its_own_where_the_client_says_so(log: StampedOplog) -> None:
    items = log.client(lone_writes="transaction")[log.name]["items"]
    plain = log.plain()[log.name]["plain"]
    for collection, request in ((plain, None), (items, "r")):
        with session.bind(request="r"):
            assert collection.insert_many([{"_id": n, "a": 0} for n in range(4)]).inserted_ids == [0, 1, 2, 3]
            assert collection.update_many({}, {"$inc": {"a": 1}}).modified_count == 4
            assert collection.update_one({"_id": 9}, {"$set": {"a": 1}}, upsert=True).upserted_id == 9
            assert collection.find_one_and_update({"_id": 0}, {"$inc": {"a": 1}}) == {"_id": 0, "a": 1}
            assert collection.update_one({"_id": "none"}, {"$inc": {"a": 1}}).matched_count == 0
            result = collection.bulk_write([UpdateMany({"_id": {"$lt": 2}}, {"$inc": {"a": 1}}), DeleteOne({"_id": 3})])
            assert (result.modified_count, result.deleted_count) == (2, 1)
            for concern in (WriteConcern(1), WriteConcern("majority", j=True)):
                collection.with_options(write_concern=concern).delete_many({"_id": {"$in": [9]}})
            with pytest.raises(DuplicateKeyError):
                collection.insert_one({"_id": 1})
            with pytest.raises(BulkWriteError):
                collection.insert_many([{"_id": 7}, {"_id": 1}])
        assert collection.count_documents({"_id": 7}) == (0 if request else 1), "a transaction is all or nothing"
        if request is None:
            log.read()
    assert log.seen() == [("r", each) for each in ("IIII", "UUUU", "I", "U", "UU", "D", "D")]
    items.insert_one({})
    items.update_many({}, {"$inc": {"a": 1}})
    assert log.seen() == [(None, "I"), *[(None, "U")] * 4]


def test_lone_writes_in_transactions_fail_as_transactions_do_and_are_not_tried_again(log: StampedOplog) -> None:
    client = log.client(lone_writes="transaction", appname=log.name)
    items = client[log.name]["items"]
    with session.bind(request="r"):
        for code in (112, 262):
            log.fail("insert", errorCode=code, errorLabels=["TransientTransactionError"])
            with pytest.raises(OperationFailure) as refused:
                items.insert_one({})
            assert refused.value.code == code
            log.fail("commitTransaction", errorCode=code)
            with pytest.raises(OperationFailure) as refused:
                items.insert_one({})
            assert refused.value.code == code
        log.fail("insert", closeConnection=True)
        with pytest.raises(pymongo.errors.AutoReconnect):
            items.insert_one({})
        log.fail("commitTransaction", writeConcernError={"code": 64, "errmsg": "timed out"})
        with pytest.raises(pymongo.errors.WriteConcernError):
            items.insert_one({})
        assert log.seen() == [("r", "I")]
        items.insert_one({})
        with client.start_session(causal_consistency=True) as of:
            items.insert_one({}, session=of)
            assert items.count_documents({}, session=of) == 3
            with of.start_transaction():
                items.insert_one({}, session=of)
        assert log.seen() == [("r", "I")] * 3


def test_a_lone_write_whose_commit_failed_leaves_no_transaction_open(log: StampedOplog) -> None:
    items = log.client(lone_writes="transaction", appname=log.name)[log.name]["items"]
    items.insert_one({"_id": 1})
    log.fail("commitTransaction", errorCode=50)
    with session.bind(request="r"), pytest.raises(OperationFailure):
        items.update_one({"_id": 1}, {"$set": {"a": 1}})
    of_another = log.plain(timeoutMS=10_000)[log.name]["items"]
    assert of_another.update_one({"_id": 1}, {"$set": {"a": 2}}).modified_count == 1
    assert log.seen() == [(None, "I"), (None, "U")]


def test_lone_writes_in_transactions_follow_on_untagged(log: StampedOplog) -> None:
    items = log.client(lone_writes="transaction", appname=log.name)[log.name]["items"]
    log.fail("update", times="alwaysOn", **LASTING)
    session.configure(on_untagged="raise")
    with session.bind(request="r"):
        for _ in range(2):
            with pytest.raises(pymongo.Untagged, match="refused"):
                items.insert_one({})
        assert log.seen() == []
        session.configure()
        before = untagged()
        log.client(lone_writes="transaction", appname=log.name)[log.name]["items"].insert_one({})
        assert untagged() == before + 1
    assert log.seen() == [(None, "I")]


def test_asynchronous_lone_writes_in_transactions(log: StampedOplog) -> None:
    async def work(client: AsyncClient, items: Any) -> None:
        with session.bind(request="r"):
            await items.insert_many([{}, {}])
            assert (await items.update_many({}, {"$set": {"a": 1}})).modified_count == 2
            log.fail("insert", closeConnection=True)
            with pytest.raises(pymongo.errors.AutoReconnect):
                await items.insert_one({})

    play(log, work, lone_writes="transaction")
    assert log.seen() == [("r", "II"), ("r", "UU")]
