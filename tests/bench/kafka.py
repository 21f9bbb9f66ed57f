"""`make bench-kafka`: the worker with its log on Kafka beside Debezium in Kafka Connect, from one PostgreSQL into one broker.

The real worker in its default, durable configuration drains a backlog into a topic; Kafka Connect standalone with Debezium's
connector drains the same one in turn. The clock runs from the first row after a warm-up to the last, where a second process, a
plain consumer that reads only what is committed, reads it; latency ends there, too. Machines are noisy: only ratios of one run
count. The last line of the output is JSON.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import kafka_peer
import peer
import plan
import worker
from backlog import SERVER_SETTINGS
from drained import Reader

from commitlog.cdc.log.kafka_writer import PRODUCER
from commitlog.cdc.servers.failure import ServerFailed
from commitlog.cdc.servers.kafka import KafkaServer
from commitlog.cdc.servers.kafka_programs import KAFKA_VERSION
from commitlog.cdc.servers.local import PostgresServer

BROKER_FLAGS = (
    "-server",
    "-Xms1g",
    "-Xmx1g",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
)
"""Those of Kafka's own start script. Source: bin/kafka-run-class.sh and bin/kafka-server-start.sh."""


def main() -> int:
    """Run what was asked for; the exit code."""
    arguments = plan.parse(__doc__)
    try:
        return _bench(arguments)
    except ServerFailed as failed:
        print(f"error: {failed}\ntry: {failed.hint}", file=sys.stderr)
        return 2


def _bench(arguments: argparse.Namespace) -> int:
    plan.CACHE.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=plan.CACHE, ignore_cleanup_errors=True) as name,
        PostgresServer.start(settings=SERVER_SETTINGS) as server,
        KafkaServer.start(java_options=BROKER_FLAGS) as broker,
    ):
        folder, home = Path(name), f"kafka://{broker.bootstrap}/{{run}}"
        _print_setup(arguments, server)
        readers: list[Reader] = [] if arguments.skip_ours else [worker.Commitlog(folder, home)]
        extra: list[Reader] = []
        if not arguments.skip_peer:
            readers.append(kafka_peer.Connect(folder, broker.bootstrap))
            small = kafka_peer.Connect(
                folder, broker.bootstrap, name="debezium, small heap", jvm_flags=peer.JVM_FLAGS_SMALL
            )
            extra.append(small)
        measured = plan.Plan(arguments, server, folder, readers, extra, home)
        cases, delays = measured.cases(), measured.latency()
    summary = {
        "bench": "kafka",
        "cases": [case.summary("debezium") for case in cases],
        "latency_ms": delays.summary() if delays else None,
    }
    print(json.dumps(summary, separators=(",", ":")))
    return 0


def _print_setup(arguments: argparse.Namespace, server: PostgresServer) -> None:
    """Everything that was chosen."""
    plan.print_setup(f"PostgreSQL {server.version}")
    print(f"broker      Kafka {KAFKA_VERSION}, one node, java {' '.join(BROKER_FLAGS)}")
    if not arguments.skip_peer:
        print(f"peer        {kafka_peer.versions()}, one more run with a small heap")
        print(f"            java {' '.join(peer.JVM_FLAGS)}; small heap: java {' '.join(peer.JVM_FLAGS_SMALL)}")
        print(f"            worker: {plan.pairs(kafka_peer.WORKER)}")
        print(f"            connector: {plan.pairs(kafka_peer.CONNECTOR)}")
    plan.print_ours()
    print(f"            its producer, as shipped: {plan.pairs({name: str(value) for name, value in PRODUCER.items()})}")


if __name__ == "__main__":
    sys.exit(main())
