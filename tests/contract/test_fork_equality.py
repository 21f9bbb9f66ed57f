"""The proof that a fork is equal: of the fields that both sides have, and with the names of those that it leaves out."""

import json
from collections.abc import Callable

import psycopg
import pytest

from commitlog.cdc.cli.main import main
from commitlog.cdc.fork.comparison import LeftOut
from commitlog.cdc.fork.equality import compare
from fixtures.fork_log import Fork, MadeLog, column

ID = column("id", "int32", nullable=False)
STATUS, NOTE = column("status"), column("note")


class Sides:
    """A fork, and the database that its log might have been made from.

    Attributes:
        log: The log.
        fork: The fork.
        url: The source.
    """

    def __init__(self, log: MadeLog, new_database: Callable[[], str]) -> None:
        self.log, self.fork, self.url = log, Fork(log, new_database()), new_database()
        log.shape("Order", ID, STATUS, NOTE, table="public.orders")
        log.snapshot("Order", *({"id": n, "status": "new", "note": f"n{n}"} for n in (1, 2, 3)))
        self.fork.sync()
        self.source(
            "CREATE TABLE orders (id int PRIMARY KEY, status text, note text)",
            "INSERT INTO orders SELECT n, 'new', 'n' || n FROM generate_series(1, 3) n",
        )

    def source(self, *statements: str) -> None:
        """What happens at the source."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@pytest.fixture
def sides(made_log: MadeLog, new_database: Callable[[], str]) -> Sides:
    return Sides(made_log, new_database)


def test_a_column_dropped_at_the_source_that_the_log_has_not_told_of_is_left_out_by_name(
    sides: Sides, capsys: pytest.CaptureFixture[str]
) -> None:
    sides.source("ALTER TABLE orders DROP note")

    (table,) = compare(sides.url, sides.fork.url)

    assert (table.equal, table.rows, table.left_out) == (True, 3, (LeftOut("note", "source"),))
    assert main(["fork", "status", "--into", sides.fork.url, "--check", sides.url]) == 0
    shown = capsys.readouterr().out
    assert "public.orders: equal, 3 rows\n  not compared: note, which the source does not have" in shown
    assert main(["fork", "status", "--into", sides.fork.url, "--check", sides.url, "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)["compared"]
    assert compared[0]["left_out"] == [{"field": "note", "by": "source"}]

    sides.source("UPDATE orders SET status = 'paid' WHERE id = 2")
    (table,) = compare(sides.url, sides.fork.url)
    assert table.other.keys == (("2",),)


def test_a_column_that_the_log_tells_of_no_more_is_left_out_by_name(sides: Sides) -> None:
    sides.log.shape("Order", ID, STATUS, table="public.orders")
    sides.log.commit(sides.log.insert("Order", {"id": 4, "status": "new"}))
    sides.source("INSERT INTO orders VALUES (4, 'new', 'unpublished')")
    sides.fork.sync()

    (table,) = compare(sides.url, sides.fork.url)

    assert (table.equal, table.rows, table.left_out) == (True, 4, (LeftOut("note", "shape"),))


def test_a_fork_without_a_published_column_is_not_equal(sides: Sides, capsys: pytest.CaptureFixture[str]) -> None:
    sides.fork.sql("ALTER TABLE orders DROP note")

    (table,) = compare(sides.url, sides.fork.url)

    assert (table.equal, table.rows, table.left_out) == (False, 3, (LeftOut("note", "fork"),))
    assert (table.missing.count, table.extra.count, table.other.count) == (0, 0, 0)
    assert main(["fork", "status", "--into", sides.fork.url, "--check", sides.url]) == 1
    assert "public.orders: not equal\n  not compared: note, which the fork does not have" in capsys.readouterr().out


def test_a_column_that_neither_side_has_is_not_told_to_be_equal(sides: Sides) -> None:
    sides.source("ALTER TABLE orders DROP note")
    sides.fork.sql("ALTER TABLE orders DROP note")

    (table,) = compare(sides.url, sides.fork.url)

    assert (table.equal, table.left_out) == (True, (LeftOut("note", "source"),))


@pytest.mark.parametrize("by", ["source", "fork"])
@pytest.mark.parametrize(("statement", "without"), [("ALTER TABLE orders DROP id", 1), ("DROP TABLE orders", 3)])
def test_without_a_table_or_its_key_nothing_is_compared_or_equal_and_other_tables_are(
    sides: Sides, by: str, statement: str, without: int
) -> None:
    sides.log.shape("Note", ID)
    sides.log.snapshot("Note", {"id": 1})
    sides.fork.sync()
    sides.source("CREATE TABLE note AS SELECT 1 AS id")
    sides.source(statement) if by == "source" else sides.fork.sql(statement)

    order, note = compare(sides.url, sides.fork.url)

    assert (order.equal, order.rows) == (False, None)
    assert [(left.field, left.by) for left in order.left_out] == [(f, by) for f in ("id", "status", "note")[:without]]
    assert (note.equal, note.rows) == (True, 1)
