"""Snapshots taken while the source is written to: a plain replay of the log is the source's tables."""

import itertools
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from fixtures.worker import History, Source

WRITERS = 3
ROWS = 60
CHUNK = {"limits__snapshot_rows": 7}
TABLES = (
    "CREATE TABLE document (id int PRIMARY KEY, version int, body text)",
    "ALTER TABLE document ALTER body SET STORAGE EXTERNAL",
    "CREATE TABLE line (who text, n int, note text, PRIMARY KEY (who, n))",
    "CREATE TABLE word (word text PRIMARY KEY, n int)",
    "CREATE TABLE item (id uuid PRIMARY KEY, n int)",
    "CREATE TABLE late (id int PRIMARY KEY, n int)",
    "CREATE TABLE empty (id int PRIMARY KEY, n int)",
)
KEYS = {
    "document": ("id",),
    "line": ("who", "n"),
    "word": ("word",),
    "item": ("id",),
    "late": ("id",),
    "empty": ("id",),
}
WORDS = ("", "A", "a", "Z", "z", "-", " ", "é", "z\u0301", "ß", "日本", "\U0001f600", "B\u00e9", "b'\"\\", "a\nb")
BODY_CHARS = 4000
"""More than fits in a page's tuple: stored out of line, and not sent again by an update that leaves it as it is."""


def key_of(table: str, rng: random.Random) -> tuple[Any, ...]:
    """A key of a table; small enough a choice that writers meet."""
    n = rng.randrange(2 * ROWS)
    keys: dict[str, Callable[[], tuple[Any, ...]]] = {
        "line": lambda: (rng.choice(WORDS), n % 12),
        "word": lambda: (f"{rng.choice(WORDS)}{n % 10}",),
        "item": lambda: (uuid.UUID(int=random.Random(n).getrandbits(128)),),
    }
    return keys.get(table, lambda: (n,))()


