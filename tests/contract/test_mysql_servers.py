"""The local MySQL and MariaDB of demo, tests and benches do what they promise."""

from urllib.parse import urlsplit

import pytest

from commitlog.cdc.servers.binlog import MARIADB_FEATURES, MYSQL_FEATURES, BinlogServer, connect
from commitlog.cdc.servers.mysqld import LocalMysqld, StopMode

FEATURES = {"mysql": MYSQL_FEATURES, "mariadb": MARIADB_FEATURES}


def test_a_server_writes_whole_rows_with_names_and_gtids_and_has_the_engine_that_stores_nothing(
    either_server: BinlogServer,
) -> None:
    features = FEATURES[either_server.product]
    assert either_server.variables(features) == features
    support = either_server.query("SELECT support FROM information_schema.engines WHERE engine = 'BLACKHOLE'")
    assert support == "YES"


def test_a_test_gets_an_empty_database(either_database: str, either_server: BinlogServer) -> None:
    with connect(either_database) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT database(), (SELECT count(*) FROM information_schema.tables WHERE table_schema = database())"
        )
        assert cursor.fetchone() == (urlsplit(either_database).path[1:], 0)


@pytest.mark.parametrize("mode", ["fast", "kill"])
def test_a_restart_keeps_committed_rows_the_url_and_what_was_logged(own_either: LocalMysqld, mode: StopMode) -> None:
    server = own_either
    url = server.create_database("kept")
    connection = connect(url)
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE t (id int PRIMARY KEY)")
    cursor.execute("INSERT INTO t VALUES (7)")
    cursor.execute("BEGIN")
    cursor.execute("INSERT INTO t VALUES (8)")
    before, pid = server.url, server.pid

    server.restart(mode, settings={"server-id": "99"})

    connection.close()
    assert server.url == before
    assert server.pid != pid
    assert server.query("SELECT group_concat(id) FROM kept.t") == "7"
    assert server.query("SELECT @@server_id") == 99
