"""The server of a worker on MySQL or MariaDB is killed, or its sessions keep out of the binlog what a worker needs.

The worker itself is killed in test_worker_killed.py.
"""

from collections.abc import Callable

import pytest

from commitlog.cdc.servers.mysqld import LocalMysqld
from fixtures.binlog_load import load, open_shop
from fixtures.binlog_source import BinlogSource

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding


@pytest.fixture
def shop(binlog_source: BinlogSource) -> BinlogSource:
    return open_shop(binlog_source)


@pytest.mark.parametrize("how", ["kill", "fast"])
def test_a_server_that_goes_away_and_comes_back_loses_nothing(
    own_either: LocalMysqld, new_binlog_source: Callable[[str], BinlogSource], how: str
) -> None:
    source = open_shop(new_binlog_source(own_either.create_database("shop")))
    source.start_log()
    run = source.run().streaming()
    with load(source) as writers:
        for _ in range(2):
            writers.more(run, 100)
            own_either.restart(how)

    source.finish(run)


def test_another_reader_with_our_number_is_named(
    own_either: LocalMysqld, new_binlog_source: Callable[[str], BinlogSource]
) -> None:
    one, other = (open_shop(new_binlog_source(own_either.create_database(name))) for name in ("one", "other"))
    first = one.run(source__server_id=77).streaming()
    first.until_caught_up()
    other.run(source__server_id=77).streaming()

    hint = first.refused(4, "calls itself server 77")

    assert "server_id" in hint


def test_a_session_that_has_its_transactions_compressed_is_read_alike(
    new_binlog_source: Callable[[str], BinlogSource], mysql_database: str
) -> None:
    source = open_shop(new_binlog_source(mysql_database))
    run = source.run()
    run.until_caught_up()
    source.execute(
        "SET SESSION binlog_transaction_compression = ON",
        "INSERT INTO notes VALUES " + ", ".join(f"('w', {n}, repeat('z', 500))" for n in range(200)),
        "UPDATE notes SET body = concat(body, '!')",
    )
    run.until_caught_up()
    run.terminate()

    source.check_tables(source.history())
    source.verify()
    assert [len(commit.changes) for commit in source.history().commits if len(commit.changes) > 1] == [200, 200]


def test_a_session_without_a_binlog_is_not_in_the_log(shop: BinlogSource) -> None:
    run = shop.run()
    run.until_caught_up()
    shop.execute("SET sql_log_bin = 0", "INSERT INTO orders VALUES (1, 'unlogged', 1)")
    shop.execute("INSERT INTO orders VALUES (2, 'logged', 1)")
    run.until_marked()
    run.terminate()

    assert [*shop.history().rows(shop.entities["Order"])] == [(2,)]


def test_a_statement_in_the_place_of_rows_stops_the_worker_by_name(
    own_mysql: LocalMysqld, new_binlog_source: Callable[[str], BinlogSource]
) -> None:
    source = open_shop(new_binlog_source(own_mysql.create_database("shop")))
    run = source.run()
    run.until_caught_up()
    source.execute("SET SESSION binlog_format = STATEMENT", "INSERT INTO orders VALUES (1, 'as text', 1)")

    assert "binlog_format" in run.refused(4, "statement")
