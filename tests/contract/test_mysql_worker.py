"""The worker on MySQL and MariaDB: every transaction once, in order, whole; and the log replayed is the source."""

import json

from fixtures.binlog_source import BinlogSource

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
