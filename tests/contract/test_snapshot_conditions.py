"""Snapshots on a source that does not make it easy: locked tables, row security, a waiting standby, large rows, an idle server."""

import threading
from collections.abc import Iterator

import psycopg
import pytest

from commitlog.cdc.config import with_password
from commitlog.cdc.servers.local import PostgresServer
from fixtures.load import open_shop
from fixtures.worker import Run, Source

CHUNK = {"limits__snapshot_rows": 5}


def finish(source: Source, run: Run) -> None:
    run.until_caught_up()
    run.terminate()
    source.check()


def test_a_table_that_is_being_altered_is_left_for_later_and_holds_nothing_up(source: Source) -> None:
    open_shop(source)
    source.execute("INSERT INTO orders SELECT -n, 'old', n FROM generate_series(1, 20) n")
    with source.connect() as altering:
        altering.execute("BEGIN")
        altering.execute("ALTER TABLE orders ALTER COLUMN total SET DEFAULT 0")
        run = source.run(**CHUNK, limits__silence_s=5)
        for n in range(3):
            source.execute(f"INSERT INTO notes VALUES ('while altering', {n}, '')")
            run.until_marked()
        done = {items[1]["entity"] for _, items in source.history().of_kind("snapshot") if items[1]["last"]}
        assert "Order" not in done
        altering.execute("COMMIT")

    finish(source, run)


def test_a_table_that_is_rewritten_again_and_again_has_all_its_rows(source: Source) -> None:
    open_shop(source)
    source.execute("INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, 300) n")
    run = source.run(**CHUNK)
    rewrites = 0
    while not (run.running and source.snapshots_done()):
        assert run.running, run.output
        # Clustering makes a new file of the table, in which an older snapshot sees nothing.
        source.execute("CLUSTER orders USING orders_pkey")
        rewrites += 1

    assert rewrites > 1
    finish(source, run)


def test_rows_that_row_security_would_hide_are_an_error(source: Source, unique: str) -> None:
    role, password = f"{unique}_role", "secret"
    open_shop(source)
    source.execute(
        "INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, 9) n",
        f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD '{password}'",
    )
    try:
        source.execute(
            f"GRANT pg_read_all_data, pg_monitor TO {role}",
            "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY half ON orders TO {role} USING (id > 5)",
        )
        source.configure(with_password(source.url.replace("postgres:", f"{role}:", 1), password))

        source.run().refused(4, "Order", "row-level security")

        source.execute("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
        finish(source, source.run())
    finally:
        source.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.fixture
def waiting(own_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server whose commits can be made to wait for a standby that is not there."""
    yield own_server
    with psycopg.connect(own_server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        connection.execute("SELECT pg_reload_conf()")


def test_a_commit_that_waits_for_a_standby_is_in_the_log_and_not_undone_by_a_chunk(
    waiting: PostgresServer, new_source: object
) -> None:
    assert callable(new_source)
    source: Source = new_source(waiting.url)
    open_shop(source)
    source.execute("INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, 200) n")
    run = source.run(**CHUNK)
    run.until(lambda: len(source.history().of_kind("snapshot")) > 2, "chunks")
    source.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")

    thread = threading.Thread(target=source.execute, args=("INSERT INTO orders VALUES (1000, 'waits', 0)",))
    thread.start()
    run.until(lambda: any(c.changes[0]["key"] == {"id": 1000} for c in source.history().commits), "the commit")
    assert not source.value("SELECT count(*) FROM orders WHERE id = 1000")
    assert not source.snapshots_done()
    chunks = len(source.history().of_kind("snapshot"))
    with source.connect() as connection:
        connection.execute("SET synchronous_commit = local")
        connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        connection.execute("SELECT pg_reload_conf()")
    thread.join(30)
    assert not thread.is_alive()

    finish(source, run)
    assert len(source.history().of_kind("snapshot")) > chunks


def test_large_rows_are_read_a_few_at_a_time(source: Source) -> None:
    source.execute(
        "CREATE TABLE document (id int PRIMARY KEY, body text)",
        "INSERT INTO document SELECT n, repeat(md5(n::text), 30000) FROM generate_series(1, 250) n",
    )
    source.map("Document", "document")
    source.setup()
    run = source.run()

    run.until_caught_up()

    assert run.peak_kb < 200_000
    finish(source, run)


def test_a_source_at_rest_keeps_no_chunk_waiting(source: Source) -> None:
    open_shop(source)
    source.execute("INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, 4000) n")
    # Rows that were replaced: whoever reads them first tidies up, which is logged but not put on disk.
    source.execute(*["UPDATE orders SET total = total + 1"] * 3)
    run = source.run(limits__snapshot_rows=200).streaming()

    run.until_snapshots(timeout_s=10.0)

    finish(source, run)
