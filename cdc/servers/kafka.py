"""An Apache Kafka of our own on this machine: one node that is broker and controller (KRaft), on the loopback only.

It ends when the process that started it ends, even by SIGKILL, unless it is told to outlive it. It needs Java and, the first
time, Maven.
"""

import base64
import secrets
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Self

from .kafka_programs import failed, java, kafka_jars
from .ports import HOST, free_port
from .process import Service, SingleProcess, StopMode, folder_for
from .scratch import Scratch

# A broker of tests and of the demo holds little, and should be there soon: no more than the first compiler.
JAVA_OPTIONS = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_START_TIMEOUT_S = 90.0
_POLL_S = 0.02

DEFAULTS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    # One broker has one copy of everything, also of what Kafka keeps for groups and transactions.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A group need not wait for members that tests do not have, nor long for one that was killed.
    "group.min.session.timeout.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    # A transaction that nobody ends is ended when its time is over, not up to ten seconds later.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
}
_LOGGING = """rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %m (%c)%n
logger.started.name=kafka.server.KafkaRaftServer
logger.started.level=info
"""
STARTED = "Kafka Server started"


class Kafka(Service):
    """A running Kafka.

    Attributes:
        bootstrap: HOST:PORT, as clients take it.
    """

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap


class KafkaServer(SingleProcess, Kafka):
    """A local Kafka; leaving its `with` block stops it and removes what it made.

    Attributes:
        bootstrap: 127.0.0.1:PORT; the same after a restart.
        folder: What it keeps.
    """

    def __init__(
        self, home: Path, scratch: Scratch | None, *, outlive: bool = False, java_options: Sequence[str] = JAVA_OPTIONS
    ) -> None:
        SingleProcess.__init__(self, home, scratch, outlive=outlive)
        Kafka.__init__(self, "")
        self.folder = home / "data"
        self._java_options = tuple(java_options)
        self._settings: dict[str, str] = {}

    @classmethod
    def start(
        cls,
        folder: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        java_options: Sequence[str] = JAVA_OPTIONS,
        outlive: bool = False,
    ) -> Self:
        """Make a new data folder and start a broker on it. The first ever fetches Kafka.

        Args:
            folder: Where everything goes, a folder that is empty or not there; it is kept. None takes a temporary one,
                removed in the end.
            settings: Settings of server.properties beside or instead of ours. `{port}` and `{controller_port}` in a value
                stand for the ports taken.
            java_options: Flags of the Java machine.
            outlive: Let it go on after this process ends, until somebody sends SIGTERM to `pid`.

        Raises:
            ServerFailed: The message names the step; nothing is left running, and no temporary folder.
        """
        java()
        kafka_jars()
        with folder_for("commitlog-kafka-", folder, outlive=outlive) as (home, scratch):
            home.mkdir(parents=True, exist_ok=True)
            if scratch is None and any(home.iterdir()):
                failed("folder", f"{home} is not empty", "give an empty folder")
            server = cls(home, scratch, outlive=outlive, java_options=java_options)
            (home / "log4j2.properties").write_text(_LOGGING)
            with server._or_killed():
                server._on_free_port(lambda port: server._start_on(port, settings or {}))
            return server

    def restart(self, mode: StopMode = "fast", *, settings: Mapping[str, str] | None = None) -> None:
        """Stop the broker if it runs, and start it again on the same data and port.

        Args:
            mode: As of `stop`.
            settings: Settings to change; they hold from now on.

        Raises:
            ServerFailed: As `stop`, or it does not come up.
        """
        if self.running:
            self.stop(mode)
        self._configure({**self._settings, **(settings or {})})
        self._run_broker()

    def _fail(self, step: str, reason: str) -> NoReturn:
        failed(step, reason)

    def _start_on(self, port: int, settings: Mapping[str, str]) -> None:
        controller_port = free_port()
        ports = {"{port}": str(port), "{controller_port}": str(controller_port)}
        self.bootstrap = f"{HOST}:{port}"
        listeners = f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}"
        # A new folder each time: which controllers there are is written into it.
        self.folder = self._home / f"data{port}"
        own = {
            **DEFAULTS,
            "listeners": listeners,
            "controller.quorum.voters": f"1@{HOST}:{controller_port}",
            "log.dirs": str(self.folder),
        }
        self._configure({**own, **{name: _filled(value, ports) for name, value in settings.items()}})
        self._format()
        self._run_broker()

    def _configure(self, settings: Mapping[str, str]) -> None:
        self._settings = dict(settings)
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        (self._home / "server.properties").write_text(text)

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=").replace("-", "_")
        command = self._java("kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config")
        self._finish("format", [*command, str(self._home / "server.properties")])

    def _java(self, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self._home / 'log4j2.properties'}"
        return [java(), *self._java_options, logging, "-cp", f"{kafka_jars()}/*", *arguments]

    def _run_broker(self) -> None:
        self._run(
            self._java("kafka.Kafka", str(self._home / "server.properties")),
            lambda _: STARTED in self._log.read_text(errors="replace"),
            ends_by=signal.SIGKILL,
            timeout_s=_START_TIMEOUT_S,
            poll_s=_POLL_S,
        )


def _filled(value: str, ports: Mapping[str, str]) -> str:
    for name, port in ports.items():
        value = value.replace(name, port)
    return value
