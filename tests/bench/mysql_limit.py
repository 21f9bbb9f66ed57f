"""The limit on MySQL: mysqlbinlog, the server's own tool, which copies the same stream to files in memory and makes nothing of it."""

import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from drained import Drained, spent
from mysql_backlog import BinlogBacklog
from program import Program

from commitlog.cdc.servers.mysqld import LocalMysqld

OPTIONS = ("--read-from-remote-server", "--raw", "--to-last-log")

_MEMORY = "/dev/shm"
_POLL_S = 0.002
_END_TIMEOUT_S = 30.0


class MySqlBinlog:
    """`mysqlbinlog --raw` into a folder in memory.

    Args:
        server: Whose tool it is.
        folder: Where its log goes.
    """

    name = "mysqlbinlog"

    def __init__(self, server: LocalMysqld, folder: Path) -> None:
        self._server, self._folder = server, folder

    def drain(self, backlog: BinlogBacklog, slot: str) -> Drained:
        """As `drained.Reader` says; the clock runs from the beginning of the backlog's file to the end of the program."""
        parts = urlsplit(backlog.url)
        file, _, offset = slot.rpartition(":")
        name, _, number = file.rpartition(".")
        timed = f"{name}.{int(number) + 1:0{len(number)}}"
        password = self._folder / "limit.cnf"
        password.touch(mode=0o600)
        password.write_text(f"[client]\npassword={unquote(parts.password or '')}\n")
        with tempfile.TemporaryDirectory(dir=_MEMORY if Path(_MEMORY).is_dir() else None) as target:
            command = [*self._server.program.tool("mysqlbinlog"), f"--defaults-file={password}", *OPTIONS]
            command += [f"--host={parts.hostname}", f"--port={parts.port}", f"--user={parts.username}"]
            command += [f"--start-position={offset}", f"--result-file={target}/", file]
            with Program(command, self._folder / "limit.log") as program:
                while not Path(target, timed).exists():
                    program.check()
                    time.sleep(_POLL_S)
                started = time.monotonic()
                used = spent(program.pid)
                while program.running:
                    # In the very moment of its end there is nothing to read.
                    with suppress(OSError, RuntimeError):
                        used = spent(program.pid)
                    time.sleep(_POLL_S)
                seconds = time.monotonic() - started
                if program.wait(_END_TIMEOUT_S):
                    raise RuntimeError(f"mysqlbinlog failed. {program.log_tail()}")
        return Drained(backlog.rows, seconds, used)
