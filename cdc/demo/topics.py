"""What the demo takes back of a broker that somebody else runs."""

from collections.abc import Mapping
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException

from ..log.kafka_client import NO_TOPIC, REQUEST_S, Connection, kafka_admin
from ..log.kafka_location import KafkaLocation

_GONE = NO_TOPIC | {KafkaError.GROUP_ID_NOT_FOUND}


def remove_topics(location: KafkaLocation) -> None:
    """Remove the topics and the groups of consumers of a log, and those of its prefix.

    Raises:
        CommitLogError: The broker does not let us.
    """
    connection = Connection(location)
    admin = connection.client(kafka_admin.AdminClient, connection.settings())
    names = [location.topic, location.lease, location.inbox, location.sessions]
    try:
        groups = admin.list_consumer_groups(request_timeout=REQUEST_S).result(REQUEST_S + 1).valid
        own = [group.group_id for group in groups if group.group_id.startswith(f"{location.topic}.")]
        if own:
            _await(admin.delete_consumer_groups(own, request_timeout=REQUEST_S))
        _await(admin.delete_topics(names, request_timeout=REQUEST_S))
    except KafkaException as exc:
        raise connection.error(exc, "cannot be removed") from exc


def _await(answers: Mapping[str, "Future[None]"]) -> None:
    for answer in answers.values():
        try:
            answer.result(REQUEST_S + 1)
        except KafkaException as exc:
            if exc.args[0].code() not in _GONE:
                raise
