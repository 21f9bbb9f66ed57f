"""PostgreSQL's texts and the record's values: each way, and back to the same."""

import base64
from datetime import date, datetime, time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from commitlog.cdc.tail.pgtypes import CANONICAL, CONVERTERS, converter, to_text

PAIRS = [
    ("bool", b"t", True),
    ("bool", b"f", False),
    ("int16", b"-32768", -32768),
    ("int32", b"-2147483648", -(2**31)),
    ("int32", b"2147483647", 2**31 - 1),
    ("int64", b"9223372036854775807", "9223372036854775807"),
    ("decimal", b"12345678901234567890.1200", "12345678901234567890.1200"),
    ("decimal", b"NaN", "NaN"),
    ("decimal", b"-Infinity", "-Infinity"),
    ("float32", b"1e-05", "1e-05"),
    ("float64", b"NaN", "NaN"),
    ("float64", b"-0", "-0"),
    ("float64", b"Infinity", "Infinity"),
    ("money", b"-$1,234.50", "-$1,234.50"),
    ("text", b"", ""),
    ("text", 'a "b" \\ \t\n 😀'.encode(), 'a "b" \\ \t\n 😀'),
    ("enum", "größer".encode(), "größer"),
    ("uuid", b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("json", b'{ "a":1.50, "a":2 }', '{ "a":1.50, "a":2 }'),
    ("jsonb", b'{"a": 2}', '{"a": 2}'),
    ("bytes", b"\\x", ""),
    ("bytes", b"\\x00ff10", "AP8Q"),
    ("date", b"2026-11-22", "2026-11-22"),
    ("date", b"infinity", "infinity"),
    ("date", b"0044-03-15 BC", "0044-03-15 BC"),
    ("date", b"12026-11-22", "12026-11-22"),
    ("time", b"24:00:00", "24:00:00"),
    ("timetz", b"10:11:12.5+05:30", "10:11:12.5+05:30"),
    ("interval", b"P1Y2M-3DT4H", "P1Y2M-3DT4H"),
    ("timestamp", b"2026-11-22 10:11:12.345678", "2026-11-22T10:11:12.345678"),
    ("timestamp", b"2026-11-22 10:11:12", "2026-11-22T10:11:12"),
    ("timestamp", b"infinity", "infinity"),
    ("timestamp", b"-infinity", "-infinity"),
    ("timestamp", b"0044-03-15 12:00:00 BC", "0044-03-15 12:00:00 BC"),
    ("timestamp", b"12026-11-22 10:11:12", "12026-11-22 10:11:12"),
    ("timestamp", b"294276-12-31 23:59:59.999999", "294276-12-31 23:59:59.999999"),
    ("instant", b"2026-11-22 10:11:12.345678+00", "2026-11-22T10:11:12.345678Z"),
    ("instant", b"2026-11-22 10:11:12+00", "2026-11-22T10:11:12Z"),
    ("instant", b"infinity", "infinity"),
    ("instant", b"-infinity", "-infinity"),
    ("instant", b"0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00+00 BC"),
    ("instant", b"12026-11-22 10:11:12+00", "12026-11-22 10:11:12+00"),
    ("exact", b"(1,2)", "(1,2)"),
]


def spaced(text: str) -> str:
    """A time as the server writes it, of the ISO form that it reads as well."""
    if text[10:11] != "T":
        return text
    return text.replace("T", " ").replace("Z", "+00")


def same_text(canonical: str, text: bytes) -> None:
    """The text becomes a value, and the value the text."""
    value = converter(canonical)(text)
    back = to_text(canonical, value)
    assert back is not None
    assert converter(canonical)(back.encode()) == value
    assert (spaced(back) if canonical in ("timestamp", "instant") else back) == text.decode()


@pytest.mark.parametrize(("canonical", "text", "value"), PAIRS)
def test_a_text_is_the_value_of_its_type_and_back(canonical: str, text: bytes, value: object) -> None:
    assert converter(canonical)(text) == value
    assert type(converter(canonical)(text)) is type(value)
    same_text(canonical, text)


def test_every_canonical_type_has_an_example() -> None:
    assert {*CANONICAL.values(), *CONVERTERS, "enum", "exact"} == {canonical for canonical, _, _ in PAIRS}


@pytest.mark.parametrize("canonical", sorted({canonical for canonical, _, _ in PAIRS}))
def test_null_is_null(canonical: str) -> None:
    assert to_text(canonical, None) is None


@given(st.binary())
def test_every_bytea_goes_there_and_back(data: bytes) -> None:
    text = b"\\x" + data.hex().encode()
    value = converter("bytes")(text)
    assert isinstance(value, str)
    assert base64.b64decode(value, validate=True) == data
    same_text("bytes", text)


@given(st.integers(-(2**31), 2**31 - 1))
def test_every_integer_goes_there_and_back(value: int) -> None:
    same_text("int32", str(value).encode())


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_every_text_goes_there_and_back(value: str) -> None:
    for canonical in ("text", "enum", "json", "jsonb", "exact"):
        assert converter(canonical)(value.encode()) == value
        same_text(canonical, value.encode())


@given(st.floats(), st.decimals())
def test_every_number_keeps_its_text(number: float, decimal: object) -> None:
    for canonical in ("float64", "decimal"):
        same_text(canonical, str(number).encode())
        same_text(canonical, str(decimal).encode())


@given(st.dates(), st.times(), st.integers(1, 294_276), st.booleans())
@example(date(1, 1, 1), time(0), 1, False)
def test_every_time_goes_there_and_back(day: date, clock: time, year: int, before_christ: bool) -> None:
    at = datetime.combine(day, clock).isoformat(" ", "auto" if clock.microsecond else "seconds")
    bc = " BC" if before_christ else ""
    of_year = f"{year:04d}-{day:%m-%d} {clock.isoformat()}"
    for text in (at, of_year):
        same_text("timestamp", f"{text}{bc}".encode())
        same_text("instant", f"{text}+00{bc}".encode())
        same_text("date", f"{text.partition(' ')[0]}{bc}".encode())
    assert converter("timestamp")(at.encode()) == at.replace(" ", "T")
    assert converter("instant")(f"{at}+00".encode()) == at.replace(" ", "T") + "Z"


@pytest.mark.parametrize(
    ("canonical", "text"),
    [
        ("bool", b"true"), ("bool", b""), ("int32", b""), ("int32", b"x"), ("int32", b"1.5"), ("int32", b"9" * 5000),
        ("int32", b"\xff"), ("bytes", b"abc"), ("bytes", b"\\x0"), ("bytes", b"\\xzz"), ("bytes", b"\\xff\xff"), ("text", b"\xff"),
        ("timestamp", b"2026-11-22 10:\xff"), ("instant", b"\xc3"), ("exact", b"\xed\xa0\x80"),
    ],
)  # fmt: skip
def test_what_is_no_text_of_its_type_is_refused(canonical: str, text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind: whoever reads a change names it
        converter(canonical)(text)


@given(st.sampled_from([*CONVERTERS, "text"]), st.binary(max_size=30))
def test_D1_any_bytes_become_a_value_or_a_value_error(canonical: str, data: bytes) -> None:
    try:
        converter(canonical)(data)
    except ValueError:
        return
    assert len(data) <= 11 or canonical not in ("int16", "int32")
