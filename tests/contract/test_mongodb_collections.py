"""Collections of MongoDB that become others while the worker streams."""

from typing import Any

import pytest

from fixtures.oplog_load import open_shop
from fixtures.oplog_source import OplogSource
from fixtures.worker import MARK


def test_collections_that_an_aggregation_or_the_drop_of_a_database_replaces(oplog_source: OplogSource) -> None:
    source = open_shop(oplog_source)
    db = source.db
    db.orders.insert_many([{"_id": number, "status": "a"} for number in range(5)])
    run = source.run()
    run.until_caught_up()
    db.others.insert_many([{"_id": number, "status": "out"} for number in range(3, 9)])
    db.others.aggregate([{"$out": "orders"}])
    db.orders.update_one({"_id": 8}, {"$set": {"status": "b"}})
    run.until_marked()
    run.until_caught_up()
    run.terminate()
    source.check_tables(source.history())
    run = source.run().streaming()
    source.client.drop_database(db.name)
    images: Any = {"changeStreamPreAndPostImages": {"enabled": True}}
    for name in ("orders", MARK):
        db.create_collection(name, **images)
    db.orders.insert_many([{"_id": number, "status": "again"} for number in range(4, 6)])
    run.until_marked()
    run.terminate()

    source.check_tables(source.history())
    source.verify()


@pytest.mark.full
@pytest.mark.parametrize("becomes", ["capped", "view", "time series"])
def test_a_collection_that_becomes_one_that_cannot_be_recorded_stops_the_worker_by_name(
    oplog_source: OplogSource, becomes: str
) -> None:
    source = open_shop(oplog_source)
    db = source.db
    db.orders.insert_one({"_id": 1, "status": "a"})
    run = source.run()
    run.until_caught_up()
    if becomes == "capped":
        db.command({"convertToCapped": "orders", "size": 100_000})
    else:
        db.orders.drop()
        options: dict[str, Any] = {"viewOn": MARK} if becomes == "view" else {"timeseries": {"timeField": "t"}}
        db.create_collection("orders", **options)
    run.refused(4, "orders", becomes)

    db.orders.drop()
    db.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
    db.orders.insert_one({"_id": 2, "status": "b"})
    run = source.run()
    run.until_marked()
    run.until_caught_up()
    run.terminate()
    source.check_tables(source.history())


def test_a_collection_that_is_made_anew_without_what_documents_were_loses_nothing_that_is_only_written(
    oplog_source: OplogSource,
) -> None:
    source = open_shop(oplog_source)
    source.db.orders.insert_one({"_id": 1, "status": "old"})
    run = source.run()
    run.until_caught_up()
    source.db.orders.drop()
    source.db.orders.insert_many([{"_id": number, "status": "new"} for number in range(3)])
    hint = run.refused(3, f"{source.database}.orders", "does not keep what its documents were")
    assert hint.startswith("commitlog setup, then commitlog run, which goes on where none is missing")

    source.commitlog("setup")
    run = source.run()
    source.db.orders.update_one({"_id": 1}, {"$set": {"status": "newer"}})
    run.until_marked()
    run.until_caught_up()
    run.terminate()
    history = source.check()
    assert history.of_kind("gap") == []
