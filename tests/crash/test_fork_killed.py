"""F7 to F9: the fork is killed with SIGKILL at its worst moments, or loses its database; the next one goes on, nothing lost, nothing twice."""

import random
import signal
from collections.abc import Callable

import pytest

from commitlog.cdc.fork.equality import compare
from fixtures.fork_log import Fork, MadeLog
from fixtures.fork_process import Process, orders, position
from fixtures.load import load, open_shop
from fixtures.patience import until
from fixtures.proxy import TcpProxy
from fixtures.worker import Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

FULL = pytest.mark.full
LONG = [FULL, pytest.mark.timeout(600)]
AFTER, BEFORE = "after_target_commit", "before_target_commit"


@pytest.mark.parametrize(
    ("each_database", "failpoint", "passage"),
    [
        *(("postgresql", failpoint, passage) for failpoint in (AFTER, BEFORE) for passage in (1, 2, 3)),
        *((engine, *at) for engine in ("mysql", "mariadb") for at in ((AFTER, 2), (BEFORE, 3))),
        pytest.param("mongodb", AFTER, 2, marks=FULL),
        ("mongodb", BEFORE, 3),
    ],
    indirect=["each_database"],
)
def test_f7_a_fork_killed_around_the_commit_of_its_target_applies_each_transaction_once(
    order_log: MadeLog, each_database: str, failpoint: str, passage: int
) -> None:
    """What the dead process left open on its server does not hold up the next."""
    log, fork = order_log, Fork(order_log, each_database)
    for n in range(1, 5):
        log.commit(log.update("Order", 0, {"n": n - 1}, {"n": n}), log.insert("Order", {"id": n, "n": n}))
    killed = Process(log.url, fork.url, "--once", failpoint=f"{failpoint}:kill:{passage}")
    assert killed.ended() == -signal.SIGKILL, killed.output
    log.commit(log.delete("Order", {"id": 1, "n": 1}))

    again = Process(log.url, fork.url, "--once")
    assert again.ended() == 0, again.output

    assert orders(fork) == [(0, 4), (2, 2), (3, 3), (4, 4)]
    assert fork.position == log.head.seq
    assert fork.conflicts(closed=True) == []


@pytest.mark.parametrize(
    ("each_database", "kills"),
    [
        ("postgresql", 3),
        ("mysql", 2),
        ("mariadb", 2),
        *(pytest.param(engine, 30, marks=LONG) for engine in ("postgresql", "mysql", "mariadb")),
    ],
    indirect=["each_database"],
)
def test_f7_a_fork_killed_at_any_moment_under_load_ends_equal_to_its_source(
    source: Source, each_database: str, kills: int
) -> None:
    rng = random.Random(kills)
    source = open_shop(source)
    source.execute("INSERT INTO orders SELECT -n, 'old', n FROM generate_series(1, 500) n")
    url = each_database
    worker = source.run(limits__part_bytes=2000, limits__snapshot_rows=100).streaming()
    with load(source):
        for _ in range(kills):
            before = position(url)
            fork = Process(str(source.location), url)
            goal = max(before, 0) + rng.randrange(1, 400)
            until(lambda goal=goal: position(url) >= goal, f"record {goal}")
            fork.kill()
        before = position(url)
        fork = Process(str(source.location), url)
        until(lambda: position(url) > before, "more records")
        assert fork.terminate() == 0, fork.output
    source.finish(worker)

    last = Process(str(source.location), url, "--once")
    assert last.ended() == 0, last.output

    compared = compare(source.url, url)
    assert {table.entity for table in compared} == set(source.entities)
    assert [table.to_json() for table in compared if not table.equal] == []
    assert sum(table.rows for table in compared) > 500


@pytest.mark.parametrize(
    "own", ["own_server", "own_mysql", "own_mariadb", pytest.param("own_mongodb", marks=pytest.mark.full)]
)
def test_f8_a_fork_whose_server_is_killed_and_comes_back_goes_on(
    order_log: MadeLog, request: pytest.FixtureRequest, own: str
) -> None:
    log, server = order_log, request.getfixturevalue(own)
    url = server.database_url("fork") if own == "own_mongodb" else server.create_database("fork")
    running = Process(log.url, url)
    try:
        until(lambda: position(url) == log.head.seq, "the head")
        server.stop("kill")
        log.commit(log.insert("Order", {"id": 1, "n": 1}))
        server.restart()

        until(lambda: position(url) == log.head.seq, "the record written in the meantime")

        assert running.terminate() == 0, running.output
    finally:
        running.process.kill()
    assert orders(Fork(log, url)) == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("each_database", "commits", "reply_bytes"),
    [("postgresql", 8, 70), ("mysql", 5, 170), ("mariadb", 5, 170)],
    indirect=["each_database"],
)
def test_f9_a_fork_whose_connection_is_cut_in_a_transaction_applies_it_once(
    order_log: MadeLog, each_database: str, proxy: Callable[[str], TcpProxy], commits: int, reply_bytes: int
) -> None:
    log, fork, through = order_log, Fork(order_log, each_database), proxy(each_database)
    running = Process(log.url, through.url)
    until(lambda: position(fork.url) == log.head.seq, "the head")
    for n in range(1, commits + 1):
        through.limit_bytes(n * reply_bytes)
        log.commit(log.update("Order", 0, {"n": n - 1}, {"n": n}), log.insert("Order", {"id": n, "n": n}))
        until(lambda: position(fork.url) == log.head.seq, f"commit {n}")

    assert running.terminate() == 0, running.output
    assert orders(fork) == [(0, commits), *((n, n) for n in range(1, commits + 1))]
    assert fork.conflicts(closed=True) == []
