"""A MongoDB in a container of the official image, where a Docker daemon answers."""

import importlib
import secrets
import shlex
from typing import Any

from .failure import ServerFailed
from .mongod import COMMON, PARAMETERS, SET, initiate
from .mongod_programs import HINT
from .mongodb import MongoServer
from .ports import HOST, free_port

_IMAGE = "mongo:6.0"
_TIMEOUT_S = 120


def start_command(port: int, key: str) -> list[str]:
    """What the container runs: a member of a set, on the port by which it is reached from outside, too."""
    options = {**COMMON, "bind_ip_all": "", "port": str(port), "replSet": SET, "keyFile": "/data/key"}
    words = [f"--{name}={value}" if value else f"--{name}" for name, value in options.items()]
    words += [f"--setParameter={name}={value}" for name, value in PARAMETERS.items()]
    return ["/bin/sh", "-c", f"umask 077 && printf {key} > /data/key && exec mongod {shlex.join(words)}"]


class ContainerMongoServer(MongoServer):
    """A replica set of one, with the settings of our local ones; it is removed with its data by `close`.

    Raises:
        ServerFailed: The image cannot be had, or the server does not come up.
    """

    def __init__(self) -> None:
        module: Any = importlib.import_module("testcontainers.core.container")
        strategies: Any = importlib.import_module("testcontainers.core.wait_strategies")
        port, key = free_port(), secrets.token_hex(32)
        self._container: Any = None
        try:
            self._container = module.DockerContainer(_IMAGE).with_bind_ports(port, port)
            self._container.with_command(start_command(port, key))
            self._container.waiting_for(
                strategies.LogMessageWaitStrategy("Waiting for connections").with_startup_timeout(_TIMEOUT_S)
            ).start()
            host = self._container.get_container_host_ip().replace("localhost", HOST)
        except Exception as error:  # Docker's client raises errors of half a dozen libraries
            self.close()
            raise ServerFailed("container", f"{_IMAGE} did not start: {error}", server="MongoDB", hint=HINT) from error
        try:
            super().__init__(initiate([f"{HOST}:{port}"], key, {}, reach=f"{host}:{port}"))
        except ServerFailed:
            self.close()
            raise

    def close(self) -> None:
        """Remove the container."""
        if self._container is not None:
            self._container.stop()
