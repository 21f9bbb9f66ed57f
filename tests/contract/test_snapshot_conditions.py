"""Snapshots on a source that does not make it easy: locked tables, row security, a waiting standby, large rows, an idle server."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from commitlog.cdc.config import Limits, SourceConfig, load
from commitlog.cdc.database_url import with_password
from commitlog.cdc.servers.local import PostgresServer
from commitlog.cdc.worker.postgres_snapshot import PostgresSnapshotter
from commitlog.cdc.worker.worker import Worker
from commitlog.transforms.app_schema_reader import parse
from fixtures.chunks import taken_by
from fixtures.load import open_shop
from fixtures.patience import WAIT_S, until
from fixtures.worker import Source

CHUNK = {"limits__snapshot_rows": 5}


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

    source.finish(run)


class Overtaken(PostgresSnapshotter):
    """A snapshotter behind whose back somebody tries to rewrite the table, after the snapshot was taken and before it is used."""

    url = ""
    rewritten = False

    def _rows(self, *arguments: Any) -> Any:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET lock_timeout = 100")
            try:
                # Makes a new file of the table, in which an older snapshot sees nothing.
                connection.execute("CLUSTER orders USING orders_pkey")
                self.rewritten = True
            except psycopg.errors.LockNotAvailable:
                pass
        return super()._rows(*arguments)


def test_a_table_is_not_rewritten_between_a_snapshot_and_its_use(source: Source) -> None:
    open_shop(source)
    source.execute("INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, 30) n")
    del source.entities["Mark"], source.entities["Note"]
    taking = Overtaken(
        SourceConfig(url=source.url, publication=source.name),
        schema=parse(source.schema()),
        visibility="own",
        progress={},
        recent=deque(),
        limits=Limits(),
    )
    taking.url = source.url

    try:
        assert taking.take()
        assert taking.chunk is not None
        assert len(taking.chunk.rows) == 30
        assert not taking.rewritten
    finally:
        taking.close()


class Replaced(PostgresSnapshotter):
    """A snapshotter behind whose back a table is made anew, just after its first chunk was read."""

    url = ""
    statements: tuple[str, ...] = ()

    def take(self) -> bool:
        taken = super().take()
        if self.chunk is not None and self.chunk.entity.name == "Order":
            with psycopg.connect(self.url, autocommit=True) as connection:
                for statement in self.statements:
                    connection.execute(statement.encode())
            Replaced.statements = ()
        return taken


@pytest.mark.parametrize("guarded", [True, False], ids=["with event triggers", "without"])
def test_a_chunk_of_a_table_that_was_made_anew_since_is_read_again(
    source: Source, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    make = "CREATE TABLE orders (id int PRIMARY KEY, n int)"
    source.execute(make)
    source.map("Order", "orders")
    source.setup()
    source.execute("INSERT INTO orders SELECT n, n FROM generate_series(1, 30) n")
    if not guarded:
        source.execute(*(f'DROP EVENT TRIGGER "commitlog_{source.name}_{event}"' for event in ("ddl", "drp", "rwr")))
    Replaced.url = source.url
    Replaced.statements = (
        f"BEGIN; DROP TABLE orders; {make}; ALTER TABLE orders REPLICA IDENTITY FULL;"
        f" ALTER PUBLICATION {source.name} ADD TABLE orders; INSERT INTO orders VALUES (7, 70); COMMIT",
    )
    monkeypatch.setattr("commitlog.cdc.worker.postgres.PostgresSnapshotter", Replaced)
    monkeypatch.chdir(source.folder)
    stop = threading.Event()
    thread = threading.Thread(target=Worker(load(), stop=stop).run)

    thread.start()
    try:
        until(lambda: not Replaced.statements, "a chunk of the table that was there")
        mark = source.mark()
        until(lambda: source.marked(mark), "what came after")
        until(source.snapshots_done, "the snapshots")
    finally:
        stop.set()
        thread.join(WAIT_S)

    source.check_tables(source.history())


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
        source.finish(source.run())
    finally:
        source.execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def wait_for_nobody(source: Source) -> None:
    """From now on commits wait for a standby."""
    source.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
    with source.connect() as connection:
        while connection.execute("SHOW synchronous_standby_names").fetchone() != ("nobody",):
            continue


def wait_no_more(source: Source) -> None:
    with source.connect() as connection:
        connection.execute("SET synchronous_commit = local")
        connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        connection.execute("SELECT pg_reload_conf()")


def test_a_commit_that_waits_for_a_standby_is_in_the_log_and_not_undone_by_a_chunk(
    own_server: PostgresServer, new_source: Callable[[str], Source]
) -> None:
    source = open_shop(new_source(own_server.url))
    source.execute("INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, 100) n")
    wait_for_nobody(source)
    thread = threading.Thread(target=source.execute, args=("INSERT INTO orders VALUES (1000, 'waits', 0)",))
    thread.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

    run = source.run(**CHUNK)
    run.until(lambda: source.value(waiting) == 1, "the commit to wait")
    run.until(lambda: any(c.changes[0]["key"] == {"id": 1000} for c in source.history().commits), "the commit")
    assert not source.value("SELECT count(*) FROM orders WHERE id = 1000")
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert not source.snapshots_done(), "a snapshot without the row that is in the log"
    wait_no_more(source)
    thread.join(30)
    assert not thread.is_alive()

    source.finish(run)


def test_a_snapshot_does_not_wait_for_a_standby(
    own_server: PostgresServer, new_source: Callable[[str], Source]
) -> None:
    source = open_shop(new_source(own_server.url))
    source.execute("INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, 2000) n")
    source.execute(*["UPDATE orders SET total = total + 1"] * 3)
    wait_for_nobody(source)

    run = source.run(limits__snapshot_rows=200)
    run.until_snapshots()

    wait_no_more(source)
    source.finish(run)


def test_large_rows_are_read_a_few_at_a_time(source: Source) -> None:
    source.execute(
        "CREATE TABLE document (id int PRIMARY KEY, body text)",
        "INSERT INTO document SELECT n, repeat(md5(n::text), 30000) FROM generate_series(1, 120) n",
    )
    source.map("Document", "document")
    source.setup()
    run = source.run()

    run.until_caught_up()

    # All of them at once are 115 MB, more than once.
    assert run.peak_kb < 160_000
    source.finish(run)


def test_rows_among_small_ones_that_are_large_do_not_come_all_at_once(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commitlog.cdc.worker.postgres_snapshot.SURPLUS_BYTES", 100_000)
    open_shop(source)
    # After the first 300, of which each takes some fifty bytes, thousands are thought to fit.
    source.execute(
        "INSERT INTO orders SELECT n, CASE WHEN n BETWEEN 300 AND 340 THEN repeat('x', 30000) END, n FROM generate_series(1, 500) n"
    )
    taking = PostgresSnapshotter(
        SourceConfig(url=source.url, publication=source.name),
        schema=parse(source.schema()),
        visibility="own",
        progress={},
        recent=deque(),
        limits=Limits(part_bytes=100_000),
    )

    found, sizes = taken_by(taking, "Order")

    assert found == [*range(1, 501)]
    assert max(sizes) < 300_000, "41 rows of 30 kB are in one batch"
    assert max(sizes) > 200_000, "no batch was left unread"


def test_a_source_at_rest_keeps_no_chunk_waiting(source: Source) -> None:
    open_shop(source)
    source.execute("INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, 2000) n")
    # Rows that were replaced: whoever reads them first tidies up, which is logged but not put on disk.
    source.execute(*["UPDATE orders SET total = total + 1"] * 3)
    run = source.run(limits__snapshot_rows=200).streaming()

    run.until_snapshots()

    source.finish(run)
