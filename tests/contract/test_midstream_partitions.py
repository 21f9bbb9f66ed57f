"""Partitioned tables and tables that others inherit from, changed while the worker streams."""

import psycopg
import pytest

from fixtures.followed import Followed
from fixtures.midstream import CHUNK, anew, finish, settle, started
from fixtures.worker import Source

EVENTS = (
    "CREATE TABLE events (id int, day int, note text, size int, PRIMARY KEY (day, id)) PARTITION BY RANGE (day)",
    "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (10)",
    # Another order of columns, one that was dropped, and two levels.
    "CREATE TABLE events_2 (gone int, size int, note text, day int NOT NULL, id int NOT NULL) PARTITION BY LIST (day)",
    "ALTER TABLE events_2 DROP gone",
    "ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM (10) TO (20)",
    "CREATE TABLE events_2_rest PARTITION OF events_2 DEFAULT",
    "INSERT INTO events SELECT n, n % 19 + 1, 'old', n FROM generate_series(1, 30) n",
)


@pytest.fixture
def events(source: Source) -> Source:
    source.execute(*EVENTS)
    source.map("Event", "events", key=("id", "day"))
    return source


def test_a_partitioned_table_is_one_entity_whatever_becomes_of_its_partitions(events: Source, fork: Followed) -> None:
    events.setup()
    run = started(events)
    fork.sync()
    events.execute(
        "BEGIN; INSERT INTO events VALUES (100, 5, 'new', 1), (101, 15, 'new', 1); UPDATE events SET note = 'both' WHERE id < 5; COMMIT",
        "UPDATE events SET day = 12 WHERE id = 2",
        "DELETE FROM events WHERE id = 3",
        # A partition that is made and used at once, and logs keys only: nobody told it otherwise.
        "BEGIN; CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM (20) TO (30);"
        " INSERT INTO events VALUES (200, 20, 'x', 1), (201, 20, NULL, NULL), (202, 20, 'y', 1); COMMIT",
    )
    settle(run)
    events.execute("DELETE FROM events WHERE id = 200", "UPDATE events SET size = 9 WHERE id = 202")
    events.execute("UPDATE events SET day = 25 WHERE id = 202", "DELETE FROM events WHERE id = 201")
    run.until_marked()
    deleted = [
        c
        for commit in events.history().commits
        for c in commit.changes
        if c["op"] == "delete" and c["key"]["id"] == 200
    ]
    assert (deleted[0]["before"], deleted[0]["unsent"]) == ({"id": 200, "day": 20}, ["note", "size"])
    run.until(lambda: "table public.events_3 does not log whole old rows" in run.output, "a warning")
    events.commitlog("setup")
    finish(events, run, fork)
    assert events.value("SELECT relreplident::text FROM pg_class WHERE relname = 'events_3'") == "f"


def test_partitions_attached_detached_dropped_and_truncated_are_read_again(events: Source, fork: Followed) -> None:
    events.setup()
    run = started(events)
    fork.sync()
    steps = (
        (
            "CREATE TABLE events_3 (LIKE events INCLUDING ALL)",
            "INSERT INTO events_3 VALUES (300, 21, 'from elsewhere', 1)",
            "ALTER TABLE events ATTACH PARTITION events_3 FOR VALUES FROM (20) TO (30)",
            # At its place in the stream, before anything of the new partition.
            "UPDATE events SET note = 'mine' WHERE id = 300",
        ),
        ("ALTER TABLE events DETACH PARTITION events_3",),
        ("TRUNCATE events_1",),
        ("DROP TABLE events_2_rest",),
    )
    for begun, statements in enumerate(steps, 1):
        told = anew(events, "Event")
        events.execute(*statements)
        run.until(lambda told=told: anew(events, "Event") > told, "a new snapshot")
        events.execute(f"INSERT INTO events VALUES ({begun}, 2, 'again', 1) ON CONFLICT DO NOTHING")
        settle(run)
        events.check_tables(events.history())
        fork.check()
    events.execute("TRUNCATE events", "INSERT INTO events VALUES (2, 2, 'last', 1)")
    run.until_marked()
    events.check_tables(events.history())
    fork.check()
    run.terminate()
    events.verify()


@pytest.mark.parametrize("away", [True, pytest.param(False, marks=pytest.mark.full)], ids=["worker away", "running"])
def test_a_partition_that_was_changed_while_it_was_detached_is_read_again(
    events: Source, fork: Followed, away: bool
) -> None:
    events.setup()
    run = started(events)
    fork.sync()
    if away:
        run.terminate()
    events.execute(
        "ALTER TABLE events DETACH PARTITION events_2",
        "UPDATE events_2_rest SET note = 'on its own'",
        "ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM (10) TO (20)",
        "INSERT INTO events VALUES (40, 15, 'again', 1)",
    )
    run = started(events) if away else run
    settle(run)
    run.terminate()
    events.check_tables(events.history())
    events.verify()
    fork.check()