def values_of(table: str, key: tuple[Any, ...], n: int) -> tuple[Any, ...]:
    return (
        (*key, n, f"{n} " * (BODY_CHARS // 4))
        if table == "document"
        else (*key, *([n] if table != "line" else [str(n)]))
    )


class Writer:
    """One connection that writes all an app may write to these tables.

    Attributes:
        done: The kinds of what it did, counted by the server's answers.
    """

    def __init__(self, source: Source, seed: object) -> None:
        self.rng = random.Random(str(seed))
        # No two writers put the same value: an update that changes nothing makes no commit.
        self.numbers = itertools.count(self.rng.randrange(2_000) * 1_000_000)
        self.connection = source.connect()

    def fill(self) -> None:
        """Rows from before the log began."""
        for table in ("document", "line", "word", "item"):
            for _ in range(ROWS):
                self.insert(table)

    def insert(self, table: str) -> None:
        values = values_of(table, key_of(table, self.rng), next(self.numbers))
        places = ", ".join(["%s"] * len(values))
        self.connection.execute(f"INSERT INTO {table} VALUES ({places}) ON CONFLICT DO NOTHING".encode(), values)

    def write(self) -> None:
        """One transaction."""
        rng = self.rng
        if rng.random() < 0.01:
            self.connection.execute(f"TRUNCATE {rng.choice(('line', 'word', 'late'))}".encode())
            return
        with self.connection.transaction(force_rollback=rng.random() < 0.1):
            for _ in range(rng.choice((1, 1, 2, 6))):
                self.change(rng.choice(("document", "line", "word", "item", "late")))

    def change(self, table: str) -> None:
        rng, kind = self.rng, self.rng.random()
        where = " AND ".join(f"{name} = %s" for name in KEYS[table])
        key, columns = key_of(table, rng), ", ".join(KEYS[table])
        if kind < 0.35:
            self.insert(table)
        elif kind < 0.6:
            column = {"document": "version", "line": "note"}.get(table, "n")
            self.connection.execute(
                f"UPDATE {table} SET {column} = %s WHERE {where}".encode(), (next(self.numbers), *key)
            )
        elif kind < 0.8:
            self.connection.execute(f"DELETE FROM {table} WHERE {where}".encode(), key)
        else:
            new = key_of(table, rng)
            row = f"({columns}) = ROW({', '.join(['%s'] * len(new))})"
            free = f"NOT EXISTS (SELECT FROM {table} WHERE {where})"
            self.connection.execute(f"UPDATE {table} SET {row} WHERE {where} AND {free}".encode(), (*new, *key, *new))


@contextmanager
def writing(source: Source, seed: int, writers: int = WRITERS) -> Iterator[None]:
    """Writers at work until the end of the block. They get into each other's way, as an app's do."""
    stop, errors = threading.Event(), list[BaseException]()

    def work(number: int) -> None:
        writer = Writer(source, f"{seed}.{number}")
        with writer.connection:
            while not stop.wait(0.001):
                try:
                    writer.write()
                except (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected):
                    continue
                except BaseException as exc:
                    errors.append(exc)
                    raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)


@pytest.fixture
def filled(source: Source) -> Source:
    source.execute(*TABLES)
    for table, key in KEYS.items():
        source.map(table.title(), table, key=key)
    writer = Writer(source, 0)
    with writer.connection:
        writer.fill()
    return source.setup()


def chunks(history: History, entity: str) -> list[dict[str, Any]]:
    """What the snapshot records of an entity say of themselves."""
    return [items[1] for _, items in history.of_kind("snapshot") if items[1]["entity"] == entity]


@pytest.mark.parametrize(
    "seed", [1, 2, pytest.param(3, marks=pytest.mark.full), pytest.param(4, marks=pytest.mark.full)]
)
def test_a_log_replayed_is_the_source_when_chunks_are_taken_among_writes(filled: Source, seed: int) -> None:
    with writing(filled, seed):
        run = filled.run(**CHUNK)
        run.until_snapshots()
    run.until_marked()
    run.terminate()

    history = filled.check()
    assert len(chunks(history, "Document")) > 5
    assert any("omitted" in meta for entity in filled.entities for meta in chunks(history, entity))
    for entity in filled.entities:
        metas = chunks(history, entity)
        assert [meta["from"] for meta in metas] == [None, *(meta["to"] for meta in metas[:-1])]
        assert [meta["last"] for meta in metas] == [False] * (len(metas) - 1) + [True]


def test_a_worker_killed_in_a_chunk_while_all_is_written_goes_on_after_the_last_whole_one(filled: Source) -> None:
    with writing(filled, 5):
        for passage in (2, 4):
            filled.run("in_snapshot_chunk:kill:" + str(passage), **CHUNK).until_killed()
        run = filled.run(limits__snapshot_rows=20)
        run.until_snapshots()
    run.until_marked()
    run.terminate()

    metas = chunks(filled.check(), "Document")
    assert [meta["from"] for meta in metas] == [None, *(meta["to"] for meta in metas[:-1])]
    assert len({meta["snapshot"] for meta in metas}) == 1


KEY_TYPES = {
    "bigint": "(n - 20)::bigint * 1000000000000",
    "smallint": "n - 20",
    "numeric": "(n - 20) * 1.50",
    "date": "date '0001-12-20 BC' + n",
    "timestamptz": "timestamptz '2026-03-29 00:30:00+00' + n * interval '7 minutes'",
    "bytea": "decode(lpad(to_hex(n * 7), 4, '0'), 'hex')",
    "uuid": "md5(n::text)::uuid",
    "boolean": "n % 2 = 1",
    "varchar(9)": "chr(65 + n % 40) || n",
    "char(5)": "chr(122 - n % 40) || n",
    '"C d"': "chr(122 - n % 40) || n",
    "inet": "('10.0.' || n || '.1')::inet",
    "mood": "(ARRAY['so', 'good', 'bad'])[1 + n % 3]::mood",
}


def test_keys_of_every_type_bound_chunks_that_are_whole(source: Source) -> None:
    """Also while nothing else is written to the source."""
    source.execute("CREATE TYPE mood AS ENUM ('so', 'good', 'bad')", 'CREATE DOMAIN "C d" AS text')
    for number, (kind, value) in enumerate(KEY_TYPES.items()):
        source.execute(
            f"CREATE TABLE t{number} (k {kind} PRIMARY KEY, n int)",
            f"INSERT INTO t{number} SELECT {value}, n FROM generate_series(1, 40) n ON CONFLICT DO NOTHING",
        )
        source.map(f"T{number}", f"t{number}", key=("k",))
    source.setup()

    run = source.run(**CHUNK)
    run.until_snapshots()
    run.terminate()

    history = source.history()
    for number, kind in enumerate(KEY_TYPES):
        rows = [
            item["after"]["n"]
            for _, items in history.of_kind("snapshot")
            if items[1]["entity"] == f"T{number}"
            for item in items[2:]
        ]
        assert len(rows) == source.value(f"SELECT count(*) FROM t{number}"), kind
        assert len(rows) == len(set(rows)), kind
    source.verify()


def test_rows_from_before_setup_stand_in_the_log_without_any_write(source: Source) -> None:
    source.execute(
        "CREATE TABLE old (id int PRIMARY KEY, n int)", "INSERT INTO old SELECT n, n FROM generate_series(1, 21) n"
    )
    source.map("Old", "old")
    source.setup()

    run = source.run(**CHUNK)
    run.until_snapshots()
    run.terminate()

    history = source.check()
    assert [len(items) - 2 for _, items in history.of_kind("snapshot") if items[1]["entity"] == "Old"] == [7, 7, 7, 0]
    assert history.commits == []
