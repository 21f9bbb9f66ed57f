"""`commitlog status`: where the log, the source and the worker stand."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from ...schemas.errors import CommitLogError, UsageError
from ..config import Config
from ..standing import (
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
    """Show where the log, the source and the worker stand. Changes nothing; a source that does not answer is shown as such.

    With --json one document: log {url, trouble, head, id, epoch, visibility, records, bytes, position, recorded, coverage
    {seq, time, position} or null, commits (assurance to number), amended, schemas [{id, seq, app, builds, default}]} or
    null where there is no log yet; source {url, slot, trouble, wal_end, slot_found, confirmed, retained_bytes, wal_status,
    active_pid, lag_bytes} or null where none is configured; worker {running, pid, waiting_for_schema (null: unknown)};
    sessions {records, uncompared} or null.
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
    sessions = look_at_sessions(location)
    output = Output(as_json=as_json)
    if as_json:
        output.document(
            {
                "log": _log_document(config, log, failure),
                "source": _source_document(config, source),
                "worker": asdict(worker),
                "sessions": asdict(sessions) if sessions else None,
            }
        )
    else:
        lines = [*_log_lines(config, log, failure), *_source_lines(config, source), *_worker_lines(worker)]
        write(output, [*lines, *_schema_lines(log), *_session_lines(sessions)])
    if failure is not None:
        raise failure


def _log_document(config: Config, log: LogStanding | None, failure: CommitLogError | None) -> dict[str, Any] | None:
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
            }
            for schema in log.schemas
        ],
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
            for name in ("wal_end", "confirmed", "retained_bytes", "wal_status", "active_pid", "lag_bytes")
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
    lines: list[list[Span]] = [
        [(f"id {log.id}, {log.visibility or 'visibility withheld'}, epoch {log.epoch}", "")],
        [(f"{_number(log.head.seq + 1, 'record')}, {_bytes(log.bytes)}, the last {_age(log.recorded)}", "")],
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
    if not source.slot:
        return _section("source", [name, [(f"no slot {config.source.slot}: commitlog setup", "red")]])
    lag = f", {_bytes(source.lag_bytes)} ahead of the log" if source.lag_bytes else ", and the log has all of it"
    slot = f"slot {config.source.slot} at {source.confirmed}, {'in use' if source.active_pid else 'idle'}"
    status = "" if source.wal_status in ("", "reserved", "extended") else f" ({source.wal_status})"
    kept = f"keeps {_bytes(source.retained_bytes)} of WAL for it{status}"
    return _section(
        "source",
        [
            name,
            [(f"its WAL ends at {source.wal_end}{lag if source.lag_bytes is not None else ''}", "")],
            [(f"{slot}, {kept}", "")],
        ],
    )


def _worker_lines(worker: WorkerStanding) -> list[Line]:
    if not worker.running:
        return _section("worker", [[("not running", "yellow")]])
    pid = f", process {worker.pid}" if worker.pid else ""
    line: list[Span] = [(f"running{pid}", "green")]
    if worker.waiting_for_schema:
        line.append(("; it waits for the app schema of a build: commitlog schema add FILE", "bold yellow"))
    return _section("worker", [line])


def _schema_lines(log: LogStanding | None) -> list[Line]:
    return _section("schemas", [_schema_line(schema) for schema in log.schemas]) if log else []


def _schema_line(schema: RecordedSchema) -> list[Span]:
    document = schema.document
    holds = [*document.get("builds", []), *(["default"] if document.get("default") else [])]
    where = f", record {schema.seq}" if schema.seq is not None else ""
    return [(f"{schema.id[:12]} {document.get('app', 'withheld')} for {', '.join(holds) or 'nothing'}{where}", "")]


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


def _age(time: str) -> str:
    """How long ago a record's time is."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"
