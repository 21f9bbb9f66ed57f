"""BSON as canonical Extended JSON and back: exactly, as the specification says, and never anything but an error of ours."""

import json
import math
import struct
from contextlib import suppress
from typing import Any

import pytest
from bson import CodecOptions, DatetimeMS, Decimal128, Int64, decode, encode, json_util
from bson.codec_options import DatetimeConversion
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.tail.oplog.document import elements, items, value_end
from commitlog.cdc.tail.oplog.extended_json import text_of, value_text
from commitlog.cdc.tail.oplog.extended_reading import to_bson, value_to_bson
from commitlog.schemas.errors import DecodeError
from fixtures.bson_values import DOCUMENTS, ODD, RAW
from fixtures.oplog_play import EVERYTHING

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
CANONICAL = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, datetime_conversion=DatetimeConversion.DATETIME_MS
)


def unescaped(text: bytes) -> object:
    """As any reader of JSON understands it, keys in order."""
    return json.loads(text, object_pairs_hook=lambda pairs: pairs)


@given(RAW)
def test_it_says_what_the_driver_says(data: bytes) -> None:
    decoded = decode(data, OPTIONS)
    theirs = json_util.dumps(decoded, json_options=CANONICAL)
    # The driver gives what it takes for a reference (DBRef) an order of its own.
    read = unescaped if encode(decoded) == data else json.loads
    assert read(text_of(data)) == read(theirs.encode())


def test_of_every_type_it_says_what_the_driver_says() -> None:
    data = encode({"_id": 1, **EVERYTHING})
    theirs = json_util.dumps(decode(data, OPTIONS), json_options=CANONICAL)
    assert unescaped(text_of(data)) == unescaped(theirs.encode())
    assert to_bson(text_of(data)) == data


@given(RAW)
def test_what_is_written_reads_back_as_the_very_bytes(data: bytes) -> None:
    text = text_of(data)
    assert to_bson(text) == data
    assert text_of(to_bson(text.decode())) == text


@given(ODD)
def test_odd_documents_read_back_as_what_means_the_same(data: bytes) -> None:
    text = text_of(data)
    again = to_bson(text)
    assert text_of(again) == text
    assert [name for _, name, _, _ in elements(again)] == [name for _, name, _, _ in elements(data)]
    json.loads(text)
    for (kind, _, at, end), (kind_again, _, at_again, end_again) in zip(elements(data), elements(again), strict=True):
        assert kind == kind_again
        if kind not in (1, 0x13, 0x0B):  # NaNs, too many digits, options in any order
            assert data[at:end] == again[at_again:end_again]


@given(st.binary(max_size=60))
def test_bytes_that_are_no_document_are_an_error_of_ours(data: bytes) -> None:
    with suppress(DecodeError):
        text_of(struct.pack("<i", len(data) + 5) + data + b"\0")
    with suppress(DecodeError):
        text_of(data)


@given(RAW, st.integers(0, 200), st.binary(min_size=1, max_size=5), st.booleans())
def test_a_damaged_document_is_an_error_of_ours_or_another_document(
    data: bytes, at: int, damage: bytes, cut: bool
) -> None:
    at %= len(data)
    damaged = data[:at] + damage + (b"" if cut else data[at + len(damage) :])
    with suppress(DecodeError):
        assert text_of(to_bson(text := text_of(damaged))) == text


@given(st.text(max_size=30), DOCUMENTS, st.integers(0, 100), st.text(max_size=3))
def test_text_that_is_not_canonical_is_an_error_of_ours(
    text: str, document: dict[str, Any], at: int, damage: str
) -> None:
    with suppress(DecodeError):
        value_to_bson(text)
    whole = text_of(encode(document)).decode()
    at %= len(whole)
    with suppress(DecodeError):
        to_bson(whole[:at] + damage + whole[at + len(damage) :])


