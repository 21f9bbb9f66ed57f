"""A PostgreSQL in a container, where testcontainers is installed and a Docker daemon answers a ping.

The command `docker` alone says nothing: it is there on machines without a daemon, too.
"""

import importlib
import os
import secrets
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Protocol, Self, cast
from urllib.parse import urlsplit

from ..tail.address import secured
from .failure import ServerFailed
from .postgres import Server

_DEFAULT_VERSION = "18"
_SETTINGS: Mapping[str, str] = {"wal_level": "logical", "max_wal_senders": "20", "max_replication_slots": "20"}
_DEFAULT_DAEMON = "unix:///var/run/docker.sock"
_PING_TIMEOUT_S = 3


class _Container(Protocol):
    """What is used of testcontainers' PostgresContainer, which has no complete types."""

    def with_command(self, command: list[str]) -> Self: ...
    def start(self) -> Self: ...
    def stop(self) -> None: ...
    def get_connection_url(self) -> str: ...


def docker_answers() -> bool:
    """Whether containers can be started: the package is there, and a daemon answers at DOCKER_HOST without TLS."""
    if find_spec("testcontainers") is None:
        return False
    daemon = urlsplit(os.environ.get("DOCKER_HOST") or _DEFAULT_DAEMON)
    try:
        with socket.socket(socket.AF_UNIX if daemon.scheme == "unix" else socket.AF_INET) as connection:
            connection.settimeout(_PING_TIMEOUT_S)
            connection.connect(daemon.path if daemon.scheme == "unix" else (daemon.hostname, daemon.port or 2375))
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
            with connection.makefile("rb") as answer:
                return b" 200 " in answer.readline(200)
    except OSError:
        return False


class ContainerServer(Server):
    """A PostgreSQL of the official image; it is removed with its data by `close`.

    Raises:
        ServerFailed: The image cannot be had, or the server does not come up.
    """

    def __init__(self, settings: Mapping[str, str], version: str | None = None) -> None:
        module = importlib.import_module("testcontainers.community.postgres")
        command = ["postgres"]
        for name, value in {**_SETTINGS, **settings}.items():
            command += ["-c", f"{name}={value}"]
        image = f"postgres:{version or _DEFAULT_VERSION}"
        container = cast(
            _Container,
            module.PostgresContainer(
                image, username="postgres", password=secrets.token_hex(8), dbname="postgres", driver=None
            ),
        )
        self._container = container.with_command(command)
        try:
            self._container.start()
        except Exception as error:  # Docker's client raises errors of half a dozen libraries
            self._container.stop()
            raise ServerFailed("container", f"{image} did not start: {error}") from error
        url = self._container.get_connection_url()
        # A daemon may give an address of its bridge, which does not look like this machine's; the image speaks no TLS.
        super().__init__(url if secured(url) == url else f"{url}?sslmode=disable")

    def close(self) -> None:
        """Remove the container."""
        self._container.stop()
