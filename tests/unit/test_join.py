"""The join: what a tag and the mesh's record of its request make of a commit's provenance, and what they never make."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.schemas.record import parse_json
from commitlog.transforms.join import (
    CORROBORATION_WINDOW_US,
    FIELDS,
    MALFORMED,
    TOO_LARGE,
    VALUE_CHARS_MAX,
    Provenance,
    Session,
    corroborated,
    join,
)
from commitlog.transforms.pseudonym import Pseudonyms

NOW = 1_795_000_000_000_000
TRACE = "a" * 32
TAG: dict[str, Any] = {
    "v": 1, "traceparent": f"00-{TRACE}-{'b' * 16}-01", "request": "r1", "session": "s", "user": "alice", "app": "shop",
    "version": "1.2", "build": "b1",
}  # fmt: skip
IN_ORDER = ["user", "request", "session", "traceparent", "app", "version", "build"]


@dataclass(frozen=True)
class Seen:
    """What the mesh recorded."""

    user: str | None = "alice"
    session: str | None = None
    trace_id: str | None = TRACE
    start_us: int = NOW - 1000
    end_us: int = NOW + 1000


def joined(
    tag: object, seen: Session | None = None, *, time_us: int = NOW, pseudonyms: Pseudonyms | None = None
) -> tuple[dict[str, Any] | None, Provenance]:
    """`by`, held to the one form, and all that was made."""
    data = tag if isinstance(tag, bytes) else json.dumps(tag, ensure_ascii=False).encode()
    made = join(data, tag_bytes_max=4096, time_us=time_us, lookup=lambda request, at: seen, pseudonyms=pseudonyms)
    by = parse_json(made.by)
    assert (0 if by is None else by["assurance"]) == made.assurance
    return by, made


def test_a_tag_is_a_claim() -> None:
    by, made = joined(TAG)
    assert by == {"assurance": 1, **{name: TAG[name] for name in IN_ORDER}}
    assert list(by) == ["assurance", *IN_ORDER]
    assert (made.app, made.version, made.build, made.trouble) == ("shop", "1.2", "b1", "")


def test_the_lookup_is_asked_for_the_request_at_the_time_of_the_commit() -> None:
    asked: list[tuple[str, int]] = []

    def lookup(request: str, time_us: int) -> None:
        asked.append((request, time_us))

    join(json.dumps(TAG).encode(), tag_bytes_max=4096, time_us=NOW, lookup=lookup)
    join(b'{"v":1,"user":"alice"}', tag_bytes_max=4096, time_us=NOW, lookup=lookup)
    join(b'{"v":1,"user":"alice","request":""}', tag_bytes_max=4096, time_us=NOW, lookup=lookup)
    assert asked == [("r1", NOW)]


def test_a_record_of_the_mesh_corroborates_and_its_user_holds() -> None:
    by, made = joined(TAG, Seen(session="hashed"))
    assert made.assurance == 2
    assert by == {"assurance": 2, **{name: TAG[name] for name in IN_ORDER}, "session": "hashed"}
    assert list(by) == ["assurance", *IN_ORDER]
    nobody = {name: value for name, value in TAG.items() if name != "user"}
    assert joined(nobody, Seen(user="bob"))[0] == {
        "assurance": 2, "user": "bob", **{name: TAG[name] for name in IN_ORDER[1:]},
    }  # fmt: skip


def test_G3_a_tag_that_names_another_user_is_kept_as_a_claim_beside_the_true_one() -> None:
    by, _ = joined({**TAG, "user": "admin", "cut": True}, Seen())
    assert by is not None
    assert (by["user"], by["claims"], by["assurance"]) == ("alice", {"user": "admin"}, 2)
    assert list(by)[-2:] == ["cut", "claims"]


def test_G3_a_forged_tag_stays_a_claim() -> None:
    by, _ = joined({**TAG, "user": "admin", "assurance": 3, "claims": {"user": "x"}, "xid": 9})
    assert by is not None
    assert (by["assurance"], by["user"]) == (1, "admin")
    assert "claims" not in by


WINDOW = CORROBORATION_WINDOW_US


@pytest.mark.parametrize(
    ("seen", "assurance"),
    [
        (Seen(), 2),
        (Seen(trace_id="c" * 32), 1),
        (Seen(trace_id=None), 2),
        (Seen(start_us=0, end_us=0), 2),
        (Seen(start_us=NOW + WINDOW), 2),
        (Seen(start_us=NOW + WINDOW + 1, end_us=NOW + WINDOW + 2), 1),
        (Seen(start_us=NOW - 3 * WINDOW, end_us=NOW - WINDOW), 2),
        (Seen(start_us=NOW - 3 * WINDOW, end_us=NOW - WINDOW - 1), 1),
        (Seen(start_us=NOW - WINDOW, end_us=0), 2),
        (Seen(start_us=NOW - WINDOW - 1, end_us=0), 1),
        (Seen(start_us=NOW - 3 * WINDOW, end_us=NOW, trace_id="c" * 32), 1),
    ],
)
def test_G3_only_a_record_of_the_same_trace_and_time_corroborates(seen: Seen, assurance: int) -> None:
    by, made = joined({**TAG, "user": "admin"}, seen)
    assert made.assurance == assurance
    assert by is not None
    assert by["user"] == ("alice" if assurance == 2 else "admin")
    assert corroborated({"assurance": 1, **{n: TAG[n] for n in IN_ORDER}}, seen, NOW)["assurance"] == assurance


@pytest.mark.parametrize("value", ["00", "", "not a traceparent", f"00-{TRACE[:-1]}c-{'b' * 16}-01", TRACE])
def test_G3_a_traceparent_of_another_form_does_not_pass_for_the_trace(value: str) -> None:
    assert joined({**TAG, "traceparent": value}, Seen())[1].assurance == (1 if value else 2)


@pytest.mark.parametrize(
    "tag",
    [
        b"", b" ", b"{", b"null", b"5", b'"text"', b"[]", b"{}", b'{"v":1}', b'{"v":1,"other":"x"}', b"{'user':'x'}", b"\x00", b"\xff",
        b'{"user":"\xff"}', b'{"user":"\\ud800"}', b'{"user":null}', b'{"user":5}', b'{"user":["x"]}', b'{"user":"x"',
        b'{"user":"x"}}', b'{"user":"a\nb"}', b'{"user":"a\x00b"}', b'{"user":true,"app":"x"}', b"[" * 4000, b'{"user":' * 400,
        json.dumps({"user": "x" * (VALUE_CHARS_MAX + 1)}).encode(),
    ],
    ids=lambda tag: repr(tag[:24]),
)  # fmt: skip
def test_G1_a_tag_that_cannot_be_read_is_named_and_not_guessed(tag: bytes) -> None:
    assert joined(tag, Seen())[1] == MALFORMED
    assert MALFORMED.trouble == "malformed"


@pytest.mark.parametrize("size", [4097, 1 << 20])
def test_G2_a_tag_too_large_is_not_read_at_all(size: int) -> None:
    tag = b'{"user":"x"}'
    assert joined(tag + b" " * (4096 - len(tag)))[1].assurance == 1
    assert joined(tag + b" " * (size - len(tag)))[1] == TOO_LARGE
    assert TOO_LARGE.trouble == "too_large"


@pytest.mark.parametrize(
    "value", ["a\0b", 'a "quote" \\', "😀" * 3, "\n\r\t\x1f", "\x7f\u2028", "', DROP TABLE", "", "é" * VALUE_CHARS_MAX]
)
def test_G4_any_text_in_a_tag_is_kept_as_it_is(value: str) -> None:
    by, made = joined({**TAG, **dict.fromkeys(("user", "request", "build"), value)})
    assert by is not None
    assert (by["user"], by["request"], made.build) == (value, value, value)
    by, _ = joined({**TAG, "user": value}, Seen())
    assert by is not None
    assert by.get("claims", {"user": ""}) == {"user": value}


def test_G4_a_mesh_that_knows_a_strange_name_is_believed() -> None:
    assert (joined(TAG, Seen(user='a\0"😀'))[0] or {})["user"] == 'a\0"😀'


def test_only_true_means_cut() -> None:
    assert (joined({**TAG, "cut": True})[0] or {})["cut"] is True
    assert "cut" not in (joined({**TAG, "cut": 1})[0] or {})
    assert "cut" not in (joined({**TAG, "cut": False})[0] or {})


def test_a_shared_log_holds_pseudonyms() -> None:
    pseudonyms = Pseudonyms(bytes(32))
    by, made = joined({**TAG, "user": "admin"}, Seen(), pseudonyms=pseudonyms)
    assert by == {
        "assurance": 2,
        **{
            name: pseudonyms.of(name, value) for name, value in (("user", "alice"), ("request", "r1"), ("session", "s"))
        },
        **{name: TAG[name] for name in ("app", "version", "build")},
        "claims": {"user": pseudonyms.of("user", "admin")},
    }
    assert (made.build, made.assurance) == ("b1", 2)
    assert not any(word in made.by for word in (b"alice", b"admin", b"r1", TRACE.encode()))


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
sessions = st.none() | st.builds(
    Seen, st.none() | words, st.none() | words, st.none() | st.just(TRACE), st.integers(0, NOW)
)


@given(
    st.dictionaries(st.sampled_from([*FIELDS, "v", "cut", "claims", "x"]), words | st.booleans() | st.none()), sessions
)
def test_any_tag_gives_a_provenance_in_the_one_form(tag: dict[str, Any], seen: Session | None) -> None:
    by, made = joined(tag, seen)
    if by is None:
        assert made == MALFORMED
        return
    assert made.assurance == (2 if by["assurance"] == 2 else 1)
    order = ["assurance", *FIELDS, "cut", "claims"]
    assert list(by) == [name for name in order if name in by]
    assert joined(tag, seen, pseudonyms=Pseudonyms(bytes(32)))[1].assurance == made.assurance


@given(st.binary(max_size=80) | st.text(alphabet='{}[]":,\\u0user app1', max_size=60).map(str.encode), sessions)
def test_G1_any_bytes_give_a_provenance(tag: bytes, seen: Session | None) -> None:
    by, made = joined(tag, seen)
    assert (by is None) == (made == MALFORMED)
