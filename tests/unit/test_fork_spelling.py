"""Texts of one value of a key are spelled alike, texts of different values never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.fork.spelling import one_spelling
from commitlog.schemas.shape import Column

ALIKE = [
    ("decimal", "numeric(10,2)", ("1", "1.0", "1.00", "01", "1e0", 1)),
    ("decimal", "numeric", ("0", "-0", "0.00", "-0.0")),
    ("float64", "double precision", ("1e+16", "10000000000000000", "10000000000000000.0")),
    ("int32", "integer", (5, "5", "5.00")),
    ("decimal", "numeric", ("NaN",)),
    ("decimal", "numeric", ("-Infinity",)),
    ("decimal", "numeric", ("10", "10.0", "1e1")),
    ("decimal", "numeric", ("0.010", "0.01")),
    ("instant", "timestamptz", ("2026-01-01T00:00:00", "2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000Z")),
    ("timestamp", "datetime(6)", ("2026-01-01T10:20:30.5", "2026-01-01T10:20:30.500000")),
    ("timestamp", "timestamp", ("infinity",)),
    ("text", "character(5)", ("a    ", "a")),
]  # fmt: skip


@pytest.mark.parametrize("case", ALIKE)
def test_texts_of_one_value_are_spelled_alike(case: tuple[str, str, tuple[object, ...]]) -> None:
    kind, engine_type, values = case
    assert len({one_spelling(Column("id", kind, engine_type), value) for value in values}) == 1


def test_a_text_is_what_it_is() -> None:
    for kind, engine_type in (("text", "text"), ("text", "character varying(5)"), ("exact", "tsvector")):
        for value in ("1.0", "a ", "2026-01-01T00:00:00Z"):
            assert one_spelling(Column("id", kind, engine_type), value) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=5), st.decimals(allow_nan=False, allow_infinity=False))
def test_numbers_are_spelled_alike_only_where_they_are_the_same(one: object, other: object) -> None:
    column = Column("id", "decimal", "numeric")
    assert (one_spelling(column, str(one)) == one_spelling(column, str(other))) == (one == other)
