"""A fork in MySQL or MariaDB dies at its worst moments, or loses its database: each statement that makes a table is committed by itself
there, and the next process goes on all the same."""

import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from commitlog.cdc import failpoint
from commitlog.cdc.cli.main import main
from commitlog.cdc.fork import state
from commitlog.cdc.fork.equality import compare
from commitlog.cdc.fork.growth import drop
from commitlog.cdc.fork.mysql import connection
from commitlog.cdc.fork.targets import open_target
from commitlog.cdc.servers.mysqld import LocalMysqld
from commitlog.schemas.errors import Locked
from fixtures.fork_log import Fork, MadeLog, column
from fixtures.fork_process import Process
from fixtures.load import load, open_shop
from fixtures.patience import until
from fixtures.proxy import TcpProxy
from fixtures.worker import Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

ID = column("id", "int32", nullable=False)
ROWS = 'SELECT id, n FROM public."order" ORDER BY id'


class Died(Exception):
    """Stands for the end of a process: nothing of it runs any more, and the server has ended its connection."""


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    made_log.shape("Order", ID, column("n", "int32"))
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
    with open_target(url) as target:
        return target.memory.applied().head.seq if state.exists(target.memory) else -2


@pytest.mark.parametrize(("failpoint_name", "passage"), [("after_target_commit", 2), ("before_target_commit", 3)])
def test_a_fork_killed_around_the_commit_of_its_target_applies_each_transaction_once(
    log: MadeLog, either_database: str, failpoint_name: str, passage: int
) -> None:
    fork = Fork(log, either_database)
    for n in range(1, 5):
        log.commit(log.update("Order", 0, {"n": n - 1}, {"n": n}), log.insert("Order", {"id": n, "n": n}))
    killed = Process(log.url, either_database, "--once", failpoint=f"{failpoint_name}:kill:{passage}")
    assert killed.ended() == -signal.SIGKILL, killed.output
    log.commit(log.delete("Order", {"id": 1, "n": 1}))

    fork.sync()

    assert fork.sql(ROWS) == [(0, 4), (2, 2), (3, 3), (4, 4)]
    assert fork.position == log.head.seq
    assert fork.conflicts(closed=True) == []


@pytest.mark.parametrize(
    ("name", "passage"),
    [("in_target_memory", 1), ("in_target_memory", 4), ("after_target_table", 1), ("after_target_table", 2)],
)
def test_a_fork_that_dies_while_its_tables_are_made_is_made_by_the_same_command(
    log: MadeLog, either_database: str, dies: Callable[..., AbstractContextManager[None]], name: str, passage: int
) -> None:
    log.shape("Person", ID, column("name"))
    fork = Fork(log, either_database)
    with dies(name, passage):
        fork.sync()

    fork.sync()

    assert fork.sql(ROWS) == [(0, 0)]
    assert fork.sql("SELECT count(*) FROM public.person") == [(0,)]
    assert fork.position == log.head.seq
    assert main(["fork", "drop", "--into", fork.url, "--yes"]) == 0
    assert fork.tables() == []


@pytest.mark.parametrize(
    "name", ["after_target_rename", "after_target_table", "after_target_tables", "before_target_commit"]
)
def test_a_fork_that_dies_while_a_table_changes_goes_on_with_the_change(
    log: MadeLog, either_database: str, dies: Callable[..., AbstractContextManager[None]], name: str
) -> None:
    log.shape("Mood", ID, column("mood", "enum", "public.mood", labels=("sad", "ok")))
    log.snapshot("Mood", {"id": 1, "mood": "sad"})
    fork = Fork(log, either_database)
    fork.sync()
    log.shape("Order", ID, column("n", "int64"), column("more", "exact", "int[]"), table="public.orders")
    log.commit(log.insert("Order", {"id": 1, "n": "5000000000", "more": "{1}"}))
    if name == "after_target_table":
        log.shape("Late", ID, column("v"))
    log.shape("Mood", ID, column("mood", "enum", "public.mood", labels=("blue", "ok", "so")))
    log.commit(log.insert("Mood", {"id": 2, "mood": "so"}))
    with dies(name):
        fork.sync()

    fork.sync()

    assert fork.sql("SELECT id, n, more FROM public.orders ORDER BY id") == [(0, 0, None), (1, 5_000_000_000, "{1}")]
    assert fork.sql("SELECT id, mood FROM public.mood ORDER BY id") == [(1, "blue"), (2, "so")]
    assert fork.position == log.head.seq
    assert fork.conflicts(closed=True) == []


