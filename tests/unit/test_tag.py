"""The tag: its bytes, its bound, and what goes when it is too long."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.drivers import tag

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "tag.schema.json").read_text())
HASH = "ab" * 32


def test_keys_come_in_the_order_of_the_format_and_empty_ones_are_left_out() -> None:
    values = {"cause": "c", "build": "b", "version": "1", "app": "a", "user": "u", "request": "r", "traceparent": "t"}
    encoded, cut = tag.encode({**values, "session": HASH})
    assert encoded == (
        b'{"v":1,"traceparent":"t","request":"r","session":"%s","user":"u","app":"a","version":"1","build":"b","cause":"c"}'
        % HASH.encode()
    )
    assert not cut
    assert tag.encode({"request": "", "user": None}) == (b'{"v":1}', False)


def test_quotes_nul_emoji_and_backslashes_are_exact_and_ascii() -> None:
    request = "a'b\"c\\d\x00e\n\U0001f600\x7f"
    encoded, _ = tag.encode({"request": request})
    assert encoded.isascii()
    assert b"\x00" not in encoded
    assert json.loads(encoded)["request"] == request


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    assert json.loads(tag.encode({"user": "a\ud800b"})[0])["user"] == "a?b"


def test_a_value_above_200_bytes_is_left_out_and_the_tag_says_so() -> None:
    assert tag.encode({"request": "x" * 200})[0] == b'{"v":1,"request":"' + b"x" * 200 + b'"}'
    assert tag.encode({"request": "x" * 201, "user": "u"}) == (b'{"v":1,"user":"u","cut":true}', True)
    assert tag.encode({"request": "é" * 101}) == (b'{"v":1,"cut":true}', True)


def test_a_tag_that_is_too_long_loses_the_user_then_the_session_and_never_the_cause() -> None:
    full = dict.fromkeys(("traceparent", "request", "cause"), "x" * 200)
    long_user, cut = tag.encode({**full, "user": "u" * 200, "session": HASH, "app": "a" * 100})
    assert cut
    assert list(json.loads(long_user)) == ["v", "traceparent", "request", "session", "app", "cause", "cut"]
    both, cut = tag.encode({**full, "user": "u" * 200, "session": HASH, "app": "a" * 200, "build": "b" * 90})
    assert cut
    assert list(json.loads(both)) == ["v", "traceparent", "request", "app", "build", "cause", "cut"]


def test_a_cause_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="cause is 201 bytes long"):
        tag.encode({"cause": "x" * 201})


def test_a_value_that_is_not_text_is_refused() -> None:
    with pytest.raises(TypeError, match="user of a tag is text, not int"):
        tag.encode({"user": 42})  # type: ignore[dict-item] # what an untyped caller may do


@given(st.dictionaries(st.sampled_from([k for k in tag.KEYS if k != "session"]), st.text(max_size=66)))
def test_any_tag_is_within_its_bound_valid_and_keeps_its_cause(values: dict[str, str]) -> None:
    encoded, cut = tag.encode({**values, "session": HASH})
    assert len(encoded) <= tag.TAG_BYTES_MAX
    assert encoded.isascii()
    decoded = json.loads(encoded)
    jsonschema.validate(decoded, SCHEMA)
    assert decoded.get("cut", False) == cut
    if values.get("cause"):
        assert decoded["cause"] == values["cause"].encode("utf-8", "replace").decode()
