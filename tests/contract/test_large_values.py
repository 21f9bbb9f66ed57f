"""Rows above what a record may hold go in pieces, and nobody notices; above what the server itself can send the worker ends by name."""

import json
from typing import Any

import pytest

from commitlog.cdc.log.home import open_reader
from commitlog.cdc.log.verify import verify
from fixtures.followed import Followed
from fixtures.kafka import alter
from fixtures.worker import Run, Source

TOO_LARGE_TO_SEND = "decode(repeat('ab', 400 << 20), 'hex') || decode(repeat('ab', 130 << 20), 'hex')"
"""530 MB: hexadecimal it is above 1 GB."""

SMALL = {"limits__change_bytes": 300, "limits__part_bytes": 600}
"""So that a row of a few hundred bytes is a large one."""

EACH = {**SMALL, "limits__flush_bytes": 1, "limits__flush_ms": 0}

LARGE = "repeat(E'\"\\\\\\\\é😀\\t', 60)"
SOME = "CREATE TABLE files (id int PRIMARY KEY, name text, body text, raw bytea)"
ROWS = f"SELECT i, 'n' || i, CASE WHEN i % 3 = 0 THEN {LARGE} || i END, CASE WHEN i % 5 = 0 THEN decode(repeat('0af7', 300), 'hex') END"


def open_files(source: Source, type_name: str) -> Source:
    source.execute(
        f"CREATE TABLE files (id int PRIMARY KEY, name text, body {type_name})",
        "ALTER TABLE files ALTER body SET STORAGE EXTERNAL",
        "INSERT INTO files VALUES (1, 'small', '')",
    )
    source.map("File", "files")
    return source.setup()


def some_files(source: Source) -> Source:
    """Some small and some large rows from before the log, and as many that the stream brings."""
    source.execute(SOME, f"INSERT INTO files {ROWS} FROM generate_series(1, 12) i")
    source.map("File", "files")
    return source.setup()


def change_files(source: Source) -> None:
    source.execute(
        f"INSERT INTO files {ROWS} FROM generate_series(21, 32) i",
        "UPDATE files SET name = 'm' || id WHERE id % 2 = 0",
        f"UPDATE files SET body = {LARGE} || 'again' WHERE id IN (1, 3, 25)",
        "UPDATE files SET id = id + 100 WHERE id IN (3, 5, 24)",
        "DELETE FROM files WHERE id IN (6, 10, 30, 31)",
    )


def gone_on(source: Source, run: Run) -> Source:
    run.until_caught_up(timeout_s=60)
    run.terminate()
    source.verify()
    return source


def shown(source: Source, *arguments: str) -> list[Any]:
    return [json.loads(line) for line in source.commitlog(*arguments, "--json").stdout.splitlines()]


@pytest.mark.parametrize("pure", [False, pytest.param(True, marks=pytest.mark.full)])
def test_large_rows_go_in_pieces_and_commands_and_fork_have_them_whole(
    source: Source, fork: Followed, pure: bool
) -> None:
    run = some_files(source).run(**SMALL, **({"pure": "1"} if pure else {}))
    run.until_snapshots()
    change_files(source)
    run.until_caught_up()
    source.check()
    fork.check("File")
    source.execute("TRUNCATE files")
    run.until_caught_up()
    run.terminate()
    fork.check("File")

    history = source.check()
    assert history.pieces > 100
    commits = [commit for commit in history.commits if commit.changes[0].get("entity") == "File"]
    told = shown(source, "log", "File", "--reverse")
    assert [commit["changes"] for commit in told[: len(commits)]] == [commit.changes for commit in commits]
    parts = [document for commit in commits for document in shown(source, "show", str(commit.seqs[0]))]
    assert [item for part in parts for item in part["items"][2:]] == [c for commit in commits for c in commit.changes]


