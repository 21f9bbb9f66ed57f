"""Where a new log begins: where `setup` was done, for a server keeps no place for a reader that has not come yet."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ....schemas.errors import DecodeError
from ....schemas.position import format_oplog, parse_oplog
from ...tail.mongodb_catalog import Catalog


@dataclass(frozen=True, slots=True)
class Beginning:
    """A place to begin at.

    Args:
        replica_set: The id of the replica set.
        position: The place in its oplog.
    """

    replica_set: str
    position: str

    @classmethod
    def now(cls, catalog: Catalog) -> "Beginning":
        """The end of what a majority has. Raises Unreachable or Refused."""
        return cls(catalog.identity().replica_set, format_oplog(catalog.majority_point()))

    def note(self, path: Path) -> None:
        """Write it down, unless an earlier one is."""
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def noted(cls, path: Path, catalog: Catalog) -> "Beginning | None":
        """What is written down, where the source still has everything from there on; else None."""
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
            position = parse_oplog(found.position)
        except (OSError, ValueError, TypeError, DecodeError):
            return None
        there = found.replica_set == catalog.identity().replica_set and catalog.oplog_bounds().first <= position
        return found if there and catalog.has_entry(position) else None
