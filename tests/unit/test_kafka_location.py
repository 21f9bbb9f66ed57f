"""The address of a log on Kafka, and where a log for its owner's use may go."""

import os
from pathlib import Path

import pytest

from commitlog.cdc import config
from commitlog.cdc.log.home import parse_location
from commitlog.cdc.log.kafka_location import PROPERTIES_VARIABLE, KafkaLocation
from commitlog.schemas.errors import Refused, UsageError


def properties(folder: Path, text: str) -> Path:
    path = folder / "kafka.properties"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("url", "shown", "topic"),
    [
        ("kafka://localhost/acme#shop", "kafka://localhost:9092/acme#shop", "acme.shop"),
        ("kafka://b1:1,b2:2/a.b_c-D#s_1", "kafka://b1:1,b2:2/a.b_c-D#s_1", "a.b_c-D.s_1"),
        ("kafka://[::1]:9/x#y", "kafka://[::1]:9/x#y", "x.y"),
    ],
)
def test_an_address_is_read_and_shown(url: str, shown: str, topic: str) -> None:
    location = parse_location(url)

    assert isinstance(location, KafkaLocation)
    assert (str(location), location.topic) == (shown, topic)


@pytest.mark.parametrize(
    "url",
    [
        "kafka:localhost/acme#shop", "kafka://localhost#shop", "kafka://localhost/acme", "kafka://localhost/#shop",
        "kafka://localhost/a b#shop", "kafka:///acme#shop", "kafka://h:99999/acme#shop", "kafka://h,/acme#shop",
        "kafka://h/acme#Shop", "kafka://h/acme#inbox", "kafka://h/acme#sessions", "kafka://me:secret@h/acme#shop",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_location(url)

    assert "secret" not in str(refused.value)


def test_a_log_and_its_lease_never_share_a_topic() -> None:
    location = KafkaLocation(("h:1",), "acme", "shop")

    assert len({location.topic, location.lease, location.inbox}) == 3
    with pytest.raises(UsageError):
        KafkaLocation.parse(f"kafka://h/acme#{location.lease.removeprefix('acme.')}")


def test_off_this_machine_a_client_speaks_tls_and_says_who_it_is_where_it_can(tmp_path: Path) -> None:
    assert "security.protocol" not in KafkaLocation(("127.0.0.1:1", "[::1]:1", "localhost:2"), "a", "b").client()
    assert KafkaLocation(("localhost:1", "broker:1"), "a", "b").client()["security.protocol"] == "ssl"
    given = properties(tmp_path, "# how\nsasl.mechanism=PLAIN\n sasl.password = a=b \n")
    client = KafkaLocation(("broker:1",), "a", "b", given).client()
    assert (client["security.protocol"], client["sasl.password"]) == ("sasl_ssl", "a=b")


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("", False),
        ("security.protocol=plaintext", False),
        ("security.protocol=sasl_plaintext\nsasl.mechanism=PLAIN", False),
        ("security.protocol=ssl", False),
        ("security.protocol=ssl\nssl.certificate.location=/me.pem", True),
        ("sasl.mechanism=SCRAM-SHA-512\nsasl.username=me\nsasl.password=secret", True),
        ("sasl.mechanism=PLAIN\nenable.ssl.certificate.verification=false", False),
        ("sasl.mechanism=PLAIN\nssl.endpoint.identification.algorithm=none", False),
    ],
)
def test_a_log_for_its_owner_leaves_this_machine_only_by_tls_and_with_authentication(
    tmp_path: Path, text: str, accepted: bool
) -> None:
    away = KafkaLocation(("broker:1",), "a", "b", properties(tmp_path, text))
    away.check_visibility("shared")
    KafkaLocation(("localhost:1",), "a", "b", properties(tmp_path, text)).check_visibility("own")
    if accepted:
        away.check_visibility("own")
    else:
        with pytest.raises(Refused, match="for its owner's use") as refused:
            away.check_visibility("own")
        assert "secret" not in str(refused.value) + refused.value.hint


def test_the_configuration_takes_a_log_on_kafka_and_its_properties(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "commitlog.toml").write_text(
        "[source]\nurl = 'postgresql://h/d'\n[log]\nurl = 'kafka://broker/acme'\nname = 'shop'\nproperties = 'k.properties'\n"
    )
    (tmp_path / "k.properties").write_text("sasl.mechanism=PLAIN\n")

    read = config.load(tmp_path / "commitlog.toml")

    assert read.log.location == KafkaLocation(("broker:9092",), "acme", "shop", tmp_path / "k.properties")
    assert read.memory_path == tmp_path / ".commitlog" / "acme.shop@kafka.head"
    (tmp_path / "k.properties").write_text("")
    with pytest.raises(Refused):
        config.load(tmp_path / "commitlog.toml")
    monkeypatch.setenv(PROPERTIES_VARIABLE, str(tmp_path / "k.properties"))
    assert KafkaLocation.parse("kafka://h/a#b").properties == tmp_path / "k.properties"


@pytest.mark.parametrize("text", ["no equals", "Upper.Case=x", "=x", "sasl.jaas.config"])
def test_a_file_that_holds_no_properties_is_named_by_its_line_and_not_by_its_values(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="line 2") as refused:
        KafkaLocation(("h:1",), "a", "b", properties(tmp_path, f"sasl.password=secret\n{text}\n")).client()

    assert "secret" not in str(refused.value)


def test_a_user_without_a_home_has_a_folder_for_what_can_be_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)

    root = KafkaLocation.parse("kafka://localhost/acme#shop").root

    assert root.is_absolute()
    assert f"commitlog-{os.getuid()}" in root.parts[-5]
