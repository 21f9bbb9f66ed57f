"""Columns and tables that change while the worker streams: the log tells every row as it is, and a fork has it."""

import json
import signal
from collections.abc import Callable

import pytest

from commitlog.schemas.errors import Refused
from fixtures.followed import Followed
from fixtures.midstream import CHUNK, anew, finish, settle, started
from fixtures.worker import Source

ROWS = 12


@pytest.fixture
def shop(source: Source) -> Source:
    """A table with rows, mapped with columns that it has not yet."""
    source.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, status varchar(20), total int)",
        f"INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, {ROWS}) n",
    )
    return source


def test_columns_added_dropped_and_renamed_among_writes_in_and_out_of_transactions(
    shop: Source, fork: Followed
) -> None:
    fields = ("id", "status", "total", "note", "size", "state", "stamp")
    shop.map("Order", "orders", fields=fields)
    shop.setup()
    run = started(shop)
    fork.sync()
    shop.execute(
        "INSERT INTO orders VALUES (100, 'new', 1)",
        "ALTER TABLE orders ADD note text",
        "UPDATE orders SET note = 'n' WHERE id = 1",
        "BEGIN; INSERT INTO orders VALUES (101, 'new', 1); ALTER TABLE orders ADD size int NOT NULL DEFAULT 7;"
        " UPDATE orders SET size = 8 WHERE id = 2; INSERT INTO orders VALUES (102, 'new', 1, 'x', 9); COMMIT",
    )
    settle(run)
    fork.check()
    shop.execute(
        "UPDATE orders SET total = total + 1 WHERE id < 4",
        "BEGIN; UPDATE orders SET status = 'mid' WHERE id = 3; ALTER TABLE orders RENAME status TO state;"
        " INSERT INTO orders VALUES (103, 'new', 1, NULL, 3); DELETE FROM orders WHERE id = 4; COMMIT",
        "ALTER TABLE orders ADD stamp uuid DEFAULT gen_random_uuid()",
        "ALTER TABLE orders DROP note",
        "UPDATE orders SET state = 'late' WHERE id = 5",
    )
    finish(shop, run, fork)
    assert len(shop.history().shapes("Order")) >= 5


def test_a_changed_type_is_told_anew_and_a_fork_goes_on_when_its_owner_has_changed_it_too(
    shop: Source, fork: Followed
) -> None:
    shop.execute("ALTER TABLE orders ADD size int DEFAULT 1")
    shop.map("Order", "orders")
    shop.setup()
    run = started(shop)
    fork.sync()
    shop.execute(
        "UPDATE orders SET total = 20 WHERE id = 2",
        "BEGIN; INSERT INTO orders VALUES (100, 'new', 1); ALTER TABLE orders ALTER total TYPE numeric(8, 2) USING total / 4.0;"
        " UPDATE orders SET total = 1.5 WHERE id = 3; COMMIT",
        "UPDATE orders SET total = total + 1 WHERE id < 5",
    )
    settle(run)
    with pytest.raises(Refused, match="becomes numeric") as refused:
        fork.sync()
    fork.sql(refused.value.hint.partition(", then")[0])
    fork.check()
    # The same type, other values: only an event trigger tells of that.
    shop.execute(
        "BEGIN; UPDATE orders SET status = 'x' WHERE id = 1; ALTER TABLE orders ALTER total TYPE numeric(8, 2) USING total * 2;"
        " UPDATE orders SET total = total + 1 WHERE id = 4; COMMIT",
    )
    settle(run)
    # Twice for one of them, where the catalogs were looked at before the stream told of it.
    told = anew(shop, "Order")
    assert told >= 2
    shop.execute(
        # This rewrites nothing, and nothing is read again.
        "ALTER TABLE orders ALTER status TYPE varchar(30)",
        "INSERT INTO orders VALUES (102, 'new', 1)",
    )
    settle(run)
    assert anew(shop, "Order") == told
    shop.execute(
        # Rewritten, and a fork needs nobody for it.
        "ALTER TABLE orders ALTER size TYPE bigint",
        "INSERT INTO orders VALUES (101, 'new', 1)",
    )
    finish(shop, run, fork)
    assert anew(shop, "Order") > told


