"""Where programs that were fetched are kept: a folder of the user's, filled by whoever comes first, whole or not at all."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from .account import Account

# Where root keeps them when the account that it hands servers to cannot enter root's own home.
_ROOTS = Path("/var/cache/commitlog")


def cache_folder(account: Account) -> Path:
    """The folder of what was fetched (below XDG_CACHE_HOME, else ~/.cache), made where it is not there; `account` can reach it."""
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "commitlog"
    own.mkdir(parents=True, exist_ok=True)
    if all(account.may_enter(folder) for folder in (own, *own.parents)):
        return own
    _ROOTS.mkdir(parents=True, exist_ok=True)
    return _ROOTS


def cached(name: str, account: Account, fill: Callable[[Path], None]) -> Path:
    """A folder of the cache, filled by the first who asks.

    Args:
        name: Of the folder.
        account: Who is going to read it.
        fill: What fills an empty folder; where it fails, nothing stays.
    """
    cache = cache_folder(account)
    folder = cache / name
    if folder.is_dir():
        return folder
    with (cache / f"{name}.lock").open("w") as lock:
        # Whoever comes second waits for the first, and finds the folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            filling = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=cache))
            try:
                filling.chmod(0o755)
                fill(filling)
                filling.rename(folder)
            finally:
                shutil.rmtree(filling, ignore_errors=True)
    return folder
