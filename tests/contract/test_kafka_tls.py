"""A broker that wants TLS and a password, and lets each user do only what it was granted: what is wrong is said, no secret is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commitlog.cdc.log import kafka_client, kafka_topic
from commitlog.cdc.log.home import open_reader, open_writer
from commitlog.cdc.log.kafka_location import KafkaLocation
from commitlog.cdc.servers.kafka import KafkaServer
from commitlog.cdc.servers.ports import free_port
from commitlog.schemas.errors import CommitLogError, Refused, Unreachable
from fixtures.logs import append
from fixtures.tls import Authority

pytestmark = [pytest.mark.full, pytest.mark.timeout(150)]

SECRET = "canary-of-a-password"
_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@pytest.fixture
def guarded(kafka_needs: None, tmp_path: Path, authority: Authority) -> Iterator[KafkaServer]:
    """A broker with the users worker, who may do all, and guest, who may do nothing."""
    settings = {
        "listeners": f"SASL_SSL://localhost:{{port}},INTERNAL://localhost:{free_port()},CONTROLLER://127.0.0.1:{{controller_port}}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{_LOGIN} user_worker="{SECRET}" user_guest="{SECRET}";',
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(authority.certificate("localhost")),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:worker",
    }
    with KafkaServer.start(settings=settings) as server:
        yield server


@pytest.fixture
def as_user(guarded: KafkaServer, tmp_path: Path, authority: Authority) -> Callable[..., KafkaLocation]:
    """A function that gives the way to the same log as one user, with properties of its own beside."""

    def make(user: str, **more: str) -> KafkaLocation:
        given = {
            "security_protocol": "sasl_ssl",
            "sasl_mechanism": "PLAIN",
            "sasl_username": user,
            "sasl_password": SECRET,
            "ssl_ca_location": str(authority.root),
            **more,
        }
        path = tmp_path / f"{'-'.join([user, *more])}.properties"
        path.write_text("".join(f"{name.replace('_', '.')}={value}\n" for name, value in given.items()))
        return KafkaLocation((f"localhost:{guarded.bootstrap.rpartition(':')[2]}",), "acme", "shop", path)

    return make


def test_what_is_wrong_with_the_way_is_said_without_secrets(
    as_user: Callable[..., KafkaLocation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_client, "REQUEST_S", 3.0)
    monkeypatch.setattr(kafka_topic, "REQUEST_S", 3.0)
    with open_writer(as_user("worker"), memory=None) as writer:
        head = append(writer, 3)[-1]
    assert open_reader(as_user("worker")).head() == head
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other")
    said: list[CommitLogError] = []

    for location in (
        as_user("worker", ssl_ca_location=str(other.root)),
        as_user("worker", sasl_password="canary-of-another"),
        as_user("guest"),
    ):
        with pytest.raises(Refused) as refused:
            open_reader(location).head()
        said.append(refused.value)
    with pytest.raises(Unreachable) as unreachable:
        open_reader(as_user("worker", security_protocol="plaintext")).head()

    for error, words in zip(said, ("certificate", "uthentication failed", "uthorization failed"), strict=True):
        assert words in str(error)
    assert "acme.shop.lease" in said[2].hint
    assert "canary" not in "".join(f"{error} {error.hint}" for error in [*said, unreachable.value])
