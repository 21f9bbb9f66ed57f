"""Tables that have other names for a while, and statements that hide from ordinary triggers, while the worker streams or does not."""

import pytest

from fixtures.followed import Followed
from fixtures.midstream import anew, finish, settle, started
from fixtures.worker import Source

SWAP = "BEGIN; ALTER TABLE live RENAME TO aside; ALTER TABLE spare RENAME TO live; ALTER TABLE aside RENAME TO spare; COMMIT"


@pytest.fixture
def shop(source: Source) -> Source:
    source.execute(
        "CREATE TABLE live (id int PRIMARY KEY, note text)",
        "CREATE TABLE spare (id int PRIMARY KEY, note text)",
        "CREATE SCHEMA old",
        "CREATE TABLE old.item (id int PRIMARY KEY, note text)",
        "INSERT INTO live SELECT n, 'live' FROM generate_series(1, 12) n",
        "INSERT INTO spare SELECT n, 'spare' FROM generate_series(5, 18) n",
        "INSERT INTO old.item VALUES (1, 'old')",
    )
    source.map("Live", "live")
    source.map("Spare", "spare")
    source.map("Item", "item", namespace="old")
    return source.setup()


def test_two_tables_that_swap_names_are_read_again(shop: Source, fork: Followed) -> None:
    run = started(shop)
    fork.sync()
    inner = SWAP.removesuffix("COMMIT")
    shop.execute(
        f"{inner} INSERT INTO live VALUES (300, 'in what is live now'); INSERT INTO spare VALUES (301, 'aside'); COMMIT",
        "UPDATE live SET note = 'after' WHERE id = 6",
        "DELETE FROM spare WHERE id = 1",
    )
    finish(shop, run, fork)


def test_names_that_were_swapped_and_swapped_back_while_no_worker_ran_leave_no_wrong_rows(
    shop: Source, fork: Followed
) -> None:
    run = started(shop)
    run.terminate()
    fork.sync()
    shop.execute(
        SWAP,
        "INSERT INTO live VALUES (500, 'in the other table')",
        "INSERT INTO spare VALUES (501, 'in the other table')",
        SWAP,
        "INSERT INTO live VALUES (502, 'in its own')",
    )
    finish(shop, started(shop), fork)
    assert (anew(shop, "Live"), anew(shop, "Spare")) == (1, 1)


def test_a_schema_that_was_renamed_and_renamed_back_loses_nothing(shop: Source, fork: Followed) -> None:
    run = started(shop)
    fork.sync()
    shop.execute(
        "ALTER SCHEMA old RENAME TO new",
        "INSERT INTO new.item VALUES (2, 'under another name')",
        "UPDATE new.item SET note = 'changed there' WHERE id = 1",
        "ALTER SCHEMA new RENAME TO old",
        "INSERT INTO old.item VALUES (3, 'back')",
    )
    finish(shop, run, fork)


def test_statements_in_the_role_of_a_replica_are_told_of_too(shop: Source, fork: Followed) -> None:
    run = started(shop)
    fork.sync()
    with shop.connect() as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("ALTER TABLE live ALTER note TYPE text USING note || '!'")
        connection.execute("INSERT INTO live VALUES (50, 'written there')")
    finish(shop, run, fork)


def test_messages_that_anyone_may_write_under_our_prefixes_stop_nothing(shop: Source, fork: Followed) -> None:
    run = started(shop)
    fork.sync()
    with shop.connect() as connection:
        for text in ("garbage", "{}", "[]", "null", '{"altered":[-1]}', '{"rewritten":1,"reason":"x"}', "[" * 100_000):
            connection.execute("SELECT pg_logical_emit_message(true, 'commitlog.ddl', %s)", (text,))
            connection.execute("SELECT pg_logical_emit_message(false, 'commitlog.ddl', %s)", (text,))
            connection.execute("SELECT pg_logical_emit_message(false, 'commitlog', %s)", (text,))
    settle(run)
    assert "is not of commitlog's event triggers" in run.output
    finish(shop, run, fork)
