"""`commitlog sessions`: session records of the mesh, into the store beside the log or the topic of its brokers, and out of it."""

import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...drivers.session import settings
from ...schemas.errors import Unreachable, UsageError
from ..log.home import LogLocation
from ..log.kafka_location import KafkaLocation
from ..sessions.access_log import Lines, MalformedLine, ParsedLine, parse_line
from ..sessions.store import SessionRecord, Store, path_of
from .commands import Group
from .options import Invocation, json_option, log_option, pass_invocation
from .output import Output, note

if TYPE_CHECKING:
    from ..sessions.topic import SessionProducer

EVEN_S = 60.0
"""How long `list` waits until this machine's store holds what the topic of session records does."""

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

    to: "Store | SessionProducer"
    name: str
    session_key: bytes | None
    taken: int = 0
    added: int = 0
    malformed: int = 0
    sessions_left_out: int = 0
    lines: Lines = field(default_factory=Lines)

    def take(self, lines: Iterator[tuple[int, bytes]]) -> None:
        """Store the records of some lines, all that are well formed."""
        found: list[ParsedLine] = []
        for number, line in lines:
            try:
                parsed = parse_line(line, self.session_key)
            except MalformedLine as exc:
                self._report(number, exc)
            else:
                found.append(parsed)
                self.sessions_left_out += parsed.session_left_out
        self.taken += len(found)
        if isinstance(self.to, Store):
            self.added += self.to.add([(parsed.record, parsed.digest) for parsed in found])
        elif found:
            self.to.add(found)

    def told(self) -> str:
        """What came of it."""
        if isinstance(self.to, Store):
            counts = f"{self.added} session records added, {self.taken - self.added} known already"
        else:
            counts = f"{self.taken} session records sent to topic {self.to.topic}"
        return f"{counts}, {self.malformed} malformed"

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
    told on stderr and passed over; the exit code is then 1. Of a log on Kafka they go into the topic PREFIX.sessions, for the
    workers of all logs of that prefix.
    """
    location = invocation.load("log").log.location
    output = Output()
    fd = sys.stdin.fileno() if file == "-" else _open(file)
    with _open_target(location) as to:
        run = _Import(to, "stdin" if file == "-" else file, settings().session_key)
        for chunk in _follow(fd, file, _stop_by_signal()) if follow and file != "-" else _read(fd):
            run.take(run.lines.feed(chunk) if chunk else run.lines.end())
    if run.sessions_left_out:
        note(f"COMMITLOG_SESSION_KEY is not set: {run.sessions_left_out} session ids were left out")
    output.line(run.told())
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
    if isinstance(location, KafkaLocation):
        _bring_up_to_date(location)
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


def _open_target(location: LogLocation) -> "Store | SessionProducer":
    """Where session records go: the store beside a log in a folder, or the topic for those on Kafka."""
    if not isinstance(location, KafkaLocation):
        return Store.open(path_of(location), create=True)
    from ..sessions.topic import SessionProducer

    return SessionProducer(location)


def _bring_up_to_date(location: KafkaLocation) -> None:
    """Take over into this machine's store what the topic holds.

    Raises:
        CommitLogError: The brokers do not let us, or it takes too long.
    """
    from ..sessions.topic import SessionFollower

    with closing(SessionFollower(location, settings().session_key)) as topic:
        if not topic.wait(EVEN_S):
            raise topic.trouble or Unreachable(
                f"topic {location.sessions} was not read to its end in {EVEN_S:.0f} s",
                hint="run it again: it goes on from there",
            )


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
