"""`make bench-mysql`: the worker beside Debezium and mysqlbinlog on one MySQL, as `bench-postgres` has it on PostgreSQL;
with `BENCH_ARGS=--mariadb` the worker and mysqlbinlog on one MariaDB.

The real worker in its default, durable configuration, Debezium's engine and mysqlbinlog, the server's own tool, drain the same
backlog of the binlog in turn, from the same position. The clock runs from the first row after a warm-up to the last, where a reader
reads it: for the worker in the log, by a second process; for Debezium in its consumer. Machines are noisy: only ratios of one run
count. The last line of the output is JSON.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import begun
import mysql_limit
import mysql_peer
import peer
import plan
from case import summary
from mysql_backlog import SERVER_SETTINGS, BinlogBacklog

from commitlog.cdc.servers.mariadb import MariaDbServer
from commitlog.cdc.servers.mysql import MySqlServer
from commitlog.cdc.servers.mysqld import LocalMysqld


def _bench(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with (MariaDbServer if arguments.mariadb else MySqlServer).start(settings=SERVER_SETTINGS) as server:
        _print_setup(arguments, server)
        small = ("debezium, small heap", peer.JVM_FLAGS_SMALL)
        extra = [] if arguments.skip_peer else [mysql_peer.MySqlDebezium(folder, *small)]
        ours = begun.Commitlog(folder)
        readers = _readers(arguments, server, folder, ours)
        begin = {} if arguments.skip_ours else {"begin": ours.begin}
        make = partial(BinlogBacklog, **begin)
        cases = plan.Plan(arguments, server, folder, readers, extra, backlog=make).cases()
    return summary(server.scheme, cases, mysql_limit.MySqlBinlog.name)


def _readers(arguments: argparse.Namespace, server: LocalMysqld, folder: Path, ours: begun.Commitlog) -> list[Any]:
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
        plan.print_peer(peer.versions(), plan.pairs(mysql_peer.SETTINGS))
    plan.print_ours(begun.CONFIG)


if __name__ == "__main__":
    asked = plan.parse(__doc__, mariadb="on a MariaDB, for which the peer's package has no connector")
    asked.skip_peer |= asked.mariadb
    sys.exit(plan.run(_bench, asked))
