"""What `doctor` finds of a log on Kafka: the settings of its topic, and what would be unsafe with them. It changes nothing."""

from collections.abc import Iterator
from itertools import chain

from ...schemas.errors import CommitLogError, Refused
from ..config import Config
from ..log.kafka_location import KafkaLocation
from ..log.kafka_topic import OVERHEAD_BYTES, Topic, check_kept
from .finding import Finding

_SAFE_COPIES = 3


def diagnose_kafka(config: Config, location: KafkaLocation) -> Iterator[Finding]:
    """Look at the brokers and the topic of a log."""
    try:
        topic = Topic(location)
        copies, brokers = topic.partitions(), topic.brokers()
        if copies is None:
            yield Finding("ok", f"topic {location.topic} is not there yet: commitlog run makes it")
            yield from _copies(location.topic, min(brokers, _SAFE_COPIES))
            yield from _sessions(location)
            return
        settings = topic.settings()
    except CommitLogError as exc:
        yield Finding("error", str(exc), exc.hint)
        return
    yield from chain(
        _kept(topic, settings, copies), _copies(location.topic, min(copies)), _in_step(settings, min(copies))
    )
    yield from _sizes(config, location.topic, settings)
    yield from _sessions(location)


def _kept(topic: Topic, settings: dict[str, str], copies: list[int]) -> Iterator[Finding]:
    try:
        check_kept(topic, settings, copies)
    except Refused as exc:
        yield Finding("error", str(exc), exc.hint)
    else:
        yield Finding("ok", f"topic {topic.name} has one partition and keeps every record")


def _copies(name: str, copies: int) -> Iterator[Finding]:
    if copies < 2:
        yield Finding(
            "warning",
            f"topic {name} has one copy: what its broker loses is lost, which is for development only",
            "three brokers, and kafka-reassign-partitions.sh to a replication factor of 3",
        )
    else:
        yield Finding("ok", f"topic {name} has {copies} copies")


def _in_step(settings: dict[str, str], copies: int) -> Iterator[Finding]:
    least = int(settings.get("min.insync.replicas", "1"))
    if least > copies:
        yield Finding(
            "error",
            f"min.insync.replicas is {least} and there are {copies} copies: nothing can be written",
            f"set min.insync.replicas={max(1, copies - 1)} on the topic",
        )
    elif copies > 1 and least < 2:
        yield Finding(
            "warning",
            "min.insync.replicas is 1: a record counts as written when one broker has it",
            "set min.insync.replicas=2 on the topic",
        )
    elif copies > 1 and least == copies:
        yield Finding(
            "warning",
            f"min.insync.replicas is {least} of {copies}: while one broker is away nothing can be written",
            f"set min.insync.replicas={copies - 1} on the topic",
        )
    if settings.get("unclean.leader.election.enable") == "true":
        yield Finding(
            "warning",
            "unclean.leader.election.enable is true: a copy that lacks records may become the leader",
            "set unclean.leader.election.enable=false on the topic",
        )


def _sizes(config: Config, name: str, settings: dict[str, str]) -> Iterator[Finding]:
    largest = int(settings.get("max.message.bytes", "0")) - OVERHEAD_BYTES
    wanted = config.limits.part_bytes
    if largest < wanted:
        yield Finding(
            "warning",
            f"topic {name} takes records of {largest:,} bytes: larger commits go in more parts, and a larger row in pieces",
            f"set max.message.bytes={wanted * 2} or more on the topic",
        )
    else:
        yield Finding("ok", f"topic {name} takes records of up to {largest:,} bytes")


def _sessions(location: KafkaLocation) -> Iterator[Finding]:
    """What becomes of session records in their topic."""
    topic = Topic(location, location.sessions)
    try:
        copies = topic.partitions()
        if copies is None:
            yield Finding("ok", f"topic {topic.name} is not there yet: commitlog run makes it")
            return
        policy = topic.settings().get("cleanup.policy", "")
    except CommitLogError as exc:
        yield Finding("warning", f"session records: {exc}", exc.hint)
        return
    if "compact" in policy.split(","):
        yield Finding("ok", f"topic {topic.name} keeps the last session record of each key")
    else:
        yield Finding(
            "warning",
            f"topic {topic.name} has cleanup.policy={policy}: session records are lost when its retention ends, and what is"
            " sent again is kept again",
            f"kafka-configs.sh --alter --topic {topic.name} --add-config cleanup.policy=compact",
        )
