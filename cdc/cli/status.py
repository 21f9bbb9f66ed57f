"""`commitlog status`: where the log, the source and the worker stand."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from ...schemas.errors import CommitLogError, Unreachable, UsageError
from ...schemas.position import parse_oplog
from ..app_schemas.files import load_registry
from ..config import Config
from ..doctor.standing import (
    Coverage,
    LogStanding,
    RecordedSchema,
    SessionsStanding,
    SourceStanding,
    WorkerStanding,
    look_at_log,
    look_at_sessions,
    look_at_source,
    look_at_worker,
)
from .log_view import open_index
from .options import Invocation, json_option, log_option, pass_invocation, source_option
from .output import Output
from .rendering import ASSURANCE, Line, Span, write


@click.command()
@log_option
@source_option
@json_option
@pass_invocation
def command(invocation: Invocation, as_json: bool) -> None:
    """Show where the log, the source and the worker stand. Changes nothing; what cannot be looked at is shown as such.

    Exit code 5: neither the log, nor the source, nor a worker is there. With --json one document, the form of which is
    schemas/status.schema.json.
    """
    config = invocation.load("log")
    location = config.log.location
    log: LogStanding | None = None
    failure: CommitLogError | None = None
    try:
        with open_index(location) as index:
            log = look_at_log(index)
    except UsageError:
        pass  # there is no log yet, and the lines below say so
    except CommitLogError as exc:
        failure = exc
    source = look_at_source(config, log.position if log else "") if config.source.url else None
    worker = look_at_worker(location, config.http.address)
    in_force = _in_force(config, log)
    sessions = look_at_sessions(location)
    lag_s = _lag_s(log, source, worker)
    output = Output(as_json=as_json)
    if as_json:
        output.document(
            {
                "log": _log_document(config, log, failure, in_force),
                "source": _source_document(config, source),
                "lag": {"bytes": source.lag_bytes if source else None, "seconds": lag_s},
                "worker": asdict(worker),
                "sessions": asdict(sessions) if sessions else None,
            }
        )
    else:
        lines = [*_log_lines(config, log, failure), *_source_lines(config, source), *_lag_lines(source, lag_s)]
        more = [*_schema_lines(log, in_force), *_snapshot_lines(log), *_session_lines(sessions)]
        write(output, [*lines, *_worker_lines(worker), *more])
    if failure is not None:
        raise failure
    if log is None and source is not None and source.trouble and not worker.running:
        raise Unreachable(f"there is no log {location} yet, and {source.trouble}", hint=source.hint)


def _in_force(config: Config, log: LogStanding | None) -> set[str] | None:
    """The ids, as the log has them, of the app schemas that hold now; None where they cannot be read."""
    if log is None or not log.visibility or not config.schemas.path.exists():
        return None
    try:
        return {schema.projected(log.visibility).id for schema in load_registry(config.schemas.path).schemas}
    except CommitLogError:
        return None  # commitlog schema check says what is wrong with them


def _lag_s(log: LogStanding | None, source: SourceStanding | None, worker: WorkerStanding) -> float | None:
    """How long ago the log last held all that was committed, at most; by the worker's word, or else by its last record."""
    if worker.lag_s is not None:
        return worker.lag_s
    if source is not None and source.lag_s is not None:
        return source.lag_s
    if log is None or source is None or source.lag_bytes is None:
        return None
    return _seconds_since(log.recorded) if source.lag_bytes else 0.0


