"""An Apache Kafka in a container of the official image: for machines without Java or Maven on which a Docker daemon answers."""

import importlib
import shlex
from typing import Any

from .failure import ServerFailed
from .kafka import DEFAULTS, STARTED, Kafka
from .kafka_programs import KAFKA_VERSION
from .ports import free_port

IMAGE = f"apache/kafka:{KAFKA_VERSION}"
_PORT = 9092
_CLUSTER = "Y29tbWl0bG9nY29udGFpbg"


def start_command(host: str, port: int) -> list[str]:
    """What the container runs: Kafka's own tools with the settings of our local brokers, which clients reach at HOST:PORT."""
    settings = {
        **DEFAULTS,
        "listeners": f"PLAINTEXT://:{_PORT},CONTROLLER://localhost:9093",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        "controller.quorum.voters": "1@localhost:9093",
        "log.dirs": "/tmp/kafka",  # noqa: S108 - in the container
    }
    text, file = "\\n".join(f"{name}={value}" for name, value in settings.items()), "/tmp/server.properties"  # noqa: S108
    steps = (
        f"printf {shlex.quote(text)} > {file}",
        f"/opt/kafka/bin/kafka-storage.sh format --cluster-id {_CLUSTER} --config {file}",
        f"exec /opt/kafka/bin/kafka-server-start.sh {file}",
    )
    return ["/bin/sh", "-c", " && ".join(steps)]


class ContainerKafka(Kafka):
    """One node that is broker and controller; it is removed with its data by `close`.

    Raises:
        ServerFailed: The image cannot be had, or the broker does not come up.
    """

    def __init__(self) -> None:
        module: Any = importlib.import_module("testcontainers.core.container")
        strategies: Any = importlib.import_module("testcontainers.core.wait_strategies")
        port = free_port()
        self._container: Any = None
        try:
            self._container = module.DockerContainer(IMAGE).with_bind_ports(_PORT, port)
            host = self._container.get_container_host_ip()
            self._container.with_command(start_command(host, port))
            self._container.waiting_for(strategies.LogMessageWaitStrategy(STARTED)).start()
        except Exception as error:  # Docker's client raises errors of half a dozen libraries
            self.close()
            raise ServerFailed("container", f"{IMAGE} did not start: {error}", server="Kafka") from error
        super().__init__(f"{host}:{port}")

    def close(self) -> None:
        """Remove the container."""
        if self._container is not None:
            self._container.stop()
