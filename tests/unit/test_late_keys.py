"""Rows that share a key within a transaction: what the log tells of them leads to what the table holds, whoever reads it one after the other."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commitlog.cdc.tail import late_keys
from commitlog.cdc.tail.late_keys import LateKey, settled
from commitlog.cdc.tail.row_change import parse_change
from commitlog.cdc.tail.spill import Spill
from commitlog.cdc.tail.transaction import Entry, Relation, RelationColumn
from commitlog.schemas.change import DELETE, INSERT, UNSENT, RawRow
from commitlog.schemas.errors import HistoryLost
from fixtures.messages import INT4, TEXT, delete, insert, truncate, update

Row = tuple[int, int, str]
"""The key, a number that no two rows ever share, and a value."""

COLUMNS = tuple(
    RelationColumn(name, name != "said", oid, -1) for name, oid in (("id", INT4), ("n", INT4), ("said", TEXT))
)
PLACE = Relation(1, "public", "place", "f", COLUMNS)
OTHER = Relation(2, "public", "other", "f", COLUMNS)
WHOLE, BY_INDEX = LateKey((0,), (0, 1, 2)), LateKey((0,), (0, 1))


def raw(row: Row, *, twins: bool = False) -> RawRow:
    return [str(row[0]).encode(), b"0" if twins else str(row[1]).encode(), row[2].encode()]


class Table:
    """A table whose keys are checked at the end, and what its stream says.

    Args:
        rows: At the beginning.
        whole: It logs whole old rows, and `n` is the same in all: rows of one key and value are told apart by nothing. Else it logs
            what an index on `id` and `n` has, where that changes.
    """

    def __init__(self, rows: Sequence[Row], *, whole: bool) -> None:
        self.rows, self.whole = list(rows), whole
        self.entries: list[Entry] = []

    def raw(self, row: Row) -> RawRow:
        return raw(row, twins=self.whole)

    def old(self, row: Row) -> RawRow:
        return self.raw(row) if self.whole else [*self.raw(row)[:2], None]

    def insert(self, row: Row) -> None:
        self.rows.append(row)
        self.entries.append((PLACE, insert(self.raw(row))))

    def delete(self, at: int) -> None:
        row = self.rows.pop(at)
        self.entries.append((PLACE, delete(self.old(row), kind=b"O" if self.whole else b"K")))

    def update(self, at: int, key: int, value: str | None = None) -> None:
        was = self.rows[at]
        now = self.rows[at] = (key, was[1], was[2] if value is None else value)
        new = self.raw(now)
        if value is None:
            new[2] = UNSENT
        same = not self.whole and was[0] == now[0]
        self.entries.append((PLACE, update(new, None if same else self.old(was), kind=b"O" if self.whole else b"K")))

    def end(self) -> None:
        """Give each row a key of its own."""
        for at in range(len(self.rows) - 1, -1, -1):
            keys = {key for key, *_ in self.rows}
            if sum(row[0] == self.rows[at][0] for row in self.rows) > 1:
                self.update(at, next(key for key in range(20, 100) if key not in keys))


def read(rows: Sequence[Row], changes: Sequence[Entry], *, whole: bool) -> list[RawRow]:
    """The table after changes that name their row by its key alone; a key that is taken must be left by the next change."""
    held = {row[0]: row for row in (raw(one, twins=whole) for one in rows)}
    ring: RawRow | None = None
    for _, data in changes:
        op, old, _, new = parse_change(data)
        if op == INSERT:
            assert ring is None
            assert new is not None
            assert new[0] not in held
            held[new[0]] = new
            continue
        named = (old or new or [])[0]
        was = ring if ring is not None else held.pop(named)
        assert was[0] == named
        ring = None
        if op == DELETE or new is None:
            continue
        now = [w if n is UNSENT else n for n, w in zip(new, was, strict=True)]
        ring = held.pop(now[0], None)
        held[now[0]] = now
    assert ring is None
    return sorted(held.values(), key=lambda row: row[0])


starts = st.lists(st.tuples(st.integers(1, 6), st.sampled_from("ab")), max_size=5, unique_by=lambda row: row[0])
steps = st.lists(
    st.tuples(
        st.sampled_from(["insert", "delete", "move", "move", "move", "change", "both"]),
        st.integers(0, 9),
        st.integers(1, 7),
        st.sampled_from("ab"),
    ),
    max_size=10,
)


def played(
    start: Sequence[tuple[int, str]], steps: Sequence[tuple[str, int, int, str]], *, whole: bool
) -> tuple[list[Row], Table]:
    rows = [(key, n, value) for n, (key, value) in enumerate(start)]
    table = Table(rows, whole=whole)
    for n, (what, at, key, value) in enumerate(steps, 10):
        if what == "insert" or not table.rows:
            table.insert((key, n, value))
            continue
        at %= len(table.rows)
        if what == "delete":
            table.delete(at)
        else:
            table.update(at, table.rows[at][0] if what == "change" else key, None if what == "move" else value)
    table.end()
    return rows, table


@pytest.mark.parametrize("whole", [True, False])
@settings(max_examples=400)
@given(start=starts, steps=steps)
def test_what_is_told_leads_to_what_the_table_holds(
    whole: bool, start: Sequence[tuple[int, str]], steps: Sequence[tuple[str, int, int, str]]
) -> None:
    rows, table = played(start, steps, whole=whole)
    told = settled(table.entries, {PLACE: WHOLE if whole else BY_INDEX})
    assert isinstance(told, list)
    assert read(rows, told, whole=whole) == sorted((table.raw(row) for row in table.rows), key=lambda row: row[0])


@settings(max_examples=50)
@given(start=starts, steps=steps)
def test_on_disk_and_above_what_is_remembered_it_is_the_same(
    start: Sequence[tuple[int, str]], steps: Sequence[tuple[str, int, int, str]]
) -> None:
    rows, table = played(start, steps, whole=True)
    alive: list[int] = []
    with pytest.MonkeyPatch.context() as small:
        small.setattr(late_keys, "ARRIVED_MAX", 1)
        small.setattr(late_keys, "ALIVE_CHANGES", 2)
        told = settled(Spill(table.entries), {PLACE: WHOLE}, lambda: alive.append(1))
    assert bool(alive) or len(table.entries) < 2 or all(data[25] == INSERT for _, data in table.entries)
    assert list(told) == list(settled(table.entries, {PLACE: WHOLE}))
    assert isinstance(told, Spill)
    told.close()
    assert read(rows, settled(table.entries, {PLACE: WHOLE}), whole=True) == sorted(map(table.raw, table.rows))  # type: ignore[type-var,arg-type] # lists of bytes


def plain(*changes: Any) -> list[Entry]:
    return [(PLACE, change) for change in changes]


A1, A2, A3, B2, B3 = (
    [key, b"0", who] for key, who in ((b"1", b"a"), (b"2", b"a"), (b"3", b"a"), (b"2", b"b"), (b"3", b"b"))
)


@pytest.mark.parametrize(
    "changes",
    [
        plain(insert(A1), update(A1, A1), insert(A2)),
        plain(delete(A1), insert(A1)),
        plain(update(B3, B2), update(A2, A1)),
        plain(
            update([b"2", b"0", b"c"], B2), delete([b"2", b"0", b"c"]), update(A2, A1), update([b"2", b"0", b"d"], A2)
        ),
        [(OTHER, update(A2, A1)), (OTHER, update(A3, A2))],
    ],
    ids=["grows", "made anew", "makes way first", "one after the other", "another table"],
)
def test_where_nothing_can_have_met_every_change_stays_as_it_is(changes: list[Entry]) -> None:
    assert settled(changes, {PLACE: WHOLE}) is changes


def test_a_row_that_passes_another_goes_straight_and_the_other_is_not_touched() -> None:
    assert settled(plain(update(A2, A1), update(A3, A2)), {PLACE: WHOLE}) == plain(update(A3, A1))
    assert settled(plain(insert(A2), delete(A2)), {PLACE: WHOLE}) == []
    # There and back.
    assert settled(plain(update(A2, A1), update(A1, A2)), {PLACE: WHOLE}) == []


def test_changes_of_other_tables_keep_their_places_and_a_table_that_is_emptied_begins_anew() -> None:
    other: Entry = (OTHER, insert(A1))
    emptied: Entry = ((PLACE, OTHER), truncate([1, 2]))
    moves = plain(update(A2, A1), update(A3, A2))
    told = settled([other, moves[0], other, moves[1], emptied, *plain(insert(A1)), other], {PLACE: WHOLE})
    assert told == [other, other, *plain(update(A3, A1)), emptied, *plain(insert(A1)), other]


def test_a_table_that_is_described_anew_without_a_change_goes_on_and_with_one_begins_anew() -> None:
    again = Relation(1, "public", "place", "f", COLUMNS)
    wider = Relation(1, "public", "place", "f", (*COLUMNS, RelationColumn("more", True, INT4, -1)))
    late = {PLACE: WHOLE, again: WHOLE, wider: LateKey((0,), (0, 1, 2, 3))}
    assert settled([(PLACE, update(A2, A1)), (again, update(A3, A2))], late) == [(again, update(A3, A1))]
    last: Entry = (wider, update([*A1, b"1"], [*A3, b"1"]))
    assert settled([*plain(update(A2, A1), update(A3, A2)), last], late) == [*plain(update(A3, A1)), last]


def test_rows_that_cannot_be_told_apart_are_lost_history() -> None:
    with pytest.raises(HistoryLost, match="without what it was before"):
        settled(plain(update(A2, A1), update([b"2", b"0", UNSENT])), {PLACE: WHOLE})
    # What an old row says is not what the stream said of it before: as after a label was renamed in between.
    with pytest.raises(HistoryLost, match="cannot be told apart"):
        settled(
            plain(update(A2, A1), update([b"1", b"0", b"A"], [b"2", b"0", b"A"]), update(B3, B2), update(B2, B3)),
            {PLACE: WHOLE},
        )
