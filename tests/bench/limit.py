"""The limit: pg_recvlogical, the server's own tool, which takes the same stream and makes nothing of it."""

import fcntl
import os
import select
import time
from pathlib import Path

import workload
from backlog import LAST, WARM, Backlog
from drained import DRAIN_TIMEOUT_S, Drained, spent
from program import Program

OPTIONS = ("proto_version=1", f"publication_names={workload.PUBLICATION}", "messages=true")
"""Those of the worker's own stream."""

_PIPE_BYTES = 1 << 20
_PAUSE_S = 0.001
_END_TIMEOUT_S = 30.0


class PgRecvlogical:
    """`pg_recvlogical -f -`, its output thrown away but for the marks of the two last transactions.

    Args:
        program: The path of pg_recvlogical.
        folder: Where its log goes.
    """

    name = "pg_recvlogical"

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder

    def drain(self, backlog: Backlog, slot: str) -> Drained:
        """As `drained.Reader` says; the clock runs from the mark of the warm-up to the mark of the backlog."""
        command = [str(self._program), "--start", "--no-loop", "--dbname", backlog.url, "--slot", slot, "--file", "-"]
        command += ["--endpos", backlog.end(), *(word for option in OPTIONS for word in ("--option", option))]
        with Program(command, self._folder / "limit.log") as program:
            fcntl.fcntl(program.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            output = _Output(program)
            started = output.skip_to(WARM.encode())
            seconds = output.skip_to(LAST.encode()) - started
            used = spent(program.pid)
            output.skip_to(None)
            if program.wait(_END_TIMEOUT_S):
                raise RuntimeError(f"pg_recvlogical failed. {program.log_tail()}")
        return Drained(backlog.rows, seconds, used)


class _Output:
    """The output of a program, read in large pieces: a reader that wakes for each small one would slow the program down."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._kept = b""
        self._deadline = time.monotonic() + DRAIN_TIMEOUT_S

    def skip_to(self, mark: bytes | None) -> float:
        """Read past a mark, or to the end; the time by the monotonic clock.

        Raises:
            RuntimeError: The output ended before the mark.
            TimeoutError: The mark did not come in time.
        """
        while True:
            if mark is not None and (at := self._kept.find(mark)) >= 0:
                self._kept = self._kept[at + len(mark) :]
                return time.monotonic()
            data = self._read()
            if not data:
                if mark is None:
                    return time.monotonic()
                raise RuntimeError(f"pg_recvlogical ended before {mark!r}. {self._program.log_tail()}")
            self._kept = self._kept[-len(mark or b"") :] + data

    def _read(self) -> bytes:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0 or not select.select([self._program.stdout], [], [], left_s)[0]:
            raise TimeoutError(f"pg_recvlogical goes on after {DRAIN_TIMEOUT_S:.0f} s")
        time.sleep(_PAUSE_S)
        return os.read(self._program.stdout, _PIPE_BYTES)
