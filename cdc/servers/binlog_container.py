"""A MySQL or MariaDB in a container of the official image, where a Docker daemon answers."""

import importlib
import secrets
from collections.abc import Mapping
from typing import Any

from .binlog import BinlogServer
from .failure import ServerFailed
from .mysqld import COMMON, LocalMysqld

_PORT = 3306
_TIMEOUT_S = 120
# Of a container the settings of a server on this machine that are about its folders and addresses have no sense.
_NOT_INSIDE = ("bind-address", "socket")


class ContainerBinlogServer(BinlogServer):
    """A server of the official image with the settings of our local ones; it is removed with its data by `close`.

    Args:
        local: What runs on this machine otherwise.
        image: Such as `mysql:9`.
        settings: Options of the server beside or instead of ours.

    Raises:
        ServerFailed: The image cannot be had, or the server does not come up.
    """

    def __init__(self, local: type[LocalMysqld], image: str, settings: Mapping[str, str]) -> None:
        module: Any = importlib.import_module("testcontainers.core.container")
        strategies: Any = importlib.import_module("testcontainers.core.wait_strategies")
        password = secrets.token_hex(8)
        options = {**COMMON, **local.defaults, **settings}
        self._container: Any = None
        try:
            self._container = module.DockerContainer(image).with_exposed_ports(_PORT)
            self._container.with_env(f"{local.title.upper()}_ROOT_PASSWORD", password)
            self._container.with_command(
                [f"--{name}={value}" for name, value in options.items() if name not in _NOT_INSIDE]
            )
            # Before, the image starts a server without a port, to make its first users.
            self._container.waiting_for(
                strategies.LogMessageWaitStrategy(f"port: {_PORT} ").with_startup_timeout(_TIMEOUT_S)
            ).start()
            host, port = self._container.get_container_host_ip(), self._container.get_exposed_port(_PORT)
        except Exception as error:  # Docker's client raises errors of half a dozen libraries
            self.close()
            raise ServerFailed(
                "container", f"{image} did not start: {error}", server=local.title, hint=local.hint
            ) from error
        super().__init__(f"{local.scheme}://root:{password}@{host}:{port}/")

    def close(self) -> None:
        """Remove the container."""
        if self._container is not None:
            self._container.stop()
