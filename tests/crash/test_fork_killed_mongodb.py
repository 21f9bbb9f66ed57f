"""A fork in MongoDB dies at its worst moments, or loses its server: the next process goes on, nothing lost, nothing twice."""

import json
import threading
from typing import Any

import pytest
from pymongo import MongoClient

from commitlog.cdc.cli.main import main
from commitlog.cdc.fork import apply
from commitlog.cdc.fork.follow import Follower
from commitlog.cdc.fork.mongodb import target
from commitlog.cdc.fork.targets import open_target
from commitlog.cdc.servers.mongod import MongodSet
from commitlog.cdc.servers.mongodb import MongoServer
from fixtures.fork_log import Fork, MadeLog, column
from fixtures.fork_process import Dies, Process, orders, position
from fixtures.patience import until

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding


@pytest.mark.parametrize(
    ("name", "passage"),
    [pytest.param("after_target_table", 1, marks=pytest.mark.full), ("after_target_table", 2)],
)
def test_a_fork_that_dies_while_its_collections_are_made_is_made_by_the_same_command(
    order_log: MadeLog, mongodb_database: str, dies: Dies, name: str, passage: int
) -> None:
    log, fork = order_log, Fork(order_log, mongodb_database)
    log.shape("Person", column("id", "int32"), column("n", "int32"))
    with dies(name, passage):
        fork.sync()

    fork.sync()

    assert (orders(fork), fork.position) == ([(0, 0)], log.head.seq)
    with MongoClient[dict[str, Any]](fork.url) as client:
        made = client.get_default_database()["_commitlog.made"].find()
        assert {each["_id"] for each in made} == {"order", "person"}


def test_a_fork_that_dies_while_a_collection_is_renamed_goes_on(
    order_log: MadeLog, mongodb_database: str, dies: Dies
) -> None:
    log, fork = order_log, Fork(order_log, mongodb_database)
    fork.sync()
    log.shape("Order", column("id", "int32", nullable=False), column("n", "int32"), table="public.sales")
    log.commit(log.insert("Order", {"id": 1, "n": 1}))
    with dies("after_target_rename"):
        fork.sync()

    fork.sync()

    assert (orders(fork, "sales"), orders(fork), fork.conflicts()) == ([(0, 0), (1, 1)], [], [])


@pytest.mark.full
def test_a_fork_in_a_set_whose_primary_is_killed_goes_on_with_the_next(
    order_log: MadeLog, own_mongodb_set: MongodSet
) -> None:
    log = order_log
    url = own_mongodb_set.database_url("fork")
    running = Process(log.url, url)
    try:
        until(lambda: position(url) == log.head.seq, "the head")
        for n in range(1, 200):
            log.commit(log.insert("Order", {"id": n, "n": n}))
            if n == 100:
                own_mongodb_set.primary.stop("kill")
        until(lambda: position(url) == log.head.seq, "all that was written")
        assert running.terminate() == 0, running.output
    finally:
        running.process.kill()
    assert orders(Fork(log, url)) == [(n, n) for n in range(200)]


@pytest.mark.parametrize(
    "command",
    ["commitTransaction", *(pytest.param(name, marks=pytest.mark.full) for name in ("update", "find"))],
)
def test_a_command_that_fails_once_is_done_once(order_log: MadeLog, own_mongodb: MongoServer, command: str) -> None:
    """The connection is cut at a command: whether that was done, the position tells."""
    log = order_log
    url = own_mongodb.database_url("fork")
    fork = Fork(log, url)
    fork.sync()
    log.commit(log.update("Order", 0, {"n": 0}, {"n": 1}), log.insert("Order", {"id": 1, "n": 1}))
    own_mongodb.command(
        "configureFailPoint",
        "failCommand",
        mode={"times": 2},
        data={"failCommands": [command], "closeConnection": True},
    )
    Follower(url, log.reader, stop=threading.Event()).run(once=True)
    assert (orders(fork), fork.position, fork.conflicts(closed=True)) == ([(0, 1), (1, 1)], log.head.seq, [])


@pytest.mark.parametrize("passage", [pytest.param(1, marks=pytest.mark.full), 2])
def test_a_commit_too_large_for_a_transaction_goes_on_from_its_part(
    order_log: MadeLog,
    mongodb_database: str,
    dies: Dies,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    passage: int,
) -> None:
    """Between its parts the position is before it, and says how far it is applied; so does `fork status`."""
    log, fork = order_log, Fork(order_log, mongodb_database)
    monkeypatch.setattr(target, "PART_BYTES", 1000)
    monkeypatch.setattr(apply, "BATCH_OPS", 20)
    fork.sync()
    before = fork.position
    log.commit(*[log.insert("Order", {"id": n, "n": n}) for n in range(1, 91)], part=(0, False))
    log.commit(*[log.update("Order", n, {"n": n}, {"n": -n}) for n in range(1, 91)], part=(1, False))
    log.commit(log.truncate("Order"), *[log.insert("Order", {"id": n, "n": -n}) for n in range(1, 91)], part=(2, True))
    with dies("after_target_part", passage):
        fork.sync()
    with open_target(fork.url) as opened:
        applied = opened.memory.applied()
    assert applied.head.seq == before
    assert applied.part is not None
    seq, item = applied.part
    assert main(["fork", "status", "--into", fork.url]) == 0
    assert f"applied in part: up to item {item} of record {seq}" in capsys.readouterr().out
    assert main(["fork", "status", "--into", fork.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["part"] == {"seq": seq, "item": item}
    fork.sync()
    assert (orders(fork), fork.conflicts(closed=True)) == (sorted((n, -n) for n in range(1, 91)), [])
    with open_target(fork.url) as opened:
        assert (opened.memory.applied().head.seq, opened.memory.applied().part) == (log.head.seq, None)
