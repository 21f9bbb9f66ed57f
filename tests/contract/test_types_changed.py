"""Types that change while the stream goes on: enums that are altered, renamed and made anew."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fixtures.followed import Followed
from fixtures.worker import Run, Source

Sync = Callable[[], None]


@pytest.fixture
def shop(source: Source) -> Source:
    source.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE TABLE faces (id int PRIMARY KEY, mood mood, n int NOT NULL DEFAULT 0)",
        "INSERT INTO faces VALUES (1, 'sad'), (2, 'ok')",
    )
    source.map("Face", "faces")
    source.setup()
    return source


@pytest.fixture
def sync(shop: Source, new_database: Callable[[], str]) -> Sync:
    """A function that brings a fork up to date, which is then equal and without conflicts."""
    return Followed(shop, new_database()).check_clean


@contextmanager
def at_work(shop: Source, sync: Sync, **settings: object) -> Iterator[Run]:
    """A worker that has caught up, and a fork equal to its source; both are brought to the end after the block, and equal again."""
    worker = shop.run(**settings).streaming()
    worker.until_caught_up()
    sync()
    yield worker
    worker.until_marked()
    worker.until_snapshots()
    worker.terminate()
    sync()


def labels(source: Source) -> list[list[str]]:
    """Of the enum in the log's shapes, one after the other."""
    shapes = [items[2] for _, items in source.history().of_kind("shape")]
    return [c.get("labels", []) for shape in shapes for c in shape["columns"] if c["field"] == "mood"]


def moods(source: Source) -> list[Any]:
    """What the log's commits say of it."""
    return [
        change["after"].get("mood")
        for commit in source.history().commits
        for change in commit.changes
        if change["entity"] == "Face"
    ]


def test_T31_a_label_added_in_mid_stream_is_in_a_shape_before_the_first_row_with_it(shop: Source, sync: Sync) -> None:
    with at_work(shop, sync) as worker:
        shop.execute("ALTER TYPE mood ADD VALUE 'fine' BEFORE 'ok'", "INSERT INTO faces VALUES (3, 'fine')")
        worker.until_marked()
        shop.execute("ALTER TYPE mood ADD VALUE 'glad'", "UPDATE faces SET mood = 'glad' WHERE id = 1")

    assert labels(shop) == [["sad", "ok"], ["sad", "fine", "ok"], ["sad", "fine", "ok", "glad"]]
    assert moods(shop) == ["fine", "glad"]
    shop.check()


def test_T31_a_label_renamed_in_mid_stream_is_renamed_in_the_fork(shop: Source, sync: Sync) -> None:
    with at_work(shop, sync):
        shop.execute(
            "INSERT INTO faces VALUES (3, 'ok')",
            "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'",
            "UPDATE faces SET n = 1",
            "INSERT INTO faces VALUES (4, 'fine')",
            "DELETE FROM faces WHERE id = 2",
            "UPDATE faces SET mood = 'sad' WHERE id = 3",
        )

    assert labels(shop) == [["sad", "ok"], ["sad", "fine"]]


def test_T31_a_label_renamed_there_and_back_is_so_in_the_fork(shop: Source, sync: Sync) -> None:
    with at_work(shop, sync) as worker:
        shop.execute("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'", "INSERT INTO faces VALUES (3, 'fine')")
        worker.until_marked()
        sync()
        shop.execute("ALTER TYPE mood RENAME VALUE 'fine' TO 'ok'", "INSERT INTO faces VALUES (4, 'ok')")
    shop.execute(
        "UPDATE faces SET n = 1", "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'", "INSERT INTO faces VALUES (5, 'fine')"
    )
    worker = shop.run()
    worker.until_marked()
    worker.terminate()

    assert labels(shop) == [["sad", "ok"], ["sad", "fine"], ["sad", "ok"], ["sad", "fine"]]
    sync()


def test_T31_labels_altered_while_no_worker_ran_are_read_as_they_were(shop: Source, sync: Sync) -> None:
    with at_work(shop, sync):
        pass
    shop.execute(
        "INSERT INTO faces VALUES (3, 'ok')",
        "ALTER TYPE mood ADD VALUE 'mad'",
        "INSERT INTO faces VALUES (4, 'mad'), (5, 'ok')",
        "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'",
        "INSERT INTO faces VALUES (6, 'fine')",
        "UPDATE faces SET mood = 'fine' WHERE id = 4",
    )
    worker = shop.run()
    worker.until_marked()
    worker.terminate()

    assert moods(shop) == ["ok", "mad", "ok", "fine", "fine"]
    sync()


def test_T31_a_label_that_comes_in_a_commit_of_many_parts_makes_them_void(shop: Source, sync: Sync) -> None:
    with at_work(shop, sync, limits__part_bytes=2000):
        shop.execute("ALTER TYPE mood ADD VALUE 'mad'")
        shop.execute(
            "INSERT INTO faces SELECT g, CASE WHEN g = 90 THEN 'mad' ELSE 'ok' END::mood FROM generate_series(10, 99) g"
        )

    assert len(shop.history().of_kind("void")) == 1
    shop.check()


