"""Generated columns: recorded where the server can send them, and never in a way that makes the app's own UPDATE fail."""

from collections.abc import Callable

import psycopg
import pytest

from commitlog.cdc.servers.local import PostgresServer
from fixtures.followed import Followed
from fixtures.midstream import CHUNK, finish, settle, started
from fixtures.worker import Source


def test_a_table_with_a_stored_generated_column_takes_updates_and_is_recorded_with_it(source: Source) -> None:
    source.execute(
        "CREATE TABLE lines (id int PRIMARY KEY, price int, total int GENERATED ALWAYS AS (price * 2) STORED)",
        "INSERT INTO lines VALUES (1, 10)",
    )
    source.map("Line", "lines")
    source.setup()
    worker = source.run()
    worker.until_snapshots()
    source.execute(
        "INSERT INTO lines VALUES (2, 20)", "UPDATE lines SET price = 11 WHERE id = 1", "DELETE FROM lines WHERE id = 2"
    )
    worker.until_marked()
    worker.terminate()

    source.check()
    shapes = source.history().of_kind("shape")
    assert len([items for _, items in shapes if items[2]["entity"] == "Line"]) == 1


def test_a_table_with_a_virtual_generated_column_keeps_taking_updates(source: Source) -> None:
    version = int(str(source.value("SHOW server_version_num")))
    kind = "VIRTUAL" if version >= 180000 else "STORED"
    source.execute(
        f"CREATE TABLE views (id int PRIMARY KEY, price int, total int GENERATED ALWAYS AS (price * 2) {kind})"
    )
    source.map("View", "views", fields=("id", "price"))
    source.setup()
    source.execute("INSERT INTO views VALUES (1, 10)", "UPDATE views SET price = 11")
    worker = source.run()
    worker.until_marked()
    worker.terminate()

    changes = [change for commit in source.history().commits for change in commit.changes if change["entity"] == "View"]
    assert [change["op"] for change in changes] == ["insert", "update"]
    assert changes[1]["after"]["price"] == 11


def test_a_virtual_generated_column_added_later_is_named_and_setup_lets_the_app_write_again(
    source: Source, fork: Followed
) -> None:
    """Beside it the server refuses UPDATE and DELETE of a table that is to log whole old rows."""
    if int(str(source.value("SHOW server_version_num"))) < 180000:
        pytest.skip("needs PostgreSQL 18")
    source.execute("CREATE TABLE views (id int PRIMARY KEY, price int)", "INSERT INTO views VALUES (1, 10), (2, 20)")
    source.map("View", "views")
    source.setup()
    run = started(source)
    source.execute("ALTER TABLE views ADD total int GENERATED ALWAYS AS (price * 2)")
    with pytest.raises(psycopg.Error, match="cannot update"):
        source.execute("UPDATE views SET price = 11 WHERE id = 1")
    refusal = "public.views is to log whole old rows and has a virtual generated column"
    run.until(lambda: refusal in run.output, "being told of it")
    assert refusal in source.commitlog("doctor", code=4).stdout
    source.commitlog("setup")
    source.execute("UPDATE views SET price = 11 WHERE id = 1", "DELETE FROM views WHERE id = 2")
    finish(source, run, fork)
    assert "old rows: commits lack what was there before; beside a virtual generated column" in run.output
    assert refusal not in source.commitlog("doctor", code=1).stdout


@pytest.mark.parametrize("away", [False, True])
def test_a_stored_generated_column_with_another_expression_is_read_again(
    source: Source, fork: Followed, away: bool
) -> None:
    """Also where it is none any more when a worker comes to see it."""
    source.execute(
        "CREATE TABLE lines (id int PRIMARY KEY, price int, total int GENERATED ALWAYS AS (price * 2) STORED)",
        "INSERT INTO lines SELECT n, n FROM generate_series(1, 7) n",
    )
    source.map("Line", "lines")
    source.setup()
    run = started(source)
    fork.sync()
    if away:
        run.terminate()
    source.execute(
        "ALTER TABLE lines ALTER total SET EXPRESSION AS (price * 3)", "UPDATE lines SET price = 10 WHERE id = 1"
    )
    if not away:
        settle(run)
    source.execute("ALTER TABLE lines ALTER total DROP EXPRESSION", "UPDATE lines SET total = 0 WHERE id = 2")
    finish(source, source.run(**CHUNK) if away else run, fork)


@pytest.mark.full
@pytest.mark.parametrize("version", ["17", "15"])
def test_a_generated_column_that_the_server_does_not_send_is_named_and_read_when_it_is_none_any_more(
    version: str, new_source: Callable[[str], Source], new_database: Callable[[], str]
) -> None:
    with PostgresServer.start(version=version) as server:
        source = new_source(server.url)
        source.execute(
            "CREATE TABLE lines (id int PRIMARY KEY, price int, total int GENERATED ALWAYS AS (price * 2) STORED)",
            "INSERT INTO lines SELECT n, n FROM generate_series(1, 7) n",
        )
        source.map("Line", "lines")
        source.setup()
        unsent = "table public.lines is sent without its generated column total"
        assert unsent in source.commitlog("doctor", code=1).stdout
        run = started(source)
        assert unsent in run.output
        fork = Followed(source, new_database())
        fork.sync()
        source.execute(
            "UPDATE lines SET price = 10 WHERE id = 1",
            "ALTER TABLE lines ALTER total DROP EXPRESSION",
            "UPDATE lines SET total = 0 WHERE id = 2",
        )
        finish(source, run, fork)
        source.close()
