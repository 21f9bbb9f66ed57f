"""A mapped table of MySQL or MariaDB that is dropped or gets another name: it is named, and what comes under its name later is told."""

import json
from collections.abc import Callable

import pytest

from fixtures.binlog_source import BinlogSource
from fixtures.followed import Followed
from fixtures.midstream import CHUNK, anew, settle, started
from fixtures.worker import Run

MADE = "CREATE TABLE orders (id int PRIMARY KEY, status varchar(20))"
ANEW = (MADE, "INSERT INTO orders VALUES (3, 'new'), (30, 'new')")


def open_shop(source: BinlogSource) -> BinlogSource:
    source.execute(MADE, "INSERT INTO orders VALUES " + ", ".join(f"({number}, 'old')" for number in range(12)))
    source.map("Order", "orders")
    return source.setup()


def until_named(source: BinlogSource, run: Run) -> None:
    """Wait until the worker says that the table is not there; so do `status` and `doctor`."""
    table = f"{source.database}.orders"
    warning = f"Order: there is no table {table}; nothing of it is recorded"
    run.until(lambda: warning in run.output, "a warning")
    assert run.output.count(warning) == 1
    missing = f"table {table} of Order does not exist"
    assert json.loads(source.commitlog("status", "--json").stdout)["source"]["missing"] == [missing]
    assert missing in source.commitlog("doctor", code=1).stdout


@pytest.mark.parametrize("when", ["before its snapshot", "in its snapshot", "after its snapshot"])
def test_a_dropped_table_is_named_until_there_is_one_again_and_has_its_rows_then(
    binlog_source: BinlogSource, new_database: Callable[[], str], when: str
) -> None:
    source = open_shop(binlog_source)
    fork = Followed(source, new_database())
    if when == "after its snapshot":
        run = started(source)
        fork.sync()
        source.execute("DROP TABLE orders")
        until_named(source, run)
        run.terminate()
    elif when == "in its snapshot":
        source.run("in_snapshot_chunk:kill:3", **CHUNK).until_killed()
        fork.sync()
        source.execute("DROP TABLE orders")
    else:
        source.execute("DROP TABLE orders")
    run = source.run(**CHUNK).streaming()
    until_named(source, run)

    source.execute(*ANEW, "UPDATE orders SET status = 'newer' WHERE id = 30")
    settle(run)
    run.terminate()
    source.check_tables(source.history())
    source.verify()
    fork.check()


def test_a_table_that_comes_back_under_its_name_is_read_again_once(
    binlog_source: BinlogSource, new_database: Callable[[], str]
) -> None:
    source = open_shop(binlog_source)
    fork = Followed(source, new_database())
    run = started(source)
    fork.sync()
    source.execute("ALTER TABLE orders RENAME TO other", "UPDATE other SET status = 'away' WHERE id < 3")
    until_named(source, run)
    source.execute("RENAME TABLE other TO orders", "DELETE FROM orders WHERE id = 11")
    settle(run)
    run.terminate()
    assert anew(source, "Order") == 1
    source.check_tables(source.history())
    fork.check()


def test_what_is_made_beside_a_table_does_not_have_it_read_again(binlog_source: BinlogSource) -> None:
    source = open_shop(binlog_source)
    run = started(source)
    source.execute(
        "CREATE VIEW named AS SELECT * FROM orders",
        "CREATE OR REPLACE VIEW named AS SELECT id FROM orders",
        "ALTER VIEW named AS SELECT status FROM orders",
        "CREATE TRIGGER changed BEFORE INSERT ON orders FOR EACH ROW SET NEW.status = 'changed'",
        "CREATE TABLE parts (id int PRIMARY KEY, o int, FOREIGN KEY (o) REFERENCES orders (id))",
        "CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY)",
        f"CREATE TABLE IF NOT EXISTS `{source.database}`.`orders` (id int PRIMARY KEY)",
        "CREATE TABLE likewise LIKE orders",
        "INSERT INTO orders VALUES (20, '')",
    )
    settle(run)
    assert anew(source, "Order") == 0
    again = ["DROP TABLE orders", MADE] if source.engine == "mysql" else [MADE.replace("TABLE", "OR REPLACE TABLE")]
    source.execute("DROP TABLE parts", *again)
    run.until(lambda: anew(source, "Order") == 1, "a new snapshot")
    settle(run)
    run.terminate()
    source.check_tables(source.history())
