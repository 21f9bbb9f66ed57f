"""A replica set of three loses its primary, steps it down, or takes writes back: the log has what a majority has, once and in order."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from pymongo import MongoClient, ReadPreference
from pymongo.errors import AutoReconnect
from pymongo.write_concern import WriteConcern

from commitlog.cdc.servers.mongod import Mongod, MongodSet
from fixtures.oplog_load import load, open_shop
from fixtures.oplog_source import OplogSource
from fixtures.patience import until
from fixtures.worker import Run

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]

NewSource = Callable[[str], OplogSource]


def begun(server: MongodSet, make: NewSource) -> tuple[OplogSource, Run]:
    source = open_shop(make(server.database_url("shop")))
    run = source.run()
    run.until_caught_up(timeout_s=60)
    return source, run


def test_a_primary_that_is_killed_is_followed_by_the_next(
    own_mongodb_set: MongodSet, new_oplog_source: NewSource
) -> None:
    source, run = begun(own_mongodb_set, new_oplog_source)
    with load(source) as writers:
        for _ in range(2):
            writers.more(run, 50, timeout_s=60)
            primary = own_mongodb_set.primary
            primary.stop("kill")
            writers.more(run, 50, timeout_s=60)
            primary.restart()
            own_mongodb_set.wait()

    source.finish(run, timeout_s=120)


def test_a_primary_that_steps_down_under_load_loses_nothing(
    own_mongodb_set: MongodSet, new_oplog_source: NewSource
) -> None:
    source, run = begun(own_mongodb_set, new_oplog_source)
    with load(source) as writers:
        for _ in range(3):
            writers.more(run, 50, timeout_s=60)
            own_mongodb_set.command("replSetStepDown", 5, force=True)

    source.finish(run, timeout_s=120)


def test_writes_that_the_set_takes_back_never_come_to_the_log(
    own_mongodb_set: MongodSet, new_oplog_source: NewSource
) -> None:
    """A primary cut off from the others takes writes with w:1, and gives them up when it finds another primary."""
    source, run = begun(own_mongodb_set, new_oplog_source)
    alone = own_mongodb_set.primary
    others = [member for member in own_mongodb_set.members if member is not alone]
    with direct(source, alone) as client:
        for member in others:
            member.stop("kill")
        lost = client["shop"].get_collection("orders", write_concern=WriteConcern(1))
        for number in range(20):
            lost.insert_one({"_id": f"lost {number}"})
        assert lost.count_documents({"_id": {"$regex": "lost"}}) == 20
    alone.stop("kill")
    for member in others:
        member.restart()
    run.until_marked(timeout_s=120)
    alone.restart()
    own_mongodb_set.wait()
    with load(source) as writers:
        writers.more(run, 50, timeout_s=60)

    source.finish(run, timeout_s=120)
    with direct(source, alone) as client:
        orders = client["shop"].get_collection("orders", read_preference=ReadPreference.SECONDARY_PREFERRED)

        def gone() -> bool:
            with suppress(AutoReconnect):  # while it takes them back it answers nobody
                return orders.count_documents({"_id": {"$regex": "lost"}}) == 0
            return False

        until(gone, "the writes to be gone", timeout_s=30)
    assert "lost" not in str([commit.changes for commit in source.history().commits])


def test_a_secondary_is_read_as_well(own_mongodb_set: MongodSet, new_oplog_source: NewSource) -> None:
    source = open_shop(new_oplog_source(own_mongodb_set.database_url("shop")))
    source.configure(f"{source.url}&readPreference=secondary")
    run = source.run()
    run.until_caught_up(timeout_s=60)
    with load(source) as writers:
        for member in (member for member in own_mongodb_set.members if member is not own_mongodb_set.primary):
            member.restart()
            writers.more(run, 50, timeout_s=60)

    source.finish(run, timeout_s=120)


def test_a_member_that_falls_behind_is_not_read_any_more(
    own_mongodb_set: MongodSet, new_oplog_source: NewSource
) -> None:
    source = open_shop(new_oplog_source(own_mongodb_set.database_url("shop")))
    source.configure(f"{source.url}&readPreference=secondary")
    run = source.run(limits__retry_s=1)
    run.until_caught_up(timeout_s=60)
    behind = next(member for member in own_mongodb_set.members if member is not own_mongodb_set.primary)
    with direct(source, behind) as client:
        client.admin.command("configureFailPoint", "rsSyncApplyStop", mode="alwaysOn")
        run.until_marked(timeout_s=120)
        client.admin.command("configureFailPoint", "rsSyncApplyStop", mode="off")
    source.finish(run, timeout_s=120)


def direct(source: OplogSource, member: Mongod) -> "MongoClient[dict[str, object]]":
    """A client of one member alone."""
    user, at, _ = source.url.partition("://")[2].rpartition("@")
    url = f"mongodb://{user}{at}{member.address}/?directConnection=true&authSource=admin"
    return MongoClient(url, serverSelectionTimeoutMS=5_000)
