"""Session records: the store beside a log, and the lines of access logs that fill it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc import json_schema
from commitlog.cdc.sessions.access_log import LINE_BYTES_MAX, Lines, MalformedLine, ParsedLine, parse_line
from commitlog.cdc.sessions.store import SessionRecord, Store
from commitlog.drivers.session import hash_session
from commitlog.schemas.errors import LogUnwritable, Refused, Unreachable
from commitlog.transforms.request_key import mask_request

REQUEST = "b1f9c2d0-6a51-4f6e-8c1e-2f5d9a7e0c11"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ENVOY = {
    "start_time": "2026-11-22T10:11:12.345Z",
    "method": "POST",
    "path": "/orders?token=hunter2",
    "response_code": 201,
    "duration": 17,
    "x-request-id": REQUEST,
    "x-forwarded-user": "ann",
    "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
    "session": "raw-id",
    "upstream_host": "10.0.0.1:80",
}
START_US = 1_795_342_272_345_000


def parse(document: object, key: bytes | None = b"k") -> SessionRecord:
    return parse_line(json.dumps(document).encode(), key).record


def record(request: str, **values: Any) -> SessionRecord:
    return SessionRecord(0, request, **values)


def add(store: Store, *records: SessionRecord) -> int:
    return store.add([(r, repr(r).encode()) for r in records])


def test_an_envoy_line_becomes_a_record_without_secrets() -> None:
    expected = SessionRecord(
        id=0,
        request="b1f9c2d0-6a51-xf6e-8c1e-2f5d9a7e0c11",
        trace_id=TRACE,
        user="ann",
        session=hash_session("raw-id", b"k"),
        start_us=START_US,
        end_us=START_US + 17_000,
        method="POST",
        path="/orders",
        status=201,
    )
    assert parse(ENVOY) == expected


def test_without_a_key_the_session_is_left_out_and_said_so() -> None:
    line = json.dumps(ENVOY).encode()
    without, with_key = parse_line(line, None), parse_line(line, b"k")
    assert without.record.session is None
    assert without.session_left_out
    assert not with_key.session_left_out
    assert without.digest != with_key.digest


@pytest.mark.parametrize(
    ("document", "name", "value"),
    [
        ({"request_id": "r", "user": "-", "authenticated_user": "bo"}, "user", "bo"),
        ({"request_id": "r", "user": None, "x_forwarded_user": ""}, "user", None),
        ({"X-Request-Id": "r", "X-Forwarded-User": "bo"}, "user", "bo"),
        ({"request_id": "r", "traceparent": "garbage"}, "trace_id", None),
        ({"request_id": "r", "trace_id": TRACE.upper()}, "trace_id", TRACE),
        ({"request_id": "r", "start_time": "1795342272.345"}, "start_us", START_US),
        ({"request_id": "r", "start_time": 1795342272.345}, "start_us", START_US),
        ({"request_id": "r", "start_time": "2026-11-22T12:11:12.345000+02:00"}, "start_us", START_US),
        ({"request_id": "r", "start_time": "-"}, "start_us", 0),
        ({"request_id": "r", "start_time": 1, "duration": "1.5"}, "end_us", 1_001_500),
        ({"request_id": "r", "response_code": "404"}, "status", 404),
        ({"request_id": "r", "path": "/" + "x" * 5000}, "path", "/" + "x" * 511),
        ({"request_id": "not-a-uuid-4"}, "request", "not-a-uuid-4"),
        ({"request_id": "r", "user": "o'b\"🙂\x00"}, "user", "o'b\"🙂\x00"),
    ],
)
def test_names_and_forms_that_meshes_use_are_taken(document: dict[str, Any], name: str, value: object) -> None:
    assert getattr(parse(document), name) == value


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"\xff"', "not UTF-8"),
        (b"{}", "no request_id"),
        (b'{"request_id":"-"}', "no request_id"),
        (b'{"request_id":7}', "request_id is not text"),
        (b'{"request_id":"%b"}' % (b"x" * 513), "longer than 512"),
        (b'{"request_id":"\\ud800"}', "half a surrogate"),
        (b'{"request_id":"r","user":["ann"]}', "user is not text"),
        (b'{"request_id":"r","start_time":"yesterday"}', "not an ISO time"),
        (b'{"request_id":"r","start_time":"2026-11-22T10:11:12"}', "no time zone"),
        (b'{"request_id":"r","start_time":1795342272345}', "start_time is out of range"),
        (b'{"request_id":"r","start_time":1e305}', "start_time is out of range"),
        (b'{"request_id":"r","start_time":-1e305}', "start_time is out of range"),
        (b'{"request_id":"r","start_time":true}', "not a number"),
        (b'{"request_id":"r","duration":-1}', "duration is out of range"),
        (b'{"request_id":"r","duration":NaN}', "not a number"),
        (b'{"request_id":"r","duration":1e999}', "not a number"),
        (b'{"request_id":"r","response_code":20.5}', "out of range"),
        (b'{"request_id":"r","path":"%b"}' % (b"x" * LINE_BYTES_MAX), "longer than 65536 bytes"),
    ],
)
def test_a_malformed_line_is_refused_with_the_reason(line: bytes, why: str) -> None:
    with pytest.raises(MalformedLine, match=why):
        parse_line(line, None)


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.lists(st.text(max_size=2), max_size=2)
)


@given(st.dictionaries(st.sampled_from(sorted(ENVOY)) | st.text(max_size=5), values), st.booleans())
def test_d1_any_object_is_a_record_or_a_malformed_line(document: dict[str, Any], whole: bool) -> None:
    document = {**ENVOY, **document} if whole else document
    parsed: ParsedLine | None = None
    try:
        parsed = parse_line(json.dumps(document).encode(), b"k")
    except MalformedLine:
        return
    assert json_schema.problems(document, json_schema.read("session")) == []
    assert 0 <= parsed.record.start_us <= parsed.record.end_us


@given(st.binary(max_size=100))
def test_d1_any_bytes_are_a_record_or_a_malformed_line(line: bytes) -> None:
    with pytest.raises(MalformedLine):
        parse_line(line, None)


@given(st.lists(st.binary(max_size=6)), st.integers(1, 5))
def test_lines_are_the_same_however_they_are_read(parts: list[bytes], size: int) -> None:
    whole = b"\n".join(parts)
    expected = [(n, line) for n, line in enumerate(whole.split(b"\n"), 1) if line.strip()]
    lines = Lines()
    got = [pair for at in range(0, len(whole), size) for pair in lines.feed(whole[at : at + size])]
    assert [*got, *lines.end()] == expected


def test_a_line_without_end_takes_no_more_memory_than_a_line_may() -> None:
    lines = Lines()
    for _ in range(100):
        assert list(lines.feed(b"x" * LINE_BYTES_MAX)) == []
    assert len(lines._rest) == LINE_BYTES_MAX + 1
    ((number, line), after) = lines.feed(b"\n{}\n")
    assert (number, len(line), after) == (1, LINE_BYTES_MAX + 1, (2, b"{}"))


@given(st.uuids(), st.sampled_from("0489abf"))
def test_envoys_trace_digit_does_not_change_the_join_key(uuid: UUID, digit: str) -> None:
    text = str(uuid)
    rewritten = f"{text[:14]}{digit}{text[15:]}"
    assert (
        mask_request(rewritten) == mask_request(text) == mask_request(text.upper()) == mask_request(mask_request(text))
    )
    assert mask_request(text[:-1] + ("0" if text[-1] != "0" else "1")) != mask_request(text)


@given(st.text(max_size=40))
def test_an_id_that_is_no_uuid_is_its_own_key(text: str) -> None:
    assert mask_request(text) == text or len(text) == 36


def test_a_record_is_found_by_any_form_of_its_id_from_another_connection(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sessions.sqlite"
    assert Store.open(path) is None
    with Store.open(path, create=True) as store, Store.open(path, create=True) as reader:
        assert reader.lookup(REQUEST) is None
        assert add(store, parse(ENVOY)) == 1
        for request in (REQUEST, REQUEST.replace("-4f6e", "-af6e"), REQUEST.upper(), mask_request(REQUEST)):
            found = reader.lookup(request)
            assert found is not None
            assert (found.id, found.user, found.start_us) == (1, "ann", START_US)
        assert reader.max_rowid() == 1


def test_the_files_are_the_owners_only(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s" / "sessions.sqlite", create=True) as store:
        add(store, record("r"))
        modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "s").iterdir()}
    assert modes == {"sessions.sqlite": 0o600, "sessions.sqlite-wal": 0o600, "sessions.sqlite-shm": 0o600}
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700


def test_a_line_added_twice_adds_nothing_and_ids_only_grow(tmp_path: Path) -> None:
    with Store.open(tmp_path / "sessions.sqlite", create=True) as store:
        assert add(store, record("a"), record("b"), record("a")) == 2
        assert add(store, record("b"), record("c")) == 1
        assert store.max_rowid() == store.latest(1)[0].id
        assert [r.request for r in store.since(0, 10)] == ["a", "b", "c"]
        first = store.since(0, 1)[0].id
        assert [r.request for r in store.since(first, 1)] == ["b"]
        assert store.since(store.max_rowid(), 10) == []
        assert [r.request for r in store.latest(2)] == ["c", "b"]


def test_of_several_records_of_one_id_the_nearest_in_time_counts_then_one_with_a_user(tmp_path: Path) -> None:
    with Store.open(tmp_path / "sessions.sqlite", create=True) as store:
        add(store, record("r", user="old", start_us=1_000, end_us=2_000))
        add(store, record("r", user="new", start_us=9_000, end_us=9_500))
        add(store, record("r", user=None, start_us=9_000, end_us=9_500, path="/sidecar"))

        def user(time_us: int | None) -> str | None:
            found = store.lookup("r", time_us)
            assert found is not None
            return found.user

        assert [user(at) for at in (1_500, 2_500, 9_200, 10_000_000, None)] == ["old", "old", "new", "new", "new"]


def test_how_far_commits_were_amended_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite"
    with Store.open(path, create=True) as store:
        assert (store.amended_through(), store.max_rowid()) == (0, 0)
        store.set_amended_through(7)
        store.set_amended_through(9)
    with Store.open(path, create=True) as store:
        assert store.amended_through() == 9


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "sessions.sqlite"
    other.write_bytes(b"not a database, at all" * 100)
    with pytest.raises(Refused, match="is not a store"):
        Store.open(other)
    newer = tmp_path / "newer.sqlite"
    with Store.open(newer, create=True):
        pass
    apsw.Connection(str(newer)).pragma("user_version", 2)
    with pytest.raises(Refused, match="has format 2"):
        Store.open(newer)


def test_a_full_disk_takes_all_records_of_a_call_or_none(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite"
    with Store.open(path, create=True) as store:
        add(store, record("first"))
        store._connection.pragma("max_page_count", 1)
        with pytest.raises(LogUnwritable, match="no room"):
            add(store, *(record(f"r{n}", path="x" * 500) for n in range(200)))
        assert [r.request for r in store.since(0, 10)] == ["first"]
        store._connection.pragma("max_page_count", 10_000)
        assert add(store, record("second")) == 1


def test_records_that_cannot_all_be_read_leave_nothing_behind(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[SessionRecord, bytes]]:
        yield record("a"), b"a"
        raise ZeroDivisionError

    with Store.open(tmp_path / "sessions.sqlite", create=True) as store:
        with pytest.raises(ZeroDivisionError):
            store.add(broken())
        assert store.max_rowid() == 0
        assert add(store, record("b")) == 1


def test_a_store_locked_for_long_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commitlog.cdc.sessions.store.BUSY_TIMEOUT_MS", 10)
    path = tmp_path / "sessions.sqlite"
    with Store.open(path, create=True) as store, Store.open(path, create=True) as other:
        other._connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unreachable, match="locked"):
            add(store, record("r"))
        other._connection.execute("ROLLBACK")
        assert add(store, record("r")) == 1


def test_a_lookup_takes_microseconds(tmp_path: Path) -> None:
    with Store.open(tmp_path / "sessions.sqlite", create=True) as store:
        add(store, *(record(f"request-{n}", user="ann", start_us=n) for n in range(10_000)))
        begun = time.perf_counter()
        for n in range(5_000):
            assert store.lookup(f"request-{n}", n) is not None
        assert (time.perf_counter() - begun) / 5_000 < 200e-6


def test_what_another_process_has_read_past_is_not_taken_over_again(tmp_path: Path) -> None:
    with Store.open(tmp_path / "sessions.sqlite", create=True) as store:
        assert store.topic("t1") == {}
        old, new = SessionRecord(0, "r", user="old"), SessionRecord(0, "r", user="new")
        assert store.take_over("t1", [(b"k", old)], begun={}, through={0: 1})
        assert store.take_over("t1", [(b"k", new)], begun={0: 1}, through={0: 2})

        assert not store.take_over("t1", [(b"k", old)], begun={}, through={0: 1})
        assert not store.take_over("t2", [(b"k", old)], begun={0: 2}, through={0: 3})

        assert [record.user for record in store.since(0, 10)] == ["new"]
        assert store.topic("t1") == {0: 2}


def test_records_of_a_topic_that_is_there_no_more_are_forgotten_and_ids_go_on_growing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "sessions.sqlite", create=True) as store:
        store.topic("t1")
        store.take_over("t1", [(b"1", SessionRecord(0, "a")), (b"2", SessionRecord(0, "b"))], begun={}, through={0: 2})
        last = store.max_rowid()

        assert store.topic("t2") == {}
        assert store.count() == 0
        store.take_over("t2", [(b"1", SessionRecord(0, "a"))], begun={}, through={0: 1})

        assert [record.id > last for record in store.since(last, 10)] == [True]
