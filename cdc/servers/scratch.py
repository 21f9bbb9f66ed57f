"""Folders that go with the process that made them. One that was killed cannot clear up: the next to make such a folder does."""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

MARK = "alive"
"""A file in each folder, locked (flock) as long as its process lives."""


class Scratch:
    """A new folder, after those were removed that dead processes of this user left.

    Args:
        prefix: What its name begins with; only such folders are looked at.
        parent: Where; the system's folder for temporary files by default.
    """

    def __init__(self, prefix: str, *, parent: str | None = None) -> None:
        for left in Path(parent or tempfile.gettempdir()).glob(f"{prefix}*"):
            _remove_if_dead(left)
        self.folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        # Locked before it bears its name, so that nobody ever sees it without its lock.
        unlocked = self.folder / f".{MARK}"
        self._fd = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        unlocked.rename(self.folder / MARK)

    def keep(self) -> None:
        """Leave the folder to somebody who outlives this process."""
        (self.folder / MARK).unlink(missing_ok=True)
        self._let_go()

    def remove(self) -> None:
        """Remove it with everything in it; a second time does nothing."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._let_go()

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def _remove_if_dead(folder: Path) -> None:
    """Remove a folder whose process is dead; what is not one of ours, or in use, stays as it is."""
    with suppress(OSError):
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            return
        fd = os.open(folder / MARK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _in_use(folder):
                _remove(folder)
        finally:
            os.close(fd)


def _in_use(folder: Path) -> bool:
    """Whether a process works in the folder: a server may live a moment longer than who started it."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                if (process / "cwd").readlink().is_relative_to(folder):
                    return True
    return False


def _remove(folder: Path) -> None:
    """The mark goes last: what cannot be removed now is found again."""
    for path in folder.iterdir():
        if path.name != MARK:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(folder)
