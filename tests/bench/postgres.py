"""`make bench-postgres`: the worker beside Debezium and pg_recvlogical on one PostgreSQL, and its latency.

The real worker in its default, durable configuration drains a backlog; Debezium's engine and pg_recvlogical drain the same
one in turn. The clock runs from the first row after a warm-up to the last, where a reader reads it: for the worker in the
log, by a second process; for Debezium in its consumer. Machines are noisy: only ratios of one run count. The last line of
the output is JSON.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import latency
import limit
import peer
import worker
import workload
from backlog import SERVER_SETTINGS, Backlog
from drained import Drained, Reader

from commitlog import __version__
from commitlog.cdc import native
from commitlog.cdc.servers.local import PostgresServer

_CACHE = Path(__file__).parents[2] / ".cache" / "bench"
_ROWS_MIN = 1_000
_PARTS = ("1", "10", "latency")


@dataclass(frozen=True, slots=True)
class Case:
    """The runs over one backlog, by reader: ours, the peer's, the limit's."""

    rows_per_transaction: int
    runs: dict[str, list[Drained]]

    def rows_s(self, reader: str) -> float | None:
        """The median rate of a reader; None where it was left out."""
        runs = self.runs.get(reader)
        return statistics.median(run.rows_s for run in runs) if runs else None

    def rss_mb(self, reader: str) -> float | None:
        """The highest peak of a reader; None where it was left out."""
        runs = self.runs.get(reader)
        return max(run.spent.rss_mb for run in runs) if runs else None

    def ratio(self, reader: str) -> float | None:
        """The median of our rate over a reader's, round by round; None where one was left out."""
        ours, theirs = self.runs.get(worker.Commitlog.name), self.runs.get(reader)
        if not ours or not theirs:
            return None
        return statistics.median(mine.rows_s / other.rows_s for mine, other in zip(ours, theirs, strict=True))


def main() -> int:
    """Run what was asked for; the exit code."""
    arguments = _arguments()
    try:
        return _bench(arguments)
    except peer.Missing as missing:
        print(f"error: {missing}", file=sys.stderr)
        return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each reader (3)")
    parser.add_argument("--rows-1", type=int, default=200_000, help="rows at one row per transaction (200000)")
    parser.add_argument("--rows-10", type=int, default=500_000, help="rows at ten rows per transaction (500000)")
    parser.add_argument("--warmup", type=int, default=50_000, help="rows before the clock starts (50000)")
    parser.add_argument("--seconds", type=int, default=latency.SECONDS, help="seconds of steady load (20)")
    parser.add_argument("--skip-peer", action="store_true", help="leave Debezium out; then no Java is needed")
    parser.add_argument("--skip-ours", action="store_true", help="measure Debezium and the limit only")
    parser.add_argument("--only", choices=_PARTS, action="append", help="a part, again for more; by default all")
    arguments = parser.parse_args()
    for name in ("rows_1", "rows_10", "warmup"):
        rows = getattr(arguments, name)
        if rows < _ROWS_MIN or rows % 10:
            parser.error(f"--{name.replace('_', '-')} {rows}: a multiple of 10, from {_ROWS_MIN:,} on")
    return arguments


def _bench(arguments: argparse.Namespace) -> int:
    parts = arguments.only or _PARTS
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=_CACHE, ignore_cleanup_errors=True) as name,
        PostgresServer.start(settings=SERVER_SETTINGS) as server,
    ):
        folder = Path(name)
        _print_setup(arguments, server, folder)
        cases = [
            _case(arguments, server, folder, rows_per_transaction=count, rows=rows)
            for count, rows in ((1, arguments.rows_1), (10, arguments.rows_10))
            if str(count) in parts
        ]
        delays = _latency(arguments, server, folder) if "latency" in parts and not arguments.skip_ours else None
    print(json.dumps(_summary(cases, delays), separators=(",", ":")))
    return 0


def _case(
    arguments: argparse.Namespace, server: PostgresServer, folder: Path, *, rows_per_transaction: int, rows: int
) -> Case:
    """Write a backlog, and let every reader drain it in turn."""
    backlog = Backlog(server, f"bench_{rows_per_transaction}", rows_per_transaction, arguments.warmup, rows)
    started = time.monotonic()
    backlog.create()
    backlog.write()
    print(
        f"\n{rows_per_transaction} row(s) per transaction: {backlog.warmup_rows:,} rows of warm-up and {rows:,} rows, "
        f"{backlog.row_bytes()} bytes each, written in {time.monotonic() - started:.0f} s"
    )
    print(f"{'round':>6}  {'reader':<24}{'seconds':>9}{'rows/s':>10}{'peak MB':>9}{'cpu s':>8}{'load':>7}")
    runs: dict[str, list[Drained]] = {}
    for number in range(1, arguments.rounds + 1):
        for reader in _readers(arguments, server, folder):
            runs.setdefault(reader.name, []).append(_run(reader, backlog, str(number)))
    if not arguments.skip_peer:
        _run(peer.Debezium(folder, "debezium, small heap", peer.JVM_FLAGS_SMALL), backlog, "extra")
    backlog.drop()
    return Case(rows_per_transaction, runs)


