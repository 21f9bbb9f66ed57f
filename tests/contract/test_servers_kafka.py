"""The local Kafka of demo, tests and bench: it starts, stops, keeps what it has, and says what is missing."""

import shutil
import socket
from pathlib import Path

import pytest

from commitlog.cdc.servers import kafka_programs
from commitlog.cdc.servers.failure import KAFKA_BOOTSTRAP_VARIABLE, ServerFailed
from commitlog.cdc.servers.kafka import Kafka, KafkaServer
from commitlog.cdc.servers.kafka_provision import provide_kafka


def answers(server: Kafka) -> bool:
    host, _, port = server.bootstrap.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.full
@pytest.mark.usefixtures("kafka_needs")
def test_a_broker_is_there_and_a_restart_keeps_its_port_and_its_data(tmp_path: Path) -> None:
    with KafkaServer.start(tmp_path / "kafka") as server:
        bootstrap, cluster = server.bootstrap, (server.folder / "meta.properties").read_text()
        assert answers(server)

        server.stop("kill")
        assert not answers(server)
        server.restart()

        assert answers(server)
        assert server.bootstrap == bootstrap
        assert (server.folder / "meta.properties").read_text() == cluster
        pid = server.pid

    assert not Path(f"/proc/{pid}").exists()
    assert (tmp_path / "kafka").is_dir()


@pytest.mark.usefixtures("kafka_needs")
def test_a_broker_that_does_not_start_is_an_error_with_its_own_words() -> None:
    with pytest.raises(ServerFailed, match="nonsense") as failed:
        KafkaServer.start(settings={"process.roles": "nonsense"})

    assert KAFKA_BOOTSTRAP_VARIABLE in failed.value.hint


@pytest.mark.usefixtures("kafka_needs")
@pytest.mark.parametrize(("missing", "names"), [("java", "java is not installed"), ("mvn", "mvn is not installed")])
def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str, names: str
) -> None:
    which = shutil.which
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kafka_programs.shutil, "which", lambda name: None if name == missing else which(name))

    with pytest.raises(ServerFailed, match=names) as failed:
        KafkaServer.start()

    assert "apt-get install" in failed.value.hint
    assert KAFKA_BOOTSTRAP_VARIABLE in failed.value.hint


def test_a_broker_named_in_the_environment_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KAFKA_BOOTSTRAP_VARIABLE, "broker:9092")

    with provide_kafka() as server:
        assert server.bootstrap == "broker:9092"
        assert not isinstance(server, KafkaServer)
