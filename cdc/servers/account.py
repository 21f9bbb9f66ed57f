"""The account and the environment a server process runs with.

PostgreSQL refuses to run as root, so root hands it to `nobody`; anyone else runs it as themselves.
"""

import ctypes
import os
import pwd
import signal
import stat
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from .failure import ServerFailed

_OUTPUT_TIMEOUT_S = 30
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessOptions(TypedDict, total=False):
    """Keyword arguments of subprocess.run and Popen."""

    env: dict[str, str]
    umask: int
    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server's programs.

    Attributes:
        uid, gid: The ids to change to, or None to stay who we are.
    """

    uid: int | None
    gid: int | None

    @classmethod
    def current(cls) -> "Account":
        """The account for this process: itself, or `nobody` where it is root.

        Raises:
            ServerFailed: We are root and the machine has no `nobody`.
        """
        if os.geteuid() != 0:
            return cls(None, None)
        try:
            entry = pwd.getpwnam("nobody")
        except KeyError:
            raise ServerFailed("account", "PostgreSQL refuses to run as root, and there is no user nobody") from None
        return cls(entry.pw_uid, entry.pw_gid)

    def process_options(self) -> ProcessOptions:
        """What starts a program as this account, with nothing of our own environment."""
        options: ProcessOptions = {"env": {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"}, "umask": 0o077}
        if self.uid is not None and self.gid is not None:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def output(self, *command: str | Path) -> str | None:
        """What a program prints that this account runs; None where it cannot, or the program does not end well."""
        try:
            run = subprocess.run(
                command,
                cwd="/",
                capture_output=True,
                text=True,
                timeout=_OUTPUT_TIMEOUT_S,
                check=True,
                **self.process_options(),
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return run.stdout

    def may_enter(self, folder: Path) -> bool:
        """Whether the account may pass through the folder, as far as the folder's mode says it."""
        return self.uid is None or bool(folder.stat().st_mode & stat.S_IXOTH)

    def take(self, path: Path) -> None:
        """Make this account the owner of a file or a whole folder."""
        if self.uid is None or self.gid is None:
            return
        os.chown(path, self.uid, self.gid)
        for folder, subfolders, files in os.walk(path):
            for name in [*subfolders, *files]:
                os.chown(Path(folder, name), self.uid, self.gid, follow_symlinks=False)


def end_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` that has the kernel send the signal to the new process when its parent dies, however it dies.

    The kernel means the parent *thread*, so a process started from another than the main thread gets none: its
    server would end with that thread. Source: prctl(2), PR_SET_PDEATHSIG.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    return lambda: _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) and None
