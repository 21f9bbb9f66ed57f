"""F8 and F9: the server dies or the network breaks while the worker runs; it goes on by itself, and nothing is lost or twice.
F10: of two workers the second is refused, and the first does not notice.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from commitlog.cdc.config import Limits
from commitlog.cdc.log.location import Location
from commitlog.cdc.servers.local import PostgresServer, StopMode
from commitlog.cdc.tail.mysql_connection import connect
from commitlog.cdc.tail.postgres import Stream
from commitlog.schemas.errors import Unreachable
from fixtures.binlog_source import BinlogSource
from fixtures.oplog_source import OplogSource
from fixtures.proxy import TcpProxy
from fixtures.shops import load, open_shop
from fixtures.worker import History, Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

NewSource = Callable[[str], Source]
NewProxy = Callable[[str], TcpProxy]


SQL = ("postgresql", "mysql", "mariadb")
FULL = pytest.mark.full


def detoured(source: Source, proxy: NewProxy) -> TcpProxy:
    """The way that the worker takes to its server from now on."""
    url = source.url
    if isinstance(source, OplogSource):
        # Else the client goes to where the set says that it is.
        url = urlsplit(url)._replace(query="directConnection=true&authSource=admin").geturl()
    through = proxy(url)
    source.configure(through.url)
    return through


def test_f8_a_server_that_is_killed_and_comes_back_is_followed_on(
    new_source: NewSource, own_server: PostgresServer
) -> None:
    source = open_shop(new_source(own_server.url))
    run = source.run().streaming()
    modes: tuple[StopMode, ...] = ("kill", "immediate", "kill", "fast")

    with load(source) as writers:
        for mode in modes:
            writers.more(run, 100)
            own_server.restart(mode)

    assert writers.lost > 0
    source.finish(run)


@pytest.mark.parametrize("each_database", [*SQL, pytest.param("mongodb", marks=FULL)], indirect=True)
def test_f9_a_connection_that_is_cut_is_made_again(each_source: Source, proxy: NewProxy) -> None:
    source = open_shop(each_source)
    through = detoured(source, proxy)
    run = source.run().streaming()

    with load(source) as writers:
        for count in (0, 1, 700, 5_000, 20_011):
            connections = through.connection_count
            writers.more(run, 30)
            through.limit_bytes(count) if count else through.cut()
            run.until(lambda connections=connections: through.connection_count > connections + 1, "a new connection")
        through.stop()
        run.until(lambda: "trying again" in run.output.splitlines()[-1], "a refused connection")
        through.start()

    source.finish(run)


@pytest.mark.parametrize("each_database", SQL, indirect=True)
def test_f9_wherever_the_connection_is_cut_while_it_is_made_it_is_unreachable_and_nothing_else(
    each_source: Source, proxy: NewProxy
) -> None:
    source = open_shop(each_source)
    through = detoured(source, proxy)
    binlog = isinstance(source, BinlogSource)
    count, connected = 0, False

    while not connected:
        through.limit_bytes(count)
        count += 8 if binlog else 16
        try:
            if binlog:
                connect(through.url, patience_s=5).close()
            else:
                Stream(through.url, slot=source.name, publication=source.name, limits=Limits()).close()
        except Unreachable:
            continue
        connected = True
        through.cut()

    assert count > (100 if binlog else 400), "the server's greeting alone is longer"


@pytest.mark.parametrize("each_database", SQL, indirect=True)
def test_f9_a_connection_that_is_dead_without_a_word_is_given_up(each_source: Source, proxy: NewProxy) -> None:
    source = open_shop(each_source)
    through = detoured(source, proxy)
    run = source.run(limits__silence_s=1).streaming()
    run.until_caught_up()

    with load(source) as writers:
        through.deafen()
        writers.more(run, 100)

    source.finish(run)
    # Only a slot knows who reads from it.
    assert ("ending our last connection" in run.output) is not isinstance(source, BinlogSource)


@pytest.mark.parametrize(
    "each_database",
    ["postgresql", *(pytest.param(engine, marks=FULL) for engine in ("mysql", "mariadb"))],
    indirect=True,
)
def test_f9_a_connection_that_is_dead_without_a_word_in_a_snapshot_is_given_up(
    each_source: Source, proxy: NewProxy
) -> None:
    source = each_source
    source.execute(
        "CREATE TABLE old (id int PRIMARY KEY)",
        f"INSERT INTO old VALUES {', '.join(f'({n})' for n in range(2000))}",
    )
    source.map("Old", "old")
    source.setup()
    through = detoured(source, proxy)
    run = source.run(limits__silence_s=1, limits__snapshot_rows=2)
    for count in (20, 40):
        run.until(lambda count=count: len(source.history().of_kind("snapshot")) >= count, "more chunks")
        through.deafen()
    run.until(lambda: len(source.history().of_kind("snapshot")) >= 60, "more chunks")
    run.kill()

    source.finish()


@pytest.mark.parametrize("each_database", SQL, indirect=True)
def test_f10_a_second_worker_on_a_log_is_refused(each_source: Source) -> None:
    source = open_shop(each_source)
    first = source.run().streaming()

    with load(source):
        hint = source.run().refused(4, f"#{source.name}", f"process {first.pid}")
    assert "stop" in hint

    source.finish(first)


def test_f10_a_second_worker_on_a_slot_is_refused(source: Source) -> None:
    open_shop(source)
    first = source.run().streaming()

    with load(source):
        second = source.run(log__name="other", limits__silence_s=1)
        hint = second.refused(4, f'"{source.name}"', "in use")
    assert "slot" in hint
    assert not History(Location(source.folder / "log", "other")).refresh().records

    source.finish(first)


def test_an_event_that_was_changed_on_its_way_is_named_and_read_again_by_the_next_worker(
    binlog_source: BinlogSource, proxy: NewProxy
) -> None:
    shop = open_shop(binlog_source)
    through = proxy(shop.url)
    shop.configure(f"{through.url}{'&' if urlsplit(through.url).query else '?'}ssl-mode=DISABLED")
    run = shop.run().streaming()
    run.until_caught_up()
    through.replace(b"true words", b"trve words")

    shop.execute("INSERT INTO notes VALUES ('w', 1, 'true words')")

    run.refused(4, "was changed on its way")
    assert through.has_replaced
    assert all("trve" not in str(commit.changes) for commit in shop.history().commits)
    shop.finish()
