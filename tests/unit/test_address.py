"""Off this machine a server must prove who it is, unless the address itself says that it need not."""

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from commitlog.cdc.tail.address import refusal, safety, secured
from commitlog.schemas.errors import Refused, UsageError

HERE = [
    "postgresql://u:p@localhost/shop",
    "postgresql://u@LOCALHOST:5433/shop",
    "postgresql://u@127.0.0.1/shop",
    "postgresql://u@127.9.9.9/shop",
    "postgresql://u@[::1]:5433/shop",
    "postgresql:///shop",
    "postgresql:///shop?host=/var/run/postgresql",
    "postgresql://%2Fvar%2Frun%2Fpostgresql/shop",
    "postgresql://localhost:1,127.0.0.1:2/shop?target_session_attrs=read-write",
]
AWAY = [
    "postgresql://u:p@db.example.test/shop",
    "postgresql://u@10.0.0.7/shop",
    "postgresql://u@[2001:db8::1]/shop",
    "postgresql://u@[::ffff:10.0.0.7]/shop",
    "postgresql://u@localhost.example.test/shop",
    "postgresql://u@db.example.test/shop?hostaddr=127.0.0.1",
    "postgresql://u@localhost/shop?hostaddr=10.0.0.7",
    "postgresql:///shop?host=db.example.test",
    "postgresql://u@localhost/shop?host=db.example.test",
    "postgresql://u@localhost:1,db.example.test:2/shop?target_session_attrs=read-write",
    "postgresql:///shop?service=main",
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("url", HERE)
def test_what_stays_on_this_machine_is_as_it_is_written(url: str) -> None:
    assert secured(url) == url
    assert safety(url, encrypted=False) == ""


@pytest.mark.parametrize("url", AWAY)
def test_what_leaves_this_machine_is_verified_in_full(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "disable")
    assert conninfo_to_dict(secured(url)) == {**conninfo_to_dict(url), "sslmode": "verify-full"}
    assert safety(url, encrypted=True) == ""


@pytest.mark.parametrize("name", ["PGHOST", "PGHOSTADDR", "PGSERVICE"])
def test_a_host_of_the_environment_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "10.0.0.7")
    assert conninfo_to_dict(secured("postgresql:///shop"))["sslmode"] == "verify-full"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_a_weaker_mode_must_be_written_and_is_told(mode: str) -> None:
    url = f"postgresql://u@db.example.test/shop?sslmode={mode}"
    assert secured(url) == url
    assert f"sslmode={mode}" in safety(url, encrypted=True)
    assert "in clear" in safety(url, encrypted=False)


@pytest.mark.parametrize("url", ["postgresql://u:geheim@[::1/shop", "postgresql://u:geheim@h/shop?nonsense=geheim"])
def test_an_address_that_libpq_does_not_understand_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        secured(url)
    assert "geheim" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("said", ["options", "in options: datestyle", "replication"])
def test_a_pooler_that_takes_no_settings_is_named(said: str) -> None:
    text = f"FATAL:  unsupported startup parameter{'' if said.startswith('in') else ':'} {said}"
    error = refusal(psycopg.OperationalError(text), what="the source", where="[source] url")
    assert isinstance(error, Refused)
    assert "behind a pooler" in str(error)
    assert error.hint == "point [source] url at the server itself, not at PgBouncer or another pooler"
