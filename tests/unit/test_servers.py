"""What can be told about the servers without starting one."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from commitlog.cdc.servers.container import docker_answers
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


def test_the_url_of_a_database_keeps_who_and_where_and_quotes_the_name() -> None:
    server = Server("postgresql://me:secret@db.example:5433/postgres?sslmode=require")

    assert server.database_url("a/b ü") == "postgresql://me:secret@db.example:5433/a%2Fb%20%C3%BC?sslmode=require"
