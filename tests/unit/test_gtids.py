"""Sets of GTIDs are what sets of numbers are, in both flavours, and read what they write."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.tail.gtids import GNO_MAX, MariadbGtids, MysqlGtids, parse_gtids
from commitlog.schemas.errors import DecodeError

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "99999999-aaaa-bbbb-cccc-0123456789ab"
KEYS = [(A, ""), (A, "blue"), (A, "red_2"), (B, "")]

members = st.sets(st.tuples(st.sampled_from(KEYS), st.integers(1, 12)))


def gtid(key: tuple[str, str], number: int) -> str:
    return ":".join(filter(None, (*key, str(number))))


def mysql(numbers: set[tuple[tuple[str, str], int]]) -> MysqlGtids:
    made = MysqlGtids()
    for key, number in sorted(numbers, key=lambda member: (member[1] * 7 % 13, member)):
        made.add(gtid(key, number))
    return made


def unfolded(gtids: MysqlGtids) -> set[tuple[tuple[str, str], int]]:
    return {
        (key, n) for key, pieces in gtids.intervals.items() for first, last in pieces for n in range(first, last + 1)
    }


@given(members, members)
def test_sets_of_mysql_are_sets_of_numbers(
    one: set[tuple[tuple[str, str], int]], two: set[tuple[tuple[str, str], int]]
) -> None:
    a, b = mysql(one), mysql(two)

    assert unfolded(a) == one
    assert a.union(b) == mysql(one | two)
    assert a.subtract(b) == mysql(one - two)
    assert (not b.subtract(a)) == (two <= one)
    assert bool(a) == bool(one)
    assert a.count == len(one)
    assert MysqlGtids.parse(str(a)) == a
    assert all((gtid(key, number) in a) == ((key, number) in one) for key in KEYS for number in range(1, 14))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        (f"{A}:1", f"{A}:1"),
        (f"{A.upper()}:1-3:4:9-9 ,\n {B}:5-5", f"{A}:1-4:9,{B}:5"),
        (f"{A}:5-7:1-2:3", f"{A}:1-3:5-7"),
        (f"{A}:1-2:Red:4-6:blue:1,{A}:red:7", f"{A}:1-2:blue:1:red:4-7"),
        (f"{A}:9-3", ""),
        (f"{A}:1-{GNO_MAX}", f"{A}:1-{GNO_MAX}"),
        (f",{A}:1,,", f"{A}:1"),
    ],
)
def test_texts_of_mysql_are_read_as_the_server_reads_them(text: str, canonical: str) -> None:
    assert str(MysqlGtids.parse(text)) == canonical


@pytest.mark.parametrize(
    "text", ["x", A, f"{A}:", f"{A}:0", f"{A}:1-2-3", f"{A}:-1", f"{A}:1:2x!", f"{A[:-1]}:1", f"{A}:{GNO_MAX + 1}"]
)
def test_what_is_no_set_of_mysql_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        MysqlGtids.parse(text)


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        *(("mysql", text) for text in (A, f"{A}:1-2", f"{A}:0", f"{A}:²", "0-1-2", "")),
        *(("mariadb", text) for text in ("0-1", "0-1-2-3", "0-1-²", f"{A}:1", "")),
    ],
)
def test_what_is_no_gtid_is_refused(engine: str, text: str) -> None:
    for use in (gtids := parse_gtids(engine, "")).add, gtids.__contains__:
        with pytest.raises(DecodeError):
            use(text)


vectors = st.dictionaries(st.tuples(st.integers(0, 2), st.integers(1, 3)), st.integers(1, 9))


@given(vectors, vectors)
def test_a_set_of_mariadb_has_all_up_to_the_highest_number(
    one: dict[tuple[int, int], int], two: dict[tuple[int, int], int]
) -> None:
    a, b = MariadbGtids(one), MariadbGtids(two)
    below: Callable[[dict[tuple[int, int], int]], set[tuple[tuple[int, int], int]]] = lambda numbers: {  # noqa: E731
        (key, n) for key, highest in numbers.items() for n in range(1, highest + 1)
    }

    assert below(a.union(b).numbers) == below(one) | below(two)
    assert (not b.subtract(a)) == (below(two) <= below(one))
    assert a.subtract(b).numbers == {key: n for key, n in one.items() if n > two.get(key, 0)}
    assert MariadbGtids.parse(str(a)) == a
    assert all(
        (f"{d}-{s}-{n}" in a) == (((d, s), n) in below(one))
        for d in range(3)
        for s in range(1, 4)
        for n in range(1, 10)
    )


def test_a_position_of_mariadb_is_the_last_of_each_domain() -> None:
    gtids = MariadbGtids.parse("1-9-4, 0-1-17\n,0-2-20")
    gtids.add("0-1-21")
    gtids.add("0-2-19")

    assert str(gtids) == "0-1-21,0-2-20,1-9-4"
    assert gtids.position == "0-1-21,1-9-4"
