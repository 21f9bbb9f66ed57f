"""What a worker owes the world around it: it ends when told to, lets its server end, and lets WAL go."""

from collections.abc import Callable

from commitlog.cdc.servers.local import PostgresServer
from fixtures.load import load, open_shop
from fixtures.worker import Source

END_S = 10.0
"""How long a worker may take to end, and a server that it is connected to."""


def test_sigterm_under_load_ends_with_0_in_time_and_the_next_worker_goes_on(source: Source) -> None:
    open_shop(source)
    with load(source) as writers:
        for _ in range(2):
            run = source.run().streaming()
            writers.more(run, 200)
            run.terminate(END_S)
            assert "SIGTERM: finishing" in run.output

    run = source.run()
    run.until_caught_up()
    run.terminate(END_S)
    source.check()


def confirmed(source: Source) -> str:
    return str(source.value("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s", source.name))


def test_sigterm_acknowledges_all_that_was_read(source: Source) -> None:
    open_shop(source)
    run = source.run().streaming()
    run.until_caught_up()
    source.execute("INSERT INTO hidden SELECT generate_series(1, 1000)")
    end = source.value("SELECT pg_current_wal_lsn()")
    source.execute("INSERT INTO orders VALUES (1, 'new', 1)")
    run.until_marked()
    run.terminate(END_S)

    history = source.history()
    assert confirmed(source) == history.records[-1][0]["source"]["position"]
    assert source.value("SELECT %s::pg_lsn >= %s::pg_lsn", confirmed(source), end)


def test_a_fast_shutdown_of_the_server_does_not_wait_for_an_idle_worker(
    new_source: Callable[[str], Source], own_server: PostgresServer
) -> None:
    source = open_shop(new_source(own_server.url))
    run = source.run().streaming()
    run.until_caught_up()
    # WAL that holds nothing for the log: the server wants it confirmed before it ends.
    source.execute("INSERT INTO hidden SELECT generate_series(1, 1000)")
    covered = len(source.history().of_kind("coverage"))

    # It would take longer than `stop` waits to give an idle reader up, which is a minute.
    own_server.stop("fast")
    # The server asked, and was answered; or it ended the worker's other connection first, in the middle of a look at the catalogs.
    run.until(
        lambda: len(source.history().of_kind("coverage")) > covered or "catalogs cannot be read" in run.output,
        "coverage, or a word of why not",
    )

    own_server.restart()
    source.execute("INSERT INTO orders VALUES (1, 'new', 1)")
    run.until_marked()
    run.terminate(END_S)
    source.check()


def test_an_idle_source_beside_a_busy_database_lets_its_wal_go(
    source: Source, new_database: Callable[[], str], new_source: Callable[[str], Source]
) -> None:
    open_shop(source)
    run = source.run(limits__coverage_s=0.3).streaming()
    run.until_caught_up()
    neighbour = new_source(new_database())
    neighbour.execute("CREATE TABLE busy (id int, filler text)")
    before = len(source.history().of_kind("coverage"))
    for number in range(3):
        neighbour.execute(f"INSERT INTO busy SELECT n, repeat('x', 500) FROM generate_series(1, {1000 + number}) n")
        end = source.value("SELECT pg_current_wal_flush_lsn()")
        run.until(
            lambda end=end: source.value("SELECT %s::pg_lsn >= %s", confirmed(source), end), "the slot to move on"
        )
    run.terminate()

    history = source.check()
    assert len(history.of_kind("coverage")) > before
    assert len(history.of_kind("coverage")) < before + 30
