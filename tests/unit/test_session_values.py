"""Values of the topic of session records: Avro or JSON, told apart without a guess, and whatever else is refused by name."""

import json
import re
from importlib import resources
from io import BytesIO

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog import schemas
from commitlog.cdc.sessions.access_log import MalformedLine, parse_line
from commitlog.cdc.sessions.store import SessionRecord
from commitlog.cdc.sessions.values import AVRO_MARK, FINGERPRINT, decode, encode, identity_of, key_of
from commitlog.drivers.session import hash_session

SCHEMA = json.loads(resources.files(schemas).joinpath("session.avsc").read_text())
LINE = b'{"request_id":"r1","user":"ann","start_time":1763806272,"duration":5,"path":"/o?secret=1","response_code":201,"session":"raw"}'

texts = st.none() | st.text(min_size=1, max_size=40).filter(lambda text: "?" not in text)
times = st.integers(0, (1 << 52) - 1)
records = st.builds(
    SessionRecord,
    id=st.just(0),
    request=st.text(min_size=1, max_size=35),
    trace_id=st.none() | st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    user=texts,
    session=texts,
    start_us=times,
    end_us=times,
    method=texts,
    path=texts,
    status=st.none() | st.integers(0, 999),
)


def avro(**fields: object) -> bytes:
    """A value as anybody writes it who has schemas/session.avsc."""
    value = BytesIO()
    fastavro.schemaless_writer(value, fastavro.parse_schema(SCHEMA), fields)
    return b"\xc3\x01" + bytes.fromhex("c8cb882fb5ee89b4") + value.getvalue()


def test_the_fingerprint_of_the_schema_is_what_the_specification_says() -> None:
    readme = resources.files(schemas).joinpath("README.md").read_text()

    (said,) = re.findall(r"c3 01((?: [0-9a-f]{2}){8})", readme)

    assert bytes.fromhex(said) == FINGERPRINT


@given(records)
def test_a_record_comes_back_as_it_was_and_what_ends_before_it_began_ended_when_it_began(record: SessionRecord) -> None:
    found, left_out = decode(encode(record), None)

    assert (found.request, found.user, found.session, found.trace_id) == (
        record.request,
        record.user,
        record.session,
        record.trace_id,
    )
    assert (found.start_us, found.end_us) == (record.start_us, max(record.start_us, record.end_us))
    assert (found.method, found.path, found.status, left_out) == (record.method, record.path, record.status, False)


def test_avro_of_somebody_else_is_read_with_what_it_leaves_out() -> None:
    trace = "4BF92F3577B34DA6A3CE929D0E0E4736"
    request = "7C9E6679-7425-40DE-944B-E07FC1F90AE7"

    found, _ = decode(avro(request=request, user="ann", trace_id=trace, path="/o?secret=1"), None)

    assert found == SessionRecord(
        0, "7c9e6679-7425-x0de-944b-e07fc1f90ae7", trace_id=trace.lower(), user="ann", path="/o"
    )


def test_json_is_a_line_of_an_access_log_whose_raw_session_is_hashed_or_left_out() -> None:
    hashed, left_out = decode(LINE, b"k")
    assert (hashed.request, hashed.user, hashed.path, hashed.status) == ("r1", "ann", "/o", 201)
    assert (hashed.session, left_out) == (hash_session("raw", b"k"), False)

    bare, left_out = decode(b" \n" + LINE, None)
    assert (bare.session, left_out) == (None, True)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "not JSON"),
        (b"\0\0\0\0\x07abc", "registry"),
        (b"\xc3\x01" + b"12345678" + b"abc", "another schema"),
        (b"\xc3\x01", "another schema"),
        (encode(SessionRecord(0, "r"))[:-1], "damaged"),
        (encode(SessionRecord(0, "r")) + b"x", "follows"),
        (avro(request=""), "no request"),
        (avro(request="r", user="u" * 513), "user is longer"),
        (avro(request="r", start_us=-1), "out of range"),
        (avro(request="r", status=1000), "out of range"),
        (avro(request="r", user="u" * 70_000), "longer than 65536"),
        (b'{"user":"ann"}', "no request_id"),
    ],
)
def test_what_is_no_session_record_is_refused_by_name(value: bytes, why: str) -> None:
    with pytest.raises(MalformedLine, match=why):
        decode(value, None)


@given(st.binary(max_size=60))
def test_no_garbage_is_anything_but_malformed(garbage: bytes) -> None:
    for value in (garbage, AVRO_MARK + FINGERPRINT + garbage):
        try:
            record, _ = decode(value, None)
        except MalformedLine:
            continue
        assert record.request


def test_keys_tell_requests_hops_and_repetitions_apart() -> None:
    first, again, other_hop = (
        parse_line(LINE, b"k"),
        parse_line(LINE, b"k"),
        parse_line(LINE.replace(b"ann", b"-"), b"k"),
    )

    assert key_of(first) == key_of(again) != key_of(other_hop)
    assert key_of(first).startswith(b"r1/")
    assert identity_of(key_of(first)) != identity_of(key_of(other_hop))
