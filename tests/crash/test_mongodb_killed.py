"""The server of a worker on MongoDB goes away, fails its reads, or does not answer its app: nothing is lost and nothing twice.

The worker itself is killed in test_worker_killed.py, and its connection cut in test_source_away.py.
"""

from collections.abc import Callable
from typing import Any

import pytest

from commitlog.cdc.servers.mongod import MongodSet
from fixtures.oplog_load import load, open_shop
from fixtures.oplog_source import OplogSource

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

FULL = pytest.mark.full


@pytest.mark.parametrize("how", ["kill", pytest.param("fast", marks=FULL)])
def test_f8_a_server_that_goes_away_and_comes_back_loses_nothing(
    own_mongodb: MongodSet, new_oplog_source: Callable[[str], OplogSource], how: Any
) -> None:
    source = open_shop(new_oplog_source(own_mongodb.database_url("shop")))
    source.start_log()
    run = source.run().streaming()
    with load(source) as writers:
        for _ in range(2):
            writers.more(run, 100)
            own_mongodb.restart(how)

    source.finish(run)


@pytest.mark.parametrize(
    "failure",
    [{"closeConnection": True}, *(pytest.param({"errorCode": code}, marks=FULL) for code in (43, 91, 136, 11600))],
)
def test_a_read_that_the_server_ends_is_begun_again(
    own_mongodb: MongodSet, new_oplog_source: Callable[[str], OplogSource], failure: dict[str, Any]
) -> None:
    """The server fails what the worker asks of it: the connection is closed, the cursor gone, the server shuts down, the place lost."""
    source = open_shop(new_oplog_source(own_mongodb.database_url("shop")))
    source.start_log()
    run = source.run().streaming()
    with load(source) as writers:
        for commands in (["getMore"], ["find"], ["getMore", "find", "hello"]):
            data = {"failCommands": commands, "appName": "commitlog", **failure}
            own_mongodb.command("configureFailPoint", "failCommand", mode={"times": 3}, data=data)
            writers.more(run, 50)
    run.until(lambda: run.output.count("streaming from") > 1, "another try")

    source.finish(run)


@FULL
def test_a_commit_of_which_the_app_does_not_hear_is_in_the_log_once(
    own_mongodb: MongodSet, new_oplog_source: Callable[[str], OplogSource]
) -> None:
    source = open_shop(new_oplog_source(own_mongodb.database_url("shop")))
    source.start_log()
    run = source.run().streaming()
    concern = {"writeConcernError": {"code": 91, "errmsg": "shutting down"}}
    for number, failure in enumerate(({"closeConnection": True}, {"errorCode": 91}, concern)):
        data = {"failCommands": ["commitTransaction"], **failure}
        own_mongodb.command("configureFailPoint", "failCommand", mode={"times": 1}, data=data)
        source.transact(lambda session, number=number: source.db.orders.insert_one({"_id": number}, session=session))

    history = source.finish(run)
    assert [change["entity"] for commit in history.commits for change in commit.changes].count("Order") == 3
