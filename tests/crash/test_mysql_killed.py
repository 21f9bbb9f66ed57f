"""The worker on MySQL and MariaDB is killed wherever it hurts, and its source with it: nothing is lost and nothing twice."""

import random
from collections.abc import Callable

import pytest

from commitlog.cdc.servers.mysqld import LocalMysqld
from fixtures.binlog_load import load, open_shop
from fixtures.binlog_source import BinlogSource
from fixtures.worker import History

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding


@pytest.fixture
def shop(binlog_source: BinlogSource) -> BinlogSource:
    return open_shop(binlog_source)


def begin(source: BinlogSource) -> None:
    """Have the log begin, so that the referee knows where."""
    run = source.run()
    run.until_caught_up()
    run.terminate()


def check(source: BinlogSource, **settings: object) -> History:
    """The next worker brings the log to a whole end."""
    run = source.run(**settings)
    run.until_caught_up()
    run.terminate()
    return source.check()


@pytest.mark.parametrize("failpoint", ["after_read", "before_append", "after_append"])
def test_f1_to_f3_a_worker_killed_at_a_step_leaves_each_transaction_once(shop: BinlogSource, failpoint: str) -> None:
    begin(shop)
    with load(shop):
        for passage in (1, 2, 40):
            shop.run(f"{failpoint}:kill:{passage}").until_killed()

    check(shop)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
def test_f4_a_worker_killed_at_any_moment_under_load_leaves_each_transaction_once(
    shop: BinlogSource, kills: int
) -> None:
    """Every second worker is without the compiled part; the binlog is rotated in between."""
    begin(shop)
    rng = random.Random(kills)
    with load(shop) as writers:
        for number in range(kills):
            pure = "1" if number % 2 else ""
            run = shop.run(pure=pure, limits__part_bytes=600, limits__flush_bytes=2000).streaming()
            goal = writers.done + rng.randrange(300)
            run.until(lambda goal=goal: writers.done >= goal, "more transactions")
            shop.execute("FLUSH BINARY LOGS")
            run.kill()

    check(shop)


def test_f5_a_worker_killed_between_parts_voids_them_and_writes_the_commit_whole(shop: BinlogSource) -> None:
    parts = {"limits__part_bytes": 400, "limits__flush_bytes": 1, "limits__flush_ms": 0}
    run = shop.run(**parts).streaming()
    run.until_marked()
    run.kill()

    for passage in (1, 3, 9):
        rows = ", ".join(f"('passage {passage}', {n}, repeat('x', 90))" for n in range(80))
        shop.execute(f"INSERT INTO notes VALUES {rows}")
        shop.run(f"between_parts:kill:{passage}", **parts).until_killed()

    history = check(shop)
    sizes = [header["void"]["to"] - header["void"]["from"] + 1 for header, _ in history.of_kind("void")]
    assert max(sizes) > 1


def test_f6_a_worker_killed_in_a_snapshot_chunk_goes_on_after_the_last_whole_one(shop: BinlogSource) -> None:
    shop.execute(
        "INSERT INTO orders VALUES " + ", ".join(f"({-n}, 'old', {n})" for n in range(1, 91)),
        "INSERT INTO notes VALUES " + ", ".join(f"('w{n % 3}', {-n}, 'old')" for n in range(1, 46)),
    )
    with load(shop):
        for passage in (1, 3, 4):
            shop.run(f"in_snapshot_chunk:kill:{passage}", limits__snapshot_rows=10).until_killed()

    history = check(shop, limits__snapshot_rows=200)
    chunks = [items[1] for _, items in history.of_kind("snapshot") if items[1]["entity"] == "Order"]
    assert [chunk["from"] for chunk in chunks] == [None] + [chunk["to"] for chunk in chunks[:-1]]


@pytest.mark.parametrize("how", ["kill", "fast"])
def test_a_server_that_goes_away_and_comes_back_loses_nothing(
    own_either: LocalMysqld, new_binlog_source: Callable[[str], BinlogSource], how: str
) -> None:
    source = open_shop(new_binlog_source(own_either.create_database("shop")))
    begin(source)
    run = source.run().streaming()
    with load(source) as writers:
        for _ in range(2):
            goal = writers.done + 100
            run.until(lambda goal=goal: writers.done >= goal, "more transactions")
            own_either.restart(how)
    run.until_caught_up()
    run.terminate()

    source.check()


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
