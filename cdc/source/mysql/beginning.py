"""Where a new log begins: where `setup` was done, for a server keeps no place for a reader that has not come yet."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ....schemas.errors import DecodeError
from ....schemas.position import parse_binlog
from ...tail.mysql_catalog import Catalog


@dataclass(frozen=True, slots=True)
class Beginning:
    """A place to begin at.

    Args:
        server: The server's id, as its Identity has it.
        position: The place in its binary log.
        gtids: What is in its history there.
    """

    server: str
    position: str
    gtids: str

    @classmethod
    def now(cls, catalog: Catalog) -> "Beginning":
        """The end of the binary log. Raises Unreachable or Refused."""
        end = catalog.binlog_status()
        return cls(catalog.identity().server, end.text, str(end.gtids))

    def note(self, path: Path) -> None:
        """Write it down, unless an earlier one is."""
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def noted(cls, path: Path, catalog: Catalog) -> "Beginning | None":
        """What is written down, where the server still has everything from there on; else None."""
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
            name, offset = parse_binlog(found.position)
        except (OSError, ValueError, TypeError, DecodeError):
            return None
        there = found.server == catalog.identity().server and name in {file.name for file in catalog.binary_logs()}
        return found if there and catalog.begins_event(name, offset) else None