def test_a_renamed_table_is_named_and_goes_on_where_a_schema_says_so(shop: Source, fork: Followed) -> None:
    shop.map("Order", "orders")
    shop.setup()
    run = started(shop)
    fork.sync()
    shop.execute("ALTER TABLE orders RENAME TO purchases", "UPDATE purchases SET status = 'unseen' WHERE id < 3")
    run.until_marked()
    run.until(lambda: "there is no table public.orders: it was renamed to public.purchases" in run.output, "a warning")
    doctor = shop.commitlog("doctor", code=1).stdout
    missing = "table public.orders of Order does not exist: it was renamed to public.purchases"
    assert missing in doctor
    assert json.loads(shop.commitlog("status", "--json").stdout)["source"]["missing"] == [missing]

    shop.map("Order", "purchases")
    run.signal(signal.SIGHUP)
    run.until(lambda: "app schemas read again" in run.output, "the new schema")
    shop.execute("INSERT INTO purchases VALUES (100, 'new', 1)")
    settle(run)
    run.terminate()
    shop.check_tables(shop.history())
    shop.verify()
    fork.check()


@pytest.mark.parametrize(
    "published", [True, pytest.param(False, marks=pytest.mark.full)], ids=["in one transaction", "and published later"]
)
def test_a_table_dropped_and_made_anew_has_its_new_rows_only(shop: Source, fork: Followed, published: bool) -> None:
    shop.map("Order", "orders")
    shop.setup()
    run = started(shop)
    fork.sync()
    fork.sql("UPDATE orders SET status = 'mine' WHERE id = 4")
    again = f"ALTER PUBLICATION {shop.name} ADD TABLE orders"
    shop.execute(
        "BEGIN; DELETE FROM orders WHERE id = 1; DROP TABLE orders;"
        f" CREATE TABLE orders (id int PRIMARY KEY, status text, total int); {again if published else ''};"
        " ALTER TABLE orders REPLICA IDENTITY FULL; INSERT INTO orders VALUES (2, 'anew', 2); COMMIT"
    )
    if published:
        shop.execute("UPDATE orders SET total = 3", "INSERT INTO orders VALUES (3, 'anew', 3), (40, 'anew', 4)")
        settle(run)
    else:
        hint = run.refused(3, "is not in publication")
        assert hint == "commitlog resume --accept-gap"
        shop.execute("INSERT INTO orders VALUES (3, 'anew', 3), (40, 'anew', 4)")
        shop.commitlog("resume", "--accept-gap")
        run = started(shop)
    run.terminate()
    shop.check_tables(shop.history(), epoch=1 if published else 2)
    fork.sync()
    assert fork.conflicts() == [("Order", {"id": 4}, "delete/update")]
    fork.sql("DELETE FROM orders WHERE id = 4")
    fork.equal()


@pytest.mark.full
def test_a_table_made_anew_with_another_key_stops_the_worker_by_name_until_a_schema_has_it(
    shop: Source, fork: Followed
) -> None:
    shop.map("Order", "orders")
    shop.setup()
    run = started(shop)
    fork.sync()
    shop.execute(
        "BEGIN; INSERT INTO orders VALUES (100, 'old', 1); DROP TABLE orders; CREATE TABLE orders (code text PRIMARY KEY, status text);"
        f" ALTER TABLE orders REPLICA IDENTITY FULL; ALTER PUBLICATION {shop.name} ADD TABLE orders;"
        " INSERT INTO orders VALUES ('a', 'new'); COMMIT"
    )
    run.refused(4, "Order", "key field 'id'")
    shop.map("Order", "orders", key=("code",))
    run = shop.run(**CHUNK)
    shop.execute("INSERT INTO orders VALUES ('b', 'new')")
    settle(run)
    run.terminate()
    assert shop.history().rows(shop.entities["Order"]).keys() >= {("a",), ("b",)}
    shop.verify()
    with pytest.raises(Refused, match="gets another key"):
        fork.sync()


