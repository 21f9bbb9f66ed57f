"""How values, changes and keys look; and that a key as printed is the key as taken."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from commitlog.cdc.cli.output import Output
from commitlog.cdc.cli.rendering import Line, change_line, change_lines, cut, middle, pad, value_text, who, write
from commitlog.cdc.log.row_key import encode, format_key, parse_key
from commitlog.cdc.printable import clean
from commitlog.schemas.errors import UsageError
from commitlog.schemas.shape import Column, Shape

TYPES = {"status": "text", "total": "decimal", "paid": "bool", "count": "int32", "at": "instant", "data": "jsonb"}


def plain(line: Line) -> str:
    return "".join(text for text, _ in line)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, "text", "null"),
        ("paid", "text", "'paid'"),
        ("it's", "enum", "'it''s'"),
        ("12.50", "decimal", "12.50"),
        ("12.50", None, "'12.50'"),
        (17, "int32", "17"),
        (True, "bool", "true"),
        (False, None, "false"),
        ("2026-11-22T10:11:12.345678Z", "instant", "2026-11-22T10:11:12.345678Z"),
        ('{"a":1}', "jsonb", '{"a":1}'),
        ("(1,2)", "exact", "'(1,2)'"),
        ("", "text", "''"),
    ],
)
def test_text_is_quoted_and_everything_else_bare(value: object, kind: str | None, text: str) -> None:
    assert value_text(value, kind) == text


def test_a_long_value_is_cut_where_several_share_a_line() -> None:
    assert value_text("x" * 50, "text", chars=10) == "'xxxxxxxxx…'"
    assert value_text("x" * 10, "text", chars=10) == "'xxxxxxxxxx'"


CHANGES: list[tuple[dict[str, Any], str, list[str]]] = [
    (
        {"op": "insert", "entity": "Order", "key": {"id": 1}, "after": {"id": 1, "status": "new", "total": "1.50"}},
        "+ Order/1  status: 'new', total: 1.50",
        ["+ Order/1", "    status: 'new'", "    total:  1.50"],
    ),
    (
        {
            "op": "update", "entity": "Order", "key": {"id": 1}, "image": "full",
            "before": {"status": "new", "data": None}, "after": {"status": "paid", "data": "{}"},
        },
        "~ Order/1  status: 'new' → 'paid', data: null → {}",
        ["~ Order/1", "    status: 'new' → 'paid'", "    data:   null → {}"],
    ),
    (
        {"op": "update", "entity": "Order", "key": {"id": 1}, "image": "key", "after": {"id": 1, "status": "a"}, "unsent": ["data"]},
        "~ Order/1  status: 'a'",
        ["~ Order/1", "    status: 'a'", "    not sent by the source: data"],
    ),
    (
        {
            "op": "rekey", "entity": "Line", "key": {"order": 1, "no": 2}, "newkey": {"order": 1, "no": 3}, "image": "full",
            "before": {"no": 2}, "after": {"no": 3},
        },
        "~ Line/1,2 → Line/1,3",
        ["~ Line/1,2 → Line/1,3"],
    ),
    (
        {"op": "delete", "entity": "Order", "key": {"id": 1}, "before": {"id": 1, "status": "new"}},
        "- Order/1",
        ["- Order/1", "    status: 'new'"],
    ),
    (
        {"op": "truncate", "entities": ["Order", "Line"], "cascade": True, "restart_identity": True},
        "- Order/*, Line/*  truncated cascade restart identity",
        ["- Order/*, Line/*  truncated cascade restart identity"],
    ),
    (
        {"op": "row", "entity": "Order", "key": {"id": 1}, "after": {"id": 1, "paid": False}},
        "= Order/1  paid: false",
        ["= Order/1", "    paid: false"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "short", "long"), CHANGES, ids=[change["op"] for change, _, _ in CHANGES])
def test_a_change_on_one_line_and_in_full(change: dict[str, Any], short: str, long: list[str]) -> None:
    types = {**TYPES, "no": "int32"}
    assert plain(change_line(change, types)) == short
    assert [plain(line) for line in change_lines(change, types)] == long


def test_who_made_a_commit_is_the_best_name_there_is() -> None:
    assert who(None) == "untagged"
    assert who({"assurance": 1, "user": "ann", "request": "r"}) == "ann"
    assert who({"assurance": 1, "request": "r", "app": "shop"}) == "r"
    assert who({"assurance": 1, "app": "shop"}) == "shop"


LINES = st.lists(st.tuples(st.text(max_size=12), st.sampled_from(["", "bold"])), max_size=6)


@given(LINES, st.integers(1, 40))
def test_a_line_is_never_wider_than_the_terminal_and_is_cut_only_where_it_must(spans: Line, width: int) -> None:
    whole = clean(plain(spans))
    found = plain(cut(spans, width))
    assert cell_len(found) <= width
    assert found == whole if cell_len(whole) <= width else found.endswith("…")


@given(st.text(max_size=20), st.integers(1, 30))
def test_a_padded_text_has_the_width_asked_for(text: str, width: int) -> None:
    assert cell_len(pad(text, width)) == width


@given(LINES)
def test_nothing_in_data_reaches_the_terminal_as_a_control(spans: Line) -> None:
    stream = io.StringIO()
    write(Output(stream=stream), [spans])
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue()[:-1].isprintable()


SHAPE_TYPES = ["int16", "int32", "int64", "bool", "text", "uuid", "decimal", "date", "enum"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = {
    "int16": st.integers(-(2**15), 2**15 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1).map(str),
    "bool": st.booleans(),
    "text": TEXTS | st.sampled_from(["", "{", "a,b", '{"a":1}', "x/y", "null", "a\nb", "'"]),
    "uuid": st.uuids().map(str),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False).map(str),
    "date": st.dates().map(str),
    "enum": TEXTS,
}


@st.composite
def keys(draw: st.DrawFn) -> tuple[Shape, dict[str, Any]]:
    types = draw(st.lists(st.sampled_from(SHAPE_TYPES), min_size=1, max_size=3))
    fields = [f"f{number}" for number in range(len(types))]
    columns = tuple(Column(field, kind, kind) for field, kind in zip(fields, types, strict=True))
    shape = Shape.make("Thing", "public.thing", key=tuple(fields), columns=columns)
    return shape, {field: draw(VALUES[kind]) for field, kind in zip(fields, types, strict=True)}


@given(keys())
def test_a_key_as_printed_is_taken_again(example: tuple[Shape, dict[str, Any]]) -> None:
    shape, key = example
    printed = format_key(key)
    assert printed.isprintable()
    assert parse_key(printed, shape) == encode(key.values())
    assert parse_key(json.dumps(key), shape) == encode(key.values())


def shape(*types: str) -> Shape:
    fields = tuple("abc"[: len(types)])
    return Shape.make(
        "Line", "t", key=fields, columns=tuple(Column(f, k, k) for f, k in zip(fields, types, strict=True))
    )


@pytest.mark.parametrize(
    ("types", "text", "message"),
    [
        (("int32",), "x", "'x' is not a number, as a is, the key of Line"),
        (("int32",), "1.5", "is not a number"),
        (("int64",), "", "is not a number"),
        (("int32",), "٣", "is not a number"),
        (("bool",), "maybe", "neither true nor false"),
        (("int32", "int32"), "1", "Line has the key a, b"),
        (("int32", "int32"), "1,2,3", "Line has the key a, b"),
        (("int32", "int32"), '{"a":1}', "Line has the key a, b"),
        (("int32",), '{"a":1', "is not JSON"),
        (("text",), '{"a":[1]}', "[1] is no value of a"),
        (("text",), '{"a":null}', "null is no value of a"),
    ],
)
def test_what_is_no_key_is_refused_by_name(types: tuple[str, ...], text: str, message: str) -> None:
    with pytest.raises(UsageError, match="Line") as caught:
        parse_key(text, shape(*types))
    assert message in str(caught.value)


def test_a_key_may_be_written_in_other_ways() -> None:
    assert parse_key("+007", shape("int32")) == "[7]"
    assert parse_key("007", shape("int64")) == '["7"]'
    assert parse_key('{"b":2,"a":1}', shape("int32", "int64")) == '[1,"2"]'
    assert parse_key("T,x", shape("bool", "text")) == '[true,"x"]'
    assert (
        parse_key("ABCDEF00-1111-2222-3333-444444444444", shape("uuid")) == '["abcdef00-1111-2222-3333-444444444444"]'
    )


def test_a_name_that_is_too_long_keeps_its_end() -> None:
    assert middle("short", 5) == "short"
    assert middle("a_rather_long_column_name_10", 12) == "a_rath…me_10"
    assert cell_len(middle("列" * 20 + "10", 13)) == 13
