"""An app schema that changes while a log grows: what it records from then on of rows that are there is told, whatever the engine."""

import signal
from collections.abc import Callable

import pytest

from fixtures.binlog_source import BinlogSource
from fixtures.followed import Followed
from fixtures.oplog_source import OplogSource
from fixtures.worker import Run, Source


@pytest.fixture(params=["postgres", "mysql", "mariadb"])
def shop(
    request: pytest.FixtureRequest,
    new_source: Callable[[str], Source],
    new_binlog_source: Callable[[str], BinlogSource],
) -> Source:
    """A source with two tables of orders, on each engine that has tables."""
    if request.param == "postgres":
        source = new_source(request.getfixturevalue("database"))
    else:
        source = new_binlog_source(request.getfixturevalue(f"{request.param}_database"))
    for table, first in (("orders", 1), ("papers", 2)):
        source.execute(
            f"CREATE TABLE {table} (id int PRIMARY KEY, status varchar(20))",
            f"INSERT INTO {table} VALUES ({first}, 'old'), ({first + 1}, 'old')",
        )
    return source


def started(source: Source) -> Run:
    run = source.run().streaming()
    run.until_caught_up()
    return run


def reloaded(source: Source, run: Run, *, stopped: bool) -> Run:
    """A worker with the app schemas as they are now."""
    if stopped:
        run.terminate()
        return source.run().streaming()
    seen = run.output.count("app schemas read again")
    run.signal(signal.SIGHUP)
    run.until(lambda: run.output.count("app schemas read again") > seen, "the new schema")
    return run


def until_told(source: Source, run: Run, why: str) -> None:
    """Wait until the rows are read again for this reason."""
    run.until(lambda: f"Order: {why}" in run.output, "a reason")
    run.until_marked()
    run.until_caught_up()
    run.terminate()
    source.check_tables(source.history())
    source.verify()


@pytest.mark.parametrize("stopped", [False, True], ids=["by SIGHUP", "while no worker ran"])
def test_a_field_that_a_schema_records_from_now_on_is_told_of_the_rows_that_are_there(
    shop: Source, new_database: Callable[[], str], stopped: bool
) -> None:
    shop.map("Order", "orders", fields=["id"])
    shop.setup()
    run = started(shop)
    fork = Followed(shop, new_database())
    fork.sync()

    shop.map("Order", "orders")
    run = reloaded(shop, run, stopped=stopped)
    until_told(shop, run, "column status was added" if type(shop) is Source else "its app schema records status anew")
    fork.check("Order")


def test_an_entity_that_comes_from_another_table_has_the_rows_of_that(shop: Source) -> None:
    shop.map("Order", "orders")
    shop.setup()
    run = started(shop)

    table = shop.map("Order", "papers").table
    shop.commitlog("setup")
    run = reloaded(shop, run, stopped=False)
    until_told(shop, run, f"it comes from {'.'.join(table)} instead of")


@pytest.mark.parametrize("stopped", [False, True], ids=["by SIGHUP", "while no worker ran"])
def test_what_was_in_no_schema_for_a_while_is_told_anew(shop: Source, stopped: bool) -> None:
    shop.map("Order", "orders")
    shop.setup()
    run = started(shop)
    entity = shop.entities.pop("Order")
    shop.write_schema(shop.schema_path, shop.schema())
    run = reloaded(shop, run, stopped=stopped)
    shop.execute("UPDATE orders SET status = 'unseen' WHERE id = 1", "DELETE FROM orders WHERE id = 2")
    run.until_marked()

    shop.entities["Order"] = entity
    shop.write_schema(shop.schema_path, shop.schema())
    run = reloaded(shop, run, stopped=stopped)
    until_told(shop, run, "for a while it was in no app schema")


def test_a_field_of_documents_that_a_schema_records_from_now_on_is_told(oplog_source: OplogSource) -> None:
    source = oplog_source
    orders = source.db.create_collection("orders")
    orders.insert_many([{"_id": number, "status": "old", "more": {"size": number}} for number in range(3)])
    source.map("Order", "orders", fields=("_id",))
    source.setup()
    run = started(source)

    source.map("Order", "orders", fields=("_id", "status"))
    run = reloaded(source, run, stopped=False)
    until_told(source, run, "its app schema records status anew")
