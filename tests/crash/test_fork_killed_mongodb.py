"""A fork in MongoDB dies at its worst moments, or loses its server: the next process goes on, nothing lost, nothing twice."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from pymongo import MongoClient

from commitlog.cdc import failpoint
from commitlog.cdc.cli.main import main
from commitlog.cdc.fork import apply, state
from commitlog.cdc.fork.follow import Follower
from commitlog.cdc.fork.mongodb import target
from commitlog.cdc.fork.targets import open_target
from commitlog.cdc.servers.mongod import MongodSet
from commitlog.cdc.servers.mongodb import MongoServer
from fixtures.fork_log import Fork, MadeLog, column
from fixtures.fork_process import Process
from fixtures.patience import until

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding


class Died(Exception):
    """Stands for the end of a process."""


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    made_log.shape("Order", column("id", "int32"), column("n", "int32"))
    made_log.snapshot("Order", {"id": 0, "n": 0})
    return made_log


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractContextManager[None]]:
    """`with dies(name, passage):` what passes the failpoint `name` so often dies there."""

    @contextmanager
    def dying(name: str, passage: int = 1) -> Iterator[None]:
        left = passage

        def strike() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Died

        with monkeypatch.context() as patch:
            patch.setattr(failpoint, "_name", name)
            patch.setattr(failpoint, "_strike", strike)
            with pytest.raises(Died):
                yield

    return dying


def position(url: str) -> int:
    """The last record applied, -2 where there is no fork yet."""
    with open_target(url) as opened:
        return opened.memory.applied().head.seq if state.exists(opened.memory) else -2


def rows(url: str, name: str = "order") -> list[tuple[int, int]]:
    """_id and n of the documents."""
    with MongoClient[dict[str, Any]](url) as client:
        return sorted((each["_id"], each["n"]) for each in client.get_default_database()[name].find())


@pytest.mark.parametrize(
    ("failpoint_name", "passage"),
    [pytest.param("after_target_commit", 2, marks=pytest.mark.full), ("before_target_commit", 3)],
)
def test_a_fork_killed_around_the_commit_of_its_target_applies_each_transaction_once(
    log: MadeLog, mongodb_database: str, failpoint_name: str, passage: int
) -> None:
    """What the dead process left open on the server does not hold up the next."""
    fork = Fork(log, mongodb_database)
    for n in range(1, 5):
        log.commit(log.update("Order", 0, {"n": n - 1}, {"n": n}), log.insert("Order", {"id": n, "n": n}))
    killed = Process(log.url, mongodb_database, "--once", failpoint=f"{failpoint_name}:kill:{passage}")
    assert killed.ended() == -signal.SIGKILL, killed.output
    log.commit(log.delete("Order", {"id": 1, "n": 1}))

    fork.sync()

    assert rows(fork.url) == [(0, 4), (2, 2), (3, 3), (4, 4)]
    assert fork.position == log.head.seq
    assert fork.conflicts(closed=True) == []


@pytest.mark.parametrize(
    ("name", "passage"),
    [pytest.param("after_target_table", 1, marks=pytest.mark.full), ("after_target_table", 2)],
)
def test_a_fork_that_dies_while_its_collections_are_made_is_made_by_the_same_command(
    log: MadeLog, mongodb_database: str, dies: Callable[..., AbstractContextManager[None]], name: str, passage: int
) -> None:
    log.shape("Person", column("id", "int32"), column("n", "int32"))
    fork = Fork(log, mongodb_database)
    with dies(name, passage):
        fork.sync()

    fork.sync()

    assert (rows(fork.url), fork.position) == ([(0, 0)], log.head.seq)
    with MongoClient[dict[str, Any]](fork.url) as client:
        made = client.get_default_database()["_commitlog.made"].find()
        assert {each["_id"] for each in made} == {"order", "person"}


def test_a_fork_that_dies_while_a_collection_is_renamed_goes_on(
    log: MadeLog, mongodb_database: str, dies: Callable[..., AbstractContextManager[None]]
) -> None:
    fork = Fork(log, mongodb_database)
    fork.sync()
    log.shape("Order", column("id", "int32"), column("n", "int32"), table="public.sales")
    log.commit(log.insert("Order", {"id": 1, "n": 1}))
    with dies("after_target_rename"):
        fork.sync()

    fork.sync()

    assert (rows(fork.url, "sales"), rows(fork.url), fork.conflicts()) == ([(0, 0), (1, 1)], [], [])


@pytest.mark.full
def test_a_fork_whose_server_is_killed_and_comes_back_goes_on(log: MadeLog, own_mongodb: MongodSet) -> None:
    url = own_mongodb.database_url("fork")
    running = Process(log.url, url)
    try:
        until(lambda: position(url) == log.head.seq, "the head")
        own_mongodb.stop("kill")
        log.commit(log.insert("Order", {"id": 1, "n": 1}))
        own_mongodb.restart()
        until(lambda: position(url) == log.head.seq, "the record written in the meantime")
        assert running.terminate() == 0, running.output
    finally:
        running.process.kill()
    assert rows(url) == [(0, 0), (1, 1)]


@pytest.mark.full
def test_a_fork_in_a_set_whose_primary_is_killed_goes_on_with_the_next(
    log: MadeLog, own_mongodb_set: MongodSet
) -> None:
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
    assert sorted(rows(url)) == [(n, n) for n in range(200)]


@pytest.mark.parametrize(
    "command",
    ["commitTransaction", *(pytest.param(name, marks=pytest.mark.full) for name in ("update", "find"))],
)
def test_a_command_that_fails_once_is_done_once(log: MadeLog, own_mongodb: MongoServer, command: str) -> None:
    """The connection is cut at a command: whether that was done, the position tells."""
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
    assert (rows(url), fork.position, fork.conflicts(closed=True)) == ([(0, 1), (1, 1)], log.head.seq, [])


@pytest.mark.parametrize("passage", [pytest.param(1, marks=pytest.mark.full), 2])
def test_a_commit_too_large_for_a_transaction_goes_on_from_its_part(
    log: MadeLog,
    mongodb_database: str,
    dies: Callable[..., AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    passage: int,
) -> None:
    """Between its parts the position is before it, and says how far it is applied; so does `fork status`."""
    monkeypatch.setattr(target, "PART_BYTES", 1000)
    monkeypatch.setattr(apply, "BATCH_OPS", 20)
    fork = Fork(log, mongodb_database)
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
    assert (rows(fork.url), fork.conflicts(closed=True)) == (sorted((n, -n) for n in range(1, 91)), [])
    with open_target(fork.url) as opened:
        assert (opened.memory.applied().head.seq, opened.memory.applied().part) == (log.head.seq, None)