def test_what_happened_while_no_worker_ran_is_seen_at_its_start_also_after_a_kill_in_the_new_snapshot(
    shop: Source, fork: Followed
) -> None:
    shop.execute(
        "CREATE TABLE notes (id int PRIMARY KEY, body text)", "INSERT INTO notes VALUES (1, 'old'), (2, 'old')"
    )
    shop.map("Order", "orders", fields=("id", "status", "total", "size"))
    shop.map("Note", "notes")
    shop.setup()
    started(shop).terminate()
    fork.sync()
    again = f"CREATE TABLE notes (id int PRIMARY KEY, body text); ALTER PUBLICATION {shop.name} ADD TABLE notes"
    shop.execute(
        "UPDATE orders SET total = 50 WHERE id = 2",
        "ALTER TABLE orders ADD size int DEFAULT 3",
        "UPDATE orders SET size = 4 WHERE id = 5",
        f"BEGIN; DROP TABLE notes; {again}; COMMIT",
        "INSERT INTO notes VALUES (2, 'new'), (3, 'new')",
    )
    shop.run("in_snapshot_chunk:kill:2", **CHUNK).until_killed()
    shop.execute("UPDATE orders SET total = 60 WHERE id IN (1, 11)", "DELETE FROM orders WHERE id = 7")
    run = shop.run(**CHUNK)
    settle(run)
    run.terminate()
    shop.check_tables(shop.history())
    shop.verify()
    fork.check()


def test_a_row_without_a_value_is_no_conflict_where_the_column_takes_none_later(source: Source, fork: Followed) -> None:
    """The stream does not say whether a column takes NULL, and the catalogs say what holds now."""
    source.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, status text NOT NULL, total int NOT NULL)",
        "INSERT INTO orders SELECT n, 'old', n FROM generate_series(1, 5) n",
    )
    source.map("Order", "orders")
    source.setup()
    run = started(source)
    fork.sync()
    run.terminate()
    source.execute(
        "ALTER TABLE orders ALTER status DROP NOT NULL",
        "INSERT INTO orders VALUES (10, NULL, 1)",
        "BEGIN; ALTER TABLE orders ALTER total DROP NOT NULL; UPDATE orders SET total = NULL WHERE id = 1; COMMIT",
        "UPDATE orders SET status = 'new', total = 0",
        "ALTER TABLE orders ALTER status SET NOT NULL, ALTER total SET NOT NULL",
        "INSERT INTO orders VALUES (11, 'last', 1)",
    )
    run = source.run(**CHUNK)
    settle(run)
    run.terminate()
    source.check()
    fork.check_clean()


def test_rows_whose_key_becomes_wider_are_the_same_rows(
    source: Source, fork: Followed, new_database: Callable[[], str]
) -> None:
    """Records have the key of an integer as a number, and of a bigint as a string."""
    source.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, status text)",
        "INSERT INTO orders SELECT n, 'old' FROM generate_series(1, 12) n",
    )
    source.map("Order", "orders")
    source.setup()
    run = started(source)
    source.execute("UPDATE orders SET status = 'told' WHERE id < 4")
    settle(run)
    fork.sync()
    source.execute(
        "ALTER TABLE orders ALTER id TYPE bigint",
        "UPDATE orders SET status = 'new' WHERE id < 6",
        "DELETE FROM orders WHERE id = 1",
        "UPDATE orders SET id = id + 5000000000 WHERE id = 2",
        "INSERT INTO orders VALUES (1, 'again')",
    )
    settle(run)
    run.terminate()
    fork.check_clean()
    Followed(source, new_database()).check_clean()
