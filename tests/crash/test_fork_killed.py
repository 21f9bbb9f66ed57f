"""F7: the fork is killed with SIGKILL at its worst moments, or loses its database; the next one goes on, nothing lost, nothing twice."""

import random
import signal
from collections.abc import Callable

import psycopg
import pytest

from commitlog.cdc.fork.equality import compare
from commitlog.cdc.servers.local import PostgresServer
from fixtures.fork_log import Fork, MadeLog, column
from fixtures.fork_process import Process
from fixtures.load import load, open_shop
from fixtures.patience import until
from fixtures.proxy import TcpProxy
from fixtures.worker import Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

ID = column("id", "int32", nullable=False)


def position(url: str) -> int:
    """The last record applied, -2 where there is no fork yet."""
    with psycopg.connect(url) as connection:
        try:
            row = connection.execute("SELECT seq FROM _commitlog.applied").fetchone()
        except psycopg.errors.UndefinedTable:
            return -2
    return int(row[0]) if row else -2


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    made_log.shape("Order", ID, column("n", "int32"))
    made_log.snapshot("Order", {"id": 0, "n": 0})
    return made_log


@pytest.mark.parametrize("failpoint", ["after_target_commit", "before_target_commit"])
@pytest.mark.parametrize("passage", [1, 2, 3])
def test_f7_a_fork_killed_around_the_commit_of_its_target_applies_each_transaction_once(
    log: MadeLog, database: str, failpoint: str, passage: int
) -> None:
    fork = Fork(log, database)
    for n in range(1, 5):
        log.commit(log.update("Order", 0, {"n": n - 1}, {"n": n}), log.insert("Order", {"id": n, "n": n}))
    killed = Process(log.url, database, "--once", failpoint=f"{failpoint}:kill:{passage}")
    assert killed.ended() == -signal.SIGKILL, killed.output
    log.commit(log.delete("Order", {"id": 1, "n": 1}))

    again = Process(log.url, database, "--once")
    assert again.ended() == 0, again.output

    assert fork.sql('SELECT id, n FROM public."order" ORDER BY id') == [(0, 4), (2, 2), (3, 3), (4, 4)]
    assert fork.position == log.head.seq
    assert fork.conflicts(closed=True) == []


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
def test_f7_a_fork_killed_at_any_moment_under_load_ends_equal_to_its_source(
    source: Source, new_database: Callable[[], str], kills: int
) -> None:
    rng = random.Random(kills)
    source = open_shop(source)
    source.execute("INSERT INTO orders SELECT -n, 'old', n FROM generate_series(1, 500) n")
    url = new_database()
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
    worker.until_caught_up()
    until(source.snapshots_done, "the snapshots")
    worker.terminate()
    source.check()

    last = Process(str(source.location), url, "--once")
    assert last.ended() == 0, last.output

    compared = compare(source.url, url)
    assert {table.entity for table in compared} == set(source.entities)
    assert [table for table in compared if not table.equal] == []
    assert sum(table.rows for table in compared) > 500


def test_f8_a_fork_whose_server_is_killed_and_comes_back_goes_on(log: MadeLog, own_server: PostgresServer) -> None:
    url = own_server.create_database("fork")
    running = Process(log.url, url)
    until(lambda: position(url) == log.head.seq, "the head")
    own_server.stop("kill")
    log.commit(log.insert("Order", {"id": 1, "n": 1}))
    own_server.restart()

    until(lambda: position(url) == log.head.seq, "the record written in the meantime")

    assert running.terminate() == 0, running.output
    assert Fork(log, url).sql('SELECT count(*) FROM public."order"') == [(2,)]


def test_f9_a_fork_whose_connection_is_cut_in_a_transaction_applies_it_once(
    log: MadeLog, database: str, proxy: Callable[[str], TcpProxy]
) -> None:
    through = proxy(database)
    running = Process(log.url, through.url)
    until(lambda: position(database) == log.head.seq, "the head")
    for n in range(1, 9):
        through.limit_bytes(n * 70)
        log.commit(log.update("Order", 0, {"n": n - 1}, {"n": n}), log.insert("Order", {"id": n, "n": n}))
        until(lambda: position(database) == log.head.seq, f"commit {n}")

    assert running.terminate() == 0, running.output
    assert Fork(log, database).sql('SELECT count(*), max(n), sum(n) FROM public."order"') == [(9, 8, 44)]
    assert Fork(log, database).conflicts(closed=True) == []