def _log_document(
    config: Config, log: LogStanding | None, failure: CommitLogError | None, in_force: set[str] | None
) -> dict[str, Any] | None:
    url = str(config.log.location)
    if log is None:
        return {"url": url, "trouble": str(failure)} if failure else None
    return {
        "url": url,
        "trouble": None,
        "head": {"seq": log.head.seq, "hash": log.head.hash},
        "id": log.id,
        "epoch": log.epoch,
        "visibility": log.visibility,
        "records": log.head.seq + 1,
        "bytes": log.bytes,
        "position": log.position,
        "recorded": log.recorded,
        "coverage": asdict(log.coverage) if log.coverage else None,
        "commits": {str(level): count for level, count in log.assurances.items()},
        "amended": log.amended,
        "schemas": [
            {
                "id": schema.id,
                "seq": schema.seq,
                "app": schema.document.get("app"),
                "builds": schema.document.get("builds", []),
                "default": schema.document.get("default", False),
                "in_force": schema.id in in_force if in_force is not None else None,
            }
            for schema in log.schemas
        ],
        "snapshots": [asdict(snapshot) for snapshot in log.snapshots],
    }


def _source_document(config: Config, source: SourceStanding | None) -> dict[str, Any] | None:
    if source is None:
        return None
    found = asdict(source)
    return {
        "url": config.source.shown,
        "slot": config.source.slot,
        "trouble": source.trouble or None,
        "slot_found": source.slot,
        **{
            name: found[name]
            for name in (
                "wal_end",
                "confirmed",
                "retained_bytes",
                "oldest",
                "safe_bytes",
                "wal_status",
                "active_pid",
                "missing",
            )
        },
    }


def _section(name: str, lines: list[list[Span]]) -> list[Line]:
    """Lines with the section's name before the first."""
    return [[(f"{'' if number else name:10}", "dim"), *line] for number, line in enumerate(lines)]


def _log_lines(config: Config, log: LogStanding | None, failure: CommitLogError | None) -> list[Line]:
    name: list[Span] = [(str(config.log.location), "bold")]
    if failure is not None:
        return _section("log", [name, [(str(failure), "bold red")]])
    if log is None:
        return _section("log", [name, [("not there yet: commitlog run creates it", "yellow")]])
    if log.head.seq < 0:
        return _section("log", [name, [("empty", "yellow")]])
    size = "" if log.bytes is None else f"{_bytes(log.bytes)}, "
    lines: list[list[Span]] = [
        [(f"id {log.id}, {log.visibility or 'visibility withheld'}, epoch {log.epoch}", "")],
        [(f"{_number(log.head.seq + 1, 'record')}, {size}the last {_age(log.recorded)}", "")],
        [(f"read up to {log.position}{_covered(log.coverage)}", "")],
    ]
    commits = sum(log.assurances.values())
    words = [f"{count:,} {ASSURANCE[level]}" for level, count in log.assurances.items() if level < len(ASSURANCE)]
    amended = f"; {_number(log.amended, 'amend record')}" if log.amended else ""
    said = f": {', '.join(words)}" if words else ""
    # The head stands on a line of its own, where even a narrow terminal does not break it: it is there to be copied.
    head = _section("head", [[(str(log.head), "")]])
    return [
        *_section("log", [name]),
        *head,
        *_section("", lines),
        *_section("commits", [[(f"{commits:,}{said}{amended}", "")]]),
    ]


def _covered(coverage: Coverage | None) -> str:
    return (
        f", last coverage in record {coverage.seq}, {_age(coverage.time)}" if coverage else ", no coverage record yet"
    )


def _source_lines(config: Config, source: SourceStanding | None) -> list[Line]:
    if source is None:
        return []
    name: list[Span] = [(config.source.shown, "bold")]
    if source.trouble:
        return _section("source", [name, [(source.trouble, "red")]])
    if config.source.engine != "postgresql":
        lines = [(_ends(config, source), ""), *((text, "yellow") for text in source.missing)]
        return _section("source", [name, *([line] for line in lines)])
    if not source.slot:
        return _section("source", [name, [(f"no slot {config.source.slot}: commitlog setup", "red")]])
    slot = f"slot {config.source.slot} at {source.confirmed}, {'in use' if source.active_pid else 'idle'}"
    status = "" if source.wal_status in ("", "reserved", "extended") else f" ({source.wal_status})"
    safe = "" if source.safe_bytes is None else f", {_bytes(max(0, source.safe_bytes))} from losing it"
    kept = f"keeps {_bytes(source.retained_bytes)} of WAL for it{status}{safe}"
    return _section(
        "source",
        [
            name,
            [(f"its WAL ends at {source.wal_end}", "")],
            [(f"{slot}, {kept}", "")],
            *([(text, "yellow")] for text in source.missing),
        ],
    )


