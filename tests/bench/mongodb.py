"""`make bench-mongodb`: the worker beside Debezium and plain pymongo on one MongoDB, as `bench-postgres` has it on PostgreSQL.

The real worker in its default, durable configuration, Debezium's engine with images, and pymongo alone, which reads raw bytes of a
change stream or of the oplog, drain the same backlog of the oplog in turn, from the same position. A request changes one document or
ten: lone writes, the inserts by insert_many; with `BENCH_ARGS=--transactions` a transaction each. The clock runs from the first
document after a warm-up to the last, where a reader reads it: for the worker in the log, by a second process; for Debezium in its
consumer. Machines are noisy: only ratios of one run count. The last line of the output is JSON.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import begun
import mongodb_limit
import mongodb_peer
import mongodb_workload
import peer
import plan
from case import summary
from mongodb_backlog import DOCUMENTS, SERVER_SETTINGS, OplogBacklog

from commitlog.cdc.servers.mongod import MongodSet


def _bench(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with MongodSet.start(settings=SERVER_SETTINGS) as server:
        _print_setup(arguments, server)
        ours = begun.Commitlog(folder)
        readers: list[Any] = [] if arguments.skip_ours else [ours]
        extra: list[Any] = []
        if not arguments.skip_peer:
            readers.append(mongodb_peer.MongoDebezium(folder))
            extra.append(mongodb_peer.MongoDebezium(folder, "debezium, small heap", peer.JVM_FLAGS_SMALL))
            extra.append(mongodb_peer.MongoDebeziumDiffs(folder, "debezium, no images"))
        stream, oplog = (mongodb_limit.RawRead(folder, mode) for mode in (mongodb_limit.STREAM, mongodb_limit.OPLOG))
        readers += [stream, oplog]
        whole = {"as_client": mongodb_workload.write_whole_as_client} if arguments.transactions else {}
        begin = {} if arguments.skip_ours else {"begin": ours.begin}
        make = partial(OplogBacklog, **whole, **begin)
        cases = plan.Plan(arguments, server, folder, readers, extra, backlog=make).cases()
    return {**summary("mongodb", cases, stream.name), "oplog": summary("mongodb", cases, oplog.name)["limit"]}


def _print_setup(arguments: argparse.Namespace, server: MongodSet) -> None:
    """Everything that was chosen."""
    plan.print_setup(f"MongoDB {server.version}", SERVER_SETTINGS)
    print(
        "limit       pymongo: a change stream of raw documents; find_raw_batches on local.oplog.rs, tailable, majority"
    )
    if not arguments.skip_peer:
        images, diffs = plan.pairs(mongodb_peer.IMAGES), plan.pairs(mongodb_peer.DIFFS)
        settings = plan.pairs(mongodb_peer.SETTINGS)
        plan.print_peer(peer.versions(), settings, images, f"one more run: {diffs}")
    plan.print_ours(begun.CONFIG, DOCUMENTS)


if __name__ == "__main__":
    sys.exit(plan.run(_bench, plan.parse(__doc__, transactions="each request is a transaction")))
