"""What is done beside a mapped table of MySQL or MariaDB, or to it: its rows are read again where they may be others, and only there."""

from fixtures.binlog_source import BinlogSource
from fixtures.midstream import anew, settle, started

MADE = "CREATE TABLE orders (id int PRIMARY KEY, status varchar(20))"


def open_shop(source: BinlogSource) -> BinlogSource:
    source.execute(MADE, "INSERT INTO orders VALUES " + ", ".join(f"({number}, 'old')" for number in range(12)))
    source.map("Order", "orders")
    return source.setup()


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