def test_a_fork_that_dies_while_it_is_dropped_is_dropped_by_the_same_command(
    log: MadeLog, either_database: str, dies: Callable[..., AbstractContextManager[None]]
) -> None:
    log.shape("Person", ID, column("name"))
    fork = Fork(log, either_database)
    fork.sync()
    fork.sql("CREATE TABLE mine (id INT PRIMARY KEY)")
    with dies("after_target_drop"), open_target(fork.url) as target:
        drop(target)

    assert main(["fork", "drop", "--into", fork.url, "--yes"]) == 0

    assert fork.tables() == ["mine"]


def test_only_one_process_applies_and_a_deadlock_is_tried_again(
    log: MadeLog, either_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = Fork(log, either_database)
    fork.sync()
    with open_target(fork.url) as other:
        other.lock()
        with open_target(fork.url) as target, pytest.raises(Locked):
            target.lock()
    monkeypatch.setitem(connection._SETTINGS, "innodb_lock_wait_timeout", "1")
    log.commit(log.update("Order", 0, {"n": 0}, {"n": 1}))
    with open_target(fork.url) as owner:
        owner.execute("BEGIN")
        owner.execute('UPDATE "order" SET n = n WHERE id = 0')
        following = threading.Thread(target=fork.sync)
        following.start()
        until(lambda: waits(fork), "the fork's transaction to wait")
        owner.execute("ROLLBACK")
        following.join(60)

    assert fork.sql(ROWS) == [(0, 1)]
    assert fork.conflicts(closed=True) == []


def waits(fork: Fork) -> bool:
    # InnoDB's own table of transactions stays as it is for those who look again within a tenth of a second.
    return any(str(row[7]).startswith("UPDATE `order`") for row in fork.sql("SHOW FULL PROCESSLIST"))


def test_a_fork_whose_server_is_killed_and_comes_back_goes_on(log: MadeLog, own_either: LocalMysqld) -> None:
    url = own_either.create_database("fork")
    running = Process(log.url, url)
    until(lambda: position(url) == log.head.seq, "the head")
    own_either.stop("kill")
    log.commit(log.insert("Order", {"id": 1, "n": 1}))
    own_either.restart()

    until(lambda: position(url) == log.head.seq, "the record written in the meantime")

    assert running.terminate() == 0, running.output
    assert Fork(log, url).sql('SELECT count(*) FROM public."order"') == [(2,)]


def test_a_fork_whose_connection_is_cut_in_a_transaction_applies_it_once(
    log: MadeLog, either_database: str, proxy: Callable[[str], TcpProxy]
) -> None:
    through = proxy(either_database)
    running = Process(log.url, through.url)
    until(lambda: position(either_database) == log.head.seq, "the head")
    for n in range(1, 6):
        through.limit_bytes(n * 170)
        log.commit(log.update("Order", 0, {"n": n - 1}, {"n": n}), log.insert("Order", {"id": n, "n": n}))
        until(lambda: position(either_database) == log.head.seq, f"commit {n}")

    assert running.terminate() == 0, running.output
    assert Fork(log, either_database).sql(ROWS) == [(0, 5), *((n, n) for n in range(1, 6))]
    assert Fork(log, either_database).conflicts(closed=True) == []


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
def test_a_fork_killed_at_any_moment_under_load_ends_equal_to_its_source(
    source: Source, either_database: str, kills: int
) -> None:
    rng = random.Random(kills)
    source = open_shop(source)
    source.execute("INSERT INTO orders SELECT -n, 'old', n FROM generate_series(1, 500) n")
    worker = source.run(limits__part_bytes=2000, limits__snapshot_rows=100).streaming()
    with load(source):
        for _ in range(kills):
            fork = Process(str(source.location), either_database)
            goal = max(position(either_database), 0) + rng.randrange(1, 400)
            until(lambda goal=goal: position(either_database) >= goal, f"record {goal}")
            fork.kill()
    worker.until_caught_up()
    until(source.snapshots_done, "the snapshots")
    worker.terminate()
    source.check()

    last = Process(str(source.location), either_database, "--once")
    assert last.ended() == 0, last.output

    compared = compare(source.url, either_database)
    assert {table.entity for table in compared} == set(source.entities)
    assert [table.to_json() for table in compared if not table.equal] == []
