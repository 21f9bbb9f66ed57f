"""`make bench-postgres`: the worker beside Debezium and pg_recvlogical on one PostgreSQL, and its latency.

The real worker in its default, durable configuration drains a backlog; Debezium's engine and pg_recvlogical drain the same
one in turn. The clock runs from the first row after a warm-up to the last, where a reader reads it: for the worker in the
log, by a second process; for Debezium in its consumer. Machines are noisy: only ratios of one run count. The last line of
the output is JSON.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import limit
import peer
import plan
import worker
from backlog import SERVER_SETTINGS
from case import Case, short, whole
from drained import Reader
from latency import Latency

from commitlog.cdc.servers.local import PostgresServer


def main() -> int:
    """Run what was asked for; the exit code."""
    arguments = plan.parse(__doc__)
    try:
        return _bench(arguments)
    except peer.Missing as missing:
        print(f"error: {missing}", file=sys.stderr)
        return 2


def _bench(arguments: argparse.Namespace) -> int:
    plan.CACHE.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=plan.CACHE, ignore_cleanup_errors=True) as name,
        PostgresServer.start(settings=SERVER_SETTINGS) as server,
    ):
        folder = Path(name)
        _print_setup(arguments, server)
        extra = [] if arguments.skip_peer else [peer.Debezium(folder, "debezium, small heap", peer.JVM_FLAGS_SMALL)]
        measured = plan.Plan(arguments, server, folder, _readers(arguments, server, folder), extra)
        cases, delays = measured.cases(), measured.latency()
    print(json.dumps(_summary(cases, delays), separators=(",", ":")))
    return 0


def _readers(arguments: argparse.Namespace, server: PostgresServer, folder: Path) -> list[Reader]:
    readers: list[Reader] = []
    if not arguments.skip_ours:
        readers.append(worker.Commitlog(folder))
    if not arguments.skip_peer:
        readers.append(peer.Debezium(folder))
    readers.append(limit.PgRecvlogical(server.programs.path("pg_recvlogical"), folder))
    return readers


def _print_setup(arguments: argparse.Namespace, server: PostgresServer) -> None:
    """Everything that was chosen."""
    plan.print_setup(f"PostgreSQL {server.version}")
    options = plan.pairs(dict(option.split("=") for option in limit.OPTIONS))
    print(f"limit       pg_recvlogical --start --no-loop --file - {options}")
    if not arguments.skip_peer:
        print(f"peer        {peer.versions()}, one more run with a small heap")
        print(f"            java {' '.join(peer.JVM_FLAGS)}; small heap: java {' '.join(peer.JVM_FLAGS_SMALL)}")
        print(f"            {plan.pairs(peer.SETTINGS)}")
    plan.print_ours()


def _summary(cases: Sequence[Case], delays: Latency | None) -> dict[str, Any]:
    recvlogical = limit.PgRecvlogical.name
    # One figure for the limit: the case in which we come least near to it.
    lowest = min(cases, key=lambda case: case.ratio(recvlogical) or 0, default=None)
    return {
        "bench": "postgres",
        "cases": [case.summary("debezium") for case in cases],
        "limit": {
            "name": recvlogical,
            "rows_s": whole(lowest.rows_s(recvlogical)) if lowest else None,
            "ratio": short(lowest.ratio(recvlogical)) if lowest else None,
        },
        "latency_ms": delays.summary() if delays else None,
    }


if __name__ == "__main__":
    sys.exit(main())
