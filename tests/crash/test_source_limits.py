"""Limits that a server sets: a slot it gives up is named and led on from; a worker that it takes for dead comes back, and nothing is
lost or twice.
"""

import signal
from collections.abc import Callable

import pytest

from commitlog.cdc.config import Limits
from commitlog.cdc.servers.local import PostgresServer
from commitlog.cdc.tail import postgres
from commitlog.cdc.tail.postgres import Stream
from commitlog.schemas.position import parse_lsn
from fixtures.load import accept_gap, load, open_shop
from fixtures.patience import until
from fixtures.worker import Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

NewSource = Callable[[str], Source]
RESUME = "commitlog resume --accept-gap"


def reader(source: Source) -> int | None:
    """The server's process that serves the worker, or None."""
    pid: int | None = source.value("SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", source.name)
    return pid


def status(source: Source) -> str:
    return str(source.value("SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", source.name))


@pytest.mark.full
def test_a_slot_that_nobody_read_for_too_long_is_named(new_source: NewSource) -> None:
    with PostgresServer.start(version="18", settings={"fsync": "off"}) as server:
        source = open_shop(new_source(server.url))
        run = source.run()
        run.until_caught_up()
        server.configure(idle_replication_slot_timeout="1s")
        server.reload()
        run.until_marked()
        source.execute("CHECKPOINT")
        assert status(source) != "lost", "a slot that is read was given up"
        source.value("SELECT pg_drop_replication_slot(%s)", f"{source.name}_ref")
        run.terminate()

        def given_up() -> bool:
            source.execute("CHECKPOINT")
            return status(source) == "lost"

        until(given_up, "a slot given up")

        hint = source.run().refused(3, "slot", "is lost", "idle_replication_slot_timeout")

        assert hint == RESUME
        accept_gap(source)


@pytest.mark.timeout(90)
@pytest.mark.full
def test_a_slot_that_is_given_up_under_a_worker_that_hangs_is_named(new_source: NewSource) -> None:
    settings = {"fsync": "off", "max_slot_wal_keep_size": "1MB", "wal_keep_size": "0", "max_wal_size": "32MB"}
    with PostgresServer.start(settings=settings) as server:
        source = open_shop(new_source(server.url))
        run = source.run().streaming()
        run.until_caught_up()
        source.value("SELECT pg_drop_replication_slot(%s)", f"{source.name}_ref")
        run.signal(signal.SIGSTOP)

        def given_up() -> bool:
            source.execute("SELECT pg_logical_emit_message(true, 'filler', repeat('x', 20000000))", "CHECKPOINT")
            return status(source) == "lost"

        until(given_up, "a slot given up")
        run.signal(signal.SIGCONT)

        hint = run.refused(3, "slot", "is lost", "max_slot_wal_keep_size")

        assert hint == RESUME
        accept_gap(source)


def test_a_worker_that_stood_still_until_the_server_took_it_for_dead_goes_on(new_source: NewSource) -> None:
    with PostgresServer.start(settings={"fsync": "off", "wal_sender_timeout": "1s"}) as server:
        source = open_shop(new_source(server.url))
        run = source.run().streaming()
        with load(source) as writers:
            for _ in range(2):
                goal = writers.done + 50
                run.until(lambda goal=goal: writers.done >= goal, "transactions before")
                run.signal(signal.SIGSTOP)
                run.until(lambda: reader(source) is None, "the server to give its reader up")
                goal = writers.done + 100
                run.until(lambda goal=goal: writers.done >= goal, "transactions meanwhile")
                run.signal(signal.SIGCONT)
                run.until(lambda: reader(source) is not None, "the worker to come back")
        run.until_caught_up()
        run.terminate()
        source.check()


@pytest.mark.full
@pytest.mark.timeout(180)
def test_a_worker_that_stood_still_for_a_minute_goes_on(new_source: NewSource) -> None:
    """With PostgreSQL's own wal_sender_timeout, which is a minute."""
    with PostgresServer.start(settings={"fsync": "off"}) as server:
        source = open_shop(new_source(server.url))
        run = source.run().streaming()
        run.signal(signal.SIGSTOP)
        with load(source) as writers:
            run.until(lambda: writers.done >= 100, "transactions meanwhile")
        run.until(lambda: reader(source) is None, "the server to give its reader up", 120)
        run.signal(signal.SIGCONT)
        run.until_caught_up()
        run.terminate()
        source.check()


@pytest.mark.full
def test_a_short_wal_sender_timeout_does_not_cut_a_worker_that_has_nothing_to_do(new_source: NewSource) -> None:
    with PostgresServer.start(settings={"fsync": "off", "wal_sender_timeout": "300ms"}) as server:
        source = open_shop(new_source(server.url))
        run = source.run().streaming()
        run.until_caught_up()
        first = reader(source)
        # Rest: longer than the timeout, seen by the age of the server's connection.
        run.until(
            lambda: source.value(
                "SELECT now() - backend_start > interval '2 s' FROM pg_stat_replication WHERE pid = %s", first
            ),
            "two seconds of rest",
        )
        assert reader(source) == first
        run.until_marked()
        run.terminate()
        assert "trying again" not in run.output
        source.check()


@pytest.mark.full
def test_a_publication_that_was_away_for_a_while_is_named_where_the_server_cannot_read_over_it(
    new_source: NewSource,
) -> None:
    """Before PostgreSQL 18 decoding asks for the publication as it was at each place in the WAL."""
    with PostgresServer.start(version="17", settings={"fsync": "off"}) as server:
        source = open_shop(new_source(server.url))
        run = source.run()
        run.until_caught_up()
        run.terminate()
        source.execute(f'DROP PUBLICATION "{source.name}"', "INSERT INTO orders VALUES (7, 'not published', 0)")
        source.commitlog("setup")

        assert source.run().refused(3, "publication") == RESUME

        accept_gap(source)


def test_what_a_stream_repeats_to_stay_alive_is_the_newest_acknowledgement(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_shop(source)
    slot = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s"
    stream = Stream(source.url, slot=source.name, publication=source.name, limits=Limits())
    try:
        monkeypatch.setattr(postgres, "STATUS_INTERVAL_S", 60.0)
        stream.acknowledge(parse_lsn(source.value("SELECT pg_current_wal_lsn()")), now=True)
        source.execute("INSERT INTO hidden VALUES (1)")
        newest = source.value("SELECT pg_current_wal_lsn()")
        stream.acknowledge(parse_lsn(newest))  # not due: it was told a moment ago
        monkeypatch.setattr(postgres, "STATUS_INTERVAL_S", 0.0)

        stream.keep_alive()

        until(lambda: source.value(slot, source.name) == newest, "the newest acknowledgement")
    finally:
        stream.close()
