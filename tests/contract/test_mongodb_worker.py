"""The worker on MongoDB: every write once, in order, whole; and the log replayed is the source."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne

from commitlog.cdc.servers.mongod import MongodSet, Tls
from commitlog.cdc.tail.oplog.extended_reading import to_bson
from commitlog.drivers import pymongo as wrapped
from commitlog.drivers import session
from fixtures.oplog_source import OplogSource, in_record
from fixtures.patience import until
from fixtures.tls import Authority

FIELDS = ("_id", "status", "amount", "lines", "customer")


def open_shop(source: OplogSource) -> OplogSource:
    source.db.create_collection("orders")
    source.map("Order", "orders", fields=FIELDS)
    return source.setup()


def test_documents_that_were_there_and_documents_that_come(oplog_source: OplogSource) -> None:
    source = open_shop(oplog_source)
    orders = source.db.orders
    orders.insert_many([{"_id": 1, "status": "old", "amount": 1.5}, {"_id": 2, "status": None, "lines": [1, {"x": 2}]}])
    run = source.run().streaming()

    def work(session: Any) -> None:
        orders.insert_one({"_id": 3, "status": "new", "hidden": "x"}, session=session)
        orders.update_one({"_id": 1}, {"$set": {"status": "x"}, "$unset": {"amount": ""}}, session=session)
        source.db.others.insert_one({"_id": 3}, session=session)

    source.transact(work)
    orders.update_one({"_id": 2}, {"$push": {"lines": {"$each": [3, 4], "$position": 1}}})
    orders.delete_one({"_id": 3})
    run.until_caught_up()
    run.terminate()

    history = source.check()
    transaction = next(commit for commit in history.commits if len(commit.changes) == 2)
    assert transaction.meta["skipped"] == 1
    assert "hidden" not in transaction.changes[0]["after"]


def test_a_worker_goes_on_where_the_log_ends(oplog_source: OplogSource) -> None:
    source = open_shop(oplog_source)
    run = source.run()
    run.until_caught_up()
    for number in range(3):
        source.db.orders.insert_one({"_id": number, "status": "before"})
        run.until_marked()
        run.kill()
        source.db.orders.update_one({"_id": number}, {"$set": {"status": "while away"}})
        run = source.run()
    run.until_caught_up()
    run.terminate()

    source.check()


def test_every_kind_of_write(oplog_source: OplogSource) -> None:
    source = open_shop(oplog_source)
    orders = source.db.orders
    run = source.run().streaming()
    orders.insert_many([{"_id": number, "amount": number, "lines": []} for number in range(20)])
    orders.update_many({"_id": {"$lt": 5}}, {"$inc": {"amount": 7}, "$push": {"lines": {"a": 1}}})
    orders.update_many({"_id": {"$lt": 5}}, {"$set": {"lines.0.a": 2, "customer.name": "x"}})
    orders.update_one({"_id": 1}, [{"$set": {"status": {"$concat": ["a", "b"]}}}, {"$unset": "lines"}])
    orders.replace_one({"_id": 2}, {"status": "replaced", "customer": {"z": 1, "a": 2}})
    orders.update_one({"_id": "upserted"}, {"$set": {"status": "there"}}, upsert=True)
    orders.find_one_and_update({"_id": 3}, {"$rename": {"amount": "status"}})
    orders.find_one_and_replace({"_id": 4}, {"amount": 4})
    orders.find_one_and_delete({"_id": 5})
    orders.delete_many({"_id": {"$gte": 15, "$lt": 18}})
    orders.update_one({"_id": 6}, {"$set": {"hidden": 1, "status": 6}})
    orders.bulk_write(
        [
            InsertOne({"_id": 30}), UpdateOne({"_id": 30}, {"$set": {"status": "s"}}), ReplaceOne({"_id": 18}, {"amount": 1.0}),
            UpdateMany({"amount": {"$exists": True}}, {"$mul": {"amount": 2}}), DeleteOne({"_id": 19}), DeleteMany({"status": "s"}),
        ]
    )  # fmt: skip
    source.db.command({"insert": "orders", "documents": [{"_id": 40}, {"_id": 41}]})
    source.db.command({"findAndModify": "orders", "query": {"_id": 40}, "update": {"$set": {"status": 1}}})
    orders.with_options(write_concern=wrapped.WriteConcern(0)).insert_one({"_id": 42})
    until(lambda: orders.find_one({"_id": 42}), "the write that nobody acknowledges")
    orders.aggregate([{"$match": {"_id": 41}}, {"$set": {"status": "merged"}}, {"$merge": "orders"}])
    run.until_caught_up()
    run.terminate()

    source.check()


def test_collections_that_change_while_the_worker_streams(oplog_source: OplogSource) -> None:
    source = open_shop(oplog_source)
    db = source.db
    db.orders.insert_many([{"_id": number, "status": "a"} for number in range(3)])
    run = source.run()
    run.until_caught_up()
    db.orders.create_index("status")
    db.command({"collMod": "orders", "validator": {}})
    db.orders.drop()
    images: Any = {"changeStreamPreAndPostImages": {"enabled": True}}
    db.create_collection("orders", **images)
    db.orders.insert_many([{"_id": number, "status": "b"} for number in range(2, 5)])
    db.orders.update_one({"_id": 2}, {"$set": {"status": "c"}})
    db.create_collection("orders_new", **images)
    db.orders_new.insert_many([{"_id": number, "status": "new"} for number in range(4, 7)])
    run.until_marked()
    db.orders.rename("orders_old")
    db.orders_new.rename("orders")
    db.orders.update_one({"_id": 4}, {"$set": {"status": "swapped"}})
    db.orders_old.insert_one({"_id": 9})
    run.until_marked()
    run.until_caught_up()
    db.create_collection("target", **images)
    db.target.insert_one({"_id": 77, "status": "target"})
    db.target.rename("orders", dropTarget=True)
    db.orders.update_one({"_id": 77}, {"$set": {"status": "in"}})
    run.until_marked()
    run.until_caught_up()
    run.terminate()

    history = source.check()
    assert [commit.changes[0]["entities"] for commit in history.commits if commit.changes[0]["op"] == "truncate"] == [
        ["Order"]
    ]


KEYS: list[Any] = [
    None, 1, Int64(2), 3.5, Decimal128("4.5"), float("nan"), float("-inf"), "a", "B", "c", {"x": 1, "a": 2}, b"abc", Binary(b"x", 5),
    ObjectId(), True, False, DatetimeMS(-1), DatetimeMS(253402300800000), Timestamp(1, 2), MinKey(), MaxKey(), Code("x"),
    Binary.from_uuid(UUID(int=7)),
]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [{}, {"collation": {"locale": "en", "strength": 2}}, {"clusteredIndex": {"key": {"_id": 1}, "unique": True}}],
)
def test_a_snapshot_in_small_chunks_has_every_document_whatever_its_key(
    oplog_source: OplogSource, options: dict[str, Any]
) -> None:
    source = oplog_source
    source.db.create_collection("orders", **options)
    source.map("Order", "orders", fields=FIELDS)
    source.setup()
    source.db.orders.insert_many([{"_id": key, "status": "old"} for key in KEYS])
    run = source.run(limits__snapshot_rows=3)
    run.until_caught_up()
    run.terminate()

    chunks = [items for _, items in source.history().of_kind("snapshot") if items[1]["entity"] == "Order"]
    told = [item["key"]["_id"] for items in chunks for item in items[2:]]
    assert sorted(told) == sorted(in_record(key) for key in KEYS)
    assert [to_bson(f'{{"_id":{text}}}') for text in told] == [
        bson.encode(d) for d in source.db.orders.find({}, {"_id": 1}).sort("_id", 1)
    ]
    source.check()


def test_a_snapshot_under_writes_is_exact(oplog_source: OplogSource) -> None:
    source = open_shop(oplog_source)
    source.db.orders.insert_many([{"_id": number, "amount": 0} for number in range(300)])
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            source.db.orders.update_one({"_id": number * 7 % 400}, {"$inc": {"amount": 1}}, upsert=True)
            source.db.orders.delete_one({"_id": number * 11 % 400})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        run = source.run(limits__snapshot_rows=20)
        run.until_snapshots()
    finally:
        stop.set()
        writer.join(20)
    run.until_marked()
    run.terminate()

    source.check()


VALUES: list[Any] = [
    1, Int64(1), 2**62, 1.0, -0.0, 1e300, float("inf"), Decimal128("1.10"), Decimal128("NaN"), True, None, "", "a\u0000b\n\"\\😀",
    ObjectId("0123456789abcdef01234567"), DatetimeMS(-(1 << 62)), DatetimeMS(1), Binary(b"\x00\xff", 0), Binary(b"\x01", 128),
    Binary.from_uuid(UUID(int=1 << 100)), Regex("a/b", "imx"), Code("f()"), Code("f()", {"x": 1}), Timestamp(1, 4294967295), MinKey(), MaxKey(),
    DBRef("c", 1), {"$set": 1, "a.b": {"": 2}, "z": 1, "a": 2}, [], {}, [[1, [Int64(2)]], {"x": [None]}],
]  # fmt: skip


def test_values_of_every_type_come_to_the_log_exactly(oplog_source: OplogSource) -> None:
    source = open_shop(oplog_source)
    orders = source.db.orders
    run = source.run()
    run.until_caught_up()
    for number, value in enumerate(VALUES):
        orders.insert_one({"_id": number, "status": value})
        orders.replace_one({"_id": number}, {"status": [value], "customer": {"deep": {"down": value}}})
    run.until_marked()
    run.terminate()

    history = source.check(tables=False)
    changes = [change for commit in history.commits for change in commit.changes if change["entity"] == "Order"]
    for number, value in enumerate(VALUES):
        inserted, replaced = changes[2 * number : 2 * number + 2]
        assert to_bson(f'{{"v":{inserted["after"]["status"]}}}') == bson.encode({"v": value})
        assert replaced["before"]["status"] == inserted["after"]["status"]
        assert to_bson(f'{{"v":{replaced["after"]["customer"]}}}') == bson.encode({"v": {"deep": {"down": value}}})


def test_what_a_request_writes_has_its_tag(oplog_source: OplogSource, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_shop(oplog_source)
    run = source.run().streaming()
    with wrapped.MongoClient(source.url, serverSelectionTimeoutMS=10_000) as client:
        orders = client[source.database].orders
        for name in ("ann", "bob"):
            with session.bind(user=name, request=name):
                orders.insert_one({"_id": name})
                orders.update_one({"_id": name}, {"$set": {"status": 1}})
        with session.bind(user="cid", request="cid"), client.start_session() as mine, mine.start_transaction():
            orders.insert_one({"_id": "cid"}, session=mine)
            orders.delete_one({"_id": "ann"}, session=mine)
        orders.insert_one({"_id": "nobody"})
    run.until_caught_up()
    run.kill()
    with wrapped.MongoClient(source.url, serverSelectionTimeoutMS=10_000) as client, session.bind(user="dan"):
        orders = client[source.database].orders
        orders.insert_one({"_id": "dan"})
        run = source.run()
        run.until_marked()
        run.kill()
        orders.insert_one({"_id": "dan too"})
    run = source.run()
    run.until_marked()
    run.terminate()

    history = source.check()
    told = [commit for commit in history.commits if commit.changes[0]["entity"] == "Order"]
    assert [commit.by and commit.by["user"] for commit in told] == [
        "ann",
        "ann",
        "bob",
        "bob",
        "cid",
        None,
        "dan",
        "dan",
    ]


def test_a_collection_that_does_not_keep_what_documents_were_is_refused(oplog_source: OplogSource) -> None:
    source = open_shop(oplog_source)
    run = source.run()
    run.until_caught_up()
    source.db.command({"collMod": "orders", "changeStreamPreAndPostImages": {"enabled": False}})
    source.db.orders.insert_one({"_id": 1})
    source.db.orders.update_one({"_id": 1}, {"$set": {"status": 1}})
    assert "resume --accept-gap" in run.refused(3, "orders")

    source.commitlog("resume", "--accept-gap")
    run = source.run()
    run.until_caught_up()
    source.db.orders.update_one({"_id": 1}, {"$set": {"status": 2}})
    run.until_marked()
    run.terminate()
    source.check_tables(source.history(), epoch=2)
    source.verify()


def test_a_value_that_is_malformed_is_told_by_its_collection_and_can_be_left_behind(oplog_source: OplogSource) -> None:
    """Servers take binary data of the old subtype, which says its length twice, whatever it says."""
    source = open_shop(oplog_source)
    run = source.run()
    run.until_caught_up()
    odd = bson.encode({"_id": 1, "status": Binary(b"1234", 0)}).replace(b"\x04\0\0\0\x001234", b"\x04\0\0\0\x021234")
    source.db.command({"insert": "orders", "documents": [RawBSONDocument(odd)]})
    assert "resume --accept-gap" in run.refused(4, f"{source.database}.orders", "subtype 2")

    source.commitlog("resume", "--accept-gap")
    assert "resume --accept-gap" in source.run().refused(4, f"{source.database}.orders", "subtype 2")
    source.db.orders.update_one({"_id": 1}, {"$set": {"status": 1}})
    source.commitlog("resume", "--accept-gap")
    run = source.run()
    run.until_caught_up()
    run.terminate()
    source.check_tables(source.history(), epoch=3)


def test_a_collection_that_is_made_later_is_recorded_from_its_first_document(oplog_source: OplogSource) -> None:
    source = oplog_source
    source.map("Order", "orders", fields=FIELDS)
    source.setup()
    source.mark()
    run = source.run()
    run.until_caught_up()
    images: Any = {"changeStreamPreAndPostImages": {"enabled": True}}
    source.db.create_collection("orders", **images)
    source.db.orders.insert_one({"_id": 1, "status": "first"})
    source.db.orders.update_one({"_id": 1}, {"$set": {"status": "second"}})
    run.until_marked()
    run.terminate()

    source.check()


def test_a_server_that_encrypts_and_compresses_is_read_alike(
    authority: Authority, new_oplog_source: Callable[[str], OplogSource]
) -> None:
    with MongodSet.start(tls=Tls(authority.certificate("localhost"), authority.root)) as server:
        source = open_shop(new_oplog_source(f"{server.database_url('shop')}&compressors=zlib"))
        source.db.orders.insert_many([{"_id": number, "status": "x" * 1000} for number in range(1000)])
        run = source.run()
        run.until_caught_up()
        source.db.orders.update_many({}, {"$set": {"amount": 1}})
        run.until_marked()
        run.terminate()

        source.check()
        source.close()
