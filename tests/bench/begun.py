"""Ours on a server that keeps nothing for a reader: the worker as anyone runs it, from a log that began just before the backlog was written."""

import json
import shutil
import time
from pathlib import Path
from typing import Protocol

from drained import DRAIN_TIMEOUT_S, Drained
from worker import Worker, follower

from commitlog.cdc.database_url import split_password

CONFIG = """\
[source]
url = "{url}"
password = "env:{password}"

[log]
url = "file:log"
name = "bench"

[schemas]
path = "schemas"

[http]
listen = "127.0.0.1:0"
"""
"""All that differs from what `commitlog init` writes is names, and a free port where several may run."""

_PASSWORD = "COMMITLOG_BENCH_PASSWORD"
_BEGUN = "snapshots complete"
_BEGIN_TIMEOUT_S = 60.0
_POLL_S = 0.05


class Backlog(Protocol):
    """What it drains.

    Attributes:
        database: The name of its database.
        url: That database, as a user who may do everything.
        schema: The app schema.
        warmup_rows: The rows before the clock starts.
        rows: The rows that are timed.
    """

    database: str
    warmup_rows: int
    rows: int

    @property
    def url(self) -> str: ...

    @property
    def schema(self) -> str: ...


class BegunWorker(Worker):
    """A running worker with a log of its own; leaving its `with` block ends it by SIGTERM.

    Args:
        backlog: Whose database it is.
        folder: A folder to be made, for configuration, app schema, log and the worker's own output.
        copy_of: That of a worker that was ended, to go on from a copy of its log.

    Raises:
        RuntimeError: In the end: it did not exit with 0 within ten seconds.
    """

    def __init__(self, backlog: Backlog, folder: Path, copy_of: Path | None = None) -> None:
        bare, password = split_password(backlog.url)
        self.log_url = f"file:{folder / 'log'}#bench"
        self.folder = folder
        self._environment = {_PASSWORD: password or ""}
        if copy_of is not None:
            shutil.copytree(copy_of, folder)
            return
        (folder / "schemas").mkdir(parents=True)
        (folder / "schemas" / "shop.yaml").write_text(backlog.schema)
        (folder / "commitlog.toml").write_text(CONFIG.format(url=bare, password=_PASSWORD))

    def wait_until_begun(self) -> None:
        """Wait until its log has begun, and the empty table's snapshot is over.

        Raises:
            TimeoutError: It takes too long.
        """
        deadline = time.monotonic() + _BEGIN_TIMEOUT_S
        while _BEGUN not in (self.folder / "worker.log").read_text():
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the log has not begun in {_BEGIN_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)


class Commitlog:
    """The worker as a reader of a backlog; the rows are counted by a second process that follows the log.

    Args:
        folder: Where each run gets a folder of its own.
    """

    name = "commitlog"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0

    def begin(self, backlog: Backlog) -> None:
        """Begin the log that every run goes on from."""
        with BegunWorker(backlog, self._begun(backlog)) as worker:
            worker.wait_until_begun()

    def drain(self, backlog: Backlog, slot: str) -> Drained:
        """As `drained.Reader` says."""
        self._runs += 1
        folder = self._folder / f"{backlog.database}-{self._runs}"
        worker = BegunWorker(backlog, folder, self._begun(backlog))
        rows = [str(backlog.warmup_rows), str(backlog.rows)]
        with follower(worker, "count", *rows) as follows, worker:
            said = json.loads(follows.line("{", DRAIN_TIMEOUT_S, check=worker.check))
            used = worker.spent()
        shutil.rmtree(folder)
        return Drained(said["rows"], said["seconds"], used)

    def _begun(self, backlog: Backlog) -> Path:
        return self._folder / f"{backlog.database}-begun"
