"""The programs of a local Kafka: its jars, fetched once by Maven into the user's cache, and a Java to run them."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NoReturn

from .failure import KAFKA_BOOTSTRAP_VARIABLE, ServerFailed

KAFKA_VERSION = "4.3.0"
_LOG4J_VERSION = "2.25.4"  # the one that Kafka's own parts of log4j have; what joins them to slf4j it leaves to us
_JAVA_OLDEST = 17
_FETCH_TIMEOUT_S = 600.0
_JAVA_TIMEOUT_S = 30.0
_HINT = f"{{}}, or set {KAFKA_BOOTSTRAP_VARIABLE}=HOST:PORT to a broker of your own"
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>commitlog</groupId><artifactId>kafka-server</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{_LOG4J_VERSION}</version></dependency>
  </dependencies>
</project>
"""


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
    """The folder of Kafka's jars, about 45 MB, in the user's cache (XDG_CACHE_HOME); fetched by the first who asks.

    Raises:
        ServerFailed: Maven is not installed, or cannot fetch them.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "commitlog"
    jars = cache / f"kafka-{KAFKA_VERSION}"
    if jars.is_dir():
        return jars
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "kafka.lock").open("w") as lock:
        # Whoever comes second waits for the first, and finds the folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.is_dir():
            _fetch(jars)
    return jars


def _fetch(jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        failed("fetch", "mvn is not installed", "install Maven (apt-get install maven)")
    with tempfile.TemporaryDirectory(prefix="kafka-", dir=jars.parent) as folder:
        pom = Path(folder, "pom.xml")
        pom.write_text(_POM)
        target = Path(folder, "jars")
        command = [maven, "--batch-mode", "--quiet", "--file", str(pom), "dependency:copy-dependencies"]
        command += [f"-DoutputDirectory={target}", "-DincludeScope=runtime"]
        try:
            run = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            failed("fetch", str(error))
        if run.returncode:
            failed("fetch", "\n".join((run.stdout + run.stderr).strip().splitlines()[:20]))
        target.rename(jars)
