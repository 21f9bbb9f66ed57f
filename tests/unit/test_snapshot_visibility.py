"""What a chunk's snapshot sees, by transaction ids that come round, and up to where the stream must have come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commitlog.cdc.worker.postgres_snapshot import Visibility, _record_end

ROUND = 1 << 32
PAGE = 8192

wide_ids = st.integers(3, 1 << 63)
distances = st.integers(-(1 << 31) + 1, (1 << 31) - 1)


def test_a_snapshot_is_read_as_the_server_writes_it() -> None:
    assert Visibility.parse("10:20:") == Visibility(10, 20, frozenset())
    assert Visibility.parse(f"{5 * ROUND}:{5 * ROUND + 9}:{5 * ROUND},{5 * ROUND + 7}") == Visibility(
        5 * ROUND, 5 * ROUND + 9, frozenset({5 * ROUND, 5 * ROUND + 7})
    )


@given(wide_ids, distances)
def test_an_id_is_widened_to_the_round_it_is_of(xmax: int, distance: int) -> None:
    wide = xmax + distance
    if wide > 0:
        assert Visibility(xmax, xmax, frozenset()).widen(wide % ROUND) == wide


@pytest.mark.parametrize(
    ("xmax", "xid", "wide"),
    [
        (100, 99, 99),
        (ROUND + 5, 0xFFFFFFFF, 0xFFFFFFFF),
        (ROUND + 5, 4, ROUND + 4),
        (2 * ROUND - 1, 3, 2 * ROUND + 3),
        (2 * ROUND - 1, 0xFFFFFFFE, 2 * ROUND - 2),
        (2 * ROUND, 0xFFFFFFFF, 2 * ROUND - 1),
        (2 * ROUND, 0, 2 * ROUND),
    ],
)
def test_ids_come_round(xmax: int, xid: int, wide: int) -> None:
    assert Visibility(xmax, xmax, frozenset()).widen(xid) == wide


@given(wide_ids, st.integers(0, 1000), st.sets(st.integers(0, 999)), st.integers(-2000, 2000))
def test_a_snapshot_sees_what_had_ended_when_it_was_taken(
    xmin: int, span: int, running: set[int], distance: int
) -> None:
    xmax = xmin + span
    ids = frozenset(xmin + offset for offset in running if offset < span)
    seen = Visibility.parse(f"{xmin}:{xmax}:{','.join(map(str, sorted(ids)))}")
    wide = xmin + distance
    if wide > 2:
        assert seen.sees(wide % ROUND) == (wide < xmax and wide not in ids)


@pytest.mark.parametrize("page", [0, PAGE, 2048 * PAGE, (1 << 40) + 7 * PAGE])
def test_a_position_behind_a_new_pages_header_is_the_end_of_the_page_before(page: int) -> None:
    short_header, long_header = 24, 40
    assert _record_end(page) == page
    assert _record_end(page + short_header) == page
    assert _record_end(page + long_header) == page
    # The smallest record, and the smallest end of one that goes on behind a long header.
    for within in (short_header + 24, long_header + 8, PAGE // 2, PAGE - 8):
        assert _record_end(page + within) == page + within


@given(st.integers(0, (1 << 64) - 1))
def test_a_record_never_ends_behind_the_insert_position(position: int) -> None:
    end = _record_end(position)
    assert max(0, position - 40) <= end <= position
    assert _record_end(end) == end
