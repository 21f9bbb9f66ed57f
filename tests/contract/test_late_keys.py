"""Keys that PostgreSQL checks at a transaction's end: rows that pass through each other's places are never taken for each other.

The oracle is the server's own table: the log replayed has it, and so has a fork, which applies what the log tells one after the other.
"""

import random
from collections.abc import Callable

import psycopg
import pytest

from commitlog.cdc.servers.local import PostgresServer
from fixtures.followed import Followed
from fixtures.midstream import CHUNK, settle, started
from fixtures.postgres import POSTGRES_VERSIONS
from fixtures.worker import Run, Source

TABLES = (
    "CREATE TABLE place (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, said text, big text)",
    "CREATE TABLE spot (n serial PRIMARY KEY, id int NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED, said text, big text)",
    "CREATE TABLE area (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, said text, big text) PARTITION BY RANGE (id)",
    "CREATE TABLE area_low PARTITION OF area FOR VALUES FROM (0) TO (8)",
    "CREATE TABLE area_high PARTITION OF area FOR VALUES FROM (8) TO (1000)",
)
STORED = ("place", "spot", "area_low", "area_high")
NAMES = ("place", "spot", "area")
ROWS, BIG = 12, 3000
"""Rows of each table, with a value so long that it is stored out of line, and not sent where it did not change."""


def opened(source: Source) -> Source:
    source.execute(*TABLES, *(f"ALTER TABLE {name} ALTER big SET STORAGE EXTERNAL" for name in STORED))
    for name in NAMES:
        rows = f"SELECT n, 'r' || n, repeat('b', {BIG}) FROM generate_series(1, {ROWS}) n"
        source.execute(f"INSERT INTO {name} (id, said, big) {rows}")
        source.map(name.title(), name)
    return source.setup()


def statement(chance: random.Random, name: str) -> str:
    """A statement that moves, makes, changes or deletes rows."""
    key, other = chance.randint(1, 15), chance.randint(1, 15)
    # Of two rows with one key either.
    order = f"ORDER BY id, ctid {chance.choice(['ASC', 'DESC'])} LIMIT 1 OFFSET {chance.randint(0, 8)}"
    one = f"(tableoid, ctid) = (SELECT tableoid, ctid FROM {name} {order})"
    value = chance.choice(["'a'", "'b'", "NULL", f"'{key}'"])
    ways = [
        f"UPDATE {name} SET id = {key} + {other} - id WHERE id IN ({key}, {other})",
        f"UPDATE {name} SET id = id + 1",
        f"UPDATE {name} SET id = id - 1 WHERE id > 1",
        f"UPDATE {name} SET id = id + 1 WHERE id >= {key}",
        f"UPDATE {name} SET id = CASE id WHEN {key} + 2 THEN {key} ELSE id + 1 END WHERE id BETWEEN {key} AND {key} + 2",
        f"UPDATE {name} SET said = 'a', big = NULL WHERE id IN ({key}, {other})",
        f"UPDATE {name} SET said = {value} WHERE id = {key}",
        f"DELETE FROM {name} WHERE id = {key}",
        f"INSERT INTO {name} (id, said) VALUES ({key}, {value})",
        f"INSERT INTO {name} (id, said, big) VALUES ({key}, 'a', repeat('c', {BIG}))",
        *[f"UPDATE {name} SET id = {key}{new} WHERE {one}" for new in ("", "", f", said = {value}")],
        f"UPDATE {name} SET said = {value} WHERE {one}",
        f"DELETE FROM {name} WHERE {one}",
    ]
    return chance.choice(ways) if chance.random() > 0.02 else f"TRUNCATE {name}"


def play(connection: psycopg.Connection[object], chance: random.Random) -> bool:
    """A transaction on one table; whether the server took it. Most of the rows that share a key are moved apart at its end."""
    name = chance.choice(NAMES)
    # The later one of a pair, which goes through places where others are.
    pair = f"SELECT max((tableoid, ctid)::text) FROM {name} GROUP BY id HAVING count(*) > 1 LIMIT 1"
    apart = f"UPDATE {name} SET id = %s WHERE (tableoid, ctid)::text = ({pair})"
    try:
        with connection.transaction():
            for _ in range(chance.randint(1, 7)):
                kept = chance.random() > 0.15
                try:
                    with connection.transaction(force_rollback=not kept):
                        connection.execute(statement(chance, name).encode())
                except psycopg.errors.ObjectInUse:
                    pass  # a TRUNCATE while two rows have one key
            for number in range(12):
                connection.execute(apart.encode(), (chance.choice([number + 1, number + 20]),))
    except psycopg.errors.UniqueViolation:
        return False
    return True


