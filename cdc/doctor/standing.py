"""Where a log, its source and its worker stand just now: a look from outside, which changes nothing.

Each part is looked at for itself: a source that does not answer, or a log that is not there yet, says so and hides nothing else.
"""

import fcntl
import http.client
import os
import re
import socket
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ...schemas.errors import CommitLogError
from ...schemas.position import format_lsn, format_oplog, parse_binlog, parse_lsn, parse_oplog
from ...schemas.record import Head
from ..app_schemas.files import load_registry
from ..config import Config
from ..log.home import LogLocation, leader_of
from ..log.index import Index
from ..log.kafka_location import KafkaLocation
from ..log.location import Location
from ..sessions.store import Store, path_of

METRICS_TIMEOUT_S = 1.0
METRICS_BYTES_MAX = 1 << 20
_FIGURE = re.compile(r"^(commitlog_[a-z_]+)(?:{[^}\n]*})? ([0-9.e+-]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Coverage:
    """The last record that says the source was read up to a position and held nothing more."""

    seq: int
    time: str
    position: str


@dataclass(frozen=True, slots=True)
class RecordedSchema:
    """An app schema that the log holds: its hash, the seq of its record, and the document (empty where withheld)."""

    id: str
    seq: int | None
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SnapshotStanding:
    """How far the snapshot of one entity has come in this epoch: chunks recorded, the seq of the last, whether that is all."""

    entity: str
    chunks: int
    seq: int
    complete: bool


@dataclass(frozen=True, slots=True)
class LogStanding:
    """Where a log stands.

    Args:
        head: Its durable head; seq -1 where it has no records.
        id: The log's id, empty without records.
        epoch: The epoch in force.
        visibility: As genesis says; empty where that is withheld.
        bytes: Of all its segments, as far as they are durable or about to be; None for a log that is not in a folder.
        position: The source's position of the last record.
        recorded: When the last record was written, by its writer's clock; empty without records.
        coverage: The last coverage record.
        assurances: Assurance to the number of commits.
        amended: How many amend records there are.
        schemas: In the order they came.
        snapshots: Of every entity that has one.
    """

    head: Head
    id: str
    epoch: int
    visibility: str
    bytes: int | None
    position: str
    recorded: str
    coverage: Coverage | None
    assurances: dict[int, int]
    amended: int
    schemas: list[RecordedSchema]
    snapshots: list[SnapshotStanding]


@dataclass(frozen=True, slots=True)
class SourceStanding:
    """Where a source stands.

    Args:
        trouble: Why it cannot be looked at; empty when it can.
        hint: What to do about that.
        wal_end: The end of its WAL, of its binary log or of its oplog, as positions are written.
        slot: Whether the slot is there.
        confirmed: What the slot was acknowledged up to.
        retained_bytes: WAL that the server keeps for the slot, or what there is of its binary log; 0 of MongoDB, which does not tell everybody.
        oldest: The oldest file of the binary log that is there, or the oldest entry of the oplog; empty of PostgreSQL.
        safe_bytes: WAL that may still be written before the slot is in danger; None where there is no limit.
        wal_status: As pg_replication_slots has it.
        active_pid: The server's process that streams the slot, or None.
        lag_bytes: What came after the log's position; None where the log has none, and of MongoDB.
        lag_s: Of MongoDB, from the log's position to the end of the oplog; None where the log has none.
        missing: A sentence for each table that an app schema maps and that does not exist.
    """

    trouble: str = ""
    hint: str = ""
    wal_end: str = ""
    slot: bool = False
    confirmed: str = ""
    retained_bytes: int = 0
    oldest: str = ""
    safe_bytes: int | None = None
    wal_status: str = ""
    active_pid: int | None = None
    lag_bytes: int | None = None
    lag_s: float | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerStanding:
    """Whether a process writes to the log, and what it says of itself.

    Args:
        running: Whether there is one.
        pid: Which.
        waiting_for_schema: Whether it waits for the app schema of a build; None where it does not say.
        trouble: Why commits do not come into the log now, empty when they do; None where it does not say.
        lag_s: How long ago the log last held all that was committed, at most, 0 while it does; None where it does not say.
    """

    running: bool
    pid: int | None = None
    waiting_for_schema: bool | None = None
    trouble: str | None = None
    lag_s: float | None = None


@dataclass(frozen=True, slots=True)
class SessionsStanding:
    """How many session records there are, and how many of them no commit was compared with yet."""

    records: int
    uncompared: int


def look_at_log(index: Index) -> LogStanding:
    """Where a log stands, its index being filled.

    Raises:
        VerificationFailed: A record that is looked at is damaged.
    """
    head, location = index.head, index.location
    size: int | None = None
    if isinstance(location, Location):
        size = sum(path.stat().st_size for path in location.segments.iterdir()) if location.segments.exists() else 0
    if head.seq < 0:
        return LogStanding(head, "", 1, "", size, "", "", None, {}, 0, [], [])
    first, last = index.record(0), index.record(head.seq)
    genesis = first.items()[2:]
    return LogStanding(
        head=head,
        id=last.header["log"],
        epoch=last.header["epoch"],
        visibility=genesis[0].get("visibility", "") if genesis else "",
        bytes=size,
        position=last.header["source"]["position"],
        recorded=last.recorded,
        coverage=_coverage(index),
        assurances=index.assurances(),
        amended=len(index.amends()),
        schemas=[_schema(index, digest, seq) for digest, seq in index.schemas()],
        snapshots=[SnapshotStanding(*found) for found in index.snapshots()],
    )


def _coverage(index: Index) -> Coverage | None:
    seq = index.last_of_kind("coverage")
    if seq is None:
        return None
    record = index.record(seq)
    return Coverage(seq, record.recorded, record.header["source"]["position"])


def _schema(index: Index, digest: str, seq: int | None) -> RecordedSchema:
    items = index.record(seq).items() if seq is not None else []
    return RecordedSchema(digest, seq, items[2] if len(items) > 2 else {})


def look_at_source(config: Config, position: str) -> SourceStanding:
    """Where the source stands, and how far it is ahead of a log's position (empty for none)."""
    try:
        look = {"postgresql": _look_at_slot, "mongodb": _look_at_oplog}
        return look.get(config.source.engine, _look_at_binlog)(config, position)
    except CommitLogError as exc:
        return SourceStanding(trouble=str(exc), hint=exc.hint)


def _look_at_binlog(config: Config, position: str) -> SourceStanding:
    # Loaded here only: what a log alone can say needs no driver.
    from ..source.mysql.checks import missing_tables
    from ..tail.mysql_catalog import Catalog

    with closing(Catalog(config.source.conninfo())) as catalog:
        end, files = catalog.binlog_end(), catalog.binary_logs()
        missing = tuple(missing_tables(catalog, load_registry(config.schemas.path)))
    name, offset = parse_binlog(position) if position else ("", 0)
    ahead = sum(file.size for file in files if file.name >= name) - offset
    return SourceStanding(
        wal_end=end.text,
        retained_bytes=sum(file.size for file in files),
        oldest=files[0].name if files else "",
        lag_bytes=max(0, ahead) if position else None,
        missing=missing,
    )


def _look_at_oplog(config: Config, position: str) -> SourceStanding:
    # Loaded here only, for the same reason.
    from ..source.mongodb.checks import missing_collections
    from ..tail.mongodb_catalog import Catalog

    with closing(Catalog(config.source.conninfo())) as catalog:
        bounds = catalog.oplog_bounds()
        missing = tuple(missing_collections(catalog, load_registry(config.schemas.path)))
    ahead = (bounds.last >> 32) - (parse_oplog(position) >> 32) if position else 0
    return SourceStanding(
        wal_end=format_oplog(bounds.last),
        oldest=format_oplog(bounds.first),
        lag_s=float(max(0, ahead)) if position else None,
        missing=missing,
    )


def _look_at_slot(config: Config, position: str) -> SourceStanding:
    # Loaded here only, for the same reason.
    from ..source.check import check_primary
    from ..source.table_watch import missing_tables
    from ..tail.catalog import Catalog

    with closing(Catalog(config.source.conninfo())) as catalog:
        identity = catalog.identity()
        end = identity.wal_end
        slot = catalog.slot(config.source.slot)
        if slot is None:
            # On a standby no setup makes one.
            check_primary(identity)
        missing = tuple(missing_tables(config.tables_path, catalog, load_registry(config.schemas.path)))
    lag = max(0, end - parse_lsn(position)) if position else None
    if slot is None:
        return SourceStanding(wal_end=format_lsn(end), lag_bytes=lag, missing=missing)
    return SourceStanding(
        wal_end=format_lsn(end),
        slot=True,
        confirmed=format_lsn(slot.confirmed),
        retained_bytes=slot.retained_bytes,
        safe_bytes=slot.safe_bytes,
        wal_status=slot.wal_status,
        active_pid=slot.active_pid,
        lag_bytes=lag,
        missing=missing,
    )


def look_at_worker(location: LogLocation, address: tuple[str, int] | None) -> WorkerStanding:
    """Whether somebody writes to a log.

    Args:
        location: The log.
        address: Where its worker serves its figures, None for nowhere.
    """
    if isinstance(location, Location):
        return _look_at_lock(location, address)
    host, _, pid = leader_of(location).rpartition(".")
    if not pid:
        return WorkerStanding(running=False)
    return _told(location, address, int(pid) if pid.isdecimal() and host == socket.gethostname() else None)


def _look_at_lock(location: Location, address: tuple[str, int] | None) -> WorkerStanding:
    try:
        fd = os.open(location.lock, os.O_RDONLY)
    except OSError:
        return WorkerStanding(running=False)
    try:
        # Shared and let go at once: a writer that starts in this instant tries again.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return WorkerStanding(running=False)
    except BlockingIOError:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        return _told(location, address, int(holder) if holder.isdecimal() else None)
    finally:
        os.close(fd)


def _told(location: LogLocation, address: tuple[str, int] | None, pid: int | None) -> WorkerStanding:
    """What a worker that runs says of itself, where it can be asked."""
    figures = _figures(address, log=location.name) if address else None
    if address is None or figures is None:
        return WorkerStanding(True, pid)
    status, text = _get(address, "/readyz")
    waiting = figures.get("commitlog_waiting")
    return WorkerStanding(
        True,
        pid,
        None if waiting is None else waiting > 0,
        {200: "", 503: text.strip()}.get(status),
        figures.get("commitlog_lag_time_seconds"),
    )


def _figures(address: tuple[str, int], *, log: str) -> dict[str, float] | None:
    """The figures that the worker of a log serves; None where they cannot be learned."""
    status, text = _get(address, "/metrics")
    # Another log's worker may serve there.
    if status != 200 or f'commitlog_log="{log}"' not in text:
        return None
    return {name: float(value) for name, value in _FIGURE.findall(text)}


def _get(address: tuple[str, int], path: str) -> tuple[int, str]:
    """Status and text of what a worker serves; status 0 where nobody answers."""
    connection = http.client.HTTPConnection(*address, timeout=METRICS_TIMEOUT_S)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read(METRICS_BYTES_MAX).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def look_at_sessions(location: LogLocation) -> SessionsStanding | None:
    """The session records beside a log; None where none were imported, or, of a log on Kafka, where no worker of this machine reads them.

    Raises:
        CommitLogError: The file is no store of session records, or cannot be read.
    """
    store = Store.open(path_of(location))
    if store is None:
        return None
    with store:
        if isinstance(location, KafkaLocation) and not store.amended_through():
            return None  # A copy of the topic on a machine that no worker compares with commits.
        return SessionsStanding(store.count(), store.max_rowid() - store.amended_through())
