"""What can be told about the servers without starting one."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from commitlog.cdc.servers.binlog_container import ContainerBinlogServer
from commitlog.cdc.servers.container import docker_answers
from commitlog.cdc.servers.failure import KAFKA_BOOTSTRAP_VARIABLE, ServerFailed
from commitlog.cdc.servers.kafka import DEFAULTS
from commitlog.cdc.servers.kafka_container import start_command
from commitlog.cdc.servers.kafka_programs import KAFKA_VERSION
from commitlog.cdc.servers.kafka_provision import provide_kafka
from commitlog.cdc.servers.mariadb import MariaDbServer
from commitlog.cdc.servers.mysql import MySqlServer
from commitlog.cdc.servers.mysqld import LocalMysqld
from commitlog.cdc.servers.postgres import Server


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[socket.socket]:
    """The listening socket of a daemon, at a path short enough for a socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "d"))
        listener.listen()
        listener.settimeout(10)
        yield listener


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(b"HTTP/1.1 200 OK\r\n\r\nOK", True), (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False), (b"", False)],
)
def test_a_docker_daemon_counts_when_it_answers_a_ping(
    daemon: socket.socket, monkeypatch: pytest.MonkeyPatch, answer: bytes, expected: bool
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{daemon.getsockname()}")
    asked: list[bytes] = []

    def serve() -> None:
        connection, _ = daemon.accept()
        with connection:
            asked.append(connection.recv(1000))
            connection.sendall(answer)

    server = threading.Thread(target=serve)
    server.start()
    answered = docker_answers()
    server.join(10)

    assert answered is expected
    assert asked[0].startswith(b"GET /_ping HTTP/1.1\r\n")


def test_the_docker_command_without_a_daemon_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody-listens")

    assert docker_answers() is False


@pytest.fixture
def daemon_without_images(daemon: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Docker daemon that answers, and has nothing to give; no other program is on PATH."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{daemon.getsockname()}")
    monkeypatch.setenv("PATH", str(tmp_path))

    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            connection, _ = daemon.accept()
            with connection, contextlib.suppress(OSError):
                asked = connection.recv(10_000)
                ping = asked.startswith(b"GET /_ping HTTP/1.1\r\n")
                connection.sendall(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % (b"200 OK" if ping else b"500 No"))

    server = threading.Thread(target=serve)
    server.start()
    yield
    done.set()
    with socket.socket(socket.AF_UNIX) as last:
        last.connect(daemon.getsockname())
    server.join(10)


@pytest.mark.usefixtures("daemon_without_images")
def test_without_java_a_daemon_that_answers_is_asked_for_a_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KAFKA_BOOTSTRAP_VARIABLE, raising=False)
    with pytest.raises(ServerFailed, match=f"step container: apache/kafka:{KAFKA_VERSION} did not start"):
        provide_kafka()


@pytest.mark.usefixtures("daemon_without_images")
@pytest.mark.parametrize("local", [MySqlServer, MariaDbServer])
def test_a_daemon_that_has_no_image_to_give_is_named_with_the_way_on(local: type[LocalMysqld]) -> None:
    with pytest.raises(ServerFailed, match=f"step container: {local.image} did not start") as failed:
        ContainerBinlogServer(local, local.image, {})
    assert local.variable in failed.value.hint


def test_a_kafka_in_a_container_has_the_settings_of_a_local_one_and_is_reached_from_outside() -> None:
    *_, script = start_command("docker.example", 12345)

    text = subprocess.run(
        ["/bin/sh", "-c", script.partition(" > ")[0]], capture_output=True, text=True, check=True, timeout=10
    ).stdout
    settings = dict(line.split("=", 1) for line in text.splitlines())

    assert settings["advertised.listeners"] == "PLAINTEXT://docker.example:12345"
    assert {name: settings[name] for name in DEFAULTS} == DEFAULTS


def test_the_url_of_a_database_keeps_who_and_where_and_quotes_the_name() -> None:
    server = Server("postgresql://me:secret@db.example:5433/postgres?sslmode=require")

    assert server.database_url("a/b ü") == "postgresql://me:secret@db.example:5433/a%2Fb%20%C3%BC?sslmode=require"
