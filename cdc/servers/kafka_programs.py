"""The programs of a local Kafka: its jars, fetched once by Maven into the user's cache, and a Java to run them."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from .failure import KAFKA_BOOTSTRAP_VARIABLE, ServerFailed

KAFKA_VERSION = "4.3.0"
LOG4J_VERSION = "2.25.4"  # the one that Kafka's own parts of log4j have; what joins them to slf4j it leaves to us
_JAVA_OLDEST = 17
_FETCH_TIMEOUT_S = 600.0
_JAVA_TIMEOUT_S = 30.0
_HINT = f"{{}}, or set {KAFKA_BOOTSTRAP_VARIABLE}=HOST:PORT to a broker of your own"
_ARTIFACTS = {
    "org.apache.kafka:kafka_2.13": KAFKA_VERSION,
    "org.apache.logging.log4j:log4j-slf4j-impl": LOG4J_VERSION,
}
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>commitlog</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{}</dependencies>
</project>
"""
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"


def failed(step: str, reason: str, way: str = "run it again") -> NoReturn:
    """Give up on a local Kafka.

    Raises:
        ServerFailed: Always.
    """
    raise ServerFailed(step, reason, server="Kafka", hint=_HINT.format(way))


def java() -> str:
    """The path of a Java that runs Kafka.

    Raises:
        ServerFailed: There is none, or it is older than 17.
    """
    way = f"install Java {_JAVA_OLDEST} or later (apt-get install openjdk-17-jre-headless)"
    program = shutil.which("java")
    if program is None:
        failed("java", "java is not installed", way)
    try:
        run = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=_JAVA_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        failed("java", f"{program} does not run: {error}", way)
    said = re.search(r'version "(\d+)', run.stderr + run.stdout)
    if said is None or int(said[1]) < _JAVA_OLDEST:
        failed("java", f"{program} is Java {said[1] if said else 'of an unknown version'}", way)
    return program


def kafka_jars() -> Path:
    """The folder of Kafka's jars, about 45 MB. Raises what `jars` raises."""
    return jars(f"kafka-{KAFKA_VERSION}", _ARTIFACTS)


def jars(name: str, artifacts: Mapping[str, str]) -> Path:
    """A folder of jars in the user's cache (XDG_CACHE_HOME), fetched by the first who asks.

    Args:
        name: Of the folder; another one for other artifacts.
        artifacts: GROUP:ARTIFACT to version. What they need comes with them.

    Raises:
        ServerFailed: Maven is not installed, or cannot fetch them.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "commitlog"
    folder = cache / name
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "kafka.lock").open("w") as lock:
        # Whoever comes second waits for the first, and finds the folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(folder, artifacts)
    return folder


def _fetch(target: Path, artifacts: Mapping[str, str]) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        failed("fetch", "mvn is not installed", "install Maven (apt-get install maven)")
    with tempfile.TemporaryDirectory(prefix="kafka-", dir=target.parent) as folder:
        pom, fetched = Path(folder, "pom.xml"), Path(folder, "jars")
        dependencies = (_DEPENDENCY.format(*name.split(":"), version) for name, version in artifacts.items())
        pom.write_text(_POM.format("".join(dependencies)))
        command = [maven, "--batch-mode", "--quiet", "--file", str(pom), "dependency:copy-dependencies"]
        command += [f"-DoutputDirectory={fetched}", "-DincludeScope=runtime"]
        try:
            run = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            failed("fetch", str(error))
        if run.returncode:
            failed("fetch", "\n".join((run.stdout + run.stderr).strip().splitlines()[:20]))
        fetched.rename(target)
