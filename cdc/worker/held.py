"""Where to read from again, so that a transaction that is prepared and not decided comes whole: remembered beside the log's state."""

import os
from pathlib import Path


class HeldPlace:
    """A small file with the place where the oldest such transaction begins.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str | None:
        """The place, empty where there is none; None where nobody here knows, as of a log that another machine wrote."""
        try:
            return self._path.read_text(encoding="ascii")
        except FileNotFoundError:
            return None

    def keep(self, place: str) -> None:
        """Remember a place, durably; empty for none."""
        temporary = self._path.with_suffix(".new")
        with temporary.open("w", encoding="ascii") as file:
            file.write(place)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
