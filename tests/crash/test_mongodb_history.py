"""O1 to O4: history that the log still needed is lost on MongoDB. The worker says so by name and ends with 3, and what its `try:` says leads on:
a gap that everyone can see, a new epoch, new snapshots.
"""

import shutil
from collections.abc import Callable, Iterator

import pytest

from commitlog.cdc.servers.mongod import MongodSet
from commitlog.cdc.servers.mongod_programs import NOT_HERE
from commitlog.cdc.tail.mongodb_catalog import Catalog
from commitlog.schemas.position import format_oplog, parse_oplog
from fixtures.elsewhere import here_or_skipped
from fixtures.oplog_load import open_shop
from fixtures.oplog_source import OplogSource
from fixtures.patience import until

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

NewSource = Callable[[str], OplogSource]
RESUME = "commitlog resume --accept-gap"


@pytest.fixture
def forgetful() -> Iterator[MongodSet]:
    """A server that keeps as little as it can."""
    settings, parameters = {"oplogSize": "1"}, {"expiredChangeStreamPreImageRemovalJobSleepSecs": "1"}
    with here_or_skipped(lambda: MongodSet.start(settings=settings, parameters=parameters), NOT_HERE) as server:
        yield server


def begin(source: OplogSource) -> OplogSource:
    """A shop whose log has commits and snapshots; its worker was stopped."""
    open_shop(source)
    run = source.run()
    source.db.orders.insert_many([{"_id": number, "status": "before", "total": number} for number in range(9)])
    run.until_caught_up()
    run.terminate()
    return source


def write(source: OplogSource, status: str) -> None:
    source.db.orders.insert_one({"_id": f"{status} {source.db.orders.count_documents({})}", "status": status})
    source.db.orders.update_many({}, {"$inc": {"total": 1}})


def go_on(source: OplogSource, hint: str) -> None:
    """Do what the `try:` says, and see that the log goes on with a gap and is the source again."""
    assert RESUME in hint
    before = source.history().records[-1][0]

    source.commitlog("resume", "--accept-gap")

    (gap, items) = source.history().records[-1]
    assert (gap["kind"], gap["epoch"]) == ("gap", before["epoch"] + 1)
    assert items[2]["lost_after"] == before["source"]["position"]
    assert gap["source"]["position"] == items[2]["resumed_at"]
    assert items[2]["replica_set"]
    run = source.run()
    write(source, "after")
    run.until_caught_up()
    run.terminate()
    source.verify()
    source.check_tables(source.history(), epoch=gap["epoch"])


@pytest.mark.full
def test_O1_an_oplog_that_has_rolled_over_is_told(forgetful: MongodSet, new_oplog_source: NewSource) -> None:
    source = begin(new_oplog_source(forgetful.database_url("shop")))
    position = parse_oplog(source.history().records[-1][0]["source"]["position"])
    catalog = Catalog(source.url)
    write(source, "lost")

    def rolled_over() -> bool:
        source.db.hidden.insert_one({"text": "x" * 4_000_000})
        return catalog.oplog_bounds().first > position

    until(rolled_over, "the oplog to roll over", timeout_s=90)
    catalog.close()

    hint = source.run().refused(3, "rolled over", format_oplog(position))

    assert "replSetResizeOplog" in hint
    go_on(source, hint)


@pytest.mark.full
def test_O2_a_server_restored_from_a_copy_is_told(own_mongodb: MongodSet, new_oplog_source: NewSource) -> None:
    source = open_shop(new_oplog_source(own_mongodb.database_url("shop")))
    (member,) = own_mongodb.members
    own_mongodb.stop()
    shutil.copytree(member.folder, member.folder.with_name("copy"))
    own_mongodb.restart()
    run = source.run()
    write(source, "lost")
    run.until_caught_up()
    run.terminate()
    own_mongodb.stop()
    shutil.rmtree(member.folder)
    member.folder.with_name("copy").rename(member.folder)
    own_mongodb.restart()
    write(source, "another")
    source._marks = 0

    go_on(source, source.run(fresh=True).refused(3, "history is another one", timeout_s=60))


@pytest.mark.full
def test_O3_another_replica_set_is_told(
    mongodb_database: str, own_mongodb: MongodSet, new_oplog_source: NewSource
) -> None:
    source = begin(new_oplog_source(mongodb_database))
    source.configure(own_mongodb.database_url(source.database))

    assert "correct [source] url" in source.run().refused(3, "the source is another one: replica set")


def test_O3_another_database_of_the_set_is_told(oplog_source: OplogSource) -> None:
    source = begin(oplog_source)
    schema = source.schema_path.read_text()
    source.schema_path.write_text(schema.replace(source.database, "elsewhere"))
    source.configure(source.url.replace(source.database, "elsewhere"))

    source.run().refused(3, "the source is another one", "'elsewhere'")


@pytest.mark.full
def test_O4_what_documents_were_and_is_not_kept_any_more_is_told(
    forgetful: MongodSet, new_oplog_source: NewSource
) -> None:
    source = begin(new_oplog_source(forgetful.database_url("shop")))
    write(source, "lost")
    images = {"preAndPostImages": {"expireAfterSeconds": 1}}
    forgetful.command("setClusterParameter", {"changeStreamOptions": images})
    kept = source.client["config"]["system.preimages"]
    until(lambda: kept.count_documents({}) == 0, "the pre-images to expire", timeout_s=60)
    forgetful.command(
        "setClusterParameter", {"changeStreamOptions": {"preAndPostImages": {"expireAfterSeconds": "off"}}}
    )

    go_on(source, source.run().refused(3, "not kept as it was before", "orders"))
