"""Where an embedded log lives: `file:FOLDER#NAME` and the paths in it (schemas/README.md §9).

Opens nothing; the writer, the reader and the inbox do.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ...schemas.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Location:
    """One embedded log.

    Args:
        folder: The folder that holds logs.
        name: The log's name: lower-case letters, digits, `_` and `-`, at most 64.
    """

    folder: Path
    name: str

    @classmethod
    def parse(cls, url: str) -> "Location":
        """Read `file:FOLDER#NAME`; FOLDER may begin with `~` or `//`.

        Raises:
            UsageError: It is something else.
        """
        scheme, colon, rest = url.partition(":")
        folder, _, name = rest.rpartition("#")
        if not colon or scheme != "file" or not folder or "\0" in folder:
            raise UsageError(f"{url!r} is not a log", hint="a log is file:FOLDER#NAME, such as file:./logs#shop")
        check_name(name)
        if folder.startswith("//"):
            folder = "/" + folder.lstrip("/")
        return cls(Path(folder).expanduser(), name)

    def __str__(self) -> str:
        return f"file:{self.folder}#{self.name}"

    @property
    def root(self) -> Path:
        """FOLDER/NAME, which holds all of one log."""
        return self.folder / self.name

    @property
    def state_name(self) -> str:
        """What the files of this log are called in a worker's own folder."""
        return self.name

    @property
    def segments(self) -> Path:
        """The folder of the segment files."""
        return self.root / "log"

    @property
    def head(self) -> Path:
        """The file of the durable head."""
        return self.root / "head"

    @property
    def lock(self) -> Path:
        """The file whose flock the one writer holds."""
        return self.root / "lock"

    @property
    def inbox(self) -> Path:
        """The folder of requests to the writer."""
        return self.root / "inbox"


def check_name(name: str) -> None:
    """Check the name of a log.

    Raises:
        UsageError: It cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not the name of a log",
            hint="a name is 1 to 64 lower-case letters, digits, _ and -, and begins with a letter or digit",
        )


def make_folder(path: Path) -> None:
    """Make a folder for its owner only, and its parents, each entry on disk when this returns."""
    missing = [path, *path.parents]
    for folder in reversed([p for p in missing if not p.exists()]):
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Put a folder's entries on disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
