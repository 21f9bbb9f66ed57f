"""What can be told about the servers without starting one."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from commitlog.cdc.servers.container import docker_answers
from commitlog.cdc.servers.failure import KAFKA_BOOTSTRAP_VARIABLE, ServerFailed
from commitlog.cdc.servers.kafka import DEFAULTS, provide_kafka
from commitlog.cdc.servers.kafka_container import start_command
from commitlog.cdc.servers.kafka_programs import KAFKA_VERSION
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


def test_without_java_a_daemon_that_answers_is_asked_for_a_kafka(
    daemon: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers here, and has none to give."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{daemon.getsockname()}")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(KAFKA_BOOTSTRAP_VARIABLE, raising=False)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = daemon.accept()
                with connection:
                    asked = connection.recv(10_000)
                    ping = asked.startswith(b"GET /_ping HTTP/1.1\r\n")
                    connection.sendall(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % (b"200 OK" if ping else b"500 No"))

    server = threading.Thread(target=serve)
    server.start()
    with pytest.raises(ServerFailed, match=f"step container: apache/kafka:{KAFKA_VERSION} did not start"):
        provide_kafka()
    daemon.shutdown(socket.SHUT_RDWR)
    server.join(10)


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
