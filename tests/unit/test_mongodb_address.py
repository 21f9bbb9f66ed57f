"""Addresses of MongoDB say who is meant and how safe the way is; off this machine the server proves who it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.database_url import engine_of, shown, split_password, with_password
from commitlog.cdc.tail.mongodb_address import parse, safety
from commitlog.schemas.errors import DecodeError, UsageError
from commitlog.schemas.position import format_oplog, parse_oplog


def test_an_address_says_all_there_is_to_say() -> None:
    address = parse("mongodb://us%40er:a%2Fb%3Ac@db.example.test:27018,127.0.0.1/shop?replicaSet=rs0&authSource=admin")

    assert address.hosts == (("db.example.test", 27018), ("127.0.0.1", 27017))
    assert (address.user, address.database, address.auth_source) == ("us@er", "shop", "admin")
    assert (address.here, address.tls, safety(address)) == (False, True, "")
    assert "a/b:c" not in repr(address)
    assert "a%2Fb" not in repr(address)


@pytest.mark.parametrize("hosts", ["127.0.0.9", "[::1]:1", "localhost:3,127.0.0.1", "%2Frun%2Fmongodb-27017.sock"])
def test_what_stays_on_this_machine_needs_no_proof(hosts: str) -> None:
    address = parse(f"mongodb://u@{hosts}/d")

    assert (address.here, address.tls, safety(address)) == (True, False, "")


@pytest.mark.parametrize("host", ["db.example.test", "10.0.0.7", "[2001:db8::1]:3307", "127.0.0.1,10.0.0.7"])
def test_what_leaves_this_machine_is_verified_unless_the_address_says_otherwise(host: str) -> None:
    assert parse(f"mongodb://u@{host}/d").tls
    assert "in clear" in safety(parse(f"mongodb://u@{host}/d?tls=false"))
    assert "whoever answers" in safety(parse(f"mongodb://u@{host}/d?tls=true&tlsAllowInvalidCertificates=true"))
    assert "that its CA knows" in safety(parse(f"mongodb://u@{host}/d?tlsAllowInvalidHostnames=true"))


@pytest.mark.parametrize(
    ("url", "words", "hint"),
    [
        ("mysql://u@h/d", "not the address of a MongoDB", "mongodb://"),
        ("mongodb://u@h:99999/d", "Port must be", "mongodb://"),
        ("mongodb://u@h/a.b", "has a dot", "mongodb://"),
        ("mongodb://u@h/d?tls=perhaps", "tls must be", "mongodb://"),
        ("mongodb://u@h/d?replicaset=a&tlsCAFiles=/x", "says tlscafiles", "write tlsCAFile"),
        ("mongodb://u@h/d?charset=latin1", "says charset", "replicaSet"),
        ("mongodb://u@h/d?tlsCAFile=/not/there", "no file /not/there", "url"),
        ("mongodb://u:gehe/im@h/d", "behind its first /", "%2F"),
        ("mongodb://u:ge:heim@h/d", "must be escaped", "mongodb://"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_saying_its_secrets(url: str, words: str, hint: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse(url)

    assert hint in caught.value.hint
    assert "heim" not in str(caught.value)


def test_secrets_among_the_options_are_not_shown() -> None:
    url = "mongodb://u:geheim@h/d?tlsCertificateKeyFilePassword=geheim&authMechanismProperties=AWS_SESSION_TOKEN:geheim"

    assert shown(url) == "mongodb://u@h/d"


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), max_size=20))
def test_any_password_survives(password: str) -> None:
    url = with_password("mongodb://u@h1:1,h2:2/d?replicaSet=rs0", password)

    assert split_password(url) == ("mongodb://u@h1:1,h2:2/d?replicaSet=rs0", password)
    parse(url)


def test_a_set_that_is_looked_up_is_a_mongodb_too() -> None:
    assert engine_of("mongodb+srv://u@cluster.example.test/d") == "mongodb"
    assert parse("mongodb+srv://u@cluster.example.test/d").tls


@given(st.integers(0, 2**64 - 1))
def test_a_place_in_an_oplog_is_one_number(position: int) -> None:
    assert parse_oplog(format_oplog(position)) == position


@pytest.mark.parametrize("text", ["", "1", "1.", ".1", "1.2.3", "-1.2", "1.4294967296", "٣.1", "1.00000000001"])
def test_another_text_is_no_place_in_an_oplog(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_oplog(text)
