"""Pseudonyms: one for each value under one key, and nothing of the value in it."""

import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.transforms.pseudonym import HIDDEN, Pseudonyms
from commitlog.transforms.request_key import mask_request

KEY = bytes(range(32))
REQUEST = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
BY: dict[str, Any] = {
    "assurance": 2,
    "user": "alice",
    "request": REQUEST,
    "session": "s",
    "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    "app": "shop",
    "cut": True,
    "claims": {"user": "mallory"},
}


def test_a_pseudonym_is_the_hmac_that_the_specification_says() -> None:
    expected = hmac.new(KEY, b"user\0alice", "sha256").hexdigest()[:32]
    assert Pseudonyms(KEY).of("user", "alice") == expected


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_value_has_one_pseudonym_by_key_and_kind(value: str) -> None:
    pseudonyms = Pseudonyms(KEY)
    made = {pseudonyms.of(kind, value) for kind in HIDDEN}
    assert len(made) == len(HIDDEN)
    assert made == {Pseudonyms(KEY).of(kind, value) for kind in HIDDEN}
    assert made.isdisjoint(Pseudonyms(bytes(32)).of(kind, value) for kind in HIDDEN)


def test_by_keeps_its_order_and_loses_its_trace() -> None:
    hidden = Pseudonyms(KEY).hide(BY)
    assert list(hidden) == ["assurance", "user", "request", "session", "app", "cut", "claims"]
    assert (hidden["assurance"], hidden["app"], hidden["cut"]) == (2, "shop", True)
    assert hidden["claims"] == {"user": Pseudonyms(KEY).of("user", "mallory")}
    shown = str(hidden)
    assert all(word not in shown for word in ("alice", "mallory", REQUEST, "a" * 32))
    assert BY["user"] == "alice"


def test_a_request_that_the_mesh_touched_has_the_same_pseudonym() -> None:
    rewritten = REQUEST[:14] + "9" + REQUEST[15:].upper()
    of = Pseudonyms(KEY).of
    assert of("request", rewritten) == of("request", REQUEST)
    assert of("user", rewritten) != of("user", REQUEST)
    assert of("request", REQUEST[:15] + "f" + REQUEST[16:]) != of("request", REQUEST)


@pytest.mark.parametrize("request_id", ["", "r", REQUEST + "x", REQUEST[:-1], REQUEST.replace("-", "_"), "ü" * 36])
def test_an_id_that_is_no_uuid_is_its_own_key(request_id: str) -> None:
    assert mask_request(request_id) == request_id


@given(st.uuids(), st.sampled_from("0123456789abcdef"))
def test_one_digit_of_a_uuid_does_not_count(uuid: object, digit: str) -> None:
    text = str(uuid)
    assert mask_request(text) == mask_request(text[:14] + digit + text[15:])
    assert mask_request(mask_request(text)) == mask_request(text)
