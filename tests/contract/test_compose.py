"""compose/ for real: its settings, grants, SQL, certificates and commands, on real servers of this machine."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from commitlog.cdc.log.home import log_exists, open_reader
from commitlog.cdc.log.kafka_location import KafkaLocation
from commitlog.cdc.servers.kafka import KafkaServer
from commitlog.cdc.servers.local import PostgresServer
from commitlog.cdc.servers.ports import free_port
from commitlog.cdc.servers.scratch import Scratch
from fixtures.composed import COMPOSE, Composed, healthcheck
from fixtures.patience import until

pytestmark = [pytest.mark.full, pytest.mark.timeout(200)]

COMMITLOG = [sys.executable, "-m", "commitlog.cdc.cli.main"]


@pytest.fixture
def composed() -> Iterator[Composed]:
    scratch = Scratch("commitlog-compose-", parent="/tmp")
    scratch.folder.chmod(0o755)
    yield Composed(scratch.folder)
    scratch.remove()


@pytest.fixture
def kafka(kafka_needs: None, composed: Composed) -> Iterator[KafkaServer]:
    with KafkaServer.start(settings=composed.kafka_settings()) as server:
        composed.grant(server)
        yield server


@pytest.fixture
def postgres(composed: Composed) -> Iterator[PostgresServer]:
    with PostgresServer.start(settings=composed.postgres_settings(), version="17") as server:
        composed.run_sql(server)
        yield server


def commitlog(composed: Composed, folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [*COMMITLOG, *arguments],
        cwd=folder,
        env=composed.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_the_worker_works_with_what_it_is_given_and_may_do_nothing_else(
    composed: Composed, kafka: KafkaServer, postgres: PostgresServer
) -> None:
    folder = composed.worker_folder(postgres, kafka)
    commitlog(composed, folder, *composed.setup_arguments(postgres, kafka))
    source = composed.setup_arguments(postgres, kafka)[1:]
    printed = commitlog(composed, folder, "setup", *source, "--sql", "--role", "commitlog")
    assert printed == "nothing to do: the source is ready\n", (
        "10-roles.sql lacks what setup prints for the worker's role"
    )
    levels = {
        json.loads(line)["level"] for line in commitlog(composed, folder, "doctor", "--json", code=1).splitlines()
    }
    assert levels == {"ok", "warning"}

    port = free_port()
    with (folder / "worker.log").open("w") as log:
        worker = subprocess.Popen(
            [*COMMITLOG, "run", "--log-format", "json"],
            cwd=folder,
            env={**composed.environment(), "COMMITLOG_HTTP__LISTEN": f"127.0.0.1:{port}"},
            stderr=log,
        )
    try:
        location = KafkaLocation(
            (f"localhost:{kafka.bootstrap.rpartition(':')[2]}",), "acme", "shop", folder / "kafka.properties"
        )
        _write_as_the_app(postgres)
        until(lambda: _commits(location) == 1, "the commit")
        check = [word.replace(":9464", f":{port}") for word in healthcheck()]
        assert check != healthcheck()
        subprocess.run([sys.executable, *check[1:]], check=True, timeout=10)
    finally:
        worker.terminate()
        code = worker.wait(20)
    said = (folder / "worker.log").read_text()
    assert code == 0, said
    assert "session records are not read" not in said

    _assert_least_on_the_brokers(location)
    _assert_least_in_the_database(postgres)


def _write_as_the_app(server: PostgresServer) -> None:
    with psycopg.connect(server.database_url("shop"), autocommit=True) as connection:
        connection.execute("SET ROLE shop")
        connection.execute("INSERT INTO shop.orders (customer_id, status) VALUES (7, 'new')")


def _commits(location: KafkaLocation) -> int:
    if not log_exists(location):
        return 0
    reader = open_reader(location)
    try:
        return sum(record.kind == "commit" for record in reader.records())
    finally:
        reader.close()


def _assert_least_on_the_brokers(location: KafkaLocation) -> None:
    admin = AdminClient(location.client())
    with pytest.raises(KafkaException, match="uthorization failed"):
        admin.create_topics([NewTopic("other", 1, 1)], request_timeout=10)["other"].result(10)
    with pytest.raises(KafkaException, match="uthorization failed"):
        admin.delete_topics([location.topic], request_timeout=10)[location.topic].result(10)


def _assert_least_in_the_database(server: PostgresServer) -> None:
    with psycopg.connect(server.database_url("shop"), autocommit=True) as connection:
        connection.execute("SET ROLE commitlog")
        assert connection.execute("SELECT count(*) FROM shop.orders").fetchone() == (1,)
        for statement in ("DELETE FROM shop.orders", "CREATE TABLE shop.mine ()", "CREATE SCHEMA mine"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_who_shows_no_certificate_is_let_in_nowhere(
    composed: Composed, kafka: KafkaServer, postgres: PostgresServer
) -> None:
    properties = composed.folder / "bare.properties"
    properties.write_text(f"security.protocol=ssl\nssl.ca.location={composed.folder}/worker/ca.crt\n")
    broker = KafkaLocation((f"localhost:{kafka.bootstrap.rpartition(':')[2]}",), "acme", "shop", properties)
    with pytest.raises(KafkaException):
        AdminClient({**broker.client(), "log_level": 0}).list_topics(timeout=3)

    url = re.sub(r"&sslcert=.*", "&sslcert=none", composed.setup_arguments(postgres, kafka)[-1])
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        psycopg.connect(url)
    assert (COMPOSE / "postgres" / "pg_hba.conf").read_text().count("trust") == 0
