"""The order in which a Kafka is found: an address in the environment, this machine, a container."""

import os

from .container import docker_answers
from .failure import KAFKA_BOOTSTRAP_VARIABLE, ServerFailed
from .kafka import Kafka, KafkaServer
from .kafka_container import ContainerKafka

_NOT_INSTALLED = ("java", "fetch")
"""The steps that fail where Java or Maven is missing."""


def provide_kafka() -> Kafka:
    """A Kafka to be used in a `with` block: the one that COMMITLOG_TEST_KAFKA_BOOTSTRAP names, one on this machine, or, where Java or
    Maven is missing and a Docker daemon answers, one in a container.

    Raises:
        ServerFailed: None was given and none could be started.
    """
    given = os.environ.get(KAFKA_BOOTSTRAP_VARIABLE)
    if given:
        return Kafka(given)
    try:
        return KafkaServer.start()
    except ServerFailed as error:
        if error.step not in _NOT_INSTALLED or not docker_answers():
            raise
        return ContainerKafka()
