"""What goes wrong with a log on Kafka: brokers that go away, topics that are tampered with. Nothing is lost, nothing is there twice."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition

from commitlog.cdc.log.kafka_messages import Messages
from commitlog.cdc.log.kafka_topic import Topic
from commitlog.cdc.servers.kafka import KafkaServer
from fixtures.kafka import admin, alter, kafka_source_of
from fixtures.kafka_proxy import END_TXN, PRODUCE, KafkaProxy
from fixtures.load import load, open_shop
from fixtures.worker import Run, Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding


def put(source: Source, *values: bytes) -> None:
    """Put messages into the log's topic, as anybody may who has the right."""
    producer = Producer({"bootstrap.servers": source.location.hosts[0]})
    for value in values:
        producer.produce(source.location.topic, value, partition=0)
    assert producer.flush(10) == 0


def messages(source: Source) -> list[bytes]:
    """All that a reader of the topic gets."""
    topic = Messages(source.location)
    topic.start(0)
    end, found = Topic(source.location).stable_end(), []
    while batch := topic.next(end):
        found += [message.value for message in batch]
    topic.close()
    return found


def finish(source: Source, run: Run | None = None) -> None:
    """A worker, the next one if none is given, brings the log to a whole end, and every message of the topic is a record of it."""
    history = source.finish(run, timeout_s=60)
    assert len(messages(source)) == len(history.records)


@pytest.mark.parametrize("failpoint", [pytest.param("before_append", marks=pytest.mark.full), "after_append"])
def test_a_worker_killed_at_a_step_leaves_each_transaction_once(kafka_source: Source, failpoint: str) -> None:
    source = open_shop(kafka_source)
    with load(source):
        source.run(f"{failpoint}:kill:20").until_killed()

    finish(source)


@pytest.mark.full
def test_f5_parts_that_a_kill_left_unfinished_are_voided(kafka_source: Source) -> None:
    source = open_shop(kafka_source)
    parts = {"limits__part_bytes": 400, "limits__flush_bytes": 1, "limits__flush_ms": 0}
    run = source.run(**parts).streaming()
    run.until_marked()
    run.kill()
    source.execute("INSERT INTO notes SELECT 'long', n, repeat('x', 90) FROM generate_series(1, 80) n")
    source.run("between_parts:kill:9", **parts).until_killed()

    finish(source)

    assert source.history().of_kind("void")


def test_a_foreign_message_is_passed_over_and_named(kafka_source: Source) -> None:
    source = open_shop(kafka_source)
    run = source.run().streaming()
    run.until_caught_up()
    lines = messages(source)
    put(source, b"no record", lines[1], lines[-1].replace(b'"log":"', b'"log":"0000', 1), b"")
    source.execute("INSERT INTO orders VALUES (1, 'new', 2)")
    run.until_marked()
    run.kill()
    put(source, b"{}")

    run = source.run()
    run.until_caught_up()
    run.terminate()

    source.check()
    assert "5 messages of its topic are not records" in source.commitlog("verify").stderr


@pytest.mark.full
def test_a_record_that_should_go_on_and_does_not_follow_stops_readers_and_writers(kafka_source: Source) -> None:
    source = open_shop(kafka_source)
    run = source.run().streaming()
    run.until_caught_up()
    run.terminate()
    lines, head = messages(source), source.history().records[-1][0]
    last = lines[-1]
    forged = last.replace(b'"seq":%d' % head["seq"], b'"seq":%d' % (head["seq"] + 1), 1)
    put(source, forged)

    assert "does not follow" in source.commitlog("verify", code=3).stderr
    source.run().refused(3, "does not follow")


def test_a_topic_that_is_deleted_stops_the_worker_by_name(kafka_source: Source) -> None:
    source = open_shop(kafka_source)
    run = source.run().streaming()
    run.until_caught_up()
    run.terminate()
    run = source.run().streaming()

    client = admin(source)
    client.delete_topics([source.location.topic])[source.location.topic].result(10)
    source.execute("INSERT INTO orders VALUES (1, 'new', 2)")

    run.refused(3, source.location.topic, "is gone", timeout_s=60)
    source.run().refused(3, "is gone")
    source.commitlog("verify", code=2)
    # As on another machine, whose worker only waited so far.
    (source.folder / ".commitlog" / f"{source.location.state_name}.head").unlink()
    source.run().refused(3, "is empty, and held record")


