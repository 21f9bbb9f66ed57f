"""Each way in which a MySQL or MariaDB can lose what a log needs is told by its name, before anything is read."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from commitlog.cdc.log.state import LogState
from commitlog.cdc.servers.mysqld import QUICK, LocalMysqld
from commitlog.cdc.source.mysql.checks import check_identity, check_log, check_published, check_settings
from commitlog.cdc.tail.mysql_catalog import Catalog
from commitlog.schemas.errors import HistoryLost, Refused
from commitlog.transforms.registry import Registry
from fixtures.binlog_source import BinlogSource
from fixtures.mysql import ENGINES
from fixtures.patience import until

OTHER = "11111111-2222-3333-4444-555555555555"


RESET = {"mysql": "RESET BINARY LOGS AND GTIDS", "mariadb": "RESET MASTER"}


@pytest.fixture(scope="module", params=ENGINES)
def server(request: pytest.FixtureRequest) -> Iterator[LocalMysqld]:
    """A server for these tests alone, which purge and reset its binary logs."""
    with ENGINES[request.param].start(settings=QUICK) as started:
        yield started


@pytest.fixture
def catalog(server: LocalMysqld) -> Iterator[Catalog]:
    """Of a server whose history begins with this test, and is in its second binary log."""
    made = Catalog(server.url)
    made.rows(RESET[made.engine])
    made.close()
    made = Catalog(server.create_database("shop"))
    made.rows("CREATE TABLE orders (id int PRIMARY KEY)")
    made.rows("FLUSH BINARY LOGS")
    made.rows("INSERT INTO orders VALUES (1)")
    yield made
    made.close()
    server.drop_database("shop")


def log_of(catalog: Catalog) -> LogState:
    """The state of a log that has all there is: its last commit is an insert of just now."""
    begun = catalog.binlog_status()
    catalog.rows("REPLACE INTO orders VALUES (2)")
    status = catalog.binlog_status()
    identity = catalog.identity()
    gtid = str(status.gtids.subtract(begun.gtids))
    return LogState(
        log="0" * 32,
        genesis={"server": identity.server, "database": "shop", "gtids": str(begun.gtids)},
        position=status.text,
        commit={"id": f"{identity.engine}:{gtid}", "position": status.text, "after": begun.text},
    )


def purge(catalog: Catalog, name: str) -> None:
    """MariaDB keeps a file until its engines have noted what is in it, and says nothing."""

    def purged() -> bool:
        catalog.rows(f"PURGE BINARY LOGS TO '{name}'")
        return catalog.binary_logs()[0].name == name

    until(purged, f"an end of the binary logs before {name}")


def check(catalog: Catalog, state: LogState) -> None:
    identity = catalog.identity()
    check_identity(identity, state)
    check_settings(catalog)
    check_log(catalog, identity, state)


def lost(catalog: Catalog, state: LogState) -> str:
    with pytest.raises(HistoryLost) as caught:
        check(catalog, state)
    assert "commitlog resume --accept-gap" in caught.value.hint
    return str(caught.value)


def test_a_log_goes_on_where_all_is_there_and_more_came(catalog: Catalog) -> None:
    check(catalog, LogState())
    state = log_of(catalog)
    check(catalog, state)
    catalog.rows("INSERT INTO orders VALUES (3)")
    catalog.rows("FLUSH BINARY LOGS")
    check(catalog, state)


def test_M1_what_was_purged_is_lost_and_what_the_log_has_may_be(catalog: Catalog) -> None:
    state = log_of(catalog)
    name = state.position.partition(":")[0]
    catalog.rows(f"PURGE BINARY LOGS TO '{name}'")
    check(catalog, state)

    catalog.rows("FLUSH BINARY LOGS")
    newest = catalog.binary_logs()[-1].name
    purge(catalog, newest)

    assert lost(catalog, state).startswith(
        f"the source has purged its binary log up to {newest}; the log stands at {state.position}"
    )


def test_M2_binary_logs_that_were_begun_anew_are_told(catalog: Catalog) -> None:
    state = log_of(catalog)
    reset = RESET[catalog.engine]
    catalog.rows(reset)
    assert f"begun anew ({reset}" in lost(catalog, state)

    catalog.rows("INSERT INTO orders VALUES (4)")
    assert f"begun anew ({reset}" in lost(catalog, state)


def test_M3_a_restored_dump_is_told(catalog: Catalog) -> None:
    executed = str(catalog.gtid_executed())
    state = log_of(catalog)
    if catalog.engine == "mysql":
        catalog.rows(RESET["mysql"])
        catalog.rows("SET GLOBAL gtid_purged = %s", (executed,))
    else:
        catalog.rows(RESET["mariadb"])
        catalog.rows("SET GLOBAL gtid_binlog_state = %s", (executed,))
        catalog.rows("FLUSH BINARY LOGS")
        purge(catalog, catalog.binary_logs()[-1].name)

    gtid = state.commit["id"].partition(":")[2]
    assert lost(catalog, state) == f"the source was restored from a copy or a dump: it lacks what the log has: {gtid}"


def test_M3_a_server_restored_from_a_copy_that_grew_again_is_told(catalog: Catalog) -> None:
    state = log_of(catalog)
    name, _, offset = state.position.partition(":")

    assert "nothing begins at" in lost(catalog, replace(state, position=f"{name}:{int(offset) - 1}"))
    catalog.rows("INSERT INTO orders VALUES (5)")
    far = f"{name}:{int(offset) + 5000}"
    assert f"ends at {catalog.binlog_status().text}, before the log's position {far}" in lost(
        catalog, replace(state, position=far)
    )


def test_M4_another_server_is_told(catalog: Catalog) -> None:
    other = {"mysql": f"{OTHER}:1-7", "mariadb": "0-99-7"}[catalog.engine]
    server = {"mysql": OTHER, "mariadb": "99"}[catalog.engine]
    state = log_of(catalog)
    foreign = replace(state, genesis={**state.genesis, "server": server, "gtids": other}, commit={})
    assert "the source is another server: " in lost(catalog, foreign)

    moved = replace(state, genesis={**state.genesis, "server": server}, commit={})
    assert "it has all that the log has, but its binary log is its own" in lost(catalog, moved)

    postgres = replace(state, genesis={"system": "7", "timeline": 1, "database": "shop"})
    assert "made from another kind of database" in lost(catalog, postgres)


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_M4_a_mariadb_is_known_by_its_history_and_not_by_its_server_id(catalog: Catalog) -> None:
    state = log_of(catalog)
    catalog.rows("SET GLOBAL server_id = 77")
    try:
        check(catalog, state)
    finally:
        catalog.rows("SET GLOBAL server_id = 1")
    earlier = replace(state, commit={**state.commit, "id": "mariadb:0-1-2"})
    assert "the log's last commit, mariadb:0-1-2, does not end at" in lost(catalog, earlier)


def test_M5_a_replica_that_lacks_what_the_log_has_is_told(catalog: Catalog) -> None:
    state = log_of(catalog)
    server, ahead = {"mysql": (OTHER, f"mysql:{OTHER}:1"), "mariadb": ("99", "mariadb:0-99-999")}[catalog.engine]
    state = replace(state, genesis={**state.genesis, "server": server}, commit={**state.commit, "id": ahead})
    assert "restored from a copy on another server" in lost(catalog, state)

    word = "REPLICATION SOURCE TO SOURCE" if catalog.engine == "mysql" else "MASTER TO MASTER"
    catalog.rows(f"CHANGE {word}_HOST = '127.0.0.1'")

    try:
        assert catalog.identity().replica
        gtid = ahead.partition(":")[2]
        assert lost(catalog, state).endswith(f"lacks what the log has: {gtid}")
        assert "the source is a replica" in lost(catalog, state)
    finally:
        catalog.rows(f"RESET {'REPLICA' if catalog.engine == 'mysql' else 'SLAVE'} ALL")


def test_a_binary_log_of_another_name_is_told(catalog: Catalog) -> None:
    state = log_of(catalog)
    _, _, number = state.position.rpartition(".")

    assert "was called elsewhere at" in lost(catalog, replace(state, position=f"elsewhere.{number}"))


@pytest.mark.parametrize("name", ["binlog_format", "binlog_row_image", "binlog_row_metadata"])
def test_less_than_whole_rows_with_names_is_refused(catalog: Catalog, name: str) -> None:
    weak = {"binlog_format": "MIXED", "binlog_row_image": "MINIMAL", "binlog_row_metadata": "MINIMAL"}[name]
    catalog.rows(f"SET GLOBAL {name} = {weak}")

    try:
        with pytest.raises(Refused, match=f"on the source {name} is {weak}: ") as caught:
            check_settings(catalog)
    finally:
        catalog.rows(f"SET GLOBAL {name} = {'ROW' if name == 'binlog_format' else 'FULL'}")
    assert f"{name} = " in caught.value.hint


def test_without_a_binary_log_the_source_is_refused(own_either: LocalMysqld) -> None:
    own_either.restart(settings={"skip-log-bin": ""})
    catalog = Catalog(own_either.url)
    try:
        assert catalog.binary_logs() == []
        with pytest.raises(Refused, match="log_bin is OFF"):
            check_settings(catalog)
        with pytest.raises(Refused, match="writes no binary log"):
            catalog.binlog_status()
        with pytest.raises(Refused, match="writes no binary log"):
            check_published(catalog, Registry([]), LogState())
    finally:
        catalog.close()


def test_the_worker_goes_on_though_what_stands_before_its_position_was_purged(
    server: LocalMysqld, catalog: Catalog, new_binlog_source: Callable[[str], BinlogSource]
) -> None:
    """Its last commit lies in a file that is gone; coverage has since taken the log's position into one that is there."""
    source = new_binlog_source(server.database_url("shop"))
    source.map("Order", "orders")
    source.setup()
    run = source.run(limits__coverage_s=0.05)
    run.until_caught_up()
    source.execute("INSERT INTO orders VALUES (7)", "CREATE TABLE other (id int PRIMARY KEY)")
    run.until_caught_up()
    catalog.rows("FLUSH BINARY LOGS")
    newest = catalog.binary_logs()[-1].name

    def covered() -> bool:
        source.execute("REPLACE INTO other VALUES (1)")
        position: str = json.loads(source.commitlog("status", "--json").stdout)["log"]["position"]
        return position.startswith(f"{newest}:")

    until(covered, f"a coverage record in {newest}")
    run.terminate()
    purge(catalog, newest)
    source.execute("INSERT INTO orders VALUES (8)")

    run = source.run()
    run.until_caught_up()
    run.terminate()

    # The referee would read what was purged; what the tables hold says that nothing is missing.
    source.check_tables(source.history())
    source.verify()


