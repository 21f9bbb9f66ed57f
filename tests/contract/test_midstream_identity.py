"""Replica identities that change in mid-stream, and tables that are mapped later."""

import signal

import psycopg
import pytest

from fixtures.followed import Followed
from fixtures.midstream import CHUNK, finish, settle, started
from fixtures.worker import Source


def identity(source: Source, how: str, table: str = "orders") -> None:
    source.execute(f"ALTER TABLE {table} REPLICA IDENTITY {how}")


def test_a_replica_identity_may_go_from_full_to_default_to_an_index_to_nothing_and_back(
    source: Source, fork: Followed
) -> None:
    source.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, code text NOT NULL UNIQUE, note text, big text)",
        "ALTER TABLE orders ALTER big SET STORAGE EXTERNAL",
        "INSERT INTO orders SELECT n, 'c' || n, 'old', repeat(chr(64 + n), 3000) FROM generate_series(1, 20) n",
        "CREATE UNIQUE INDEX code_id ON orders (code, id)",
    )
    source.map("Order", "orders")
    source.setup()
    run = started(source)
    fork.sync()
    for number, how in enumerate(("FULL", "DEFAULT", "USING INDEX code_id", "FULL"), 1):
        identity(source, how)
        source.execute(
            f"UPDATE orders SET note = '{how}' WHERE id = {number}",
            f"UPDATE orders SET id = id + 100, note = 'moved' WHERE id = {4 + number}",
            f"UPDATE orders SET code = code || '!' WHERE id = {8 + number}",
            f"DELETE FROM orders WHERE id = {12 + number}",
        )
    finish(source, run, fork)
    changes = [c for commit in source.history().commits for c in commit.changes if c["entity"] == "Order"]
    assert [c["image"] for c in changes if c["key"]["id"] < 5] == ["full", "key", "key", "full"]
    deleted = [c for c in changes if c["op"] == "delete"]
    whole = ["big", "code", "id", "note"]
    assert [sorted(c["before"]) for c in deleted] == [whole, ["id"], ["id"], whole]

    identity(source, "NOTHING")
    run = source.run(**CHUNK)
    source.execute("INSERT INTO orders VALUES (200, 'n', 'x', 'y')")
    for refused in ("UPDATE orders SET note = 'z'", "DELETE FROM orders"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            source.execute(refused)
    run.until(
        lambda: "table public.orders has no replica identity: the server refuses UPDATE and DELETE" in run.output,
        "a warning",
    )
    assert "table public.orders has no replica identity" in source.commitlog("doctor", code=4).stdout
    source.commitlog("setup")
    source.execute("UPDATE orders SET note = 'z' WHERE id = 200")
    finish(source, run, fork)


@pytest.mark.parametrize(
    "write",
    [
        # The row under the old key would stay for ever.
        "UPDATE orders SET id = 100 WHERE id = 2",
        pytest.param("DELETE FROM orders WHERE id = 2", marks=pytest.mark.full),
    ],
)
def test_a_row_that_changes_without_its_key_is_lost_history_and_a_gap_leads_on(
    source: Source, fork: Followed, write: str
) -> None:
    source.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, code text NOT NULL UNIQUE, note text)",
        "INSERT INTO orders SELECT n, 'c' || n, 'old' FROM generate_series(1, 9) n",
    )
    source.map("Order", "orders")
    source.setup()
    run = started(source)
    fork.sync()
    identity(source, "USING INDEX orders_code_key")
    source.execute(write)
    hint = run.refused(3, "public.orders", "without id", "which row it was is lost")
    assert hint == "ALTER TABLE public.orders REPLICA IDENTITY FULL, then commitlog resume --accept-gap"
    identity(source, "FULL")
    source.execute("UPDATE orders SET note = 'after' WHERE id = 3")
    source.commitlog("resume", "--accept-gap")
    run = source.run(**CHUNK)
    settle(run)
    run.terminate()
    source.check_tables(source.history(), epoch=2)
    fork.check()


@pytest.mark.parametrize("how", [pytest.param("schema add", marks=pytest.mark.full), "SIGHUP"])
def test_a_table_that_is_mapped_later_is_read_while_the_stream_goes_on(
    source: Source, fork: Followed, how: str
) -> None:
    source.execute("CREATE TABLE orders (id int PRIMARY KEY, status text)", "INSERT INTO orders VALUES (1, 'old')")
    source.map("Order", "orders")
    source.setup()
    run = started(source)
    fork.sync()
    source.execute(
        "CREATE TABLE notes (id int PRIMARY KEY, body text)",
        "INSERT INTO notes SELECT n, 'old' FROM generate_series(1, 23) n",
    )
    before = source.schema_path.read_text()
    source.map("Note", "notes")
    if how == "schema add":
        later = source.schema_path.rename(source.folder / "later.json")
        # The schema that it takes the place of is taken out of the folder first.
        source.commitlog("setup", str(later))
        source.commitlog("schema", "add", str(later))
    else:
        run.signal(signal.SIGHUP)
        run.until(lambda: "app schemas not read: table public.notes is mapped" in run.output, "a refusal")
        source.execute("INSERT INTO orders VALUES (2, 'under the old schema')")
        source.commitlog("setup")
        run.signal(signal.SIGHUP)
        run.until(lambda: "app schemas read again" in run.output, "the new schema")
    assert "Note" not in before
    for n in range(5):
        source.execute(
            f"UPDATE notes SET body = 'new' WHERE id = {5 * n + 1}", f"INSERT INTO orders VALUES ({10 + n}, 'n')"
        )
    settle(run)
    run.terminate()
    source.check_tables(source.history())
    source.verify()
    fork.check()