def test_a_log_that_lost_its_beginning_is_refused_everywhere(kafka_source: Source) -> None:
    source = open_shop(kafka_source)
    run = source.run().streaming()
    run.until_caught_up()
    run.terminate()

    cut = TopicPartition(source.location.topic, 0, 3)
    client = admin(source)
    client.delete_records([cut])[cut].result(10)

    source.run().refused(3, "begins at record", "removed")
    assert "begins at record" in source.commitlog("verify", code=3).stderr


@pytest.mark.parametrize(
    ("setting", "value"),
    [("retention_ms", "60000"), pytest.param("cleanup_policy", "compact", marks=pytest.mark.full)],
)
def test_a_topic_that_does_not_keep_everything_is_refused(kafka_source: Source, setting: str, value: str) -> None:
    source = open_shop(kafka_source)
    run = source.run().streaming()
    run.until_caught_up()
    run.terminate()
    alter(source, **{setting: value})

    hint = source.run().refused(4, setting.replace("_", "."), value)

    assert "kafka-configs.sh" in hint


def test_shorter_messages_are_followed_with_more_parts_and_pieces_of_a_row_that_fits_in_none(
    kafka_source: Source,
) -> None:
    source = open_shop(kafka_source)
    run = source.run().streaming()
    run.until_caught_up()
    alter(source, max_message_bytes="40000")
    source.execute("INSERT INTO notes SELECT 'w', n, md5(n::text) || md5((-n)::text) FROM generate_series(1, 3000) n")

    run.until_marked()

    assert "takes shorter records than it did" in run.output
    assert len(source.history().commits[-2].seqs) > 3
    source.check()
    source.execute("INSERT INTO notes SELECT 'w', 0, string_agg(md5(n::text), '') FROM generate_series(1, 3000) n")
    run.until_marked()
    assert len(source.history().commits[-2].seqs) > 2
    run.terminate()
    source.check()


@pytest.fixture
def broken(own_kafka: KafkaServer, database: str, tmp_path: Path, unique: str) -> Iterator[Source]:
    source = kafka_source_of(own_kafka, database, tmp_path, unique)
    yield open_shop(source)
    source.close()


def under_load(source: Source, fault: Callable[[Run], None]) -> None:
    with load(source) as writers:
        run = source.run(limits__flush_bytes=2000).streaming()
        run.until_marked()
        fault(run)
        writers.more(run, 100)
    finish(source, run)


@pytest.mark.full
def test_a_broker_killed_in_mid_batch_and_back_leaves_each_transaction_once(
    broken: Source, own_kafka: KafkaServer
) -> None:
    def fault(run: Run) -> None:
        own_kafka.stop("kill")
        run.until(lambda: "trying again" in run.output, "trouble", 60)
        own_kafka.restart()

    under_load(broken, fault)


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_broker_that_stands_still_for_half_a_minute_leaves_each_transaction_once(
    broken: Source, own_kafka: KafkaServer
) -> None:
    def fault(run: Run) -> None:
        own_kafka.pause()
        run.until(lambda: "trying again" in run.output, "trouble", 90)
        own_kafka.resume()

    under_load(broken, fault)


@pytest.mark.full
@pytest.mark.parametrize("api", [pytest.param(PRODUCE, id="produce"), pytest.param(END_TXN, id="end-of-transaction")])
def test_what_was_done_and_not_answered_is_there_once(
    own_kafka: KafkaServer, database: str, tmp_path: Path, unique: str, api: int
) -> None:
    proxy = KafkaProxy(own_kafka.bootstrap)
    own_kafka.restart(settings={"advertised.listeners": f"PLAINTEXT://{proxy.bootstrap}"})
    source = open_shop(kafka_source_of(own_kafka, database, tmp_path, unique, bootstrap=proxy.bootstrap))
    try:
        with load(source) as writers:
            run = source.run(limits__flush_bytes=2000).streaming()
            for times in range(1, 6):
                proxy.lose_answer(api)
                run.until(lambda times=times: proxy.lost == times, "a lost answer", 60)
                writers.more(run, 20)
        finish(source, run)
    finally:
        source.close()
        proxy.close()
