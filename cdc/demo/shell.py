"""Commands of `commitlog` as a reader would run them: each a process, its output shown as it comes and kept for proofs."""

import errno
import fcntl
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from ..servers.account import end_with_parent
from .interrupt import held_back
from .processes import DemoFailed, Process, await_true
from .screen import Screen

TIMEOUT_S = 40.0
_INDENT = 4
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True)
class Result:
    """What a command said.

    Args:
        code: Its exit code.
        text: Its output and its errors, without colours.
    """

    code: int
    text: str


class Command:
    """One running `commitlog …`: its output shown line by line, what it says on stderr at its end.

    Args:
        arguments: What stands after `commitlog`.
        shown: The whole command as it is shown.
        screen: Where its lines go; None to show nothing.
        env: The whole environment.
        cwd: The working folder.
    """

    def __init__(
        self, arguments: Sequence[str], shown: str, *, screen: Screen | None, env: Mapping[str, str], cwd: Path
    ) -> None:
        self.shown = shown
        self._screen = screen
        self._lines: list[str] = []
        self._blank_lines = 0
        read, write = _terminal(screen) if screen is not None and screen.styled else os.pipe()
        try:
            self._popen = subprocess.Popen(
                commitlog(*arguments),
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=write,
                # No terminal: nobody could read a progress bar in here.
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGKILL),
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        self._reader = threading.Thread(target=self._read, args=(read, self._popen.stderr), daemon=True)
        self._reader.start()

    def wait(self, timeout_s: float = TIMEOUT_S) -> Result:
        """Wait for its end.

        Raises:
            DemoFailed: It does not end in time; it is then killed.
        """
        try:
            code = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"{self.shown} did not end in {timeout_s:.0f} s:\n{self.text}") from None
        finally:
            if self._popen.poll() is None:
                self._popen.kill()
                self._popen.wait()
            self._reader.join()
        return Result(code, self.text)

    def interrupt(self) -> Result:
        """End it as Ctrl-C would, and wait for that."""
        if self._popen.poll() is None:
            if self._screen is not None:
                self._screen.gap()
            self._take("^C", error=False)
            self._popen.send_signal(signal.SIGINT)
        return self.wait()

    def await_texts(self, texts: Sequence[str], *, processes: Sequence[Process] = ()) -> None:
        """Wait until it has said all of these.

        Args:
            texts: Each may be anywhere in what it says.
            processes: They must go on running meanwhile.

        Raises:
            DemoFailed: It does not say them, or it or a process ended.
        """

        def said() -> bool:
            missing = [text for text in texts if text not in self.text]
            if missing and self._popen.poll() is not None:
                raise DemoFailed(f"{self.shown} has ended, and did not say {missing[0]!r}")
            return not missing

        await_true(f"{self.shown} says {', '.join(texts)}", said, processes=processes, timeout_s=TIMEOUT_S)

    @property
    def text(self) -> str:
        """What it has said so far, without colours."""
        return "\n".join(self._lines)

    def _read(self, stdout: int, stderr: IO[bytes]) -> None:
        errors: list[str] = []
        drain = threading.Thread(target=lambda: errors.extend(stderr.read().decode(errors="replace").splitlines()))
        drain.start()
        with os.fdopen(stdout, encoding="utf-8", errors="replace") as file:
            try:
                for line in file:
                    self._take(line.rstrip("\n"), error=False)
            except OSError as exc:
                # How Linux tells that the last process has closed a terminal. Source: drivers/tty/tty_io.c.
                if exc.errno != errno.EIO:
                    raise
        drain.join()
        stderr.close()
        for line in errors:
            self._take(line, error=True)

    def _take(self, line: str, *, error: bool) -> None:
        plain = _ANSI.sub("", line)
        self._lines.append(plain)
        if self._screen is None:
            return
        if not plain.strip():
            # Shown when something follows it: no output ends in empty lines.
            self._blank_lines += 1
            return
        for _ in range(self._blank_lines):
            self._screen.gap()
        self._blank_lines = 0
        self._screen.output(line, error=error)


class Shell:
    """Runs commands in the demo's folder.

    Args:
        screen: Where they are shown.
        cwd: The folder, where `commitlog.toml` is.
        env: The whole environment.
    """

    def __init__(self, screen: Screen, cwd: Path, env: Mapping[str, str]) -> None:
        self._screen, self._cwd, self._env = screen, cwd, env
        self._variables: dict[str, str] = {}

    def name(self, value: str, variable: str) -> None:
        """Show an argument that holds a secret as a variable of the reader's own shell."""
        self._variables[value] = f'"${variable}"'

    def start(self, *arguments: str) -> Command:
        """Show a command and start it."""
        self._screen.command(self._shown(arguments))
        return self._command(arguments, self._screen)

    def run(self, *arguments: str, code: int = 0) -> Result:
        """Show a command, run it, and hold it to its exit code.

        Raises:
            DemoFailed: It ends with another one.
        """
        return _held(self.start(*arguments), code)

    def documents(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a command with `--json`, unseen, and return what it prints.

        Raises:
            DemoFailed: It fails.
        """
        command = self._command([*arguments, "--json"], None)
        return [orjson.loads(line) for line in _held(command, 0).text.splitlines()]

    def _command(self, arguments: Sequence[str], screen: Screen | None) -> Command:
        with held_back():
            return Command(arguments, self._shown(arguments), screen=screen, env=self._env, cwd=self._cwd)

    def _shown(self, arguments: Sequence[str]) -> str:
        words = (self._variables.get(argument) or shlex.quote(argument) for argument in arguments)
        return " ".join(("commitlog", *words))


def commitlog(*arguments: str) -> list[str]:
    """The command line of `commitlog`, by the Python that runs us: the script of that name need not be on the path."""
    return [sys.executable, "-m", f"{__name__.removesuffix('.demo.shell')}.cli.main", *arguments]


def _held(command: Command, code: int) -> Result:
    result = command.wait()
    if result.code != code:
        raise DemoFailed(f"{command.shown} ended with {result.code} instead of {code}: {result.text}")
    return result


def _terminal(screen: Screen) -> tuple[int, int]:
    """A terminal of our own as wide as what is left beside the indent: (its end for us, its end for the command)."""
    ours, theirs = pty.openpty()
    size = struct.pack("HHHH", screen.console.height, max(20, screen.console.width - _INDENT), 0, 0)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    return ours, theirs