def test_T31_an_enum_without_labels_gets_its_first(shop: Source, sync: Sync) -> None:
    shop.execute(
        "CREATE TYPE empty AS ENUM ()",
        "CREATE TABLE blanks (id int PRIMARY KEY, e empty)",
        "INSERT INTO blanks VALUES (1)",
    )
    shop.map("Blank", "blanks")
    shop.commitlog("setup")
    with at_work(shop, sync):
        shop.execute("ALTER TYPE empty ADD VALUE 'it''s'", "UPDATE blanks SET e = 'it''s'")


@pytest.mark.full
def test_T31_a_renamed_enum_is_taken_over_by_the_fork(shop: Source, sync: Sync) -> None:
    with at_work(shop, sync):
        shop.execute(
            'ALTER TYPE mood RENAME TO "my Mood"',
            "ALTER TABLE faces ADD x int",
            "INSERT INTO faces VALUES (3, 'ok', 7)",
        )


def test_T31_an_enum_made_anew_with_other_labels_is_followed(shop: Source, sync: Sync) -> None:
    """As a label is taken out: another type, the column moved over to it, the old type dropped."""
    with at_work(shop, sync) as worker:
        shop.execute(
            "INSERT INTO faces VALUES (3, 'ok')",
            "BEGIN; ALTER TYPE mood RENAME TO mood_old; CREATE TYPE mood AS ENUM ('fine', 'glad');"
            " ALTER TABLE faces ALTER mood TYPE mood USING (CASE mood WHEN 'ok' THEN 'glad' ELSE 'fine' END)::mood;"
            " DROP TYPE mood_old; COMMIT",
            "INSERT INTO faces VALUES (4, 'glad')",
            "UPDATE faces SET n = 1 WHERE id = 3",
        )
        worker.until_marked()
        worker.until_snapshots()
        shop.execute("UPDATE faces SET mood = 'fine' WHERE id = 2", "DELETE FROM faces WHERE id = 3")


@pytest.mark.full
def test_T31_an_enum_made_anew_while_no_worker_ran_is_known_by_its_name(shop: Source, sync: Sync) -> None:
    with at_work(shop, sync):
        pass
    shop.execute(
        "INSERT INTO faces VALUES (3, 'ok')",
        "ALTER TABLE faces ALTER mood TYPE text",
        "DROP TYPE mood",
        "CREATE TYPE mood AS ENUM ('ok', 'sad', 'fine')",
        "ALTER TABLE faces ALTER mood TYPE mood USING mood::mood",
        "INSERT INTO faces VALUES (4, 'fine')",
    )
    worker = shop.run()
    worker.until_marked()
    worker.until_snapshots()
    worker.terminate()
    sync()


@pytest.mark.full
def test_T31_an_enum_that_becomes_text_becomes_text_in_the_fork(shop: Source, sync: Sync) -> None:
    with at_work(shop, sync):
        shop.execute("ALTER TABLE faces ALTER mood TYPE text", "INSERT INTO faces VALUES (3, 'anything')")


def test_T31_what_is_made_of_an_altered_type_is_told_anew(shop: Source, sync: Sync) -> None:
    """An attribute more, or a label renamed, changes the text of every row's value and writes none of them."""
    shop.execute(
        "CREATE TYPE pair AS (a int, m mood)",
        "CREATE TABLE pairs (id int PRIMARY KEY, p pair, many mood[], n int)",
        "INSERT INTO pairs VALUES (1, '(1,sad)', '{ok,sad}'), (2, '(2,ok)', '{ok}'), (3, NULL, NULL)",
    )
    shop.map("Pair", "pairs")
    shop.commitlog("setup")
    with at_work(shop, sync) as worker:
        shop.execute(
            "ALTER TYPE pair ADD ATTRIBUTE c text",
            "UPDATE pairs SET p.c = 'x', many = many || 'sad'::mood WHERE id = 1",
        )
        worker.until_marked()
        # Before that, both changes may be told in one go.
        worker.until(lambda: worker.output.count("snapshots complete") >= 2, "rows read again for the first change")
        shop.execute(
            "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'",
            "UPDATE pairs SET many = '{fine,sad}', p.a = 7 WHERE id = 2",
            "ALTER TYPE mood ADD VALUE 'mad'",
            "DELETE FROM pairs WHERE id = 3",
        )
        worker.until_marked()
        worker.until(lambda: worker.output.count("the type of column") >= 2, "rows read again for the second change")
        worker.until_snapshots()
        shop.execute("UPDATE pairs SET n = 1, many = '{mad}'", "TRUNCATE faces")


def test_T31_a_renamed_label_in_a_key_is_renamed_in_the_fork(shop: Source, sync: Sync) -> None:
    shop.execute(
        "CREATE TABLE days (mood mood, day date, n int, PRIMARY KEY (mood, day))",
        "INSERT INTO days VALUES ('ok', '2026-11-22', 1), ('sad', '2026-11-22', 2), ('ok', '2026-11-23', 3)",
    )
    shop.map("Day", "days", key=("mood", "day"))
    shop.commitlog("setup")
    with at_work(shop, sync) as worker:
        shop.execute(
            "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'",
            "UPDATE days SET n = 4 WHERE mood = 'fine' AND day = '2026-11-22'",
            "DELETE FROM days WHERE mood = 'fine' AND day = '2026-11-23'",
            "UPDATE days SET mood = 'fine', day = '2026-11-24' WHERE mood = 'sad'",
        )
        worker.until_marked()
        sync()
        shop.execute("TRUNCATE days", "INSERT INTO days VALUES ('fine', '2026-11-22', 5)")
