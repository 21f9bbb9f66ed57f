"""The MySQL and the MariaDB of compose/: their settings, certificates, users and grants, on real servers of this machine."""

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from commitlog.cdc.cli import doctor, setup
from commitlog.cdc.servers.binlog import BinlogServer
from commitlog.cdc.servers.scratch import Scratch
from commitlog.cdc.tail.mysql_connection import connect
from commitlog.schemas.errors import CommitLogError
from fixtures.composed import Composed, services
from fixtures.mysql import ENGINES

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    scratch = Scratch("commitlog-compose-", parent="/tmp")
    scratch.folder.chmod(0o755)
    yield Composed(scratch.folder)
    scratch.remove()


@pytest.fixture(scope="module", params=ENGINES)
def server(composed: Composed, request: pytest.FixtureRequest) -> Iterator[BinlogServer]:
    with ENGINES[request.param].start(settings=composed.binlog_settings(request.param)) as server:
        # It takes no one in clear.
        server.url += "?ssl-mode=REQUIRED"
        composed.run_binlog_sql(server)
        yield server


def test_its_log_can_be_read(server: BinlogServer) -> None:
    features = ENGINES[server.product].features
    assert server.variables(features) == features
    words = services()[server.product]["command"]
    assert words[0] == ("mysqld" if server.product == "mysql" else "mariadbd")


def test_doctor_and_setup_find_nothing_amiss(
    composed: Composed, server: BinlogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(composed.binlog_worker_folder(server))
    found = CliRunner().invoke(doctor.command, ["--json"])
    assert {json.loads(line)["level"] for line in found.stdout.splitlines()} == {"ok"}, found.stdout
    root = f"{urlsplit(server.url)._replace(path='/shop', query='ssl-mode=required').geturl()}"
    printed = CliRunner().invoke(setup.command, ["--sql", "--role", "commitlog", "--source", root])
    assert printed.stdout == "nothing to do: the source is ready\n"


def test_the_worker_follows_the_log_reads_what_is_mapped_and_may_do_nothing_else(
    composed: Composed, server: BinlogServer
) -> None:
    server.query("INSERT INTO shop.orders (customer_id) VALUES (7)")
    connection = connect(composed.binlog_url(server, "commitlog", "worker"))
    assert connection.encrypted
    assert connection.rows("SHOW BINARY LOGS")
    assert int(connection.rows("SELECT count(*) FROM shop.orders")[0][0]) > 0
    for statement in ("DELETE FROM shop.orders", "INSERT INTO commitlog.stamp VALUES ('x')", "CREATE DATABASE mine"):
        with pytest.raises(Exception, match="denied"):
            connection.rows(statement)
    connection.close()


def test_the_app_writes_its_rows_and_its_stamp_and_reads_no_log(composed: Composed, server: BinlogServer) -> None:
    connection = connect(composed.binlog_url(server, "shop", "app"))
    connection.rows("INSERT INTO shop.orders (customer_id) VALUES (8)")
    connection.rows("INSERT INTO commitlog.stamp (ctx) VALUES ('{}')")
    for statement in ("SHOW BINARY LOGS", "DROP TABLE commitlog.stamp", "SELECT * FROM commitlog.stamp"):
        with pytest.raises(Exception, match="denied"):
            connection.rows(statement)
    connection.close()


@pytest.mark.parametrize("user", ["commitlog", "shop", "shop_owner"])
def test_who_shows_no_certificate_or_anothers_is_let_in_nowhere(
    composed: Composed, server: BinlogServer, user: str
) -> None:
    bare = composed.binlog_url(server, user)
    other = composed.binlog_url(
        server, "shop" if user != "shop" else "commitlog", "app" if user != "shop" else "worker"
    )
    clear = urlsplit(bare)._replace(query="ssl-mode=disabled").geturl()
    swapped = other.replace("://shop@", f"://{user}@").replace("://commitlog@", f"://{user}@")
    for url in (bare, clear, swapped):
        with pytest.raises(CommitLogError):
            connect(url)
