"""What is large on MongoDB: transactions over several entries of the oplog, documents near the limit."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from commitlog.cdc.servers.mongod import MongodSet
from commitlog.cdc.servers.mongod_programs import NOT_HERE
from fixtures.elsewhere import here_or_skipped
from fixtures.oplog_source import OplogSource


@pytest.fixture
def large_source(new_oplog_source: Callable[[str], OplogSource]) -> Iterator[OplogSource]:
    """An OplogSource on a server with room for large transactions."""
    with here_or_skipped(lambda: MongodSet.start(settings={"wiredTigerCacheSizeGB": "1"}), NOT_HERE) as server:
        source = new_oplog_source(server.database_url("shop"))
        source.db.create_collection("orders")
        source.map("Order", "orders", fields=("_id", "status", "amount"))
        source.setup()
        yield source
        source.close()


@pytest.mark.full
@pytest.mark.timeout(180)
def test_a_transaction_of_many_entries_is_one_commit(large_source: OplogSource) -> None:
    """More than 16 MB go over several entries of the oplog."""
    source = large_source
    source.db.orders.insert_many([{"_id": number, "status": "x" * 100} for number in range(10)])
    run = source.run(limits__spill_bytes=1 << 20)
    run.until_caught_up()
    text = "y" * 1_000_000

    def work(session: Any) -> None:
        for number in range(20):
            source.db.orders.insert_one({"_id": 100 + number, "status": text}, session=session)
            source.db.orders.update_one({"_id": number % 10}, {"$set": {"status": f"{number}{text}"}}, session=session)

    source.transact(work)
    run.until_marked(timeout_s=60)
    run.terminate()

    history = source.check()
    assert [len(commit.changes) for commit in history.commits if len(commit.changes) > 1] == [40]


@pytest.mark.full
@pytest.mark.timeout(180)
def test_a_document_of_15_mb_is_recorded_with_what_it_was(large_source: OplogSource) -> None:
    source = large_source
    source.db.orders.insert_one({"_id": 1, "status": "x" * 15_000_000})
    source.db.orders.insert_one({"_id": 2, "status": "z" * 15_000_000})
    run = source.run()
    run.until_caught_up(timeout_s=60)
    source.db.orders.update_one({"_id": 1}, {"$set": {"amount": 1}})
    source.db.orders.replace_one({"_id": 1}, {"status": "y" * 15_000_000})
    source.db.orders.delete_one({"_id": 1})
    run.until_marked(timeout_s=60)
    run.terminate()

    source.check()