def _readers(arguments: argparse.Namespace, server: PostgresServer, folder: Path) -> list[Reader]:
    readers: list[Reader] = []
    if not arguments.skip_ours:
        readers.append(worker.Commitlog(folder))
    if not arguments.skip_peer:
        readers.append(peer.Debezium(folder))
    readers.append(limit.PgRecvlogical(server.programs.path("pg_recvlogical"), folder))
    return readers


def _run(reader: Reader, backlog: Backlog, turn: str) -> Drained:
    slot = backlog.copy_slot("run")
    drained = reader.drain(backlog, slot)
    backlog.drop_slot(slot)
    print(
        f"{turn:>6}  {reader.name:<24}{drained.seconds:>9.2f}{drained.rows_s:>10,.0f}{drained.spent.rss_mb:>9.0f}"
        f"{drained.spent.cpu_s:>8.1f}{os.getloadavg()[0]:>7.1f}",
        flush=True,
    )
    return drained


def _latency(arguments: argparse.Namespace, server: PostgresServer, folder: Path) -> latency.Latency:
    backlog = Backlog(server, "bench_latency", 1, 0, 0)
    backlog.create()
    delays = latency.measure(backlog, folder / "latency", arguments.seconds)
    backlog.drop()
    print(
        f"\nfrom COMMIT to read, {delays.count:,} transactions at {delays.transactions_s:.0f}/s: "
        f"p50 {delays.p50_ms:.1f} ms, p99 {delays.p99_ms:.1f} ms, highest {delays.max_ms:.1f} ms\n"
    )
    return delays


def _print_setup(arguments: argparse.Namespace, server: PostgresServer, folder: Path) -> None:
    """Everything that was chosen."""
    print(f"command     {shlex.join([sys.executable, *sys.argv])}")
    print(f"time        {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load {os.getloadavg()[0]:.1f} before the start")
    print(f"machine     {os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}")
    print(f"versions    commitlog {__version__}, Python {platform.python_version()}, PostgreSQL {server.version}")
    print(f"compiled    {'yes, SHA-256 by ' + native.choose(False) if native.COMPILED else 'no: ' + native.missing}")
    print(f"server      fsync on, {_pairs(SERVER_SETTINGS)}")
    print(
        f"rows        {workload.PATTERN!r} of insert, update, delete; {workload.USERS} users, every transaction tagged"
    )
    print(f"limit       pg_recvlogical --start --no-loop --file - {_pairs(dict(o.split('=') for o in limit.OPTIONS))}")
    if not arguments.skip_peer:
        print(f"peer        {peer.versions()}, one more run with a small heap")
        print(f"            java {' '.join(peer.JVM_FLAGS)}; small heap: java {' '.join(peer.JVM_FLAGS_SMALL)}")
        print(f"            {_pairs(peer.SETTINGS)}")
    print("ours        commitlog run --config commitlog.toml, with this file and this app schema:")
    print("\n".join(f"            {line}" for line in (worker.CONFIG + "\n" + worker.SCHEMA).splitlines() if line))


def _pairs(settings: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())


def _summary(cases: Sequence[Case], delays: latency.Latency | None) -> dict[str, Any]:
    ours, debezium, recvlogical = worker.Commitlog.name, "debezium", limit.PgRecvlogical.name
    # One figure for the limit: the case in which we come least near to it.
    lowest = min(cases, key=lambda case: case.ratio(recvlogical) or 0, default=None)
    return {
        "bench": "postgres",
        "cases": [
            {
                "rows_per_tx": case.rows_per_transaction,
                "rows_s": _whole(case.rows_s(ours)),
                "peer": debezium,
                "peer_rows_s": _whole(case.rows_s(debezium)),
                "ratio": _short(case.ratio(debezium)),
                "rss_mb": _whole(case.rss_mb(ours)),
                "peer_rss_mb": _whole(case.rss_mb(debezium)),
            }
            for case in cases
        ],
        "limit": {
            "name": recvlogical,
            "rows_s": _whole(lowest.rows_s(recvlogical)) if lowest else None,
            "ratio": _short(lowest.ratio(recvlogical)) if lowest else None,
        },
        "latency_ms": {"p50": _short(delays.p50_ms), "p99": _short(delays.p99_ms)} if delays else None,
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


if __name__ == "__main__":
    sys.exit(main())
