"""What a log's records amount to, as far as a writer needs it to go on: a fold over headers, kept in a file as a cache.

The file is disposable: where it is missing, behind or of another log, the rest is read from the log itself.
"""

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...schemas.errors import HistoryLost
from ...schemas.record import EMPTY, Head, Record
from .home import LogLocation, LogReader, open_reader
from .kafka_location import KafkaLocation

log = logging.getLogger("commitlog")


@dataclass(slots=True)
class Progress:
    """How far the snapshot of one entity has come: `to` is the last key recorded, in the shape's key order."""

    snapshot: str
    to: list[Any] | None
    last: bool

    @property
    def told(self) -> bool:
        """Whether the log has rows that this snapshot brought; not so where it has only just begun anew."""
        return self.last or self.to is not None


@dataclass(slots=True)
class LogState:
    """The fold.

    Args:
        head: The last record folded in.
        log: The log's id, empty before genesis.
        epoch: The epoch in force.
        genesis: Item 2 of the genesis record, and of later source and gap records what they change of it.
        position: The source's position of the last record.
        commit: Of the last whole commit of this epoch: its id, position, xid and time, and the position it came after; empty before the first.
        schemas: Hash of each app schema recorded to the seq of its first record.
        shapes: Hashes of the shapes recorded.
        labels: Enum, by its source's name, to its labels in the last shape with it.
        described: Entity to what its shapes say of its table: the `table` and `key` of the last one, and `columns`, field to the column in the
            last one that has it.
        snapshots: Entity to the progress of its snapshot in this epoch.
    """

    head: Head = EMPTY
    log: str = ""
    epoch: int = 1
    genesis: dict[str, Any] = field(default_factory=dict[str, Any])
    position: str = ""
    commit: dict[str, Any] = field(default_factory=dict[str, Any])
    schemas: dict[str, int] = field(default_factory=dict[str, int])
    shapes: set[str] = field(default_factory=set[str])
    labels: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    described: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    snapshots: dict[str, Progress] = field(default_factory=dict[str, Progress])

    def fold(self, records: Iterable[Record]) -> None:
        """Take further records in, in their order."""
        last_commit: Record | None = None
        for record in records:
            header = record.header
            self.head = record.head
            self.position = header["source"]["position"]
            match record.kind:
                case "commit":
                    if header.get("part", {"last": True})["last"]:
                        last_commit = record
                case "shape":
                    self.shapes.update(header.get("shapes", ()))
                    for shape in record.items()[2:]:
                        self.describe(shape)
                case "schema":
                    self.schemas.setdefault(header["schema"], record.seq)
                case "snapshot":
                    self._snapshot(record)
                case "genesis" | "gap" | "source":
                    self._source(record)
                    last_commit = last_commit if record.kind == "source" else None
                case _:
                    pass
        if last_commit is not None:
            items, header = last_commit.items(), last_commit.header
            xid = items[1].get("xid") if len(items) > 1 else None
            source = header["source"]
            self.commit = {
                "id": header["id"],
                "position": source["position"],
                "after": source["after"],
                "xid": xid,
                "time": header["time"],
            }

    def describe(self, shape: dict[str, Any]) -> None:
        """Take in what a shape says that the log holds from here on."""
        columns = shape.get("columns", [])
        self.labels.update((c["engine_type"], c.get("labels", [])) for c in columns if c["type"] == "enum")
        known = self.described.setdefault(shape["entity"], {"columns": {}})
        known.update(table=shape["table"], key=shape["key"])
        known["columns"].update((column["field"], _unclassed(column)) for column in columns)

    def describes(self, shape: dict[str, Any]) -> bool:
        """Whether the last shapes of its entity say the same of its table, key and columns. Of classes two builds may say two things."""
        known = self.described.get(shape["entity"])
        return (
            known is not None
            and (known["table"], known["key"]) == (shape["table"], shape["key"])
            and all(known["columns"].get(column["field"]) == _unclassed(column) for column in shape["columns"])
        )

    def _snapshot(self, record: Record) -> None:
        items = record.items()
        if len(items) > 1 and record.unfinished is None:
            meta = items[1]
            self.snapshots[meta["entity"]] = Progress(meta["snapshot"], meta["to"], meta["last"])

    def _source(self, record: Record) -> None:
        items = record.items()
        self.log, self.epoch = record.header["log"], record.header["epoch"]
        if record.kind != "source":
            self.snapshots = {}
            self.commit = {}
        if len(items) > 2:
            self.genesis = {**self.genesis, **items[2]}

    def save(self, path: Path) -> None:
        """Write the cache. Where that fails the next start folds more records; nothing else is lost."""
        document = asdict(self) | {"shapes": sorted(self.shapes)}
        temporary = path.with_suffix(".new")
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                json.dump(document, file)
            temporary.replace(path)
        except OSError as exc:
            log.warning("the cache %s cannot be written: %s", path, exc.strerror)

    @classmethod
    def load(cls, path: Path) -> "LogState":
        """Read the cache; an empty state where there is none that can be read."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            state = cls(**document)
            state.head = Head(*document["head"])
            state.shapes = set(document["shapes"])
            # Another version's cache is read anew.
            state.described = document["described"]
            state.snapshots = {entity: Progress(**progress) for entity, progress in document["snapshots"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()
        return state


def _unclassed(column: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in column.items() if name != "class"}


class Standby:
    """Keeps the cache up with a log that somebody else writes, so that going on from there takes a moment only.

    Args:
        location: The log.
        cache: Of its state.
    """

    def __init__(self, location: LogLocation, cache: Path) -> None:
        self._location, self._cache = location, cache
        self._reader: LogReader | None = None

    def keep_up(self) -> LogState:
        """Take in what has come. Raises what `state_of` raises, and Unreachable where the log cannot be read now."""
        self._reader = self._reader or open_reader(self._location)
        return state_of(self._reader, self._cache)

    def end(self) -> LogState:
        """The same, for whoever goes on from there. Closes connections, if there are any."""
        try:
            return self.keep_up()
        finally:
            self.close()

    def close(self) -> None:
        """Close connections, if there are any; `keep_up` makes them anew."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def state_of(reader: LogReader, cache: Path) -> LogState:
    """The state of a log: the cache where it is of this log, and what came after it; the cache is brought up to date.

    Raises:
        VerificationFailed: The log is damaged.
        HistoryLost: A log on Kafka is empty, and was not when the cache was written: its topic was made anew.
    """
    head = reader.head()
    state = LogState.load(cache)
    if head.seq < 0 <= state.head.seq and isinstance(reader.location, KafkaLocation):
        # Of a folder the writer's memory says so; here the next writer may have had its memory on another machine.
        raise HistoryLost(
            f"log {reader.location} is empty, and held record {state.head} before",
            hint=f"put its topic back from a copy; or remove {cache} to begin a new log",
        )
    known = 0 <= state.head.seq <= head.seq and reader.record(state.head.seq).hash == state.head.hash
    if not known:
        state = LogState()
    if head.seq > state.head.seq:
        state.fold(reader.records(state.head.seq + 1, after=state.head if known else None))
        state.save(cache)
    return state