def _ends(config: Config, source: SourceStanding) -> str:
    """From where to where the log of a source goes that is no PostgreSQL."""
    if config.source.engine == "mongodb":
        window_s = (parse_oplog(source.wal_end) >> 32) - (parse_oplog(source.oldest) >> 32)
        return f"its oplog ends at {source.wal_end}, and goes back {_duration(window_s)}, to {source.oldest}"
    kept = f"{_bytes(source.retained_bytes)} of it are there, from {source.oldest} on"
    return f"its binary log ends at {source.wal_end}; {kept}"


def _lag_lines(source: SourceStanding | None, lag_s: float | None) -> list[Line]:
    size = source.lag_bytes if source is not None else None
    if size is None and lag_s is None:
        return []
    # Even where nothing committed is missing, there may be WAL that holds nothing for the log.
    words = (
        [] if size is None else [f"{_bytes(size)} of its log behind the source" if size else "the log has all of it"]
    )
    if lag_s is not None:
        words.append(f"last even {_duration(lag_s)} ago" if lag_s else "nothing committed is missing")
    return _section("lag", [[(", ".join(words), "yellow" if lag_s else "")]])


def _worker_lines(worker: WorkerStanding) -> list[Line]:
    if not worker.running:
        return _section("worker", [[("not running", "yellow")]])
    pid = f", process {worker.pid}" if worker.pid else ""
    line: list[Span] = [(f"running{pid}", "green")]
    if worker.trouble:
        line.append((f"; not ready: {worker.trouble}", "bold yellow"))
    return _section("worker", [line])


def _schema_lines(log: LogStanding | None, in_force: set[str] | None) -> list[Line]:
    return _section("schemas", [_schema_line(schema, in_force) for schema in log.schemas]) if log else []


def _schema_line(schema: RecordedSchema, in_force: set[str] | None) -> list[Span]:
    document = schema.document
    holds = [*document.get("builds", []), *(["default"] if document.get("default") else [])]
    where = f", record {schema.seq}" if schema.seq is not None else ""
    force = ", not in force" if in_force is not None and schema.id not in in_force else ""
    return [
        (f"{schema.id[:12]} {document.get('app', 'withheld')} for {', '.join(holds) or 'nothing'}{where}{force}", "")
    ]


def _snapshot_lines(log: LogStanding | None) -> list[Line]:
    found = log.snapshots if log else []
    going = [snapshot for snapshot in found if not snapshot.complete]
    lines: list[list[Span]] = [
        [(f"{each.entity}: {_number(each.chunks, 'chunk')} so far, the last in record {each.seq}", "yellow")]
        for each in going
    ]
    if found and len(going) < len(found):
        lines.append([(f"{len(found) - len(going)} of {len(found)} complete", "")])
    return _section("snapshots", lines)


def _session_lines(sessions: SessionsStanding | None) -> list[Line]:
    if sessions is None:
        return []
    left = (
        f"{sessions.uncompared:,} not compared with commits yet" if sessions.uncompared else "all compared with commits"
    )
    return _section("sessions", [[(f"{_number(sessions.records, 'record')}, {left}", "")]])


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _bytes(size: int) -> str:
    """A size in the largest unit that leaves at least 1."""
    number = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def _seconds_since(time: str) -> float:
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds())


def _age(time: str) -> str:
    """How long ago a record's time is."""
    return f"{_duration(_seconds_since(time))} ago"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 or not seconds else f"{seconds:.1f} s"
