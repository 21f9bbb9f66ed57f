"""What errors of the Kafka library mean to us."""

import pytest
from confluent_kafka import KafkaError

from commitlog.cdc.log.kafka_client import Connection
from commitlog.cdc.log.kafka_location import KafkaLocation
from commitlog.schemas.errors import CommitLogError, Refused, Unreachable

UNPROVEN = "sasl_ssl://a:9093/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 3ms in state SSL_HANDSHAKE)"


@pytest.mark.parametrize(
    ("code", "said", "meant"),
    [
        (KafkaError._SSL, UNPROVEN, Refused),
        (KafkaError._TRANSPORT, UNPROVEN, Refused),
        (KafkaError._TRANSPORT, "a:9093/bootstrap: Connect failed: Connection refused", Unreachable),
    ],
)
def test_a_server_that_does_not_prove_who_it_is_is_refused_however_early_that_is_noticed(
    code: int, said: str, meant: type[CommitLogError]
) -> None:
    error = Connection(KafkaLocation.parse("kafka://a:9093/acme#shop")).error(KafkaError(code, said), "gives no answer")

    assert type(error) is meant
    assert said in str(error)