def check_plays(source: Source, fork: Followed, *, seed: int, plays: int) -> None:
    chance = random.Random(seed)
    run = source.run(**CHUNK).streaming()
    taken = 0
    with source.connect() as connection:
        for number in range(plays):
            taken += play(connection, chance)
            if number % (plays // 4) == plays // 8:
                fork.sync()
    assert taken > plays / 2
    ended(source, run, fork)


def ended(source: Source, run: Run, fork: Followed) -> None:
    """End the worker; log and fork have what the source has, and the fork never had a conflict."""
    settle(run)
    run.terminate()
    source.check_tables(source.history())
    source.verify()
    fork.check_clean()


def test_whatever_rows_do_to_each_others_keys_log_and_fork_have_what_the_server_has(
    source: Source, fork: Followed
) -> None:
    check_plays(opened(source), fork, seed=1, plays=200)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", POSTGRES_VERSIONS)
def test_whatever_rows_do_to_each_others_keys_thousands_of_times_on_every_version(
    version: str, new_source: Callable[[str], Source]
) -> None:
    with PostgresServer.start(version=version, settings={"fsync": "off"}) as server:
        for seed in range(2, 8):
            source = new_source(server.create_database(f"source_{seed}"))
            check_plays(opened(source), Followed(source, server.create_database(f"fork_{seed}")), seed=seed, plays=600)


def test_a_row_that_passes_one_that_nobody_mentions_and_three_at_one_key(source: Source, fork: Followed) -> None:
    run = started(opened(source))
    fork.sync()
    source.execute(
        "BEGIN; UPDATE place SET id = 2 WHERE id = 1; UPDATE place SET id = 30 WHERE said = 'r1'; COMMIT",
        "BEGIN; UPDATE place SET id = 5 WHERE id IN (3, 4); UPDATE place SET said = 'five' WHERE said = 'r5';"
        " UPDATE place SET id = 40 WHERE said = 'r4'; UPDATE place SET id = 41 WHERE said = 'five'; COMMIT",
        "BEGIN; INSERT INTO place VALUES (6, 'new'); DELETE FROM place WHERE said = 'r6'; COMMIT",
        "BEGIN; INSERT INTO place VALUES (7, 'never'); DELETE FROM place WHERE said = 'never'; COMMIT",
    )
    ended(source, run, fork)
    changes = [
        [(c["op"], c["key"]["id"], c.get("newkey", c["key"])["id"]) for c in commit.changes]
        for commit in source.history().commits
    ]
    assert [commit for commit in changes if len(commit) != 1 or (commit[0][1] == 1 and commit[0][0] == "rekey")] == [
        [("rekey", 1, 30)],
        [("rekey", 5, 41), ("rekey", 3, 5), ("rekey", 4, 40)],
        [("delete", 6, 6), ("insert", 6, 6)],
    ]


def test_a_key_that_is_deferrable_no_more_when_the_worker_comes_to_read_is_not_taken_for_one_that_never_was(
    source: Source, fork: Followed
) -> None:
    started(opened(source)).terminate()
    fork.sync()
    source.execute(
        "BEGIN; UPDATE place SET id = 2 WHERE id = 1; UPDATE place SET id = 30 WHERE said = 'r1'; COMMIT",
        "ALTER TABLE place DROP CONSTRAINT place_pkey, ADD PRIMARY KEY (id)",
        "UPDATE place SET said = 'after' WHERE id = 2",
    )
    ended(source, started(source), fork)


@pytest.mark.full
@pytest.mark.timeout(400)
def test_a_large_transaction_on_disk_is_told_apart_too_in_bounded_memory(source: Source, fork: Followed) -> None:
    source.execute(
        "CREATE TABLE many (id int PRIMARY KEY DEFERRABLE, said text)",
        "INSERT INTO many SELECT n, 'r' || n FROM generate_series(1, 60000) n",
    )
    source.map("Many", "many")
    source.setup()
    run = source.run(limits__snapshot_rows=10_000, limits__spill_bytes=1_000_000)
    run.until_caught_up()
    source.execute(
        "BEGIN; UPDATE many SET id = id + 1; UPDATE many SET said = said || '!' WHERE id % 2 = 0; UPDATE many SET id = id + 1; COMMIT"
    )
    run.until_marked(timeout_s=300)
    assert run.peak_kb < 200_000
    ended(source, run, fork)
