"""F9 and F10 on MySQL and MariaDB: the network breaks or lies while the worker runs, and of two workers the second is refused.

F8, a server that dies, is in test_mysql_killed.py; F7, a fork that is killed, in test_fork_killed_mysql.py.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from commitlog.cdc.tail.mysql_connection import connect
from commitlog.schemas.errors import Unreachable
from fixtures.binlog_load import load, open_shop
from fixtures.binlog_source import BinlogSource
from fixtures.proxy import TcpProxy
from fixtures.worker import Run

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

NewProxy = Callable[[str], TcpProxy]


@pytest.fixture
def shop(binlog_source: BinlogSource) -> BinlogSource:
    return open_shop(binlog_source)


def finish(source: BinlogSource, run: Run) -> None:
    run.until_caught_up()
    run.terminate()
    source.check()


def test_f9_a_connection_that_is_cut_is_made_again(shop: BinlogSource, proxy: NewProxy) -> None:
    through = proxy(shop.url)
    shop.configure(through.url)
    run = shop.run().streaming()

    with load(shop) as writers:
        for count in (0, 1, 700, 20_011):
            goal, connections = writers.done + 30, through.connection_count
            run.until(lambda goal=goal: writers.done >= goal, "more transactions")
            through.limit_bytes(count) if count else through.cut()
            run.until(lambda connections=connections: through.connection_count > connections + 1, "a new connection")
        through.stop()
        run.until(lambda: "trying again" in run.output.splitlines()[-1], "a refused connection")
        through.start()

    finish(shop, run)


def test_f9_wherever_the_connection_is_cut_while_it_is_made_it_is_unreachable_and_nothing_else(
    either_database: str, proxy: NewProxy
) -> None:
    through = proxy(either_database)
    count, connected = 0, False

    while not connected:
        through.limit_bytes(count)
        count += 8
        try:
            connect(through.url, patience_s=5).close()
        except Unreachable:
            continue
        connected = True
        through.cut()

    assert count > 100, "the server's greeting alone is longer"


def test_f9_a_connection_that_is_dead_without_a_word_is_given_up(shop: BinlogSource, proxy: NewProxy) -> None:
    through = proxy(shop.url)
    shop.configure(through.url)
    run = shop.run(limits__silence_s=1).streaming()
    run.until_caught_up()

    with load(shop) as writers:
        through.deafen()
        goal = writers.done + 100
        run.until(lambda: writers.done >= goal, "more transactions")

    finish(shop, run)


@pytest.mark.full
def test_f9_a_connection_that_is_dead_without_a_word_in_a_snapshot_is_given_up(
    binlog_source: BinlogSource, proxy: NewProxy
) -> None:
    source = binlog_source
    source.execute(
        "CREATE TABLE old (id int PRIMARY KEY)",
        f"INSERT INTO old VALUES {', '.join(f'({n})' for n in range(2000))}",
    )
    source.map("Old", "old")
    source.setup()
    through = proxy(source.url)
    source.configure(through.url)
    run = source.run(limits__silence_s=1, limits__snapshot_rows=2)
    for count in (20, 40):
        run.until(lambda count=count: len(source.history().of_kind("snapshot")) >= count, "more chunks")
        through.deafen()
    run.until(lambda: len(source.history().of_kind("snapshot")) >= 60, "more chunks")
    run.kill()

    finish(source, source.run())


def test_an_event_that_was_changed_on_its_way_is_named_and_read_again_by_the_next_worker(
    shop: BinlogSource, proxy: NewProxy
) -> None:
    through = proxy(shop.url)
    shop.configure(f"{through.url}{'&' if urlsplit(through.url).query else '?'}ssl-mode=DISABLED")
    run = shop.run().streaming()
    run.until_caught_up()
    through.replace(b"true words", b"trve words")

    shop.execute("INSERT INTO notes VALUES ('w', 1, 'true words')")

    run.refused(4, "was changed on its way")
    assert through.has_replaced
    assert all("trve" not in str(commit.changes) for commit in shop.history().commits)
    finish(shop, shop.run())


def test_f10_a_second_worker_on_a_log_is_refused(shop: BinlogSource) -> None:
    first = shop.run().streaming()

    with load(shop):
        hint = shop.run().refused(4, f"#{shop.name}", f"process {first.pid}")
    assert "stop" in hint

    finish(shop, first)
