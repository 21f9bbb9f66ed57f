"""The processes of the demo: each ends with the demo, however that ends, and a Ctrl-C is for the demo alone."""

import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from ...schemas.errors import VerificationFailed
from ..servers.account import end_with_parent

LOG_TAIL_LINES = 15

_POLL_S = 0.01
"""How often a condition is looked at that another process brings about."""


class DemoFailed(VerificationFailed):
    """A part of the demo did not do what it must, or a proof does not hold."""


class Process:
    """A running process with a log file.

    Args:
        name: What people call it.
        command: Program and arguments.
        log: Receives stderr.
        env: The whole environment; None for our own.
        cwd: Its working folder.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path
    ) -> None:
        self.name, self._log = name, log
        with log.open("ab") as stderr:
            self._popen = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGKILL),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def first_line(self, timeout_s: float = 20.0) -> str:
        """The first line of stdout, by which a server says where it listens.

        Raises:
            DemoFailed: It ended, or says nothing in time.
        """
        stdout = self._popen.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], timeout_s)
        line = stdout.readline().decode().strip() if ready else ""
        if not line:
            raise DemoFailed(f"{self.name} did not start: {self.log_tail() or 'it says nothing'}")
        return line

    def take_stdout(self) -> IO[bytes]:
        """Hand stdout over to a reader, who closes it."""
        stdout, self._popen.stdout = self._popen.stdout, None
        assert stdout is not None
        return stdout

    def check(self) -> None:
        """Raise DemoFailed if the process has ended: it should be running."""
        code = self._popen.poll()
        if code is not None:
            raise DemoFailed(f"{self.name} ended with {code}: {self.log_tail() or 'it said nothing'}")

    def stop(self, patience_s: float = 10.0) -> int:
        """End it by SIGTERM, by SIGKILL where that takes too long, and return its exit code."""
        if self.running:
            self._popen.terminate()
            try:
                self._popen.wait(patience_s)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        return self._reap()

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._popen.kill()
        self._reap()

    def log_tail(self) -> str:
        """The last lines it wrote on stderr."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def _reap(self) -> int:
        code = self._popen.wait()
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        return code


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package by the Python that runs us."""
    return [sys.executable, "-m", f"{__package__}.{module}", *arguments]


def await_true(
    what: str, condition: Callable[[], bool], *, processes: Sequence[Process] = (), timeout_s: float = 20.0
) -> None:
    """Wait for a condition that other processes bring about.

    Args:
        what: The condition in words, for the error.
        condition: Looked at every 10 ms.
        processes: They must go on running meanwhile.
        timeout_s: In seconds.

    Raises:
        DemoFailed: It does not come about, or a process ended.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        for process in processes:
            process.check()
        if time.monotonic() > deadline:
            raise DemoFailed(f"in {timeout_s:.0f} s it did not come about: {what}")
        time.sleep(_POLL_S)
