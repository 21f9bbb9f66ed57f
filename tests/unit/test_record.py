"""Reading records: the one spelling, the limits, and only typed errors whatever the bytes (D1)."""

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commitlog.cdc.log import canonical
from commitlog.cdc.log.chain import ChainWriter, Extras
from commitlog.schemas.errors import RecordError, UnknownFormat, UsageError, VerificationFailed
from commitlog.schemas.record import (
    EMPTY,
    INTEGER_MAX,
    LINE_BYTES_MAX,
    NESTING_MAX,
    Chain,
    Head,
    Record,
    is_shallow,
    parse_json,
)
from fixtures.logs import broken_bodies, golden_lines, head_of

LINES = golden_lines()
PARSERS = (parse_json, canonical.parse)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-INTEGER_MAX, INTEGER_MAX)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


def spelled(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("parse", PARSERS)
@given(value=json_values)
def test_every_value_is_read_from_its_one_spelling(parse: Any, value: Any) -> None:
    assert parse(spelled(value)) == value


NOT_SPELLED = [
    b"", b" 1", b"1 ", b"1\n", b'{"a": 1}', b"[1, 2]", b'{"a":1,"a":1}', b'{"a":1,"a":2}', b'[{"b":{"a":null,"a":null}}]',
    b"1.0", b"[1.5]", b"[2,1.5]", b'{"a":-0.5}', b"1e5", b"[1E5]", b"-0", b"[01]", b"+1", b"NaN", b"[Infinity]", b"-Infinity",
    b"9007199254740992", b"[-9007199254740992]", b'{"a":18446744073709551616}', b"[" + b"9" * 5000 + b"]",
    b'"\\u0041"', b'"\\/"', b'"\\u001F"', b'"\\u000a"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\n"', b'"\x00"',
    b'"\xff"', b'"\xc3"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf1", b"'a'", b"{a:1}", b"[1,]", b'{"a":1,}', b"[1]]", b"[[1]", b"nul", b"null null",
    b"[" * 5000, b"[" * 70 + b"]" * 70, b'{"a":' * 100_000, b'[[[["\\"', b'"\\',
]  # fmt: skip


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("data", NOT_SPELLED, ids=lambda data: repr(data[:24]))
def test_every_other_spelling_is_refused(parse: Any, data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind: it is Record that names them
        parse(data)


@settings(max_examples=1000)
@given(
    st.one_of(st.binary(max_size=60), st.text(alphabet='[]{}",:\\u0019.eE+- ntrufalsd\n', max_size=40).map(str.encode))
)
def test_the_quick_parser_agrees_with_the_reference(data: bytes) -> None:
    def result(parse: Any) -> object:
        try:
            return (True, parse(data))
        except ValueError:
            return (False, None)

    assert result(canonical.parse) == result(parse_json)


@pytest.mark.parametrize(
    ("depth", "shallow"), [(1, True), (NESTING_MAX, True), (NESTING_MAX + 1, False), (100_000, False)]
)
def test_nesting_is_bounded_whatever_stands_in_strings(depth: int, shallow: bool) -> None:
    assert is_shallow(b"[" * depth + b"]" * depth) is shallow
    assert is_shallow(b'{"a":[' * (depth // 2) + b'"]\\"}{{[["' + b"]}" * (depth // 2)) is (
        shallow or depth // 2 * 2 <= NESTING_MAX
    )
    assert is_shallow(spelled(["[{" * 200, {"[" * 200: []}]))


@pytest.mark.parametrize(
    "data", [b'"\\' * 2_000_000, b'\\"' * 2_000_000, b"[" * 4_000_000, b'"a' * 2_000_000, b"[]" * 2_000_000]
)
def test_D1_no_input_makes_the_depth_check_hang(data: bytes) -> None:
    began = time.process_time()
    is_shallow(b"[" * 70 + data)
    assert time.process_time() - began < 5


def parts_of(line: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    record = Record.parse(line)
    return record.header, record.body_bytes, record.recorded.encode()


def line_of(header: Any, body: bytes, recorded: bytes = b"2026-11-22T10:12:00.000000Z") -> bytes:
    return b'{"header":%b,"body":%b,"recorded":"%b"}\n' % (spelled(header), body, recorded)


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_record_is_read_with_and_without_its_line_feed(line: bytes) -> None:
    record = Record.parse(line)
    assert record == Record.parse(line[:-1]) == Record.parse(line, canonical.parse)
    assert record.head == head_of(LINES[: record.seq + 1])
    record.check_tree()


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"{}", b'{"header":', b'{"header":{},"body":null}', LINES[3][:-2], LINES[3][1:], LINES[3] + b"\n",
        LINES[3].replace(b',"recorded"', b', "recorded"'), LINES[3].replace(b".000000Z\"}", b".00000Z\"}"),
        LINES[3].replace(b"T10:12:", b"T10-12-"), LINES[3].replace(b',"body"', b',"corps"'), line_of([], b"null"), line_of(None, b"null"),
    ],
    ids=range(14),
)  # fmt: skip
def test_what_is_no_record_is_a_record_error(line: bytes) -> None:
    with pytest.raises(RecordError):
        Record.parse(line)


HEADERS: list[tuple[str, Any]] = [
    *((key, value) for key in ("log", "prev", "kind", "id", "time") for value in (None, 1, True, [], {})),
    *((key, value) for key in ("epoch", "seq", "v") for value in (None, "1", True, [], -1)),
    ("log", "A" * 32), ("log", "a" * 31), ("prev", "A" * 64), ("prev", "a" * 63), ("epoch", 0),
    ("source", []), ("source", {}), ("source", {"engine": "x", "position": 1, "after": ""}),
    ("tree", []), ("tree", {"count": 2, "bytes": 1}), ("tree", {"count": True, "bytes": 1, "root": "a" * 64}),
    ("tree", {"count": 2, "bytes": 1, "root": "g" * 64}),
    ("schema", 5), ("schema", "a"), ("shapes", "a"), ("shapes", ["a"]), ("shapes", {}), ("shapes", [None]),
    ("part", 1), ("part", {}), ("part", {"n": -1, "last": True}), ("part", {"n": True, "last": True}), ("part", {"n": 0, "last": 1}),
    ("ref", []), ("ref", {"seq": 1}), ("ref", {"seq": "1", "hash": "a" * 64}), ("ref", {"seq": 1, "hash": "a"}),
    ("void", 1), ("void", {"from": 1}), ("void", {"from": 1, "to": True}),
    ("crit", "a"), ("crit", {}), ("crit", [1]), ("crit", [None]), ("skip", 1), ("skip", "true"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), HEADERS, ids=lambda x: json.dumps(x)[:20])
def test_a_header_of_other_types_is_a_record_error(key: str, value: Any) -> None:
    header, body, recorded = parts_of(LINES[3])
    header[key] = value
    with pytest.raises(RecordError):
        Record.parse(line_of(header, body, recorded))


@pytest.mark.parametrize("key", ["v", "log", "epoch", "seq", "prev", "kind", "id", "time", "source", "tree"])
def test_a_header_without_a_key_is_a_record_error(key: str) -> None:
    header, body, recorded = parts_of(LINES[3])
    del header[key]
    with pytest.raises(RecordError):
        Record.parse(line_of(header, body, recorded))


@pytest.mark.parametrize("version", [0, 2, 10, 999_999_999])
def test_L3_another_version_is_unknown_whatever_else_the_line_holds(version: int) -> None:
    for line in (b'{"header":{"v":%d,' % version, LINES[3].replace(b'{"v":1,', b'{"v":%d,' % version)):
        with pytest.raises(UnknownFormat, match=f"version {version}"):
            Record.parse(line)


def test_L3_a_critical_key_that_is_unknown_stops_the_reader() -> None:
    header, body, recorded = parts_of(LINES[3])
    header["crit"] = ["shapes", "wind"]
    with pytest.raises(UnknownFormat, match="record 3 needs a reader that knows 'wind'"):
        Record.parse(line_of(header, body, recorded))
    header["crit"] = ["shapes", "skip", "v"]
    assert Record.parse(line_of(header, body, recorded)).seq == 3


def test_unknown_keys_are_kept_and_hashed() -> None:
    header, body, recorded = parts_of(LINES[3])
    header["later"] = {"any": ["thing", None]}
    record = Record.parse(line_of(header, body, recorded))
    assert record.header["later"] == {"any": ["thing", None]}
    assert record.hash != Record.parse(LINES[3]).hash


@pytest.mark.parametrize(
    ("name", "seq", "body"), broken_bodies(), ids=lambda value: value if type(value) is str else ""
)
def test_a_body_that_is_not_what_its_tree_says_is_a_record_error(name: str, seq: int, body: bytes) -> None:
    header, whole, _ = parts_of(LINES[seq])
    assert body != whole, name
    with pytest.raises(RecordError, match="body"):
        Record.parse(line_of(header, body)).check_tree()


mutations = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "insert", "repeat"]), st.integers(0, 4000), st.binary(min_size=1, max_size=8)
    ),
    min_size=1,
    max_size=4,
)


