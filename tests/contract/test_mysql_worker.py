"""The worker on MySQL and MariaDB: every transaction once, in order, whole; and the log replayed is the source."""

import json
from contextlib import closing

import pytest

from fixtures.binlog_source import BinlogSource
from fixtures.patience import until

TAG = json.dumps({"v": 1, "request": "r-1", "user": "alice", "app": "shop", "build": "b1"})


def open_shop(source: BinlogSource) -> BinlogSource:
    source.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, status varchar(20), amount decimal(12,2), at datetime(6), photo varbinary(30))"
    )
    source.map("Order", "orders")
    return source.setup()


def test_rows_that_were_there_and_rows_that_come(binlog_source: BinlogSource) -> None:
    source = binlog_source
    open_shop(source)
    source.execute(
        "INSERT INTO orders VALUES (1, 'old', 1.50, '2026-01-02 03:04:05.000006', x'00ff'), (2, NULL, NULL, NULL, NULL)"
    )
    run = source.run().streaming()
    source.transact(
        "INSERT INTO orders (id, status) VALUES (3, 'new')", "UPDATE orders SET status = 'x' WHERE id = 1", tag=TAG
    )
    source.transact(tag=TAG)  # a stamp alone is no commit
    source.execute("UPDATE orders SET id = 20 WHERE id = 2", "DELETE FROM orders WHERE id = 3")
    run.until_caught_up()
    run.terminate()

    history = source.check()
    tagged = [commit for commit in history.commits if commit.by]
    assert [commit.by and commit.by["user"] for commit in tagged] == ["alice"]
    assert len(tagged[0].changes) == 2


def test_a_worker_goes_on_where_the_log_ends(binlog_source: BinlogSource) -> None:
    source = binlog_source
    open_shop(source)
    run = source.run()
    run.until_caught_up()
    for number in range(3):
        source.execute(f"INSERT INTO orders (id, status) VALUES ({number}, 'before')")
        run.until_marked()
        run.kill()
        source.execute(f"UPDATE orders SET status = 'while away' WHERE id = {number}", "FLUSH BINARY LOGS")
        run = source.run()
    run.until_caught_up()
    run.terminate()

    source.check()


def test_tables_that_change_while_the_worker_streams(binlog_source: BinlogSource) -> None:
    source = binlog_source
    open_shop(source)
    source.execute("INSERT INTO orders (id, status) VALUES (1, 'a'), (2, 'b')")
    run = source.run()
    run.until_caught_up()
    source.execute(
        "ALTER TABLE orders ADD COLUMN note varchar(10) DEFAULT 'n' AFTER id",
        "INSERT INTO orders (id, status) VALUES (3, 'c')",
        "ALTER TABLE orders MODIFY status varchar(30)",
        "UPDATE orders SET status = concat(status, '!')",
        "CREATE TABLE orders_new LIKE orders",
        "INSERT INTO orders_new SELECT * FROM orders",
        "RENAME TABLE orders TO orders_old, orders_new TO orders",
        "UPDATE orders SET status = 'swapped' WHERE id = 2",
        "INSERT INTO orders_old (id) VALUES (9)",
    )
    run.until_caught_up()
    run.terminate()

    source.check(tables=True)


def test_statements_are_noticed_whatever_signs_their_tables_names_have(binlog_source: BinlogSource) -> None:
    source, statements = binlog_source, ["TRUNCATE €uro", "ALTER TABLE ग्राहक DROP n, ADD n int DEFAULT 7"]
    for entity, table in (("Customer", "ग्राहक"), ("Euro", "€uro")):
        source.execute(
            f"CREATE TABLE {table} (id int PRIMARY KEY, n int)", f"INSERT INTO {table} VALUES (1, 1), (2, 1)"
        )
        source.map(entity, table)
    run = source.setup().run()
    run.until_caught_up()
    if source.engine == "mariadb":  # which drops rows by it
        statements.append("ALTER IGNORE TABLE ग्राहक ADD UNIQUE KEY (n)")
    for statement in statements:
        source.execute(statement)
        run.until_marked()
        run.until_snapshots()
    run.terminate()

    source.check_tables(source.history())


