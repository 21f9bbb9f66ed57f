"""A table of MySQL or MariaDB whose rows cannot be read stops a worker only where an app schema maps it, and by name."""

import pytest

from fixtures.binlog_source import BinlogSource

COLUMNS = {
    "mysql": ["a varchar(20) CHARACTER SET dec8", "a enum('x', 'y') CHARACTER SET hp8"],
    "mariadb": ["a varchar(20) CHARACTER SET dec8", "a varchar(200) COMPRESSED"],
}


def open_shop(source: BinlogSource) -> BinlogSource:
    source.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    source.map("Order", "orders")
    return source.setup()


def test_tables_of_others_are_passed_over_whatever_they_hold(binlog_source: BinlogSource) -> None:
    source = open_shop(binlog_source)
    run = source.run()
    run.until_caught_up()
    for number, column in enumerate(COLUMNS[source.engine]):
        source.execute(f"CREATE TABLE other{number} (id int PRIMARY KEY, {column})")
        source.transact(
            f"INSERT INTO other{number} VALUES (1, 'x'), (2, 'y')",
            f"INSERT INTO orders VALUES ({number})",
            f"UPDATE other{number} SET id = id + 10",
            f"DELETE FROM other{number}",
        )
    run.until_marked()
    run.terminate()

    # The referee itself cannot read these tables.
    history = source.history()
    source.check_tables(history)
    source.verify()
    changes = [
        commit.changes for commit in history.commits if commit.changes and commit.changes[0]["entity"] == "Order"
    ]
    assert [[change["key"]["id"] for change in of_one] for of_one in changes] == [[0], [1]]


@pytest.mark.parametrize("number", [0, 1])
def test_a_mapped_table_that_becomes_unreadable_stops_the_worker_by_name(
    binlog_source: BinlogSource, number: int
) -> None:
    source = open_shop(binlog_source)
    run = source.run()
    run.until_caught_up()
    source.execute(
        f"ALTER TABLE orders ADD COLUMN {COLUMNS[source.engine][number]}", "INSERT INTO orders VALUES (1, 'x')"
    )

    # Met in the stream, or when the altered table is looked at: whichever comes first.
    assert run.ended() in (3, 4)
    assert "orders" in run.output.partition("error: ")[2]
    source.run().refused(3, "orders", "mapped by an app schema")