def mutated(line: bytes, steps: list[tuple[str, int, bytes]]) -> bytes:
    for step, at, data in steps:
        at %= len(line) or 1
        match step:
            case "set":
                line = line[:at] + data + line[at + len(data) :]
            case "cut":
                line = line[:at]
            case "insert":
                line = line[:at] + data + line[at:]
            case _:
                line = line[:at] + line[at : at + 200] * 2 + line[at + 200 :]
    return line


def read_whole(line: bytes) -> None:
    """Everything a reader does with a line."""
    record = Record.parse(line)
    record.check_tree()
    record.items()
    Chain(Head(record.seq - 1, record.header["prev"])).accept(record)


def failure_of(line: bytes) -> str:
    """What a reader says of a line; empty where it takes it. Any other exception is the test's failure."""
    try:
        read_whole(line)
    except (RecordError, UnknownFormat) as exc:
        return str(exc)
    return ""


@settings(max_examples=3000)
@given(st.sampled_from(LINES), mutations)
def test_D1_a_damaged_line_is_a_typed_error(line: bytes, steps: list[tuple[str, int, bytes]]) -> None:
    damaged = mutated(line, steps)
    failure = failure_of(damaged)
    assert failure or damaged.startswith(b'{"header":{"v":1,')


@settings(max_examples=1000)
@given(st.binary(max_size=300) | json_values.map(spelled))
def test_D1_garbage_is_a_typed_error(data: bytes) -> None:
    for line in (
        data,
        line_of({}, data),
        b'{"header":%b,"body":null,"recorded":"2026-11-22T10:12:00.000000Z"}\n' % data,
    ):
        with pytest.raises((RecordError, UnknownFormat)):
            read_whole(line)


