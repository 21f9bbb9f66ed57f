"""Session records in a topic: what the mesh says of requests reaches every worker of a prefix, once, whatever else is in there."""

import json
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from commitlog.cdc.log.kafka_location import KafkaLocation
from commitlog.cdc.log.kafka_topic import Topic
from commitlog.cdc.servers.ports import free_port
from commitlog.cdc.sessions import topic as session_topic
from commitlog.cdc.sessions.store import SessionRecord, Store, path_of
from commitlog.cdc.sessions.topic import SessionFollower, SessionProducer
from commitlog.cdc.sessions.values import encode
from commitlog.schemas.errors import Refused
from fixtures.patience import until
from fixtures.requests import access_log, amends_of, by_of, tag, write
from fixtures.worker import Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding

REQUEST = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test is a machine of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def shop(kafka_source: Source) -> Source:
    kafka_source.execute("CREATE TABLE orders (id int PRIMARY KEY, status text)")
    kafka_source.map("Order", "orders")
    return kafka_source.setup()


def order(source: Source, number: int, request: str) -> int:
    return write(source, tag(request), f"INSERT INTO orders VALUES ({number}, 'new')")


def told(source: Source, *lines: dict[str, object]) -> str:
    """Import what the mesh tells; what the command says."""
    path = access_log(source.folder / "access.log", *lines)
    return source.commitlog("sessions", "import", str(path)).stdout


def produce(location: KafkaLocation, *messages: tuple[bytes, bytes | None]) -> None:
    """What others put into the topic, with nothing of ours: (key, value)."""
    producer = Producer({"bootstrap.servers": location.hosts[0]})
    for key, value in messages:
        producer.produce(location.sessions, value, key)
    assert producer.flush(10) == 0


def of_kafka(source: Source) -> KafkaLocation:
    assert isinstance(source.location, KafkaLocation)
    return source.location


def test_a_record_sent_before_its_commit_gives_its_user_at_once_and_one_sent_later_one_amend(
    shop: Source, cache: Path
) -> None:
    lines: list[dict[str, object]] = [{"request_id": REQUEST, "user": "ann"}, {"request_id": "other", "user": "bo"}]
    assert told(shop, *lines) == f"2 session records sent to topic {of_kafka(shop).sessions}, 0 malformed\n"
    run = shop.run().streaming()
    early, late = order(shop, 1, REQUEST), order(shop, 2, "late")
    run.until_marked()
    told(shop, {"request_id": "late", "user": "cleo"})
    run.until(lambda: amends_of(shop, late), "the amend record")
    run.terminate()
    assert (by_of(shop, early)["assurance"], by_of(shop, early)["user"]) == (2, "ann")
    assert by_of(shop, late)["assurance"] == 1

    # Another machine takes over, and what is there is sent once more.
    shutil.rmtree(cache)
    told(shop, *lines, {"request_id": "late", "user": "cleo"})
    run = shop.run().streaming()
    last = order(shop, 3, "last")
    run.until_marked()
    produce(of_kafka(shop), (b"last", b'{"x-request-id":"last","user":"dan"}'))
    run.until(lambda: amends_of(shop, last), "the amend record")
    run.terminate()

    assert [(by["assurance"], by["user"]) for by in amends_of(shop, late)] == [(2, "cleo")]
    assert [(by["assurance"], by["user"]) for by in amends_of(shop, last)] == [(2, "dan")]
    assert amends_of(shop, early) == []
    shop.check()


def figure(port: int, name: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return next((line.rpartition(" ")[2] for line in lines if line.startswith(f"{name}{{")), "")


def test_what_others_put_there_is_named_counted_and_passed_over(shop: Source) -> None:
    port = free_port()
    run = shop.run(http__listen=f"127.0.0.1:{port}").streaming()
    xid = order(shop, 1, REQUEST)
    run.until_marked()
    avro = encode(SessionRecord(0, REQUEST, user="ann"))
    produce(of_kafka(shop), (b"1", b"garbage"), (b"2", b"\0\0\0\0\x01a"), (b"3", avro[:-1]), (b"4", avro))

    run.until(lambda: amends_of(shop, xid), "the amend record")
    run.until(lambda: figure(port, "commitlog_sessions_malformed_total") == "3.0", "the count")
    assert json.loads(shop.commitlog("status", "--json").stdout)["sessions"] == {"records": 1, "uncompared": 0}
    run.terminate()

    for offset, why in enumerate(("it is not JSON", "registry of schemas", "it is damaged Avro")):
        assert f"partition 0, offset {offset} is no session record: " in run.output
        assert why in run.output


def test_they_are_listed_where_nobody_ever_imported_them_and_doctor_looks_at_their_topic(kafka_source: Source) -> None:
    source = kafka_source.setup()
    for _ in range(2):
        told(source, {"request_id": "r1", "user": "ann"}, {"request_id": "r1", "user": "the same request, further in"})
    documents = [json.loads(line) for line in source.commitlog("sessions", "list", "--json").stdout.splitlines()]
    assert [document["user"] for document in documents] == ["ann", "the same request, further in"]

    # Nobody compares them here, so nothing can be said of what is left to compare.
    assert json.loads(source.commitlog("status", "--json").stdout)["sessions"] is None

    location = of_kafka(source)
    said = source.commitlog("doctor", code=1).stdout
    assert f"topic {location.sessions} keeps the last session record of each key" in said
    settings = Topic(location, location.sessions).settings()
    assert (settings["cleanup.policy"], settings["delete.retention.ms"]) == ("compact", "604800000")


def test_a_topic_that_does_not_keep_them_is_named_by_doctor(kafka_source: Source) -> None:
    source, location = kafka_source.setup(), of_kafka(kafka_source)
    Topic(location, location.sessions).make_alone({"cleanup.policy": "delete"})

    said = source.commitlog("doctor", code=1).stdout

    assert f"topic {location.sessions} has cleanup.policy=delete" in said


@pytest.fixture
def follow(kafka_location: KafkaLocation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], SessionFollower]]:
    """Followers of the topic, which look often whether it is still the same."""
    monkeypatch.setattr(session_topic, "LOOK_S", 0.2)
    monkeypatch.setattr(session_topic, "RETRY_S", 0.2)
    followers: list[SessionFollower] = []

    def make() -> SessionFollower:
        followers.append(SessionFollower(kafka_location, None))
        assert followers[-1].wait(30), followers[-1].trouble
        return followers[-1]

    yield make
    for follower in followers:
        follower.close()


