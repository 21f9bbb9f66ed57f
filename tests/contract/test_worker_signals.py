"""What a worker owes the world around it: it ends when told to, lets its server end, lets WAL go, and says how it is."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from commitlog.cdc.servers.local import PostgresServer
from fixtures.load import load, open_shop
from fixtures.requests import free_port, tag, write
from fixtures.worker import Run, Source

END_S = 10.0
"""How long a worker may take to end, and a server that it is connected to."""


def test_sigterm_under_load_ends_with_0_in_time_and_the_next_worker_goes_on(source: Source) -> None:
    open_shop(source)
    with load(source) as writers:
        for _ in range(2):
            run = source.run().streaming()
            goal = writers.done + 200
            run.until(lambda goal=goal: writers.done >= goal, "more transactions")
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

    began = time.monotonic()
    own_server.stop("fast")
    assert time.monotonic() - began < END_S
    # The server asked, and was answered: it did not end because the worker gave up.
    assert len(source.history().of_kind("coverage")) > covered

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


def get(address: str, path: str) -> tuple[int, str]:
    """Status and body of what a worker serves; 0 while nothing listens."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()
    except OSError:
        return 0, ""


def figure(text: str, name: str) -> float:
    """A figure among the metrics; -1 where there is none."""
    values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name}{{")]
    return float(values[0]) if values else -1


@pytest.fixture
def serving(source: Source) -> tuple[Run, str]:
    address = f"127.0.0.1:{free_port()}"
    source.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, status text, total bigint)", "CREATE TABLE hidden (id int)"
    )
    source.map("Order", "orders")
    source.write_schema(source.schema_path, source.schema(strict=True))
    source.setup()
    return source.run(http__listen=address).streaming(), address


def test_health_and_metrics_are_served(source: Source, serving: tuple[Run, str]) -> None:
    run, address = serving
    run.until_caught_up()
    write(source, {"v": 1, "request": "r"}, "INSERT INTO orders SELECT n FROM generate_series(1, 5) n")
    source.execute("INSERT INTO hidden VALUES (1)")
    run.until_marked()

    assert get(address, "/healthz") == (200, "ok\n")
    assert get(address, "/readyz") == (200, "ready\n")
    assert get(address, "/nothing")[0] == 404
    code, text = get(address, "/metrics")
    assert code == 200
    assert figure(text, "commitlog_up") == 1
    assert figure(text, "commitlog_commits_total") == len(source.history().commits)
    assert figure(text, "commitlog_rows_total") == sum(len(commit.changes) for commit in source.history().commits)
    assert figure(text, "commitlog_untagged_total") == len(source.history().commits) - 1
    assert figure(text, "commitlog_waiting") == 0

    write(source, tag(build="nobody's"), "INSERT INTO orders VALUES (6)")
    run.until(lambda: get(address, "/readyz")[0] == 503, "not being ready while it waits")
    assert get(address, "/healthz")[0] == 200
    assert figure(get(address, "/metrics")[1], "commitlog_waiting") == 1
    run.terminate(END_S)