@settings(max_examples=1000)
@given(st.sampled_from(sorted(Record.parse(LINES[12]).header)), json_values)
def test_D1_any_value_in_the_header_is_a_record_or_a_typed_error(key: str, value: Any) -> None:
    header, body, recorded = parts_of(LINES[12])
    header[key] = value
    failure = failure_of(line_of(header, body, recorded))
    assert failure or isinstance(value, type(Record.parse(LINES[12]).header[key]))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 9_000_000,
        b"{}" * 4_500_000,
        b'{"a":' * 1_500_000,
        b"[" + b"[]," * 1_000_000 + b"[]]",
        b"9" * 9_000_000,
        b'"' + b"\\u0000" * 1_000_000 + b'"',
    ],
    ids=["lists", "objects", "nested objects", "a flat list", "digits", "escapes"],
)
def test_D1_a_bomb_is_refused_in_bounded_time_and_memory(body: bytes) -> None:
    header, _, _ = parts_of(LINES[3])
    line = line_of(header, body)
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(RecordError):
            read_whole(line)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 << 20
    assert time.process_time() - began < 20


def test_a_line_above_the_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(RecordError, match="above the limit"):
        Record.parse(b"x" * (LINE_BYTES_MAX + 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1:",
        ":" + "a" * 64,
        "-1:" + "a" * 64,
        "1:" + "A" * 64,
        "1:" + "a" * 63,
        "1e3:" + "a" * 64,
        "٣:" + "a" * 64,
    ],
)
def test_what_is_no_head_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not a head"):
        Head.parse(text)


def test_a_head_is_read_as_it_is_written() -> None:
    head = Head(12, "a" * 64)
    assert Head.parse(str(head)) == head


def test_the_chain_accepts_hides_and_names() -> None:
    records = [Record.parse(line) for line in LINES]
    chain = Chain()
    assert [chain.accept(record) for record in records[:5]] == ["new"] * 5
    assert chain.accept(records[2]) == "duplicate"
    assert chain.head == records[4].head

    header, body, recorded = parts_of(LINES[3])
    header["time"] = "2026-11-23T00:00:00.000000Z"
    rival = Record.parse(line_of(header, body, recorded))
    with pytest.raises(VerificationFailed, match="record 3 has a rival"):
        chain.accept(rival)
    with pytest.raises(VerificationFailed, match="records are missing"):
        chain.accept(records[6])
    with pytest.raises(VerificationFailed, match="record 3 does not follow record 2"):
        Chain(Head(2, "a" * 64)).accept(records[3])
    assert chain.head == records[4].head


def test_the_writer_makes_headers_like_the_golden_ones() -> None:
    """Key by key in their order, salts and clocks aside."""
    head, position = EMPTY, "0/1500000"
    for line in LINES:
        golden = Record.parse(line)
        items = golden.items()
        if items and golden.kind != "weather":
            assert header_again(golden, items, head, position) == golden.header
        head, position = golden.head, golden.header["source"]["position"]


def header_again(golden: Record, items: list[Any], head: Head, position: str) -> dict[str, Any]:
    """The header that ChainWriter gives the same record, with the golden clock and root put in."""
    wanted = golden.header
    chain = ChainWriter(wanted["log"], epoch=wanted["epoch"], engine="postgresql", head=head, position=position)
    part, void, ref = wanted.get("part"), wanted.get("void"), wanted.get("ref")
    extras = Extras(
        schema=wanted.get("schema", ""),
        shapes=tuple(wanted.get("shapes", ())),
        part=(part["n"], part["last"]) if part else None,
        void=(void["from"], void["to"]) if void else None,
        ref=Head(ref["seq"], ref["hash"]) if ref else None,
    )
    data = [spelled(item) for item in items]
    at = wanted["source"]["position"]
    if golden.kind == "commit":
        line = chain.commit(wanted["id"], 0, position=at, items=data, tail=extras.text())
    else:
        line = chain.raw(golden.kind, data, position=at, extras=extras)
    made = Record.parse(line)
    made.check_tree()
    assert list(made.header) == list(wanted)
    return {**made.header, "time": wanted["time"], "tree": {**made.header["tree"], "root": wanted["tree"]["root"]}}
