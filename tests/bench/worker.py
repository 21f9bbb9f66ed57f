"""Ours: the worker as anyone runs it, `commitlog run` with a configuration file, and a second process that reads its log."""

import json
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import workload
from backlog import Backlog
from drained import DRAIN_TIMEOUT_S, Drained, Spent, spent
from program import Program

from commitlog.cdc.database_url import split_password
from commitlog.cdc.log.home import parse_location
from commitlog.cdc.log.kafka_location import KafkaLocation

CONFIG = """\
[source]
url = "{url}"
password = "env:{password}"
publication = "{publication}"
slot = "{slot}"

[log]
url = "{home}"
name = "{log}"

[schemas]
path = "schemas"

[http]
listen = "127.0.0.1:0"
"""
"""All that differs from what `commitlog init` writes is names, and a free port where several may run."""

SCHEMA = f"""\
schema: commitlog.app/v1
app: {workload.APP["app"]}
database: bench
builds: ["{workload.APP["build"]}"]
default: true
license: CC-BY-4.0
entities:
  Order:
    from: public.{workload.TABLE}
    key: [id]
    fields:
""" + "".join(f"      {column}: {{class: public}}\n" for column in workload.COLUMNS)

_PASSWORD = "COMMITLOG_BENCH_PASSWORD"
HOME = "file:log"
"""Where the log goes, in the worker's own folder."""

_LOG = "bench"
_FOLLOWER = Path(__file__).with_name("follower.py")
_KAFKA_FOLLOWER = Path(__file__).with_name("kafka_follower.py")
_READY_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0  # what the worker promises


class Worker:
    """A running worker with a new log; leaving its `with` block ends it by SIGTERM.

    Args:
        url: The database.
        slot: Its slot, already there.
        folder: A folder to be made, for configuration, app schema, log and the worker's own output.
        schema: The app schema.
        home: Where the log goes, without its name.

    Raises:
        RuntimeError: In the end: it did not exit with 0 within ten seconds.
    """

    def __init__(self, url: str, *, slot: str, folder: Path, schema: str = SCHEMA, home: str = HOME) -> None:
        bare, password = split_password(url)
        self.log_url = f"file:{folder / 'log'}#{_LOG}" if home == HOME else f"{home}#{_LOG}"
        self.folder = folder
        self._environment = {_PASSWORD: password or ""}
        (folder / "schemas").mkdir(parents=True)
        (folder / "schemas" / "shop.yaml").write_text(schema)
        (folder / "commitlog.toml").write_text(
            CONFIG.format(
                url=bare, password=_PASSWORD, publication=workload.PUBLICATION, slot=slot, home=home, log=_LOG
            )
        )

    def __enter__(self) -> Self:
        command = [
            sys.executable,
            "-m",
            "commitlog.cdc.cli.main",
            "run",
            "--config",
            str(self.folder / "commitlog.toml"),
        ]
        self._program = Program(command, self.folder / "worker.log", self._environment)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._program:
            if error is not None:
                return
            self._program.terminate()
            if self._program.wait(_STOP_TIMEOUT_S):
                raise RuntimeError(f"the worker failed. {self._program.log_tail()}")

    def check(self) -> None:
        """See that it is running; raises RuntimeError where it has ended."""
        self._program.check()

    def spent(self) -> Spent:
        """What its processes have used so far."""
        return spent(self._program.pid)


class Commitlog:
    """The worker as a reader of a backlog; the rows are counted by a second process that follows the log.

    Args:
        folder: Where each run gets a folder of its own.
        home: Where the log goes; `{run}` in it stands for what tells the runs apart.
    """

    name = "commitlog"

    def __init__(self, folder: Path, home: str = HOME) -> None:
        self._folder, self._home = folder, home
        self._runs = 0

    def drain(self, backlog: Backlog, slot: str) -> Drained:
        """As `drained.Reader` says."""
        self._runs += 1
        run = f"{backlog.database}-{self._runs}"
        folder = self._folder / run
        worker = Worker(backlog.url, slot=slot, folder=folder, home=self._home.format(run=run))
        rows = [str(backlog.warmup_rows), str(backlog.rows)]
        with follower(worker, "count", *rows) as follows, worker:
            said = json.loads(follows.line("{", DRAIN_TIMEOUT_S, check=worker.check))
            used = worker.spent()
        shutil.rmtree(folder)
        return Drained(said["rows"], said["seconds"], used)


def follower(worker: Worker, *arguments: str) -> Program:
    """Start the second process, and wait until it waits for the log.

    It must be there before the worker begins: one that comes later reads what lies there already faster than it is written.
    """
    location = parse_location(worker.log_url)
    if isinstance(location, KafkaLocation):
        command = [str(_KAFKA_FOLLOWER), location.hosts[0], location.topic]
    else:
        command = [str(_FOLLOWER), worker.log_url]
    program = Program([sys.executable, *command, *arguments], worker.folder / "follower.log")
    program.line("ready", _READY_TIMEOUT_S)
    return program
