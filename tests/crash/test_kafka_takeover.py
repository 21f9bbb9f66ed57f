"""Several workers for one source, the log on Kafka: one leads, and the next takes over from one that is gone or stands still."""

import signal
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from commitlog.cdc.log.home import open_reader
from commitlog.cdc.log.kafka_topic import Topic
from commitlog.cdc.servers.kafka import Kafka
from fixtures.kafka import kafka_source_of
from fixtures.load import load, open_shop
from fixtures.worker import Run, Source

TAKEN_OVER_S = 10.0
"""How soon the next worker appends after the one before was killed, or stood still."""


def lead(source: Source) -> Run:
    """A worker that streams."""
    return source.run().streaming()


def queue(source: Source) -> Run:
    """A second worker, which waits for its turn."""
    run = source.run()
    run.until(lambda: "turn yet to write" in run.output, "the queue")
    return run


pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(signal.SIGSTOP, id="stands-still"),
        pytest.param(signal.SIGKILL, id="killed", marks=pytest.mark.full),
        pytest.param(signal.SIGTERM, id="ended", marks=pytest.mark.full),
    ],
)
def test_the_next_worker_takes_over_and_the_old_one_writes_nothing_more(
    kafka_source: Source, fault: signal.Signals
) -> None:
    source = kafka_source
    source.execute("CREATE TABLE item (id int PRIMARY KEY)")
    source.map("Item", "item")
    source.setup()
    first = lead(source)
    first.until_caught_up()
    second = queue(source)
    source.execute("INSERT INTO item VALUES (1)")
    assert "streaming" not in second.output

    first.signal(fault)
    source.execute("INSERT INTO item VALUES (2)")

    second.until_marked()
    assert "streaming" in second.output
    if fault == signal.SIGSTOP:
        head = source.history().records[-1][0]["seq"]
        first.signal(signal.SIGCONT)
        first.until(lambda: first.output.count("turn yet to write") or first.output.count("trying again"))
        source.execute("INSERT INTO item VALUES (3)")
        second.until_marked()
        assert source.history().records[-1][0]["seq"] > head
        first.kill()
    second.terminate()
    source.check()


def longest_wait_s(source: Source) -> float:
    """How long the transaction that waited longest was committed before its record was written, as the log says it."""
    commits = (record for record in open_reader(source.location).records() if record.kind == "commit")
    return max(
        (datetime.fromisoformat(record.recorded) - datetime.fromisoformat(record.header["time"])).total_seconds()
        for record in commits
    )


@pytest.mark.full
@pytest.mark.parametrize(
    "fault", [pytest.param(signal.SIGSTOP, id="stands-still"), pytest.param(signal.SIGKILL, id="killed")]
)
def test_with_its_own_settings_the_next_worker_appends_within_ten_seconds(
    kafka: Kafka, database: str, tmp_path: Path, unique: str, fault: signal.Signals
) -> None:
    source = open_shop(kafka_source_of(kafka, database, tmp_path, unique, quick=False))
    first = lead(source)
    first.until_caught_up()
    second = queue(source)
    with load(source):
        first.until_marked()
        first.signal(fault)
        second.until_marked()
    second.until_marked()

    first.kill()
    second.terminate()
    source.check()
    assert 1.0 < longest_wait_s(source) <= TAKEN_OVER_S
    source.close()


def test_sources_with_a_broker_and_a_prefix_in_common_have_nothing_else_in_common(
    kafka: Kafka, new_database: Callable[[], str], tmp_path: Path, unique: str
) -> None:
    with ExitStack() as stack:
        sources = [
            open_shop(kafka_source_of(kafka, new_database(), tmp_path / name, f"{unique}{name}", prefix=unique))
            for name in "ab"
        ]
        for source in sources:
            stack.callback(source.close)
        leaders = [lead(source) for source in sources]
        followers = [queue(source) for source in sources]
        with load(sources[0]), load(sources[1]):
            for source, leader in zip(sources, leaders, strict=True):
                leader.until_marked(source.mark())
            leaders[0].kill()
            followers[0].until_marked()
            leaders[1].until_marked()
        followers[0].until_caught_up()
        leaders[1].until_caught_up()
        assert "streaming" not in followers[1].output
        leaders[1].terminate()
        followers[0].terminate()
        for source in sources:
            source.check()


def ever_written(source: Source) -> int:
    """How many messages the log's topic has, those of transactions that were aborted too."""
    settings = {"bootstrap.servers": source.location.hosts[0], "group.id": "all", "enable.partition.eof": True}
    consumer = Consumer({**settings, "isolation.level": "read_uncommitted", "enable.auto.commit": False})
    consumer.assign([TopicPartition(source.location.topic, 0, 0)])
    count = 0
    while True:
        message = consumer.poll(10)
        assert message is not None
        if message.error():
            consumer.close()
            return count
        count += 1


def test_a_transaction_that_the_broker_aborts_while_its_worker_stands_still_is_written_again(
    kafka_source: Source,
) -> None:
    source = open_shop(kafka_source)
    with source.location.properties.open("a") as file:
        file.write("transaction.timeout.ms=2000\nmessage.timeout.ms=1900\nsocket.timeout.ms=2000\n")
    topic = Topic(source.location)
    with load(source):
        run = source.run("in_transaction:stop:20")
        run.until(lambda: stands_still(run), "a worker that stands still")
        attempts = run.output.count("streaming from")
        run.until(lambda: topic.stable_end() == topic.ends().last, "the end of its transaction")
        run.signal(signal.SIGCONT)
        run.until(lambda: run.output.count("streaming from") > attempts, "the next attempt")
    run.until_caught_up()
    run.terminate()

    history = source.check()
    assert ever_written(source) > len(history.records)


def stands_still(run: Run) -> bool:
    """Whether a process is stopped. Source: proc(5), the state in /proc/PID/stat."""
    return Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