@pytest.mark.full
def test_M3_a_copy_of_the_server_that_grew_by_as_much_is_told_by_what_it_repeats(
    server: LocalMysqld, catalog: Catalog, new_binlog_source: Callable[[str], BinlogSource]
) -> None:
    """It has the same identity, the same GTIDs and the same places in its binary log: only the last commit's time differs."""
    executed = f"SELECT @@GLOBAL.{'gtid_binlog_pos' if server.product == 'mariadb' else 'gtid_executed'}"
    catalog.close()
    source = new_binlog_source(server.database_url("shop"))
    source.map("Order", "orders")
    source.setup()
    run = source.run()
    run.until_caught_up()
    run.terminate()
    server.stop()
    with type(server).start(settings=QUICK, copy_of=server) as copy:
        server.restart()
        run = source.run()
        run.until_caught_up()
        source.execute("INSERT INTO orders VALUES (70)")
        run.until_marked()
        run.terminate()
        ends = source.value(executed)
        moment = source.value("SELECT CURRENT_TIMESTAMP")
        until(lambda: source.value("SELECT CURRENT_TIMESTAMP") > moment, "the next second")
        original, source.url = source.url, copy.database_url("shop")
        source.configure(source.url)
        source.mark()
        source.execute("INSERT INTO orders VALUES (80)")
        source.mark()
        assert source.value(executed) == ends
        source.mark()

        source.run().refused(3, "history is another one: the log's last commit")
        source.url = original
