"""What the benches that drain backlogs have in common: their arguments, their order, and what they print first."""

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import latency
import peer
import worker
import workload
from backlog import SERVER_SETTINGS, Backlog
from case import Case, take_turns
from drained import Reader

from commitlog import __version__
from commitlog.cdc import native
from commitlog.cdc.servers.failure import ServerFailed

CACHE = Path(__file__).parents[2] / ".cache" / "bench"
_ROWS_MIN = 1_000
_PARTS = ("1", "10", "latency")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Args:
        arguments: The bench's.
        server: Where the backlogs are.
        folder: For all that is made.
        readers: Who drains, in turn.
        extra: Who drains once, at the end.
        home: Where our log goes, as `worker.Commitlog` has it.
        backlog: What makes a backlog on that server.
    """

    arguments: argparse.Namespace
    server: Any
    folder: Path
    readers: Sequence[Reader]
    extra: Sequence[Reader]
    home: str = worker.HOME
    backlog: Callable[[Any, str, int, int, int], Any] = Backlog

    def cases(self) -> list[Case]:
        """Drain the backlogs that were asked for."""
        asked, parts = self.arguments, self.arguments.only or _PARTS
        return [
            take_turns(
                self.backlog(self.server, f"bench_{count}", count, asked.warmup, rows),
                self.readers,
                asked.rounds,
                self.extra,
            )
            for count, rows in ((1, asked.rows_1), (10, asked.rows_10))
            if str(count) in parts
        ]

    def latency(self) -> latency.Latency | None:
        """Measure our latency; None where it was not asked for."""
        if "latency" not in (self.arguments.only or _PARTS) or self.arguments.skip_ours:
            return None
        backlog = self.backlog(self.server, "bench_latency", 1, 0, 0)
        backlog.create()
        home = self.home.format(run="latency")
        delays = latency.measure(backlog, self.folder / "latency", self.arguments.seconds, home=home)
        backlog.drop()
        print(delays)
        return delays


def parse(description: str | None, **flags: str) -> argparse.Namespace:
    """Read the arguments.

    Args:
        description: What the bench is.
        flags: Its own switches, each with what it does.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each reader (3)")
    parser.add_argument("--rows-1", type=int, default=200_000, help="rows at one row per transaction (200000)")
    parser.add_argument("--rows-10", type=int, default=500_000, help="rows at ten rows per transaction (500000)")
    parser.add_argument("--warmup", type=int, default=50_000, help="rows before the clock starts (50000)")
    parser.add_argument("--seconds", type=int, default=latency.SECONDS, help="seconds of steady load (20)")
    parser.add_argument("--skip-peer", action="store_true", help="leave Debezium out")
    parser.add_argument("--skip-ours", action="store_true", help="leave commitlog out")
    parser.add_argument("--only", choices=_PARTS, action="append", help="a part, again for more; by default all")
    for flag, help_text in flags.items():
        parser.add_argument(f"--{flag}", action="store_true", help=help_text)
    arguments = parser.parse_args()
    for name in ("rows_1", "rows_10", "warmup"):
        rows = getattr(arguments, name)
        if rows < _ROWS_MIN or rows % 10:
            parser.error(f"--{name.replace('_', '-')} {rows}: a multiple of 10, from {_ROWS_MIN:,} on")
    return arguments


def run(bench: Callable[[argparse.Namespace, Path], dict[str, Any]], arguments: argparse.Namespace) -> int:
    """Run a bench in a folder that is then removed, and print what it says in the end as JSON; the exit code."""
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=CACHE, ignore_cleanup_errors=True) as name:
            said = bench(arguments, Path(name))
    except peer.Missing as missing:
        print(f"error: {missing}", file=sys.stderr)
        return 2
    except ServerFailed as failed:
        print(f"error: {failed}\ntry: {failed.hint}", file=sys.stderr)
        return 2
    print(json.dumps(said, separators=(",", ":")))
    return 0


def print_peer(versions: str, *settings: str) -> None:
    """What was chosen for the peer: its versions, its flags, and lines of settings."""
    print(f"peer        {versions}, one more run with a small heap")
    print(f"            java {' '.join(peer.JVM_FLAGS)}; small heap: java {' '.join(peer.JVM_FLAGS_SMALL)}")
    print("\n".join(f"            {line}" for line in settings))


def print_setup(product: str, settings: Mapping[str, str] = SERVER_SETTINGS) -> None:
    """What was chosen for every bench.

    Args:
        product: The server's name and version.
        settings: The server's, beside those of every server of ours.
    """
    print(f"command     {shlex.join([sys.executable, *sys.argv])}")
    print(f"time        {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load {os.getloadavg()[0]:.1f} before the start")
    print(f"machine     {os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}")
    print(f"versions    commitlog {__version__}, Python {platform.python_version()}, {product}")
    print(f"compiled    {'yes, SHA-256 by ' + native.choose(False) if native.COMPILED else 'no: ' + native.missing}")
    print(f"server      fsync on, {pairs(settings)}")
    print(
        f"rows        {workload.PATTERN!r} of insert, update, delete; {workload.USERS} users, every transaction tagged"
    )


def print_ours(config: str = worker.CONFIG, schema: str = worker.SCHEMA) -> None:
    """What was chosen for ours: its configuration and its app schema."""
    print("ours        commitlog run --config commitlog.toml, with this file and this app schema:")
    print("\n".join(f"            {line}" for line in (config + "\n" + schema).splitlines() if line))


def pairs(settings: Mapping[str, str]) -> str:
    """Settings on one line."""
    return " ".join(f"{name}={value}" for name, value in settings.items())
