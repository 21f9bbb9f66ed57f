"""What every server of our own has in common: a process with a folder, a log file, and an end that comes in any case."""

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, NoReturn, Self, Unpack
from urllib.parse import quote, urlsplit

from .account import ProcessOptions, end_with_parent
from .failure import ServerFailed
from .ports import PORT_TRIES, free_port
from .scratch import Scratch

StopMode = Literal["fast", "kill"]

_STOP_TIMEOUT_S = 30.0
_FINISH_TIMEOUT_S = 90.0
_WHOLE_LOG_LINES = 1000


class Service:
    """A server that is used, whoever started it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the server back; one that somebody else started goes on running."""


class DatabaseService(Service):
    """A server of databases.

    Attributes:
        url: Of a user who may do everything.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def database_url(self, name: str) -> str:
        """The URL of a database of this server, whether it exists or not."""
        return urlsplit(self.url)._replace(path="/" + quote(name, safe="")).geturl()

    def user_url(self, user: str, password: str, database: str = "") -> str:
        """The URL of a user of this server."""
        parts = urlsplit(self.database_url(database))
        place = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{place}").geturl()


class LocalService(Service, ABC):
    """A server in a process of ours; leaving its `with` block stops it and removes what it made."""

    def __init__(self, home: Path, scratch: Scratch | None, *, outlive: bool) -> None:
        self._home, self._scratch, self._outlive = home, scratch, outlive
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; of a server with several processes that of the first.

        Raises:
            ServerFailed: The server is not running.
        """
        return self._running("pid").pid

    @property
    def running(self) -> bool:
        """Whether that process is there."""
        return self._process is not None and self._process.poll() is None

    @abstractmethod
    def stop(self, mode: StopMode = "fast") -> None:
        """End the server and wait until it is gone; what it keeps stays.

        Args:
            mode: `kill` is SIGKILL, `fast` lets it end by itself.

        Raises:
            ServerFailed: It is not running, or does not end in time; `close` ends it in any case.
        """

    def close(self) -> None:
        """End the server, and remove what was temporary; a second time does nothing."""
        if self.running:
            self.stop("kill")
        if self._scratch:
            self._scratch.remove()

    def log_tail(self, line_count: int = 20) -> str:
        """The last lines of the server's own log."""
        path = self._log
        return "\n".join(path.read_text(errors="replace").splitlines()[-line_count:]) if path.exists() else ""

    def _fail(self, step: str, reason: str) -> NoReturn:
        """Give up.

        Raises:
            ServerFailed: Always.
        """
        raise ServerFailed(step, reason)

    @property
    def _log(self) -> Path:
        return self._home / "server.log"

    def _running(self, step: str) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._fail(step, "the server is not running")
        return self._process

    def _on_free_port(self, start: Callable[[int], None]) -> None:
        """Start, with another port each time somebody else was quicker to take ours."""
        for attempt in range(PORT_TRIES):
            try:
                start(free_port())
            except ServerFailed:
                if "Address already in use" in self.log_tail(_WHOLE_LOG_LINES) and attempt + 1 < PORT_TRIES:
                    continue
                raise
            return

    def _run(
        self,
        command: Sequence[str | Path],
        ready: Callable[[int], bool],
        *,
        ends_by: signal.Signals,
        timeout_s: float,
        poll_s: float,
        **options: Unpack[ProcessOptions],
    ) -> None:
        """Start the process, and wait until it is ready.

        Args:
            command: The program and its arguments.
            ready: Whether the process of this number is.
            ends_by: What it is sent when we end, unless it is to outlive us.
            timeout_s: How long it may take.
            poll_s: How long to wait between two looks.
            options: More for Popen.
        """
        with self._log.open("wb") as log:
            process = self._process = subprocess.Popen(
                command,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal is for the one who started us, who then decides about the server.
                start_new_session=True,
                preexec_fn=None if self._outlive else end_with_parent(ends_by),
                **options,
            )
        deadline = time.monotonic() + timeout_s
        while process.poll() is None:
            if ready(process.pid):
                return
            if time.monotonic() > deadline:
                self.stop("kill")
                self._fail("start", f"not ready in {timeout_s:.0f} s: {self.log_tail()}")
            time.sleep(poll_s)
        self._fail("start", self.log_tail() or f"{Path(command[0]).name} ended with {process.returncode}")

    def _finish(self, step: str, command: Sequence[str | Path], **options: Unpack[ProcessOptions]) -> None:
        """Run a program that makes what the server keeps to its end.

        Raises:
            ServerFailed: It fails, or takes too long; the message names the step.
        """
        try:
            subprocess.run(
                command,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
                timeout=_FINISH_TIMEOUT_S,
                **options,
            )
        except subprocess.CalledProcessError as error:
            self._fail(step, error.stderr.strip() or error.stdout.strip())
        except (OSError, subprocess.TimeoutExpired) as error:
            self._fail(step, str(error))

    @contextmanager
    def _or_killed(self) -> Generator[None]:
        """Leave no process behind where a start does not come to its end, also by a Ctrl-C while it is waited for."""
        try:
            yield
        except BaseException:
            if self.running:
                self.stop("kill")
            raise


class SingleProcess(LocalService):
    """A server that is one process."""

    def stop(self, mode: StopMode = "fast") -> None:
        """End the server and wait until it is gone; what it keeps stays.

        Args:
            mode: `fast` (SIGTERM) has it end its connections and close what is open, `kill` is SIGKILL, as the kernel short of
                memory would do it.

        Raises:
            ServerFailed: It is not running, or does not end in time; `close` ends it in any case.
        """
        process = self._running("stop")
        process.send_signal(signal.SIGTERM if mode == "fast" else signal.SIGKILL)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._fail("stop", f"{mode} took longer than {_STOP_TIMEOUT_S:.0f} s")
        self._process = None

    def pause(self) -> None:
        """Stop its process where it stands (SIGSTOP): connections stay, and nobody answers."""
        self._running("pause").send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._running("resume").send_signal(signal.SIGCONT)


@contextmanager
def folder_for(
    prefix: str, folder: Path | None, *, outlive: bool, parent: str | None = None
) -> Generator[tuple[Path, Scratch | None]]:
    """The folder of a server that starts, and what removes it where it is a temporary one.

    Args:
        prefix: Of a temporary folder's name.
        folder: One that is given, and kept; None for a temporary one, which is removed where the start fails.
        outlive: Keep it in any case.
        parent: Where temporary ones are made.
    """
    scratch = Scratch(prefix, parent=parent) if folder is None else None
    try:
        yield scratch.folder if scratch else (folder or Path()).absolute(), scratch
    except BaseException:
        if scratch:
            scratch.remove()
        raise
    if scratch and outlive:
        scratch.keep()