def test_partitions_published_under_their_own_names_for_a_while_are_lost_history_or_read_again(
    events: Source, fork: Followed
) -> None:
    events.setup()
    run = started(events)
    fork.sync()
    by_leaf = (
        f"ALTER PUBLICATION {events.name} SET (publish_via_partition_root = false)",
        "UPDATE events SET note = 'under another name' WHERE id = 1",
        f"ALTER PUBLICATION {events.name} SET (publish_via_partition_root = true)",
        "UPDATE events SET note = 'as before' WHERE id = 2",
    )
    events.execute(*by_leaf)
    assert "resume --accept-gap" in run.refused(3, "publish_via_partition_root", "public.events")
    events.value("SELECT end_lsn FROM pg_replication_slot_advance(%s, pg_current_wal_lsn())", events.name)
    events.commitlog("resume", "--accept-gap")
    events.execute(*(f'DROP EVENT TRIGGER "commitlog_{events.name}_{event}"' for event in ("ddl", "drp", "rwr")))
    run = started(events)
    events.execute(*by_leaf)
    settle(run)
    run.terminate()
    events.check_tables(events.history(), epoch=2)
    fork.check()


def test_a_partition_that_the_server_does_not_log_is_named(events: Source, fork: Followed) -> None:
    events.execute("ALTER TABLE events_2_rest SET UNLOGGED")
    assert "try: ALTER TABLE public.events_2_rest SET LOGGED" in events.commitlog("setup", code=4).stderr
    events.execute("ALTER TABLE events_2_rest SET LOGGED")
    events.setup()
    run = started(events)
    run.terminate()
    fork.sync()
    events.execute(
        "CREATE UNLOGGED TABLE events_3 PARTITION OF events FOR VALUES FROM (20) TO (30)",
        "INSERT INTO events VALUES (50, 25, 'not logged', 1)",
    )
    way = events.run().refused(3, "public.events_3", "UNLOGGED", "changes of it are missing")
    assert "table public.events_3 is UNLOGGED" in events.commitlog("doctor", code=4).stdout
    logged, _, resume = way.partition(", then ")
    assert resume == "commitlog resume --accept-gap"
    events.execute(logged)
    events.commitlog("resume", "--accept-gap")
    run = started(events)
    settle(run)
    run.terminate()
    events.check_tables(events.history(), epoch=2)
    fork.check()


def test_a_partition_truncated_and_filled_again_has_no_row_twice(events: Source, fork: Followed) -> None:
    events.setup()
    run = started(events)
    fork.sync()
    again = (
        "SELECT n, n % 19 + 1, 'again', n FROM generate_series(1, 30) n WHERE n % 19 + 1 BETWEEN 10 AND 19 AND n > 20"
    )
    events.execute(
        f"BEGIN; TRUNCATE events_2; INSERT INTO events {again}; COMMIT",
        "TRUNCATE events_1",
        "INSERT INTO events_1 (id, day, note) VALUES (1, 2, 'again')",
    )
    settle(run)
    run.terminate()
    events.check_tables(events.history())
    fork.check()


def test_only_the_mapped_table_of_an_inheritance_is_published_and_read(source: Source, fork: Followed) -> None:
    source.execute(
        "CREATE TABLE parent (id int PRIMARY KEY, note text)",
        "CREATE TABLE child (more text) INHERITS (parent)",
        "INSERT INTO parent VALUES (1, 'p'), (2, 'p')",
        "INSERT INTO child VALUES (1, 'c', 'same key'), (3, 'c', 'x')",
    )
    source.map("Parent", "parent")
    source.setup()
    run = started(source)
    source.execute(
        # The child has no key: were it published, this would be refused.
        "UPDATE parent SET note = note || '!'",
        "DELETE FROM child WHERE id = 3",
        "INSERT INTO child VALUES (4, 'c', 'x')",
        "ALTER TABLE parent ADD also int DEFAULT 5",
        "TRUNCATE child",
    )
    settle(run)
    run.terminate()
    assert source.value("SELECT count(*) FROM pg_publication_rel") == 2
    source.check()
    fork.check()


@pytest.mark.full
def test_a_partition_without_a_key_takes_updates_after_setup(source: Source, fork: Followed) -> None:
    source.execute(
        "CREATE TABLE logs (id int NOT NULL, day int NOT NULL, note text, UNIQUE (id, day)) PARTITION BY LIST (day)",
        "CREATE TABLE logs_1 PARTITION OF logs FOR VALUES IN (1)",
        "CREATE TABLE logs_2 (id int PRIMARY KEY, day int NOT NULL, note text)",
        "ALTER TABLE logs ATTACH PARTITION logs_2 DEFAULT",
        "INSERT INTO logs VALUES (1, 1, 'x'), (2, 2, 'x')",
    )
    source.map("Log", "logs", key=("id", "day"))
    source.setup()
    run = started(source)
    source.execute("UPDATE logs SET note = 'y'", "UPDATE logs SET day = 3 - day", "DELETE FROM logs WHERE id = 2")
    finish(source, run, fork)

    source.execute("CREATE TABLE logs_3 PARTITION OF logs FOR VALUES IN (3)", "INSERT INTO logs VALUES (3, 3, 'x')")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="replica identity"):
        source.execute("UPDATE logs SET note = 'z'")
    doctor = source.commitlog("doctor", code=4).stdout
    assert "table public.logs_3 has no replica identity: once published, the server refuses UPDATE and DELETE" in doctor
    source.commitlog("setup")
    source.execute("UPDATE logs SET note = 'z'")
    run = source.run(**CHUNK)
    finish(source, run, fork)
