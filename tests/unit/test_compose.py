"""compose/ says what is so: its commands exist, its images are pinned, and nobody has more than it needs."""

import re
from typing import Any

import pytest
import yaml

from commitlog.cdc import config
from commitlog.cdc.app_schemas.files import load_registry
from commitlog.cdc.cli import setup
from commitlog.cdc.cli.run import command as run
from commitlog.cdc.doctor.diagnosis import SAFE_VERSIONS
from commitlog.cdc.log.kafka_location import KafkaLocation
from commitlog.cdc.servers.kafka_programs import KAFKA_VERSION
from fixtures.composed import COMPOSE, healthcheck, services

DOCKERFILE = (COMPOSE / "Dockerfile").read_text()
ALONE = {"prepare", "grants", "setup", "mongodb-users"}
"""Services that end when they have done their work."""


@pytest.fixture(params=sorted(services()))
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = {"name": request.param, **services()[request.param]}
    return found


def test_every_image_is_pinned_and_nobody_gets_new_privileges(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z/-]+:[0-9]+(\.[0-9]+)+", service["image"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")] == []
    if service["name"] != "prepare":
        assert not str(service.get("user", "")).startswith(("0", "root"))


def test_what_runs_for_long_has_a_healthcheck_a_limit_and_starts_again(service: dict[str, Any]) -> None:
    if service["name"] in ALONE:
        assert "restart" not in service
        return
    assert service["restart"]
    assert service["mem_limit"]
    # The worker's is its image's; the collector's image has no program that could ask.
    assert ("healthcheck" in service) is (service["name"] not in ("worker", "collector"))


def test_whoever_is_waited_for_is_there(service: dict[str, Any]) -> None:
    for name, waits in service.get("depends_on", {}).items():
        ends = waits["condition"] == "service_completed_successfully"
        assert ends is (name in ALONE)
        assert ends or "healthcheck" in services()[name]


def test_every_file_and_volume_that_is_mounted_is_there(service: dict[str, Any]) -> None:
    volumes = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["volumes"]
    for place, *_ in (mount.split(":") for mount in service["volumes"]):
        assert (COMPOSE / place).exists() if place.startswith("./") else place in volumes


def test_the_versions_are_those_that_are_tested() -> None:
    assert services()["kafka"]["image"] == services()["grants"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    major, minor = map(int, services()["postgres"]["image"].partition(":")[2].split("."))
    assert major * 10000 + minor >= SAFE_VERSIONS[major]


def test_the_commands_have_the_options_they_are_given() -> None:
    name, *options = services()["setup"]["command"]
    assert name == "setup"
    setup.command.make_context("setup", options).close()
    (line,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    name, *options = yaml.safe_load(line)
    assert name == "run"
    with run.make_context("run", options) as context:
        assert context.params["log_format"] == "json"


def test_the_image_asks_where_the_worker_answers_and_runs_as_nobody_special() -> None:
    assert f"http://{config.HttpConfig().listen}/healthz" in healthcheck()[-1]
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "--require-hashes --requirement requirements-worker.lock" in DOCKERFILE
    assert re.search(r"^ARG PYTHON=3\.1[12]\.[0-9]+$", DOCKERFILE, re.MULTILINE)


def test_the_workers_files_are_a_configuration_and_an_app_schema() -> None:
    loaded = config.load(COMPOSE / "worker" / "commitlog.toml")
    location = loaded.log.location

    assert isinstance(location, KafkaLocation)
    location.check_visibility(loaded.log.visibility)
    assert loaded.http == config.HttpConfig()
    for path in (loaded.schemas.path, COMPOSE / "mongodb" / "schemas"):
        (schema,) = load_registry(path).schemas
        assert [entity.table for entity in schema.entities.values()] == [("shop", "orders")]
    granted = (COMPOSE / "kafka" / "grants.sh").read_text()
    for topic in (location.topic, location.lease, location.inbox, location.sessions):
        assert f" {topic}" in granted


def test_no_password_is_in_there() -> None:
    for path in COMPOSE.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert re.findall(r"(?i)(?:password|secret)\w*\s*[:=]\s*(?!/tls/)\S+", path.read_text()) == [], path


def test_the_collectors_pipelines_name_what_is_there() -> None:
    document = yaml.safe_load((COMPOSE / "collector" / "config.yaml").read_text())
    for pipeline in document["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) <= document[kind].keys()
    assert services()["worker"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"].endswith(
        document["receivers"]["otlp"]["protocols"]["http"]["endpoint"].partition(":")[2]
    )
