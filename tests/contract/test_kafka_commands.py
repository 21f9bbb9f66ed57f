"""Commands that write to a log on Kafka: beside a worker they go through its inbox, without one they take its place for a moment."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from commitlog.cdc.log import kafka_topic, kafka_writer
from commitlog.cdc.log.home import open_reader, open_writer
from commitlog.cdc.log.kafka_location import KafkaLocation
from commitlog.cdc.log.kafka_topic import Topic
from commitlog.cdc.servers.ports import free_port
from commitlog.schemas.errors import Refused, Unreachable
from fixtures.load import accept_gap, open_shop
from fixtures.logs import append
from fixtures.worker import Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding


def schema_file(source: Source, version: str) -> Path:
    """An app schema for one version of the app, outside the worker's folder."""
    return source.write_schema(source.folder / f"{version}.yaml", source.schema(builds=[version], default=False))


def test_a_schema_is_added_through_the_worker_and_without_one(kafka_source: Source) -> None:
    source = kafka_source
    source.execute("CREATE TABLE item (id int PRIMARY KEY)")
    source.map("Item", "item")
    run = source.setup().run()
    run.until_caught_up()

    through = source.commitlog("schema", "add", str(schema_file(source, "1.0"))).stdout
    again = source.commitlog("schema", "add", str(schema_file(source, "1.0"))).stdout
    run.terminate()
    alone = source.commitlog("schema", "add", str(schema_file(source, "2.0"))).stdout

    assert through == again != alone
    recorded = [items[2]["builds"] for _, items in source.history().of_kind("schema") if "builds" in items[2]]
    assert recorded[-2:] == [["1.0"], ["2.0"]]
    source.verify()


def test_status_says_who_writes(kafka_source: Source) -> None:
    source = kafka_source
    run = source.setup().run()
    run.until_caught_up()

    worker = json.loads(source.commitlog("status", "--json").stdout)["worker"]
    assert (worker["running"], worker["pid"]) == (True, run.pid)

    run.terminate()
    assert json.loads(source.commitlog("status", "--json").stdout)["worker"]["running"] is False


@pytest.fixture
def hanging(kafka_location: KafkaLocation) -> Iterator[Producer]:
    """A log of three records, behind which somebody else's transaction is open."""
    with open_writer(kafka_location, memory=None) as writer:
        append(writer, 3)
    producer = Producer({"bootstrap.servers": kafka_location.hosts[0], "transactional.id": f"{kafka_location.topic}.x"})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(kafka_location.topic, b"{}", partition=0)
    producer.flush(10)
    yield producer
    producer.abort_transaction(10)


def test_a_transaction_that_does_not_end_is_refused_by_name_and_readers_read_up_to_it(
    kafka_location: KafkaLocation, hanging: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_writer, "READ_BACK_S", 0.5)
    offset = Topic(kafka_location).stable_end()

    with pytest.raises(Refused, match=f"transaction of another producer is open at offset {offset} ") as refused:
        open_writer(kafka_location, memory=None)

    assert "kafka-transactions.sh" in refused.value.hint
    assert [record.seq for record in open_reader(kafka_location).records()] == [0, 1, 2]


def test_a_transaction_that_ends_is_waited_for(kafka_location: KafkaLocation, hanging: Producer) -> None:
    ends = threading.Timer(0.5, hanging.commit_transaction, [10])
    ends.start()
    with open_writer(kafka_location, memory=None) as writer:
        ends.join(10)
        append(writer, 1)
        hanging.begin_transaction()

    assert [record.seq for record in open_reader(kafka_location).records()] == [0, 1, 2, 3]


def test_a_transaction_that_nobody_ends_is_ended_by_the_broker_when_its_time_is_over(
    kafka_location: KafkaLocation,
) -> None:
    with open_writer(kafka_location, memory=None) as writer:
        append(writer, 3)
    settings = {"transactional.id": f"{kafka_location.topic}.x", "transaction.timeout.ms": 1000}
    gone = Producer({"bootstrap.servers": kafka_location.hosts[0], **settings})
    gone.init_transactions(10)
    gone.begin_transaction()
    gone.produce(kafka_location.topic, b"{}", partition=0)
    gone.flush(10)

    with open_writer(kafka_location, memory=None) as writer:
        append(writer, 1)

    assert [record.seq for record in open_reader(kafka_location).records()] == [0, 1, 2, 3]


@pytest.mark.full
def test_lost_history_of_the_source_is_passed_over_by_order_only(kafka_source: Source) -> None:
    source = open_shop(kafka_source)
    run = source.run().streaming()
    run.until_caught_up()
    run.terminate()
    source.value("SELECT pg_drop_replication_slot(%s)", source.name)
    source.execute("INSERT INTO orders VALUES (1, 'lost', 1)")
    source.run().refused(3)

    source.commitlog("resume", code=3)

    accept_gap(source)


def test_brokers_that_refuse_to_be_connected_to_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_topic, "REQUEST_S", 3600.0)
    nowhere = KafkaLocation((f"127.0.0.1:{free_port()}",), "nowhere", "shop")

    with pytest.raises(Unreachable, match=r"gives no answer: .*Connection refused"):
        Topic(nowhere).partitions()


@pytest.mark.parametrize("line", ["socket.keepalive.enable=perhaps", "no.such.property=1"])
def test_properties_that_the_library_does_not_take_are_named(kafka_source: Source, line: str) -> None:
    source = kafka_source.setup()
    assert isinstance(source.location, KafkaLocation)
    assert source.location.properties
    source.location.properties.write_text(f"{line}\n")

    assert "properties" in source.run().refused(2, line.partition("=")[0])
