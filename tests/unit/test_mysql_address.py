"""Addresses of MySQL and MariaDB say who is meant and how safe the way is; off this machine the server proves who it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.database_url import engine_of, shown, split_password, with_password
from commitlog.cdc.tail.mysql_address import parse, safety
from commitlog.schemas.errors import UsageError


def test_an_address_says_all_there_is_to_say() -> None:
    address = parse("mariadb://us%40er:a%2Fb%3Ac@db.example.test:3307/My%20Shop?ssl-mode=VERIFY_CA&ssl-ca=/ca.pem")

    assert (address.engine, address.host, address.port, address.user) == ("mariadb", "db.example.test", 3307, "us@er")
    assert (address.password, address.database, address.mode, address.ca) == (
        "a/b:c",
        "My Shop",
        "verify_ca",
        "/ca.pem",
    )
    assert "a/b:c" not in repr(address)


@pytest.mark.parametrize(
    ("url", "host", "port", "socket"),
    [
        ("mysql://u@/d", "localhost", 3306, ""),
        ("mysql://u@[::1]:1/d", "::1", 1, ""),
        ("mysql://u@127.0.0.9/d", "127.0.0.9", 3306, ""),
        ("mysql://u@h/d?socket=/run/my.sock", "", 3306, "/run/my.sock"),
    ],
)
def test_what_stays_on_this_machine_needs_no_proof(url: str, host: str, port: int, socket: str) -> None:
    address = parse(url)

    assert (address.host, address.port, address.socket, address.mode) == (host, port, socket, "disabled")
    assert (address.here, safety(address)) == (True, "")


@pytest.mark.parametrize("host", ["db.example.test", "10.0.0.7", "[2001:db8::1]:3307", "localhost.example.test"])
def test_what_leaves_this_machine_is_verified_unless_the_address_says_otherwise(host: str) -> None:
    assert parse(f"mysql://u@{host}/d").mode == "verify_identity"
    assert safety(parse(f"mysql://u@{host}/d")) == ""
    assert "in clear" in safety(parse(f"mysql://u@{host}/d?ssl-mode=disabled"))
    assert "whoever answers" in safety(parse(f"mysql://u@{host}/d?ssl-mode=required"))
    assert "that its CA knows" in safety(parse(f"mysql://u@{host}/d?ssl-mode=verify_ca"))


@pytest.mark.parametrize(
    ("url", "words", "hint"),
    [
        ("postgresql://u@h/d", "not the address of a MySQL", "mysql://"),
        ("mysql://u@h:x/d", "one host and one port", "mysql://"),
        ("mysql://u@h:99999/d", "one host and one port", "mysql://"),
        ("mysql://u@a,b/d", "one host and one port", "mysql://"),
        ("mysql://u@h/d?ssl-mode=perhaps", "an ssl-mode that is not known", "verify_identity"),
        ("mysql://u@h/d?sslmode=disabled", "says sslmode", "write ssl-mode"),
        ("mysql://u@h/d?charset=latin1", "says charset", "ssl-mode"),
        ("mysql://u:gehe/im@h/d", "behind its first /", "%2F"),
    ],
)
def test_what_is_no_address_is_refused_with_what_to_write(url: str, words: str, hint: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse(url)
    assert hint in caught.value.hint
    assert "im@h" not in f"{caught.value}{caught.value.hint}"


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_password_comes_out_as_it_went_in_and_is_not_shown(password: str) -> None:
    url = with_password("mysql://u@h:1/d?ssl-mode=required", password)

    assert parse(url).password == password
    assert split_password(url) == ("mysql://u@h:1/d?ssl-mode=required", password)
    assert shown(url) == "mysql://u@h:1/d?ssl-mode=required"


def test_the_scheme_says_the_engine() -> None:
    urls = ["postgres://h/d", "postgresql://h/d", "mysql://h/d", "mariadb://h/d"]
    assert [engine_of(url) for url in urls] == ["postgresql", "postgresql", "mysql", "mariadb"]