def test_truncate_is_one_change(binlog_source: BinlogSource) -> None:
    source = binlog_source
    open_shop(source)
    source.execute("INSERT INTO orders (id, status) VALUES (1, 'a'), (2, 'b')")
    run = source.run()
    run.until_caught_up()
    source.execute("TRUNCATE TABLE orders", "INSERT INTO orders (id, status) VALUES (2, 'c')")
    run.until_caught_up()
    run.terminate()

    history = source.history()
    source.check_tables(history)
    assert [change for commit in history.commits for change in commit.changes if change["op"] == "truncate"] == [
        {"op": "truncate", "entities": ["Order"]}
    ]


def test_what_xa_prepares_is_told_when_it_is_committed_also_after_a_restart(binlog_source: BinlogSource) -> None:
    source = binlog_source
    open_shop(source)
    run = source.run()
    run.until_caught_up()
    for number, end in enumerate(("COMMIT", "ROLLBACK")):
        with closing(source.connect()) as connection, connection.cursor() as cursor:
            for statement in (
                f"XA START 'x{number}'",
                f"INSERT INTO orders (id, status) VALUES ({number}, 'xa')",
                f"XA END 'x{number}'",
                f"XA PREPARE 'x{number}'",
            ):
                cursor.execute(statement)
        source.execute(f"INSERT INTO orders (id, status) VALUES ({10 + number}, 'between')")
        run.until_marked()
        run.kill()
        run = source.run()
        run.until_marked()
        assert (number,) not in source.history().rows(source.entities["Order"])
        source.execute(f"XA {end} 'x{number}'")
    run.until_caught_up()
    run.terminate()

    history = source.history()
    source.check_tables(history)
    source.verify()
    assert (0,) in history.rows(source.entities["Order"])


def test_lost_history_is_named_and_a_gap_leads_on(binlog_source: BinlogSource) -> None:
    source = binlog_source
    open_shop(source)
    source.execute("INSERT INTO orders (id, status) VALUES (1, 'a')")
    run = source.run()
    run.until_caught_up()
    run.terminate()
    source.execute("INSERT INTO orders (id, status) VALUES (2, 'unseen')", "FLUSH BINARY LOGS")
    last = source.binary_logs()[-1]

    def purged() -> bool:
        """A reader that the server has not seen end yet keeps the files that it reads."""
        source.execute(f"PURGE BINARY LOGS TO '{last}'")
        return source.binary_logs()[0] == last

    until(purged, "the older files gone")

    source.run().refused(3, "purged")
    source.commitlog("resume", code=3)
    source.commitlog("resume", "--accept-gap")
    run = source.run()
    run.until_caught_up()
    source.execute("DELETE FROM orders WHERE id = 1")
    run.until_marked()
    run.terminate()

    history = source.history()
    assert [header["epoch"] for header, _ in history.of_kind("gap")] == [2]
    source.check_tables(history, epoch=2)
    source.verify()


def test_status_shows_where_source_and_log_stand(binlog_source: BinlogSource) -> None:
    source = binlog_source
    open_shop(source)
    run = source.run()
    run.until_caught_up()
    run.terminate()
    source.execute("INSERT INTO orders (id, status) VALUES (1, 'a')")

    shown = source.commitlog("status").stdout
    document = json.loads(source.commitlog("status", "--json").stdout)

    assert f"its binary log ends at {document['source']['wal_end']}" in shown
    assert document["source"]["oldest"] in source.binary_logs()
    assert document["lag"]["bytes"] > 0


def test_a_new_log_has_everything_since_setup(binlog_source: BinlogSource) -> None:
    source = binlog_source
    open_shop(source)
    source.transact("INSERT INTO orders (id, status) VALUES (1, 'before a worker')", tag=TAG)
    source.execute("FLUSH BINARY LOGS")
    source.commitlog("setup")
    run = source.run()
    run.until_caught_up()
    run.terminate()

    history = source.check()
    assert history.commits[0].by is not None
    assert history.commits[0].by["user"] == "alice"


