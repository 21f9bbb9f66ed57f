"""`make bench-kafka`: the worker with its log on Kafka beside Debezium in Kafka Connect, from one PostgreSQL into one broker.

The real worker in its default, durable configuration drains a backlog into a topic; Kafka Connect standalone with Debezium's
connector drains the same one in turn. The clock runs from the first row after a warm-up to the last, where a second process, a
plain consumer that reads only what is committed, reads it; latency ends there, too. Machines are noisy: only ratios of one run
count. The last line of the output is JSON.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import kafka_peer
import peer
import plan
import worker
from backlog import SERVER_SETTINGS
from drained import Reader

from commitlog.cdc.log.kafka_writer import PRODUCER
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


def _bench(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with (
        PostgresServer.start(settings=SERVER_SETTINGS) as server,
        KafkaServer.start(java_options=BROKER_FLAGS) as broker,
    ):
        home = f"kafka://{broker.bootstrap}/{{run}}"
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
    return {
        "bench": "kafka",
        "cases": [case.summary("debezium") for case in cases],
        "latency_ms": delays.summary() if delays else None,
    }


def _print_setup(arguments: argparse.Namespace, server: PostgresServer) -> None:
    """Everything that was chosen."""
    plan.print_setup(f"PostgreSQL {server.version}")
    print(f"broker      Kafka {KAFKA_VERSION}, one node, java {' '.join(BROKER_FLAGS)}")
    if not arguments.skip_peer:
        worker_settings, connector = plan.pairs(kafka_peer.WORKER), plan.pairs(kafka_peer.CONNECTOR)
        plan.print_peer(kafka_peer.versions(), f"worker: {worker_settings}", f"connector: {connector}")
    plan.print_ours()
    print(f"            its producer, as shipped: {plan.pairs({name: str(value) for name, value in PRODUCER.items()})}")


if __name__ == "__main__":
    sys.exit(plan.run(_bench, plan.parse(__doc__)))