def test_a_worker_killed_between_pieces_voids_them_and_writes_the_change_whole(
    source: Source, fork: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fork's statements are those of large changes.
    monkeypatch.setattr("commitlog.cdc.fork.postgres.target._JSONB_MAX", 1000)
    monkeypatch.setattr("commitlog.cdc.fork.apply.BATCH_CHARACTERS", 1000)
    some_files(source)
    for passage in (2, 9):
        source.run(f"between_parts:kill:{passage}", **EACH).until_killed()
        source.released()
    run = source.run(**EACH)
    run.until_snapshots()
    change_files(source)
    for passage in (3, 30):
        run.kill()
        source.released()
        change = f"UPDATE files SET name = name || '{passage}', body = body || '{passage}', raw = raw || raw"
        source.execute(change)
        source.run(f"between_parts:kill:{passage}", **EACH).until_killed()
        source.released()
        run = source.run(**EACH)
        run.until_caught_up()
    run.terminate()

    history = source.check()
    kinds = [header["kind"] for header, _ in history.records]
    assert kinds.count("void") == 4
    fork.check("File")


def test_a_topic_with_small_messages_takes_large_rows(kafka_source: Source, new_database: Any) -> None:
    source = some_files(kafka_source)
    run = source.run()
    run.until_caught_up()
    run.terminate()
    alter(source, max_message_bytes="20000")
    large = "SELECT string_agg(md5(n::text), '\"') FROM generate_series(1, 3000) n"
    source.execute(
        f"INSERT INTO files SELECT 50, 'large', ({large}), NULL", "UPDATE files SET body = body || 'x' WHERE id = 50"
    )

    gone_on(source, source.run())

    assert source.check().pieces > 20
    Followed(source, new_database()).check("File")


BIG = "decode(repeat('{}', 100 << 20), 'hex')"
"""200 MB of bytes: 400 MB on their way, 267 MB in a change, and twice that in one of a whole row before and after."""

COVERED = {"limits__coverage_s": 0.3}
MEMORY_KB = 5_000_000


def until_acknowledged(source: Source, run: Run) -> None:
    """Wait until the slot stands after everything committed before now."""
    end = source.value("SELECT pg_current_wal_lsn()")
    slot = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s"
    run.until(lambda: source.value(slot, end, source.name), "the acknowledgement", timeout_s=240)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_200_megabytes_are_snapshotted_inserted_updated_deleted_and_forked(source: Source, fork: Followed) -> None:
    open_files(source, "bytea")
    source.execute(f"INSERT INTO files VALUES (9, 'before', {BIG.format('ab09')})")
    run = source.run(**COVERED)
    run.until(lambda: "snapshots complete" in run.output, "the snapshots", timeout_s=240)
    for statement in (
        f"INSERT INTO files VALUES (2, 'large', {BIG.format('ab01')})",
        f"UPDATE files SET body = {BIG.format('cd02')} WHERE id = 2",
        "UPDATE files SET name = 'the same body' WHERE id = 2",
        f"INSERT INTO files VALUES (3, 'large', {BIG.format('ef03')})",
        "DELETE FROM files WHERE id = 3",
    ):
        source.execute(statement)
        until_acknowledged(source, run)
    peak = run.peak_kb
    run.terminate(timeout_s=60)
    assert verify(open_reader(source.location)).unfinished is None
    fork.check("File")
    assert peak < MEMORY_KB, f"the worker took {peak} kB"
    assert len(source.commitlog("log", "File", "--oneline").stdout.splitlines()) == 6


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_a_row_of_three_values_of_40_megabytes_and_a_worker_killed_in_it(source: Source, fork: Followed) -> None:
    source.execute("CREATE TABLE files (id int PRIMARY KEY, a text, b bytea, c text)")
    source.map("File", "files")
    run = source.setup().run("between_parts:kill:2", **COVERED).streaming()
    three = "repeat(md5('a'), 40 << 15), decode(repeat(md5('b'), 80 << 15), 'hex'), repeat(E'\"', 40 << 20)"
    source.execute(f"INSERT INTO files VALUES (1, {three})")
    run.until_killed(timeout_s=120)
    source.released()
    run = source.run(**COVERED)
    until_acknowledged(source, run)
    source.execute("UPDATE files SET a = a || 'é', b = b || b, c = c || c")
    until_acknowledged(source, run)
    run.terminate(timeout_s=60)
    source.verify()
    assert [document["header"]["kind"] for document in shown(source, "show", "HEAD")] != []
    fork.check("File")


@pytest.mark.full
@pytest.mark.timeout(240)
def test_a_row_that_the_server_cannot_send_is_named_and_a_gap_leads_on(source: Source) -> None:
    open_files(source, "bytea")
    gone_on(source, source.run())
    source.execute(f"INSERT INTO files VALUES (2, 'large', {TOO_LARGE_TO_SEND})")

    hint = source.run().refused(4, "cannot send a row", "above 1 GB", timeout_s=60)

    assert hint == "make its values smaller, drop the slot, then commitlog resume --accept-gap"
    source.execute("UPDATE files SET body = 'small now' WHERE id = 2")
    source.value("SELECT pg_drop_replication_slot(%s)::text", source.name)
    source.commitlog("resume", "--accept-gap")
    gone_on(source, source.run())
    source.check_tables(source.history(), epoch=2)


@pytest.mark.full
@pytest.mark.timeout(240)
def test_a_row_that_no_snapshot_can_read_is_named(source: Source) -> None:
    open_files(source, "bytea")
    source.execute(f"INSERT INTO files VALUES (2, 'large', {TOO_LARGE_TO_SEND})")
    source.value("SELECT end_lsn FROM pg_replication_slot_advance(%s, pg_current_wal_lsn())", source.name)

    hint = source.run().refused(4, "the snapshot of File cannot be read", timeout_s=60)

    assert "above 1 GB" in hint
