"""Forks of a log on Kafka as groups of consumers: tools that watch lag see them, and what they see decides nothing."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from commitlog.cdc.fork.follow import Follower, group_name
from commitlog.cdc.fork.postgres.target import Target
from commitlog.cdc.log.home import open_reader
from commitlog.cdc.log.kafka_location import KafkaLocation
from commitlog.cdc.log.kafka_topic import Topic
from fixtures.followed import Followed
from fixtures.patience import until
from fixtures.worker import Source

pytestmark = pytest.mark.timeout(150)  # a busy machine is no finding


@pytest.fixture
def shop(kafka_source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A log with some commits, whose worker has ended."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = kafka_source
    source.execute("CREATE TABLE item (id int PRIMARY KEY, name text)", "INSERT INTO item VALUES (1, 'before')")
    source.map("Item", "item")
    run = source.setup().run()
    run.until_snapshots()
    source.execute(*(f"INSERT INTO item VALUES ({n}, 'one')" for n in range(2, 30)))
    run.until_caught_up()
    run.terminate()
    return source


@pytest.fixture
def fork(shop: Source, new_database: Callable[[], str]) -> Followed:
    return Followed(shop, new_database())


class Group:
    """A fork's group as others see it."""

    def __init__(self, fork: Followed) -> None:
        assert isinstance(fork.source.location, KafkaLocation)
        self._location = fork.source.location
        with Target(fork.url) as target:
            self.id = f"{self._location.topic}.{group_name(target)}"
        self._admin = AdminClient({"bootstrap.servers": self._location.hosts[0]})
        self._place = TopicPartition(self._location.topic, 0)

    @property
    def lag(self) -> int | None:
        """Offsets to the end of the topic; None where the group has no position."""
        asked = ConsumerGroupTopicPartitions(self.id, [self._place])
        (place,) = self._admin.list_consumer_group_offsets([asked])[self.id].result(10).topic_partitions or []
        return Topic(self._location).ends().last - place.offset if place.offset >= 0 else None

    @contextmanager
    def taken(self) -> Generator[None]:
        """Somebody reads the log by the group."""
        consumer = Consumer({"bootstrap.servers": self._location.hosts[0], "group.id": self.id})
        consumer.subscribe([self._location.topic])
        deadline = time.monotonic() + 30
        while not consumer.assignment():
            consumer.poll(0.05)
            assert time.monotonic() < deadline
        yield
        consumer.close()

    def move(self, offset: int) -> None:
        """What an operator does who thinks that it matters."""
        place = TopicPartition(self._location.topic, 0, offset)
        self._admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(self.id, [place])])[self.id].result(10)


def test_a_fork_that_has_everything_is_a_group_without_lag_whose_offset_decides_nothing(
    shop: Source, fork: Followed, new_database: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    other = Followed(shop, new_database())
    fork.sync()
    other.sync()
    group = Group(fork)
    assert (Group(other).id != group.id, Group(other).lag) == (True, 0)
    assert group.id.startswith(f"{shop.name}.{shop.name}.fork.")
    assert group.lag == 0

    group.move(0)
    fork.sync()

    assert group.lag == 0
    fork.check("Item")

    with group.taken():
        shop.execute("INSERT INTO item VALUES (100, 'while somebody else is in the group')")
        run = shop.run()
        run.until_caught_up()
        fork.sync()
        run.terminate()
    assert f"the position is not shown as group {group.id}: " in caplog.text
    fork.check("Item")


def test_a_fork_that_follows_is_seen_to_fall_behind_and_catch_up(shop: Source, fork: Followed) -> None:
    fork.sync()
    group, stop = Group(fork), threading.Event()
    run = shop.run()
    shop.execute("UPDATE item SET name = 'changed'")
    run.until_caught_up()
    lag = group.lag
    assert lag is not None
    assert lag > 0

    follower = threading.Thread(target=Follower(fork.url, open_reader(shop.location), stop=stop).run)
    follower.start()
    try:
        until(lambda: group.lag == 0, "no lag")
        shop.execute("DELETE FROM item WHERE id > 20")
        run.until_caught_up()
        until(lambda: group.lag == 0, "no lag again")
    finally:
        stop.set()
        follower.join(30)
    run.terminate()
    fork.check("Item")
