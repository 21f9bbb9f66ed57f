"""The worker on MongoDB is killed wherever it hurts, and its source with it: nothing is lost and nothing twice."""

import random
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from commitlog.cdc.servers.mongod import MongodSet
from fixtures.oplog_load import load, open_shop
from fixtures.oplog_source import OplogSource
from fixtures.proxy import TcpProxy
from fixtures.worker import History, Run

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding


@pytest.fixture
def shop(oplog_source: OplogSource) -> OplogSource:
    return open_shop(oplog_source)


def begin(source: OplogSource) -> None:
    """Have the log begin, so that the referee knows where."""
    run = source.run()
    run.until_caught_up()
    run.terminate()


def finish(source: OplogSource, run: Run) -> History:
    run.until_caught_up()
    run.terminate()
    return source.check()


def check(source: OplogSource, **settings: object) -> History:
    """The next worker brings the log to a whole end."""
    return finish(source, source.run(**settings))


FULL = pytest.mark.full


@FULL
@pytest.mark.parametrize("failpoint", ["after_read", "before_append", "after_append"])
def test_f1_to_f3_a_worker_killed_at_a_step_leaves_each_transaction_once(shop: OplogSource, failpoint: str) -> None:
    begin(shop)
    with load(shop):
        for passage in (1, 2, 40):
            shop.run(f"{failpoint}:kill:{passage}").until_killed()

    check(shop)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
def test_f4_a_worker_killed_at_any_moment_under_load_leaves_each_transaction_once(
    shop: OplogSource, kills: int
) -> None:
    """Every second worker is without the compiled part."""
    begin(shop)
    rng = random.Random(kills)
    with load(shop) as writers:
        for number in range(kills):
            pure = "1" if number % 2 else ""
            run = shop.run(pure=pure, limits__part_bytes=600, limits__flush_bytes=2000).streaming()
            goal = writers.done + rng.randrange(300)
            run.until(lambda goal=goal: writers.done >= goal, "more transactions")
            run.kill()

    check(shop)


def test_f5_a_worker_killed_between_parts_voids_them_and_writes_the_commit_whole(shop: OplogSource) -> None:
    parts = {"limits__part_bytes": 400, "limits__flush_bytes": 1, "limits__flush_ms": 0}
    run = shop.run(**parts).streaming()
    run.until_marked()
    run.kill()

    for passage in (1, 3, 9):
        notes = [{"_id": {"p": passage, "n": number}, "body": "x" * 90} for number in range(80)]
        shop.transact(lambda session, notes=notes: shop.db.notes.insert_many(notes, session=session))
        shop.run(f"between_parts:kill:{passage}", **parts).until_killed()

    history = check(shop)
    sizes = [header["void"]["to"] - header["void"]["from"] + 1 for header, _ in history.of_kind("void")]
    assert max(sizes) > 1


def test_f6_a_worker_killed_in_a_snapshot_chunk_goes_on_after_the_last_whole_one(shop: OplogSource) -> None:
    shop.db.orders.insert_many([{"_id": -number, "status": "old", "total": number} for number in range(1, 91)])
    shop.db.notes.insert_many([{"_id": {"w": number % 3, "n": -number}, "body": "old"} for number in range(1, 46)])
    with load(shop):
        for passage in (1, 3, 4):
            shop.run(f"in_snapshot_chunk:kill:{passage}", limits__snapshot_rows=10).until_killed()

    history = check(shop, limits__snapshot_rows=200)
    chunks = [items[1] for _, items in history.of_kind("snapshot") if items[1]["entity"] == "Order"]
    assert [chunk["from"] for chunk in chunks] == [None] + [chunk["to"] for chunk in chunks[:-1]]


@pytest.mark.parametrize("how", ["kill", pytest.param("fast", marks=FULL)])
def test_f8_a_server_that_goes_away_and_comes_back_loses_nothing(
    own_mongodb: MongodSet, new_oplog_source: Callable[[str], OplogSource], how: Any
) -> None:
    source = open_shop(new_oplog_source(own_mongodb.database_url("shop")))
    begin(source)
    run = source.run().streaming()
    with load(source) as writers:
        for _ in range(2):
            goal = writers.done + 100
            run.until(lambda goal=goal: writers.done >= goal, "more transactions")
            own_mongodb.restart(how)

    finish(source, run)


@FULL
def test_f9_a_connection_that_is_cut_is_made_again(
    shop: OplogSource, mongodb_database: str, proxy: Callable[[str], TcpProxy]
) -> None:
    parts = urlsplit(mongodb_database)
    through = proxy(parts._replace(query="directConnection=true&authSource=admin").geturl())
    shop.configure(through.url)
    run = shop.run().streaming()

    with load(shop) as writers:
        for count in (0, 1, 700, 5_000, 20_011):
            goal, connections = writers.done + 30, through.connection_count
            run.until(lambda goal=goal: writers.done >= goal, "more transactions")
            through.limit_bytes(count) if count else through.cut()
            run.until(lambda connections=connections: through.connection_count > connections + 1, "a new connection")

    finish(shop, run)


@pytest.mark.parametrize(
    "failure",
    [{"closeConnection": True}, *(pytest.param({"errorCode": code}, marks=FULL) for code in (43, 91, 136, 11600))],
)
def test_a_read_that_the_server_ends_is_begun_again(
    own_mongodb: MongodSet, new_oplog_source: Callable[[str], OplogSource], failure: dict[str, Any]
) -> None:
    """The server fails what the worker asks of it: the connection is closed, the cursor gone, the server shuts down, the place lost."""
    source = open_shop(new_oplog_source(own_mongodb.database_url("shop")))
    begin(source)
    run = source.run().streaming()
    with load(source) as writers:
        for commands in (["getMore"], ["find"], ["getMore", "find", "hello"]):
            data = {"failCommands": commands, "appName": "commitlog", **failure}
            own_mongodb.command("configureFailPoint", "failCommand", mode={"times": 3}, data=data)
            goal = writers.done + 50
            run.until(lambda goal=goal: writers.done >= goal, "more transactions")
    run.until(lambda: run.output.count("streaming from") > 1, "another try")

    finish(source, run)


@FULL
def test_a_commit_of_which_the_app_does_not_hear_is_in_the_log_once(
    own_mongodb: MongodSet, new_oplog_source: Callable[[str], OplogSource]
) -> None:
    source = open_shop(new_oplog_source(own_mongodb.database_url("shop")))
    begin(source)
    run = source.run().streaming()
    concern = {"writeConcernError": {"code": 91, "errmsg": "shutting down"}}
    for number, failure in enumerate(({"closeConnection": True}, {"errorCode": 91}, concern)):
        data = {"failCommands": ["commitTransaction"], **failure}
        own_mongodb.command("configureFailPoint", "failCommand", mode={"times": 1}, data=data)
        source.transact(lambda session, number=number: source.db.orders.insert_one({"_id": number}, session=session))

    history = finish(source, run)
    assert [change["entity"] for commit in history.commits for change in commit.changes].count("Order") == 3
