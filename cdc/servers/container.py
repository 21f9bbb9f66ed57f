"""A PostgreSQL in a container, where testcontainers is installed and a Docker daemon answers a ping.

The command `docker` alone says nothing: it is there on machines without a daemon, too.
"""

import importlib
import secrets
from collections.abc import Mapping
from typing import Protocol, Self, cast

from .failure import ServerFailed
from .postgres import Server

_DEFAULT_VERSION = "18"
_SETTINGS: Mapping[str, str] = {"wal_level": "logical", "max_wal_senders": "20", "max_replication_slots": "20"}
_PING_TIMEOUT_S = 3


class _Container(Protocol):
    """What is used of testcontainers' PostgresContainer, which has no complete types."""

    def with_command(self, command: list[str]) -> Self: ...
    def start(self) -> Self: ...
    def stop(self) -> None: ...
    def get_connection_url(self) -> str: ...


def docker_answers() -> bool:
    """Whether containers can be started: the package is there, and a daemon answers."""
    try:
        docker = importlib.import_module("docker")
        importlib.import_module("testcontainers.community.postgres")
    except ImportError:
        return False
    try:
        with docker.from_env(timeout=_PING_TIMEOUT_S) as client:
            return bool(client.ping())
    except docker.errors.DockerException:
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
        super().__init__(self._container.get_connection_url())

    def close(self) -> None:
        """Remove the container."""
        self._container.stop()
