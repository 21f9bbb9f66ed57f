"""What commits tell of a table before the first chunk of its snapshot: rows that nobody saw change since are upstream's, not a fork's own."""

from typing import Any

import pytest

from fixtures.followed import Followed
from fixtures.fork_log import Fork, MadeLog, column
from fixtures.midstream import CHUNK, settle
from fixtures.worker import Source

ROWS = "INSERT INTO {} SELECT n, 'told', n FROM generate_series(1, 12) n"
TABLES = ("rewritten", "widened", "anew", "rekeyed", "parted")


@pytest.mark.parametrize("guarded", [True, False], ids=["with event triggers", "without"])
def test_rows_told_before_a_first_snapshot_and_changed_unseen_are_no_conflicts(
    source: Source, fork: Followed, guarded: bool
) -> None:
    for table in TABLES:
        of = "PARTITION BY RANGE (id)" if table == "parted" else ""
        source.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, status text, total int) {of}")
        source.map(table.title(), table, fields=("id", "status", "total", "size") if table == "widened" else None)
    source.execute(
        "CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (7)",
        "CREATE TABLE high PARTITION OF parted FOR VALUES FROM (7) TO (20)",
    )
    source.setup()
    if not guarded:
        source.execute(*(f'DROP EVENT TRIGGER "commitlog_{source.name}_{event}"' for event in ("ddl", "drp", "rwr")))
    source.execute(
        *(ROWS.format(table) for table in TABLES),
        "ALTER TABLE rewritten ALTER total TYPE int USING total * 2",
        "ALTER TABLE widened ADD size int DEFAULT 7",
        "BEGIN; DROP TABLE anew; CREATE TABLE anew (id int PRIMARY KEY, status text, total int);"
        f" ALTER TABLE anew REPLICA IDENTITY FULL; ALTER PUBLICATION {source.name} ADD TABLE anew;"
        " INSERT INTO anew VALUES (2, 'anew', 20), (3, 'anew', 30), (30, 'anew', 300); COMMIT",
        "ALTER TABLE rekeyed ALTER id TYPE int USING id + 6",
        "ALTER TABLE parted DETACH PARTITION high",
    )
    for table in TABLES:
        source.execute(
            f"UPDATE {table} SET status = 'later', total = total + 1 WHERE id IN (2, 8)",
            f"DELETE FROM {table} WHERE id IN (3, 9)",
            f"UPDATE {table} SET id = id + 20, total = 0 WHERE id = 10",
            f"INSERT INTO {table} VALUES (0, 'new', 0)",
        )
    run = source.run(**CHUNK).streaming()

    settle(run)
    run.terminate()
    source.verify()
    fork.check_clean()


def row(number: int, who: str) -> dict[str, Any]:
    return {"id": number, "who": who}


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    return made_log


@pytest.fixture
def told(log: MadeLog, some_database: str) -> Fork:
    """A fork of rows that commits told, 1 to 5, before their snapshot."""
    fork = Fork(log, some_database)
    log.shape("Place", column("id", "int32", nullable=False), column("who"), table="public.place")
    log.commit(*(log.insert("Place", row(number, "told")) for number in range(1, 6)))
    fork.sync()
    return fork


def held(fork: Fork) -> dict[int, str]:
    return dict(fork.sql("SELECT id, who FROM public.place ORDER BY id"))


def test_what_the_owner_did_to_rows_told_before_their_snapshot_stands(log: MadeLog, told: Fork) -> None:
    told.sql("UPDATE place SET who = 'mine' WHERE id = 1")
    told.sql("DELETE FROM place WHERE id = 2")
    told.sql("INSERT INTO place VALUES (9, 'mine')")
    # Row 4 is gone unseen, row 5 is another.
    log.snapshot("Place", row(1, "told"), row(2, "told"), row(3, "told"), row(5, "unseen"))
    told.sync()
    assert held(told) == {1: "mine", 3: "told", 5: "unseen", 9: "mine"}
    assert told.conflicts(closed=True) == []


def test_a_row_deleted_here_and_changed_upstream_before_its_snapshot_is_a_conflict(log: MadeLog, told: Fork) -> None:
    told.sql("DELETE FROM place WHERE id IN (1, 2, 3)")
    log.commit(log.update("Place", 1, {"who": "told"}, {"who": "theirs"}), log.delete("Place", row(3, "told")))
    log.snapshot("Place", row(1, "theirs"), row(2, "unseen"), row(4, "told"), row(5, "told"))
    told.sync()
    assert held(told) == {4: "told", 5: "told"}
    assert [(c["kind"], c["key"]) for c in told.conflicts()] == [("update/delete", {"id": n}) for n in (1, 2)]


def test_a_row_gone_on_both_sides_comes_with_its_insert(log: MadeLog, told: Fork) -> None:
    told.sql("DELETE FROM place WHERE id = 1")
    log.commit(log.insert("Place", row(1, "new")), log.insert("Place", row(2, "new")))
    log.snapshot("Place", row(1, "new"), row(2, "new"), *(row(n, "told") for n in (3, 4, 5)))
    told.sync()
    assert held(told) == {1: "new", 2: "new", 3: "told", 4: "told", 5: "told"}
    assert told.conflicts(closed=True) == []


def test_a_column_that_comes_back_without_its_values_has_none_in_the_fork(source: Source, fork: Followed) -> None:
    source.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, note text)", "INSERT INTO orders VALUES (1, 'old'), (2, 'old')"
    )
    source.map("Order", "orders")
    source.setup()
    run = source.run(**CHUNK).streaming()
    run.until_caught_up()
    fork.sync()
    source.execute("ALTER TABLE orders DROP note", "INSERT INTO orders VALUES (3)")
    settle(run)
    assert [column["field"] for column in source.history().shapes("Order")[-1]["columns"]] == ["id"]
    source.execute("ALTER TABLE orders ADD note text", "INSERT INTO orders VALUES (4)")
    settle(run)
    run.terminate()
    source.check()
    fork.check_clean()
