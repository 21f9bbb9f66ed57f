"""The servers of the demo, the tests and the benches do what they promise."""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import urlsplit

import psycopg
import pytest

from commitlog.cdc.servers import provision
from commitlog.cdc.servers.failure import POSTGRES_URL_VARIABLE, ServerFailed
from commitlog.cdc.servers.local import PostgresServer, StopMode
from commitlog.cdc.servers.postgres import GivenServer, Server
from commitlog.schemas.errors import Refused, Unreachable
from fixtures.postgres import POSTGRES_VERSIONS, QUICK
from fixtures.proxy import TcpProxy


def query(url: str, text: str) -> object:
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        cursor = connection.execute(text)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def gone(pid: int) -> bool:
    """Whether the process has ended; one whose new parent has not yet noticed (a zombie) has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def ends_in_time(process: int) -> bool:
    """Whether the process behind this file descriptor ends within 20 s; afterwards it has, in any case."""
    waiter = select.poll()
    waiter.register(process, select.POLLIN)
    ended = bool(waiter.poll(20_000))
    if not ended:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    os.close(process)
    return ended


def test_a_server_is_ready_for_logical_replication_and_keeps_what_it_is_told(own_server: PostgresServer) -> None:
    assert query(own_server.url, "SHOW wal_level") == "logical"
    assert query(own_server.url, "SHOW fsync") == "off"
    assert query(own_server.url, "SHOW listen_addresses") == "127.0.0.1"
    assert str(query(own_server.url, "SHOW server_version")) == own_server.version


def test_a_server_writes_through_to_disk_unless_told_otherwise() -> None:
    with PostgresServer.start() as server:
        assert query(server.url, "SHOW fsync") == "on"


@pytest.mark.parametrize("version", POSTGRES_VERSIONS)
def test_the_asked_major_version_is_the_one_that_runs(version: str) -> None:
    with PostgresServer.start(version=version, settings=QUICK) as server:
        assert str(query(server.url, "SHOW server_version")).split(".")[0] == version


def test_a_local_server_asks_for_its_password(own_server: PostgresServer) -> None:
    parts = urlsplit(own_server.url)
    wrong = parts._replace(netloc=f"postgres:wrong@127.0.0.1:{parts.port}").geturl()

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        query(wrong, "SELECT 1")


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_a_restart_keeps_committed_rows_and_the_url(own_server: PostgresServer, mode: StopMode) -> None:
    query(own_server.url, "CREATE TABLE kept (id int)")
    query(own_server.url, "INSERT INTO kept VALUES (1)")
    url, pid = own_server.url, own_server.pid

    own_server.restart(mode)

    assert query(own_server.url, "SELECT count(*) FROM kept") == 1
    assert own_server.url == url
    assert own_server.pid != pid
    assert gone(pid)


def test_kill_leaves_no_process_behind_not_even_a_busy_one(own_server: PostgresServer) -> None:
    with psycopg.connect(own_server.url, autocommit=True) as connection:
        backend = connection.info.backend_pid
        # While it computes, a backend waits for nothing, and so does not see that its postmaster is dead.
        connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 20000) a, generate_series(1, 20000) b")
        own_server.stop("kill")
        connection.close()

    assert gone(backend)
    assert not own_server.running


def test_a_copy_goes_on_from_the_data_of_the_original_with_the_same_identity(own_server: PostgresServer) -> None:
    query(own_server.url, "CREATE TABLE kept AS SELECT 7 AS id")
    identity = query(own_server.url, "SELECT system_identifier FROM pg_control_system()")
    own_server.stop()

    with PostgresServer.start(copy_of=own_server, settings=QUICK) as copy:
        own_server.restart()

        assert query(copy.url, "SELECT id FROM kept") == 7
        assert query(copy.url, "SELECT system_identifier FROM pg_control_system()") == identity
        assert copy.url != own_server.url


def test_nothing_is_left_after_close() -> None:
    with PostgresServer.start(settings=QUICK) as server:
        pid, home = server.pid, server.folder.parent

    assert gone(pid)
    assert not home.exists()


def test_a_server_ends_with_the_process_that_started_it_even_by_sigkill(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from commitlog.cdc.servers.local import PostgresServer\n"
        "with PostgresServer.start(settings={'fsync': 'off'}) as server:\n"
        "    print(server.pid, server.folder.parent, server.programs.folder, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as owner:
        assert owner.stdout is not None
        pid, home, programs = owner.stdout.readline().split()
        server = os.pidfd_open(int(pid))
        owner.send_signal(signal.SIGKILL)
        owner.wait(10)
    ended = ends_in_time(server)
    shutil.rmtree(home)
    if programs.startswith("/tmp/commitlog-postgres-"):
        # A copy made for root, of which nobody was left to remove it.
        shutil.rmtree(Path(programs).parents[3])

    assert ended


def test_a_failed_start_names_the_step_and_the_way_on_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make_folder(prefix: str, dir: str | None) -> str:  # noqa: A002 - tempfile's own name
        made.append(mkdtemp(prefix=prefix, dir=dir))
        return made[-1]

    monkeypatch.setattr("tempfile.mkdtemp", make_folder)

    with pytest.raises(ServerFailed, match="step start") as failure:
        PostgresServer.start(settings={"no_such_setting": "1"})

    assert "no_such_setting" in str(failure.value)
    assert POSTGRES_URL_VARIABLE in failure.value.hint
    assert [Path(folder).exists() for folder in made] == [False]


def test_a_version_that_is_not_there_is_named_with_the_places_looked_at() -> None:
    with pytest.raises(ServerFailed, match=r"no PostgreSQL 9 that can be run in /"):
        PostgresServer.start(version="9")


def test_a_folder_of_ones_own_must_be_empty(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()

    with pytest.raises(ServerFailed, match="is not empty"):
        PostgresServer.start(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["plain", 'a "b" %2F/c', "Ünïcode;--"])
def test_databases_of_any_name_are_made_and_dropped_with_slots_and_connections(
    postgres_server: Server, unique: str, name: str
) -> None:
    name = f"{unique} {name}"
    url = postgres_server.create_database(name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [unique])

        assert query(url, "SELECT current_database()") == name

        postgres_server.drop_database(name)

    count = query(postgres_server.url, f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{unique}'")
    assert count == 0
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        query(url, "SELECT 1")


def test_a_url_in_the_environment_is_used_and_its_server_goes_on(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POSTGRES_URL_VARIABLE, own_server.url)

    with provision.provide_postgres() as server:
        assert isinstance(server, GivenServer)
        assert server.url == own_server.url

    assert query(own_server.url, "SELECT 1") == 1


def test_a_given_server_that_does_not_answer_is_never_passed_over(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POSTGRES_URL_VARIABLE, own_server.url)
    own_server.stop("kill")

    with pytest.raises(Unreachable, match=r"no PostgreSQL answers at 127\.0\.0\.1"):
        provision.provide_postgres()


def test_a_given_server_without_a_logical_log_is_refused() -> None:
    with (
        PostgresServer.start(settings={**QUICK, "wal_level": "replica"}) as server,
        pytest.raises(Refused, match="wal_level=logical"),
    ):
        GivenServer(server.url)


def test_the_proxy_passes_a_session_and_cuts_it_on_demand(database: str, proxy: Callable[[str], TcpProxy]) -> None:
    through = proxy(database)
    with psycopg.connect(through.url, autocommit=True) as connection:
        connection.execute("SELECT 1")
        through.cut()

        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")

    assert query(through.url, "SELECT 2") == 2
    assert through.connection_count == 2


def test_the_proxy_refuses_while_stopped_and_takes_connections_again(
    database: str, proxy: Callable[[str], TcpProxy]
) -> None:
    through = proxy(database)
    through.stop()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        query(through.url, "SELECT 1")

    through.start()

    assert query(through.url, "SELECT 1") == 1


def test_the_proxy_cuts_after_exactly_so_many_bytes(database: str, proxy: Callable[[str], TcpProxy]) -> None:
    through = proxy(database)
    received = 0

    def read_a_megabyte() -> None:
        nonlocal received
        with connection.cursor().copy("COPY (SELECT repeat('x', 999) FROM generate_series(1, 1000)) TO STDOUT") as copy:
            for block in copy:
                received += len(block)

    with psycopg.connect(through.url, autocommit=True) as connection:
        through.limit_bytes(100_000)
        with pytest.raises(psycopg.OperationalError):
            read_a_megabyte()

    # Each row travels as 1000 bytes behind five of the protocol, after some forty bytes for the whole COPY.
    assert 98_000 <= received <= 100_000


def test_a_server_told_to_outlive_goes_on_after_its_process_and_ends_by_its_pid(tmp_path: Path) -> None:
    program = (
        "from commitlog.cdc.servers.local import PostgresServer\n"
        "server = PostgresServer.start(settings={'fsync': 'off'}, outlive=True)\n"
        "print(server.pid, server.folder.parent, server.url)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True, timeout=50
    )
    pid, home, url = run.stdout.split()
    server = os.pidfd_open(int(pid))
    answer = query(url, "SELECT 1")
    signal.pidfd_send_signal(server, signal.SIGINT)
    ended = ends_in_time(server)
    shutil.rmtree(home)

    assert answer == 1
    assert ended