def users(location: KafkaLocation) -> list[str | None]:
    store = Store.open(path_of(location))
    if store is None:
        return []
    with store:
        return [record.user for record in store.since(0, 1000)]


def value(user: str) -> bytes:
    return encode(SessionRecord(0, "r", user=user))


def test_a_message_replaces_the_one_of_its_key_and_one_without_a_value_deletes_it(
    kafka_location: KafkaLocation, follow: Callable[[], SessionFollower]
) -> None:
    follow()
    produce(kafka_location, (b"1", value("ann")), (b"2", value("bo")), (b"3", value("cleo")))
    until(lambda: users(kafka_location) == ["ann", "bo", "cleo"], "three records")
    with closing(_open(kafka_location)) as store:
        last = store.max_rowid()

    produce(kafka_location, (b"3", value("cleo")), (b"1", value("dan")), (b"2", None))

    until(lambda: users(kafka_location) == ["cleo", "dan"], "what compaction keeps")
    with closing(_open(kafka_location)) as store:
        # What changed is to be compared with commits again; what was only repeated is not.
        assert [record.user for record in store.since(last, 10)] == ["dan"]


def _open(location: KafkaLocation) -> Store:
    store = Store.open(path_of(location))
    assert store is not None
    return store


def test_two_processes_of_a_machine_share_its_store(
    kafka_location: KafkaLocation, follow: Callable[[], SessionFollower]
) -> None:
    follow()
    follow()
    for number in range(5):
        produce(kafka_location, *((b"%d.%d" % (number, n), value(f"{number}.{n}")) for n in range(50)))
    follow()

    until(lambda: len(users(kafka_location)) == 250, "every record once")


def test_a_topic_with_more_partitions_is_read_whole_also_when_they_come_later(
    kafka_location: KafkaLocation, follow: Callable[[], SessionFollower]
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka_location.hosts[0]})
    topic = kafka_location.sessions
    admin.create_topics([NewTopic(topic, 2, 1, config={"cleanup.policy": "compact"})])[topic].result(10)
    produce(kafka_location, *((b"%d" % n, value(str(n))) for n in range(20)))
    follow()
    assert len(users(kafka_location)) == 20

    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(10)
    until(lambda: Topic(kafka_location, topic).identity(), "the topic")
    until(lambda: len(Topic(kafka_location, topic).partitions() or []) == 5, "five partitions")
    produce(kafka_location, *((b"later %d" % n, value(str(n))) for n in range(20)))

    until(lambda: len(users(kafka_location)) == 40, "all records")


def test_a_topic_that_was_made_anew_is_read_from_its_beginning_and_what_it_held_is_forgotten(
    kafka_location: KafkaLocation, follow: Callable[[], SessionFollower]
) -> None:
    follow().close()
    produce(kafka_location, *((b"%d" % n, value("before")) for n in range(3)))
    follow().close()
    assert users(kafka_location) == ["before"] * 3
    admin = AdminClient({"bootstrap.servers": kafka_location.hosts[0]})
    admin.delete_topics([kafka_location.sessions])[kafka_location.sessions].result(10)
    until(lambda: Topic(kafka_location, kafka_location.sessions).partitions() is None, "its end")
    with SessionProducer(kafka_location):
        produce(kafka_location, *((b"%d" % n, value("after")) for n in range(5)))

    follow()

    assert users(kafka_location) == ["after"] * 5


def test_a_topic_that_goes_away_is_told_and_made_again(
    kafka_location: KafkaLocation, follow: Callable[[], SessionFollower]
) -> None:
    follow()
    admin = AdminClient({"bootstrap.servers": kafka_location.hosts[0]})
    admin.delete_topics([kafka_location.sessions])[kafka_location.sessions].result(10)

    def arrived() -> bool:
        if Topic(kafka_location, kafka_location.sessions).partitions() is not None:
            produce(kafka_location, (b"1", value("ann")))
        return users(kafka_location) == ["ann"]

    until(arrived, "a record of the new topic")


def test_session_records_do_not_go_to_another_machine_in_the_open_whatever_the_log_is(unique: str) -> None:
    location = KafkaLocation(("broker.example:9092",), unique, "shop")

    with pytest.raises(Refused, match="session records name users"):
        SessionProducer(replace(location))
