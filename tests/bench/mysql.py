"""`make bench-mysql`: the worker beside Debezium and mysqlbinlog on one MySQL, as `bench-postgres` has it on PostgreSQL;
with `BENCH_ARGS=--mariadb` the worker and mysqlbinlog on one MariaDB.

The real worker in its default, durable configuration, Debezium's engine and mysqlbinlog, the server's own tool, drain the same
backlog of the binlog in turn, from the same position. The clock runs from the first row after a warm-up to the last, where a reader
reads it: for the worker in the log, by a second process; for Debezium in its consumer. Machines are noisy: only ratios of one run
count. The last line of the output is JSON.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mysql_limit
import mysql_peer
import mysql_worker
import peer
import plan
from case import Case, short, whole
from mysql_backlog import SERVER_SETTINGS, BinlogBacklog

from commitlog.cdc.servers.mariadb import MariaDbServer
from commitlog.cdc.servers.mysql import MySqlServer
from commitlog.cdc.servers.mysqld import LocalMysqld


def main() -> int:
    """Run what was asked for; the exit code."""
    arguments = plan.parse(__doc__, mariadb="on a MariaDB, for which the peer's package has no connector")
    arguments.skip_peer |= arguments.mariadb
    try:
        return _bench(arguments)
    except peer.Missing as missing:
        print(f"error: {missing}", file=sys.stderr)
        return 2


def _bench(arguments: argparse.Namespace) -> int:
    plan.CACHE.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=plan.CACHE, ignore_cleanup_errors=True) as name,
        (MariaDbServer if arguments.mariadb else MySqlServer).start(settings=SERVER_SETTINGS) as server,
    ):
        folder = Path(name)
        _print_setup(arguments, server)
        small = ("debezium, small heap", peer.JVM_FLAGS_SMALL)
        extra = [] if arguments.skip_peer else [mysql_peer.MySqlDebezium(folder, *small)]
        ours = mysql_worker.MySqlCommitlog(folder)
        readers = _readers(arguments, server, folder, ours)
        begin = {} if arguments.skip_ours else {"begin": ours.begin}
        make = partial(BinlogBacklog, **begin)
        cases = plan.Plan(arguments, server, folder, readers, extra, backlog=make).cases()
    print(json.dumps(_summary(server, cases), separators=(",", ":")))
    return 0


def _readers(
    arguments: argparse.Namespace, server: LocalMysqld, folder: Path, ours: mysql_worker.MySqlCommitlog
) -> list[Any]:
    readers: list[Any] = []
    if not arguments.skip_ours:
        readers.append(ours)
    if not arguments.skip_peer:
        readers.append(mysql_peer.MySqlDebezium(folder))
    readers.append(mysql_limit.MySqlBinlog(server, folder))
    return readers


def _print_setup(arguments: argparse.Namespace, server: LocalMysqld) -> None:
    """Everything that was chosen."""
    plan.print_setup(f"{server.title} {server.version}", SERVER_SETTINGS)
    print(f"limit       mysqlbinlog {' '.join(mysql_limit.OPTIONS)}, into memory")
    if not arguments.skip_peer:
        print(f"peer        {peer.versions()}, one more run with a small heap")
        print(f"            java {' '.join(peer.JVM_FLAGS)}; small heap: java {' '.join(peer.JVM_FLAGS_SMALL)}")
        print(f"            {plan.pairs(mysql_peer.SETTINGS)}")
    plan.print_ours(mysql_worker.CONFIG)


def _summary(server: LocalMysqld, cases: Sequence[Case]) -> dict[str, Any]:
    limit = mysql_limit.MySqlBinlog.name
    # One figure for the limit: the case in which we come least near to it.
    lowest = min(cases, key=lambda case: case.ratio(limit) or 0, default=None)
    return {
        "bench": server.scheme,
        "cases": [case.summary("debezium") for case in cases],
        "limit": {
            "name": limit,
            "rows_s": whole(lowest.rows_s(limit)) if lowest else None,
            "ratio": short(lowest.ratio(limit)) if lowest else None,
        },
    }


if __name__ == "__main__":
    sys.exit(main())
