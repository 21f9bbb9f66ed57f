"""`commitlog sessions`: session records of the mesh, into the store beside the log and out of it."""

import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click

from ...drivers.session import settings
from ...schemas.errors import UsageError
from ..access_log import Lines, MalformedLine, parse_line
from ..sessions import SessionRecord, Store, path_of
from .commands import Group
from .options import Invocation, json_option, log_option, pass_invocation
from .output import Output, note

READ_BYTES = 1 << 20
FOLLOW_POLL_S = 0.1

REPORTED_MAX = 20
"""Malformed lines told one by one; the rest is counted."""


@click.group(cls=Group)
def command() -> None:
    """Session records of the mesh, which make claims of tags corroborated."""


@dataclass(slots=True)
class _Import:
    """One run of `sessions import`: what it has counted, and what it has said."""

    store: Store
    name: str
    session_key: bytes | None
    added: int = 0
    known: int = 0
    malformed: int = 0
    sessions_left_out: int = 0
    lines: Lines = field(default_factory=Lines)

    def take(self, lines: Iterator[tuple[int, bytes]]) -> None:
        """Store the records of some lines, all that are well formed."""
        records: list[tuple[SessionRecord, bytes]] = []
        for number, line in lines:
            try:
                parsed = parse_line(line, self.session_key)
            except MalformedLine as exc:
                self._report(number, exc)
            else:
                records.append((parsed.record, parsed.digest))
                self.sessions_left_out += parsed.session_left_out
        if records:
            added = self.store.add(records)
            self.added += added
            self.known += len(records) - added

    def _report(self, number: int, exc: MalformedLine) -> None:
        self.malformed += 1
        if self.malformed <= REPORTED_MAX:
            note(f"{self.name}:{number}: {exc}")
        elif self.malformed == REPORTED_MAX + 1:
            note("further malformed lines are only counted")


@command.command("import")
@click.argument("file", metavar="FILE|-")
@click.option("--follow", is_flag=True, help="Go on with what is written to FILE later, until SIGTERM or SIGINT.")
@log_option
@pass_invocation
def import_(invocation: Invocation, file: str, follow: bool) -> int:
    """Import session records from FILE, or from standard input for `-`.

    FILE holds JSON lines, such as Envoy's JSON access log. A line that was imported before adds nothing. Malformed lines are
    told on stderr and passed over; the exit code is then 1.
    """
    location = invocation.load("log").log.location
    output = Output()
    fd = sys.stdin.fileno() if file == "-" else _open(file)
    with Store.open(path_of(location), create=True) as store:
        run = _Import(store, "stdin" if file == "-" else file, settings().session_key)
        for chunk in _follow(fd, file, _stop_by_signal()) if follow and file != "-" else _read(fd):
            run.take(run.lines.feed(chunk) if chunk else run.lines.end())
    if run.sessions_left_out:
        note(f"COMMITLOG_SESSION_KEY is not set: {run.sessions_left_out} session ids were left out")
    output.line(f"{run.added} session records added, {run.known} known already, {run.malformed} malformed")
    return 1 if run.malformed else 0


@command.command("list")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, the newest.")
@log_option
@json_option
@pass_invocation
def list_(invocation: Invocation, limit: int, as_json: bool) -> int:
    """List session records, the newest last.

    With --json each line is a record: id, request (one digit of a UUID masked), trace_id, user, session, start_us, end_us,
    method, path, status; null for what the mesh did not say.
    """
    location = invocation.load("log").log.location
    store = Store.open(path_of(location))
    if store is None:
        raise UsageError(f"there are no session records for {location}", hint="commitlog sessions import FILE")
    with store:
        records = store.latest(limit)[::-1]
    output = Output(as_json=as_json)
    if as_json:
        for record in records:
            output.document(asdict(record))
    else:
        head = ("start", "user", "request", "method", "path", "status", "session")
        output.table(head, [_row(record) for record in records])
    return 0


def _row(record: SessionRecord) -> list[object]:
    start = (
        datetime.fromtimestamp(record.start_us / 1e6, UTC).isoformat(timespec="milliseconds") if record.start_us else ""
    )
    session = (record.session or "")[:12]
    return [start, record.user, record.request, record.method, record.path, record.status, session]


def _stop_by_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _, __: stop.set())
    return stop


def _open(file: str) -> int:
    try:
        fd = os.open(file, os.O_RDONLY)
    except OSError as exc:
        raise UsageError(f"{file} cannot be read: {exc.strerror}", hint="name a file of JSON lines, or -") from exc
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        raise UsageError(f"{file} is a folder", hint="name a file of JSON lines, or -")
    return fd


def _read(fd: int) -> Iterator[bytes]:
    """What there is to read, as it comes: a slow pipe is not waited for to be full. b"" at the end."""
    while chunk := os.read(fd, READ_BYTES):
        yield chunk
    yield b""


def _follow(fd: int, file: str, stop: threading.Event) -> Iterator[bytes]:
    """What is written to a file, across rotation; b"" where the file was replaced or cut, and another line begins."""
    while not stop.is_set():
        while chunk := os.read(fd, READ_BYTES):
            yield chunk
        if os.fstat(fd).st_size < os.lseek(fd, 0, os.SEEK_CUR):
            yield b""
            os.lseek(fd, 0, os.SEEK_SET)
        elif _is_replaced(fd, file):
            # The writer has left this file for another, so what it holds now is all.
            yield from _read(fd)
            os.close(fd)
            fd = _open(file)
        else:
            stop.wait(FOLLOW_POLL_S)


def _is_replaced(fd: int, file: str) -> bool:
    try:
        return not os.path.samestat(Path(file).stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
