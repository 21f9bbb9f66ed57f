"""`make bench-postgres`: the worker beside Debezium and pg_recvlogical on one PostgreSQL, and its latency.

The real worker in its default, durable configuration drains a backlog; Debezium's engine and pg_recvlogical drain the same
one in turn. The clock runs from the first row after a warm-up to the last, where a reader reads it: for the worker in the
log, by a second process; for Debezium in its consumer. Machines are noisy: only ratios of one run count. The last line of
the output is JSON.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import limit
import peer
import plan
import worker
from backlog import SERVER_SETTINGS
from case import summary
from drained import Reader

from commitlog.cdc.servers.local import PostgresServer


def _bench(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with PostgresServer.start(settings=SERVER_SETTINGS) as server:
        _print_setup(arguments, server)
        extra = [] if arguments.skip_peer else [peer.Debezium(folder, "debezium, small heap", peer.JVM_FLAGS_SMALL)]
        measured = plan.Plan(arguments, server, folder, _readers(arguments, server, folder), extra)
        cases, delays = measured.cases(), measured.latency()
    said = summary("postgres", cases, limit.PgRecvlogical.name)
    return {**said, "latency_ms": delays.summary() if delays else None}


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
        plan.print_peer(peer.versions(), plan.pairs(peer.SETTINGS))
    plan.print_ours()


if __name__ == "__main__":
    sys.exit(plan.run(_bench, plan.parse(__doc__)))
