"""A process of a bench: its lines are awaited, its errors kept in a file, and it never outlives its `with` block."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from commitlog.cdc.servers.account import end_with_parent

_TAIL_LINES = 15
_CHECK_S = 1.0


class Program:
    """Start a program.

    Args:
        command: The program and its arguments.
        log: The file that takes its standard error.
        environment: Variables beside those of this process.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._name = " ".join(command)[:120]
        self._log = log
        self._pending = b""
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                preexec_fn=end_with_parent(signal.SIGKILL),
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def stdout(self) -> int:
        """The file descriptor of its standard output, for a reader of bytes."""
        return self._stdout.fileno()

    def line(self, beginning: str, timeout_s: float, *, check: Callable[[], None] = lambda: None) -> str:
        """Wait for a line of standard output that begins so; lines before it are dropped.

        Args:
            beginning: How the line begins.
            timeout_s: How long to wait.
            check: Called about once a second; it raises what makes waiting pointless.

        Raises:
            RuntimeError: The program ended before.
            TimeoutError: The line did not come in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            line, newline, rest = self._pending.partition(b"\n")
            if newline:
                self._pending = rest
                if line.startswith(beginning.encode()):
                    return line.decode()
                continue
            check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._name}: no {beginning!r} in {timeout_s:.0f} s. {self.log_tail()}")
            if not select.select([self.stdout], [], [], _CHECK_S)[0]:
                continue
            data = os.read(self.stdout, 1 << 16)
            if not data:
                raise RuntimeError(f"{self._name} ended with {self._process.wait()}. {self.log_tail()}")
            self._pending += data

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def check(self) -> None:
        """See that it is running.

        Raises:
            RuntimeError: It has ended.
        """
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._name} ended with {self._process.returncode}. {self.log_tail()}")

    def close_input(self) -> None:
        """Close its standard input."""
        self._stdin.close()

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; its exit code.

        Raises:
            TimeoutError: It goes on.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self._name} goes on after {timeout_s:.0f} s. {self.log_tail()}") from None

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def log_tail(self) -> str:
        """The last lines of its standard error."""
        lines = self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n  ".join([f"The end of {self._log}:", *lines])
