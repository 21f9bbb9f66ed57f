"""What a statement in a binlog says of tables."""

import pytest

from commitlog.cdc.tail.binlog.ddl import among, concerned, dropped_database, harmless, leaves_rows, truncated


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("TRUNCATE orders", ("shop", "orders")),
        ("truncate table `a b`.`c``d`", ("a b", "c`d")),
        ("/* by */ TRUNCATE TABLE x . orders /* all */", ("x", "orders")),
        ("TRUNCATE TABLE ग्राहक", ("shop", "ग्राहक")),
        ("truncate €uro", ("shop", "€uro")),
        ("DELETE FROM orders", None),
    ],
)
def test_truncate_names_its_table(text: str, table: tuple[str, str] | None) -> None:
    assert truncated(text, "shop") == table


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("ALTER TABLE orders ADD x int", ("shop", "orders")),
        ("RENAME TABLE a TO b, `old`.`orders` TO orders", ("shop", "orders")),
        ("RENAME TABLE a TO b, `old`.`orders` TO orders", ("old", "orders")),
        ('ALTER TABLE "orders" ADD x int', ("shop", "orders")),
        ("/*!40000 ALTER TABLE orders FORCE */", ("shop", "orders")),
        ("CREATE TABLE orders (id int)", ("shop", "orders")),
        ("CREATE OR REPLACE TABLE parts LIKE orders", ("shop", "orders")),
        ("CREATE TABLE parts (o int, FOREIGN KEY (o) REFERENCES orders (id))", None),
        ("create table if not exists `shop`.orders (id int)", None),
        ("ALTER TABLE x COMMENT 'orders'", None),
        ("ALTER TABLE x /* orders */ FORCE -- orders", None),
    ],
)
def test_a_statement_concerns_the_tables_that_it_names(text: str, table: tuple[str, str] | None) -> None:
    found = concerned(text, "shop")

    assert (table in found) if table else (("shop", "orders") not in found)


@pytest.mark.parametrize(
    "text",
    [
        "CREATE ALGORITHM=UNDEFINED DEFINER=`root`@`%` SQL SECURITY DEFINER VIEW `named` AS select * from orders",
        "CREATE OR REPLACE DEFINER = `a`@`b` VIEW named AS SELECT * FROM orders",
        "ALTER VIEW named AS SELECT * FROM orders",
        "CREATE DEFINER=`a`@`b` TRIGGER t BEFORE INSERT ON orders FOR EACH ROW SET NEW.id = 1",
    ],
)
def test_what_is_no_table_leaves_rows_as_they_are(text: str) -> None:
    assert harmless(text)


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE orders ADD INDEX i (a, b), DROP KEY k, ALGORITHM=INPLACE, LOCK=NONE",
        "alter table `shop`.`orders` add constraint c foreign key (a) references x (b) on delete cascade",
        "ALTER TABLE orders ADD COLUMN internal varchar(20) DEFAULT 'a, b', ADD `other` enum('x,y','z')",
        "ALTER TABLE orders COMMENT = 'DROP COLUMN status'",
        "ALTER TABLE orders AUTO_INCREMENT = 7",
        "ALTER TABLE orders ADD PRIMARY KEY (id)",
        "ALTER TABLE orders ADD PARTITION (PARTITION p VALUES LESS THAN (9))",
        "ALTER TABLE orders /* all of them, DROP x */ ADD UNIQUE u (status)",
    ],
)
def test_these_leave_rows_as_they_are(text: str) -> None:
    assert leaves_rows(text, {"id", "status"})


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE orders ADD COLUMN status varchar(9) DEFAULT 'x'",
        "ALTER TABLE orders ADD COLUMN IF NOT EXISTS `status` int",
        "ALTER TABLE orders ADD INDEX i (a), MODIFY status text",
        "ALTER TABLE orders ADD (internal int, status int)",
        "ALTER TABLE orders DROP COLUMN status",
        "ALTER TABLE orders DROP status",
        "ALTER TABLE orders RENAME TO x",
        "ALTER TABLE orders CHANGE a status int",
        "ALTER TABLE orders TRUNCATE PARTITION p1",
        "ALTER TABLE orders EXCHANGE PARTITION p WITH TABLE t",
        "ALTER TABLE orders CONVERT TO CHARACTER SET latin1",
        "ALTER TABLE orders /*!80000 DROP status */",
        "ALTER IGNORE TABLE orders ADD UNIQUE KEY (status)",
        "RENAME TABLE a TO orders",
        "CREATE TABLE orders LIKE x",
        "DROP TABLE orders",
        "ALTER TABLE orders ADD SYSTEM VERSIONING",
        "ALTER TABLE orders ENGINE=InnoDB",
    ],
)
def test_these_may_change_them(text: str) -> None:
    assert not leaves_rows(text, {"id", "status"})


@pytest.mark.parametrize(
    ("text", "database"),
    [
        ("DROP DATABASE shop", "shop"),
        ("/* by hand */ drop schema if exists `a``b` -- at last", "a`b"),
        ("/*!40000 DROP DATABASE IF EXISTS `shop`*/", "shop"),
        ("DROP DATABASE /*!32312 IF EXISTS*/ shop", "shop"),
        ('DROP DATABASE "a shop"', "a shop"),
        ("DROP DATABASE दुकान", "दुकान"),
        ("DROP DATABASE `2026`", "2026"),
        ("DROP TABLE shop", None),
        ("CREATE DATABASE shop", None),
        ("# nothing", None),
    ],
)
def test_a_dropped_database_is_named(text: str, database: str | None) -> None:
    assert dropped_database(text) == database


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("ALTER TABLE ORDERS DROP x", [("shop", "orders")]),
        ("ALTER TABLE ग्राहक DROP x", [("shop", "ग्राहक")]),
        ("RENAME TABLE Shop.orders TO old.Notes", [("shop", "orders"), ("old", "notes")]),
        ("DROP DATABASE SHOP", [("shop", "orders"), ("shop", "ग्राहक")]),
        ("DROP TABLE other", []),
    ],
)
def test_tables_are_found_whatever_their_names_case(text: str, tables: list[tuple[str, str]]) -> None:
    assert among([("shop", "orders"), ("shop", "ग्राहक"), ("old", "notes")], text, "shop") == tables
