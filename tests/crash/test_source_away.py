"""F8 and F9: the server dies or the network breaks while the worker runs; it goes on by itself, and nothing is lost or twice.
F10: of two workers the second is refused, and the first does not notice.
"""

from collections.abc import Callable

import pytest

from commitlog.cdc.config import Limits
from commitlog.cdc.log.location import Location
from commitlog.cdc.servers.local import PostgresServer, StopMode
from commitlog.cdc.tail.postgres import Stream
from commitlog.schemas.errors import Unreachable
from fixtures.load import load, open_shop
from fixtures.proxy import TcpProxy
from fixtures.worker import History, Run, Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

NewSource = Callable[[str], Source]


def finish(source: Source, run: Run) -> None:
    run.until_caught_up()
    run.terminate()
    source.check()


def test_f8_a_server_that_is_killed_and_comes_back_is_followed_on(
    new_source: NewSource, own_server: PostgresServer
) -> None:
    source = open_shop(new_source(own_server.url))
    run = source.run().streaming()
    modes: tuple[StopMode, ...] = ("kill", "immediate", "kill", "fast")

    with load(source) as writers:
        for mode in modes:
            goal = writers.done + 100
            run.until(lambda goal=goal: writers.done >= goal, "more transactions")
            own_server.restart(mode)

    assert writers.lost > 0
    finish(source, run)


def test_f9_a_connection_that_is_cut_is_made_again(
    new_source: NewSource, database: str, proxy: Callable[[str], TcpProxy]
) -> None:
    source = open_shop(new_source(database))
    through = proxy(database)
    source.configure(through.url)
    run = source.run().streaming()

    with load(source) as writers:
        for count in (0, 1, 700, 5_000, 20_011):
            goal, connections = writers.done + 30, through.connection_count
            run.until(lambda goal=goal: writers.done >= goal, "more transactions")
            through.limit_bytes(count) if count else through.cut()
            run.until(lambda connections=connections: through.connection_count > connections + 1, "a new connection")
        through.stop()
        run.until(lambda: "trying again" in run.output.splitlines()[-1], "a refused connection")
        through.start()

    finish(source, run)


def test_f9_wherever_the_connection_is_cut_while_it_is_made_it_is_unreachable_and_nothing_else(
    new_source: NewSource, database: str, proxy: Callable[[str], TcpProxy]
) -> None:
    source = open_shop(new_source(database))
    through = proxy(database)
    count, streams = 0, False

    while not streams:
        through.limit_bytes(count)
        count += 16
        try:
            Stream(through.url, slot=source.name, publication=source.name, limits=Limits()).close()
        except Unreachable:
            continue
        streams = True
        through.cut()

    assert count > 400, "the server's greeting alone is longer"


def test_f9_a_connection_that_is_dead_without_a_word_is_given_up(
    new_source: NewSource, database: str, proxy: Callable[[str], TcpProxy]
) -> None:
    source = open_shop(new_source(database))
    through = proxy(database)
    source.configure(through.url)
    run = source.run(limits__silence_s=1).streaming()
    run.until_caught_up()

    with load(source) as writers:
        through.deafen()
        goal = writers.done + 100
        run.until(lambda: writers.done >= goal, "more transactions")

    finish(source, run)
    assert "ending our last connection" in run.output


def test_f9_a_connection_that_is_dead_without_a_word_in_a_snapshot_is_given_up(
    new_source: NewSource, database: str, proxy: Callable[[str], TcpProxy]
) -> None:
    source = new_source(database)
    source.execute("CREATE TABLE old (id int PRIMARY KEY)", "INSERT INTO old SELECT generate_series(1, 2000)")
    source.map("Old", "old")
    source.setup()
    through = proxy(database)
    source.configure(through.url)
    run = source.run(limits__silence_s=1, limits__snapshot_rows=2)
    for count in (20, 40):
        run.until(lambda count=count: len(source.history().of_kind("snapshot")) >= count, "more chunks")
        through.deafen()
    run.until(lambda: len(source.history().of_kind("snapshot")) >= 60, "more chunks")
    run.kill()

    finish(source, source.run())


def test_f10_a_second_worker_on_a_log_is_refused(source: Source) -> None:
    open_shop(source)
    first = source.run().streaming()

    with load(source):
        hint = source.run().refused(4, f"#{source.name}", f"process {first.pid}")
    assert "stop" in hint

    finish(source, first)


def test_f10_a_second_worker_on_a_slot_is_refused(source: Source) -> None:
    open_shop(source)
    first = source.run().streaming()

    with load(source):
        second = source.run(log__name="other", limits__silence_s=1)
        hint = second.refused(4, f'"{source.name}"', "in use")
    assert "slot" in hint
    assert not History(Location(source.folder / "log", "other")).refresh().records

    finish(source, first)
