"""Which labels an enum has where the stream is, told from lists of labels alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.tail.enums import Enums, Labels, UnknownLabel, renamed_labels, with_label
from commitlog.schemas.shape import Column, Shape

LISTS = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6)


@pytest.mark.parametrize(
    ("old", "new", "renamed"),
    [
        ("ab", "ab", {}),
        ("ab", "cb", {"a": "c"}),
        ("ab", "abc", {}),
        ("ab", "acb", {}),
        ("ab", "xb", {"a": "x"}),
        ("ab", "axm", {"b": "x"}),  # renamed, and another behind it
        ("abc", "xbz", {"a": "x", "c": "z"}),
        ("abc", "x", {}),  # fewer than before: another enum of that name
        ("ab", "ba", {}),
        ("", "ab", {}),
    ],
)
def test_a_label_in_the_place_of_another_is_the_other_one_renamed(old: str, new: str, renamed: dict[str, str]) -> None:
    assert renamed_labels(old, new) == renamed


@pytest.mark.parametrize(
    ("labels", "label", "now", "then"),
    [
        ("so", "m", "sfm", "som"),  # o was renamed later than m came
        ("som", "f", "sfm", "sfm"),
        ("sf", "x", "xsf", "xsf"),
        ("sf", "gone", "sf", ("s", "f", "gone")),
        ("sf", "s", "", "sf"),
        ("", "a", "ab", "a"),
    ],
)
def test_one_label_is_taken_over_at_a_time(labels: str, label: str, now: str, then: object) -> None:
    assert with_label(tuple(labels), label, tuple(now)) == tuple(then)  # type: ignore[call-overload] # text or labels


@given(LISTS, st.sampled_from("abcdefgh"), LISTS)
def test_whatever_the_catalogs_say_the_label_is_there_then_and_no_other_twice(
    labels: list[str], label: str, now: list[str]
) -> None:
    then = with_label(tuple(labels), label, tuple(now))
    assert label in then
    assert len(set(then)) == len(then)
    assert len(labels) <= len(then) <= len(labels) + 1


@given(LISTS, LISTS)
def test_a_label_becomes_one_other(old: list[str], new: list[str]) -> None:
    renamed = renamed_labels(old, new)
    assert set(renamed) <= set(old) - set(new)
    assert set(renamed.values()) <= set(new) - set(old)
    assert len(set(renamed.values())) == len(renamed)


def test_a_value_that_is_no_label_is_missed_until_a_shape_has_it() -> None:
    enums = Enums({"public.mood": ["sad", "ok"]})
    mood = Column("mood", "enum", "public.mood", labels=("sad", "fine"))
    assert enums.described(mood).labels == ("sad", "ok")
    with pytest.raises(UnknownLabel) as missed:
        Labels("public.mood", ("sad", "ok"))[b"fine"]
    enums.miss(missed.value)
    renewed = enums.described(mood)
    assert renewed.labels == ("sad", "fine")
    enums.record(Shape.make("Face", "public.faces", key=("mood",), columns=(renewed,)))
    assert enums.described(mood).labels == ("sad", "fine")


def test_a_type_that_is_gone_is_an_enum_only_where_the_log_knows_it_as_one() -> None:
    enums = Enums({"public.mood": ["sad"]})
    assert enums.described(Column("m", "gone", "public.mood")) == Column("m", "enum", "public.mood", labels=("sad",))
    assert enums.described(Column("m", "gone", "public.pair")) == Column("m", "exact", "public.pair")
