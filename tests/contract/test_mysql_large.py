"""Large rows of MySQL and MariaDB: snapshots take few of them at once, in pieces they go through the log, and no value is lost for its size."""

from collections import deque
from collections.abc import Callable

import pytest

from commitlog.cdc.config import load
from commitlog.cdc.servers.binlog import BinlogServer
from commitlog.cdc.worker.mysql_snapshot import MysqlSnapshotter
from commitlog.transforms.app_schema_reader import parse
from fixtures.binlog_source import BinlogSource
from fixtures.chunks import taken_by
from fixtures.followed import Followed

SMALL = {"limits__change_bytes": 300, "limits__part_bytes": 600}
"""So that a row of a few hundred bytes is a large one."""


def open_files(source: BinlogSource) -> BinlogSource:
    source.execute(
        "CREATE TABLE files (id int PRIMARY KEY, name text, body longtext, raw longblob) CHARACTER SET utf8mb4"
    )
    source.map("File", "files")
    return source.setup()


def insert_files(source: BinlogSource, first: int) -> None:
    """Small and large rows, by turns."""
    source.execute(*[
        f"INSERT INTO files VALUES ({n}, 'n{n}', IF({n} % 3, NULL, concat(repeat('\"\\\\é😀\\t', 60), {n})),"
        f" IF({n} % 5, NULL, repeat(x'00f7', 300)))"
        for n in range(first, first + 10)
    ])  # fmt: skip


def test_large_rows_go_in_pieces_from_the_snapshot_and_from_the_binlog_into_a_fork(
    binlog_source: BinlogSource, either_server: BinlogServer
) -> None:
    source = open_files(binlog_source)
    insert_files(source, 1)
    run = source.run(**SMALL)
    run.until_caught_up()
    insert_files(source, 21)
    source.execute(
        "UPDATE files SET name = concat('m', id) WHERE id % 2 = 0",
        "UPDATE files SET body = concat(coalesce(body, ''), repeat('again ', 200)) WHERE id IN (1, 3, 25)",
        "UPDATE files SET id = id + 100 WHERE id IN (3, 5, 24)",
        "DELETE FROM files WHERE id IN (6, 10, 30)",
        "ALTER TABLE files ADD COLUMN later int DEFAULT 1, DROP COLUMN name, ADD COLUMN name varchar(30) DEFAULT 'anew'",
    )
    run.until_marked()
    # The table that was altered is read again.
    run.until_snapshots()
    run.terminate()

    assert source.check().pieces > 60
    name = f"{source.database}_fork"
    try:
        Followed(source, either_server.create_database(name)).check_clean()
    finally:
        either_server.drop_database(name)


def test_rows_among_small_ones_that_are_large_do_not_come_all_at_once(
    binlog_source: BinlogSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commitlog.cdc.worker.mysql_snapshot.SURPLUS_BYTES", 100_000)
    source = open_files(binlog_source)
    # After the first 300, of which each takes some fifty bytes, thousands are thought to fit.
    source.transact(*[
        f"INSERT INTO files (id, raw) VALUES ({n}, IF({n} BETWEEN 300 AND 340, repeat('x', 15000), NULL))"
        for n in range(1, 501)
    ])  # fmt: skip
    config = load(source.folder / "commitlog.toml", {"limits.part_bytes": 100_000})
    taking = MysqlSnapshotter(config, schema=parse(source.schema()), progress={}, recent=deque())

    found, sizes = taken_by(taking, "File")

    assert found == [*range(1, 501)]
    assert max(sizes) < 300_000
    assert max(sizes) > 200_000, "no batch was left unread"


def test_a_value_above_half_of_what_the_server_puts_into_a_packet_is_in_the_snapshot(
    new_binlog_source: Callable[[str], BinlogSource], mariadb_database: str
) -> None:
    source = open_files(new_binlog_source(mariadb_database))
    source.execute("INSERT INTO files (id, raw) VALUES (1, repeat('x', (@@max_allowed_packet >> 1) + 1000))")
    run = source.run()
    run.until_caught_up()
    run.terminate()

    source.check_tables(source.history())
