"""A fork in MySQL or MariaDB dies while its tables are made, changed or dropped: each such statement is committed by itself there, and the
next process goes on all the same."""

import threading

import pytest

from commitlog.cdc.cli.main import main
from commitlog.cdc.fork.growth import drop
from commitlog.cdc.fork.mysql import connection
from commitlog.cdc.fork.targets import open_target
from commitlog.schemas.errors import Locked
from fixtures.fork_log import Fork, MadeLog, column
from fixtures.fork_process import Dies, orders
from fixtures.patience import until

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

ID = column("id", "int32", nullable=False)


@pytest.mark.parametrize(
    ("name", "passage"),
    [("in_target_memory", 1), ("in_target_memory", 4), ("after_target_table", 1), ("after_target_table", 2)],
)
def test_a_fork_that_dies_while_its_tables_are_made_is_made_by_the_same_command(
    order_log: MadeLog, either_database: str, dies: Dies, name: str, passage: int
) -> None:
    log, fork = order_log, Fork(order_log, either_database)
    log.shape("Person", ID, column("name"))
    with dies(name, passage):
        fork.sync()

    fork.sync()

    assert orders(fork) == [(0, 0)]
    assert fork.sql("SELECT count(*) FROM public.person") == [(0,)]
    assert fork.position == log.head.seq
    assert main(["fork", "drop", "--into", fork.url, "--yes"]) == 0
    assert fork.tables() == []


@pytest.mark.parametrize(
    "name", ["after_target_rename", "after_target_table", "after_target_tables", "before_target_commit"]
)
def test_a_fork_that_dies_while_a_table_changes_goes_on_with_the_change(
    order_log: MadeLog, either_database: str, dies: Dies, name: str
) -> None:
    log, fork = order_log, Fork(order_log, either_database)
    log.shape("Mood", ID, column("mood", "enum", "public.mood", labels=("sad", "ok")))
    log.snapshot("Mood", {"id": 1, "mood": "sad"})
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
    order_log: MadeLog, either_database: str, dies: Dies
) -> None:
    log, fork = order_log, Fork(order_log, either_database)
    log.shape("Person", ID, column("name"))
    fork.sync()
    fork.sql("CREATE TABLE mine (id INT PRIMARY KEY)")
    with dies("after_target_drop"), open_target(fork.url) as target:
        drop(target)

    assert main(["fork", "drop", "--into", fork.url, "--yes"]) == 0

    assert fork.tables() == ["mine"]


def test_only_one_process_applies_and_a_deadlock_is_tried_again(
    order_log: MadeLog, either_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, fork = order_log, Fork(order_log, either_database)
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

    assert orders(fork) == [(0, 1)]
    assert fork.conflicts(closed=True) == []


def waits(fork: Fork) -> bool:
    # InnoDB's own table of transactions stays as it is for those who look again within a tenth of a second.
    return any(str(row[7]).startswith("UPDATE `order`") for row in fork.sql("SHOW FULL PROCESSLIST"))