@pytest.mark.parametrize(
    ("text", "data"),
    [
        # Source: specifications/bson-corpus
        ('{"d":{"$numberDouble":"1.0001220703125"}}', "10000000016400000000008000F03F00"),
        ('{"d":{"$numberDouble":"1.2345678901234568e+18"}}', "1000000001640081E97DF41022B14300"),
        ('{"d":{"$numberDouble":"-0.0"}}', "10000000016400000000000000008000"),
        ('{"d":{"$numberDouble":"-Infinity"}}', "10000000016400000000000000F0FF00"),
        ('{"a":{"$date":{"$numberLong":"-284643869501"}}}', "10000000096100C33CE7B9BDFFFFFF00"),
        ('{"a":{"$date":{"$numberLong":"253402300800000"}}}', "1000000009610000DC1FD277E6000000"),
        ('{"x":{"$binary":{"base64":"//8=","subType":"02"}}}', "13000000057800060000000202000000FFFF00"),
        (
            '{"x":{"$binary":{"base64":"c//SZESzTGmQ6OfR38A11A==","subType":"04"}}}',
            "1D000000057800100000000473FFD26444B34C6990E8E7D1DFC035D400",
        ),
        (
            '{"a":{"$dbPointer":{"$ref":"b","$id":{"$oid":"56e1fc72e0c917e9c4714161"}}}}',
            "1A0000000C610002000000620056E1FC72E0C917E9C471416100",
        ),
        ('{"a":{"$regularExpression":{"pattern":"abc","options":"im"}}}', "0F0000000B610061626300696D0000"),
        ('{"a":{"$symbol":"\\u0000"}}', "0E0000000E610002000000000000"),
        ('{"a":{"$undefined":true}}', "0800000006610000"),
        ('{"a":{"$timestamp":{"t":4000000000,"i":4000000000}}}', "100000001161000028" + "6BEE00286BEE00"),
        ('{"d":{"$numberDecimal":"1E-6176"}}', "180000001364000100000000000000000000000000000000"),
        (
            '{"d":{"$numberDecimal":"9.999999999999999999999999999999999E+6144"}}',
            "18000000136400FFFFFFFF638E8D37C087ADBE09EDFF5F00",
        ),
    ],
)
def test_it_is_as_the_specification_has_it(text: str, data: str) -> None:
    raw = bytes.fromhex(data)
    assert text_of(raw).decode() == text
    assert to_bson(text) == raw


@pytest.mark.parametrize("name", ["$oid", "$numberInt", "$binary", "$code", "$date", "$minKey", "$undefined"])
def test_data_that_looks_like_a_type_is_still_data(name: str) -> None:
    data = encode({"attack": {name: "507f1f77bcf86cd799439011"}, "later": {"a": 1, name: "x"}})
    text = text_of(data)
    assert to_bson(text) == data
    assert json.loads(text)["attack"] == {name: "507f1f77bcf86cd799439011"}
    assert text.count(b"\\u0024") == 1


def test_bytes_that_are_no_utf8_come_back() -> None:
    data = bytes.fromhex("0f000000") + b"\x02\xff\0" + bytes.fromhex("03000000") + b"\xed\xa0" + b"\0\0"
    assert text_of(data) == b'{"\\udcff":"\\udced\\udca0"}'
    assert to_bson(text_of(data)) == data


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        '{"a":1}',
        '{"a":{"$numberInt":1}}',
        '{"a":{"$numberInt":"2147483648"}}',
        '{"a":{"$numberInt":"1","b":null}}',
        '{"a":{"$oid":"12"}}',
        '{"a":{"$date":"2026-11-22T00:00:00Z"}}',
        '{"a":{"$scope":{},"$code":""}} x',
        '{"a":{"$minKey":2}}',
        '{"a":{"$timestamp":{"i":1,"t":1}}}',
        '{"a":{"$binary":{"base64":"?","subType":"00"}}}',
        '{"a":{"$numberDouble":"nan"}}',
        '{"a":{"$numberDecimal":"1e5"}}',
        '{"a":"\\ud800"}',
        '{"a\\u0000":null}',
        "[null]",
        '{"a":' * 300 + "null" + "}" * 300,
    ],
)
def test_what_is_not_canonical_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        to_bson(text)


def test_omitted_keys_are_left_out_also_within_arrays() -> None:
    data = encode({"a": {"x": 1, "y": [{"z": 1, "w": 2}, [{"z": 3}], "z"]}, "b": None, "c": {"q": 1, "$oid": "1"}})
    omitted = {b"b": None, b"a": {b"x": None, b"y": {b"z": None}}, b"c": {b"q": None}}
    assert text_of(data, omitted) == b'{"a":{"y":[{"w":{"$numberInt":"2"}},[{}],"z"]},"c":{"\\u0024oid":"1"}}'


def test_deep_documents_are_written_and_deeper_ones_refused() -> None:
    def deep(count: int) -> bytes:
        data = b"\x05\0\0\0\0"
        for _ in range(count):
            data = struct.pack("<i", len(data) + 8) + b"\x03a\0" + data + b"\0"
        return data

    assert to_bson(text_of(deep(255))) == deep(255)
    with pytest.raises(DecodeError, match="deep"):
        text_of(deep(256))


def test_values_by_themselves() -> None:
    data = encode({"a": Int64(1), "b": math.nan, "c": DatetimeMS(2**60), "d": Decimal128("0E-3")})
    for (kind, _, at, end), value in zip(elements(data), items(data).values(), strict=True):
        assert value_to_bson(value_text(kind, data, at, end)) == value
        assert value_end(kind, data, at, len(data)) == end