@pytest.mark.parametrize("rows", [60_000, pytest.param(1_000_000, marks=[pytest.mark.full, pytest.mark.timeout(300)])])
def test_a_large_transaction_passes_in_parts_and_in_little_memory(binlog_source: BinlogSource, rows: int) -> None:
    source = binlog_source
    open_shop(source)
    source.execute("CREATE TABLE digits (d int)", "INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)")
    run = source.run(limits__spill_bytes=1_000_000)
    run.until_caught_up()
    numbers = "a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d + 100000 * g.d"
    source.execute(
        f"INSERT INTO orders (id, status) SELECT {numbers}, 'one of many' FROM digits a, digits b, digits c, digits e, digits f, digits g"
        f" WHERE {numbers} < {rows}"
    )
    run.until_marked(timeout_s=200)
    peak_mb = run.peak_kb / 1024
    run.terminate()

    history = source.history()
    (commit,) = (commit for commit in history.commits if len(commit.changes) > 1)
    print(f"[{rows:,} rows in one transaction: the worker held {peak_mb:.0f} MB at most]")
    assert len(commit.changes) == rows
    assert peak_mb < 150


def test_a_snapshot_goes_by_keys_that_only_the_server_can_order(binlog_source: BinlogSource) -> None:
    """Text in the order of its collation, chunk after chunk, while rows come, go and get other keys."""
    source = binlog_source
    source.execute(
        "CREATE TABLE words (word varchar(40) CHARACTER SET latin1 COLLATE latin1_german2_ci, tongue varchar(9)"
        " CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, n int, PRIMARY KEY (word, tongue))"
    )
    words = [
        "Zebra",
        "ärger",
        "Apfel",
        "apfel e",
        "Öl",
        "ol",
        "ß",
        "it''s",
        "a\\\\b",
        "%",
        "_",
        "Straße",
        "strasz",
        "é",
        "E2",
    ]
    rows = [
        f"('{word}{number}', '{tongue}', {number})" for word in words for number in range(3) for tongue in ("de", "ÉN")
    ]
    source.execute(f"INSERT INTO words VALUES {', '.join(rows)}")
    source.map("Word", "words", key=("word", "tongue"))
    source.setup()
    run = source.run(limits__snapshot_rows=7)
    for number in range(20):
        source.execute(
            f"INSERT INTO words VALUES ('Älter{number}', 'fr', 1), ('zz{number}', 'fr', 2)",
            f"UPDATE words SET n = 100 + {number} WHERE word = 'Öl{number % 3}'",
            f"UPDATE words SET word = 'umzug{number}' WHERE word = 'zz{number}'",
            f"DELETE FROM words WHERE word = 'Älter{number}'",
        )
    run.until_caught_up()
    run.terminate()

    source.check()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE orders SET status = 'y'", "INSERT INTO orders (id) VALUES (2)"],
)
def test_a_row_that_a_session_logs_in_part_is_named(binlog_source: BinlogSource, statement: str) -> None:
    source = open_shop(binlog_source)
    source.execute("INSERT INTO orders (id, status) VALUES (1, 'x')")
    run = source.run()
    run.until_caught_up()
    source.execute("SET SESSION binlog_row_image = MINIMAL", statement)

    hint = run.refused(4)

    assert "binlog_row_image" in hint
    assert "is not the text of its type" not in run.output
    if statement.startswith("INSERT"):
        assert "entity Order: an insert that does not log status" in run.output
    source.commitlog("resume", "--accept-gap")
    run = source.run()
    run.until_caught_up()
    run.terminate()
    source.check_tables(source.history(), epoch=2)


@pytest.mark.parametrize("definition", [pytest.param("PRIMARY KEY", marks=pytest.mark.full), "UNIQUE KEY keeps (id)"])
def test_a_key_that_is_dropped_while_the_worker_streams_is_named(binlog_source: BinlogSource, definition: str) -> None:
    source = binlog_source
    source.execute(
        f"CREATE TABLE codes (id int NOT NULL, n int, {definition.replace('PRIMARY KEY', 'PRIMARY KEY (id)')})"
    )
    source.map("Code", "codes")
    run = source.setup().run()
    run.until_caught_up()

    source.execute(f"ALTER TABLE codes DROP {definition.removeprefix('UNIQUE ').removesuffix(' (id)')}")

    run.refused(4, "Code", "does not tell the rows", "apart")
