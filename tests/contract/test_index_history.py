"""Who last set each field of a row, and what changed between two places, held against a naive replay of the log."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commitlog.cdc.log.difference import Difference, difference
from commitlog.cdc.log.history import History, RowName
from commitlog.cdc.log.index import Index
from commitlog.cdc.log.row_key import encode
from commitlog.cdc.sessions.store import mask_request
from commitlog.schemas.errors import UsageError
from fixtures.fork_log import MadeLog, Row, column

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where a sync costs nothing: thousands of small logs


def open_index(log: MadeLog) -> Index:
    index = Index(log.location, request_key=mask_request)
    index.refresh()
    return index


@pytest.fixture
def log(made_log: MadeLog) -> MadeLog:
    made_log.shape("Order", column("id", "int32"), column("status"), column("note"))
    return made_log


def blame(log: MadeLog, key: str, entity: str = "Order") -> tuple[str | None, dict[str, tuple[Any, int]]]:
    """(how the row ended, field to its value and the seq that set it)."""
    with open_index(log) as index:
        history = History(index)
        row = history.row(history.name(entity, key))
        assert row is not None
        return row.end, {name: (origin.value, origin.touch.seq) for name, origin in row.fields.items()}


def test_each_field_is_of_the_commit_that_last_set_it(log: MadeLog) -> None:
    first = log.commit(log.insert("Order", {"id": 1, "status": "new", "note": None}))
    second = log.commit(log.update("Order", 1, {"status": "new"}, {"status": "paid"}))
    third = log.commit(log.update("Order", 1, {"status": "paid", "note": None}, {"status": "sent", "note": "x"}))

    assert blame(log, "1") == (None, {"id": (1, first), "status": ("sent", third), "note": ("x", third)})
    assert second not in {seq for _, seq in blame(log, "1")[1].values()}


def test_an_update_without_the_old_row_sets_only_what_is_another_value(log: MadeLog) -> None:
    first = log.commit(log.insert("Order", {"id": 1, "status": "new", "note": "a"}))
    second = log.commit(log.overwrite("Order", {"id": 1, "status": "new", "note": "b"}))

    assert blame(log, "1") == (None, {"id": (1, first), "status": ("new", first), "note": ("b", second)})


def test_what_was_not_sent_stays_as_it_was(log: MadeLog) -> None:
    first = log.commit(log.insert("Order", {"id": 1, "status": "new", "note": "large"}))
    change = log.overwrite("Order", {"id": 1, "status": "paid"})
    second = log.commit({**change, "unsent": ["note"]})

    assert blame(log, "1") == (None, {"id": (1, first), "status": ("paid", second), "note": ("large", first)})


def test_a_snapshot_sets_only_what_no_commit_had_set(log: MadeLog) -> None:
    commit = log.commit(log.update("Order", 1, {"status": "new"}, {"status": "paid"}))
    snapshot = log.snapshot("Order", {"id": 1, "status": "paid", "note": "n"})

    assert blame(log, "1") == (None, {"id": (1, snapshot), "status": ("paid", commit), "note": ("n", snapshot)})


def test_a_row_keeps_its_history_under_another_key(log: MadeLog) -> None:
    first = log.commit(log.insert("Order", {"id": 1, "status": "new", "note": "a"}))
    for key in (9, 5):
        log.commit(log.insert("Order", {"id": key, "status": "of an earlier row", "note": "z"}))
        log.commit(log.delete("Order", {"id": key, "status": "of an earlier row", "note": "z"}))
    second = log.commit(log.rekey("Order", 1, 5, {"note": "a"}, {"note": "b"}))
    third = log.commit(log.rekey("Order", 5, 9))
    reborn = log.commit(log.insert("Order", {"id": 1, "status": "another row", "note": None}))

    assert blame(log, "9") == (None, {"id": (9, third), "status": ("new", first), "note": ("b", second)})
    assert blame(log, "5")[0] == "rekeyed"
    assert blame(log, "1")[1]["status"] == ("another row", reborn)
    with open_index(log) as index:
        history = History(index)
        touched = [touch.seq for touch in history.touches(history.name("Order", "9"))]
        assert touched == [first, first + 1, first + 2, second, third]


def test_a_row_that_is_gone_says_how_and_what_it_held(log: MadeLog) -> None:
    row = {"id": 1, "status": "new", "note": None}
    first = log.commit(log.insert("Order", row), log.insert("Order", {**row, "id": 2}))
    deleted = log.commit(log.delete("Order", row))
    emptied = log.commit(log.truncate("Order"))
    with open_index(log) as index:
        history = History(index)
        for key, end, seq in (("1", "deleted", deleted), ("2", "truncated", emptied)):
            found = history.row(history.name("Order", key))
            assert found is not None
            assert found.ended_by is not None
            assert (found.end, found.ended_by.seq) == (end, seq)
            assert {origin.touch.seq for origin in found.fields.values()} == {first}
            assert found.key == {"id": int(key)}
        assert history.row(history.name("Order", "3")) is None
        # A truncate of a table is no part of the history of rows that had gone before.
        assert emptied not in [touch.seq for touch in history.touches(history.name("Order", "1"))]


def test_a_row_that_a_new_snapshot_does_not_find_is_absent(log: MadeLog) -> None:
    kept, gone, omitted = ({"id": number, "status": "s", "note": None} for number in (1, 2, 3))
    log.commit(log.insert("Order", kept), log.insert("Order", gone))
    log.gap()
    log.commit(log.insert("Order", omitted))
    log.snapshot("Order", kept, name="two", last=False)
    assert blame(log, "2")[0] is None
    last = log.snapshot("Order", name="two", omitted=[[3]])
    again = log.commit(log.insert("Order", {"id": 4, "status": "later", "note": None}))

    assert blame(log, "1")[0] is None
    assert blame(log, "3")[0] is None
    assert blame(log, "4")[1]["id"] == (4, again)
    with open_index(log) as index:
        history = History(index)
        row = history.row(history.name("Order", "2"))
        assert row is not None
        assert row.ended_by is not None
        assert (row.end, row.ended_by.seq) == ("absent", last)
        assert [key["id"] for key in index.rows("Order", before=(again, 0, 0))] == [1, 3]


def test_a_log_that_did_not_see_a_row_begin_knows_only_what_changed(log: MadeLog) -> None:
    seq = log.commit(log.update("Order", 1, {"status": "new"}, {"status": "paid"}))
    with open_index(log) as index:
        row = History(index).row(RowName("Order", ("[1]",)))
        assert row is not None
        assert (row.values, row.whole) == ({"status": "paid"}, False)
        assert row.fields["status"].touch.seq == seq


def test_a_key_keeps_its_history_when_its_type_gets_larger(log: MadeLog) -> None:
    first = log.commit(log.insert("Order", {"id": 1, "status": "new", "note": None}))
    log.shape("Order", column("id", "int64"), column("status"), column("note"))
    second = log.commit(log.update("Order", {"id": "1"}, {"status": "new"}, {"status": "paid"}))

    assert blame(log, "1")[1] == {"id": (1, first), "status": ("paid", second), "note": (None, first)}


def test_an_unknown_entity_gives_the_nearest_name(log: MadeLog) -> None:
    with open_index(log) as index, pytest.raises(UsageError) as caught:
        History(index).name("Ordre", "1")
    assert caught.value.hint == "write Order"


# A naive log: rows by their number for life, so that a replay needs no lineage.


Step = tuple[str, int, int, int]
"""What to do, to which key, with which other key, and with which value."""


@dataclass
class Naive:
    """What the rows of one entity are, by key, and which commit set each field."""

    log: MadeLog
    rows: dict[int, dict[str, tuple[Any, int]]] = field(default_factory=dict[int, dict[str, tuple[Any, int]]])
    ended: dict[int, str] = field(default_factory=dict[int, str])

    def values(self) -> dict[int, Row]:
        return {key: {name: value for name, (value, _) in row.items()} for key, row in self.rows.items()}

    def step(self, step: Step, seq: int) -> Row | None:
        """One step of a plan: the change it makes in the commit `seq`, None where it makes none."""
        op, key, other, value = step
        row = self.values().get(key)
        fresh = {"id": key, "status": f"s{value}", "note": None if value else "n"}
        if op == "truncate":
            return self._truncate()
        if op == "insert" and row is None:
            return self._insert(fresh, seq)
        if op in ("update", "overwrite") and row is not None and row != fresh:
            return self._update(op, row, fresh, seq)
        if op == "rekey" and row is not None and other not in self.rows:
            return self._rekey(key, other, seq)
        if op == "delete" and row is not None:
            return self._delete(row)
        return None

    def _insert(self, fresh: Row, seq: int) -> Row:
        self.rows[fresh["id"]] = {name: (value, seq) for name, value in fresh.items()}
        self.ended.pop(fresh["id"], None)
        return self.log.insert("Order", fresh)

    def _truncate(self) -> Row:
        self.ended |= dict.fromkeys(self.rows, "truncated")
        self.rows = {}
        return self.log.truncate("Order")

    def _update(self, op: str, row: Row, fresh: Row, seq: int) -> Row:
        after = {name: value for name, value in fresh.items() if row[name] != value}
        self.rows[row["id"]] |= {name: (value, seq) for name, value in after.items()}
        if op == "overwrite":
            return self.log.overwrite("Order", fresh)
        return self.log.update("Order", row["id"], {name: row[name] for name in after}, after)

    def _rekey(self, key: int, other: int, seq: int) -> Row:
        self.rows[other] = {**self.rows.pop(key), "id": (other, seq)}
        self.ended[key] = "rekeyed"
        self.ended.pop(other, None)
        return self.log.rekey("Order", key, other)

    def _delete(self, row: Row) -> Row:
        del self.rows[row["id"]]
        self.ended[row["id"]] = "deleted"
        return self.log.delete("Order", row)


OPS = st.sampled_from(["insert", "update", "update", "overwrite", "rekey", "delete", "truncate", "snapshot"])
KEYS = range(1, 4)  # few, so that most steps find a row
STEPS = st.tuples(OPS, st.sampled_from(KEYS), st.sampled_from(KEYS), st.integers(0, 2))
PLANS = st.lists(st.lists(STEPS, min_size=1, max_size=4), min_size=2, max_size=14)


def play(naive: Naive, plan: list[list[Step]]) -> Iterator[int]:
    """Write a plan as commits; after each, the seq of its last record, `naive` being as it is then."""
    log = naive.log
    for steps in plan:
        seq = log.head.seq + 1
        changes = [change for step in steps if (change := naive.step(step, seq)) is not None]
        if len(changes) > 2:
            log.commit(changes[0], part=(0, False))
            log.commit(*changes[1:], part=(1, True))
        elif changes:
            log.commit(*changes)
        if any(op == "snapshot" for op, *_ in steps):
            log.snapshot("Order", *naive.values().values())
        yield log.head.seq


@settings(max_examples=150)
@given(PLANS)
def test_blame_is_what_a_naive_replay_says(plan: list[list[Step]]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        log = MadeLog(Path(folder))
        log.shape("Order", column("id", "int32"), column("status"), column("note"))
        naive = Naive(log)
        list(play(naive, plan))
        log.close()
        with open_index(log) as index:
            history = History(index)
            for key in KEYS:
                row = history.row(RowName("Order", (encode([key]),)))
                if key in naive.rows:
                    assert row is not None
                    assert row.end is None
                    assert {n: (o.value, o.touch.seq) for n, o in row.fields.items()} == naive.rows[key]
                elif row is not None:
                    assert row.end == naive.ended[key]
                else:
                    assert key not in naive.ended
            now = {key["id"] for key in index.rows("Order", before=(index.head.seq + 1, 0, 0))}
            assert now == set(naive.rows)


def applied(rows: dict[int, Row], differences: list[Difference]) -> dict[int, Row]:
    """The rows after the differences; each must fit what is there."""
    out = dict(rows)
    for row in differences:
        if row.what != "added":
            was = out.pop(row.key["id"])
            assert all(was[name] == value for name, value in row.before.items())
    for row in differences:
        if row.what == "added":
            assert row.key["id"] not in out
            out[row.key["id"]] = dict(row.after)
        elif row.what == "changed":
            assert row.before != row.after
            out[(row.newkey or row.key)["id"]] = {**rows[row.key["id"]], **row.after}
    return out


@settings(max_examples=150)
@given(PLANS, st.randoms(use_true_random=False))
def test_a_difference_leads_from_the_earlier_rows_to_the_later_ones(plan: list[list[Step]], random: Any) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        log = MadeLog(Path(folder))
        log.shape("Order", column("id", "int32"), column("status"), column("note"))
        states = [(log.head.seq, dict[int, Row]())]
        naive = Naive(log)
        states += [(seq, naive.values()) for seq in play(naive, plan)]
        log.close()
        first, last = sorted(random.choices(range(len(states)), k=2))
        with open_index(log) as index:
            differences = difference(index, states[first][0], states[last][0])
        assert applied(states[first][1], differences) == states[last][1]


def test_changes_of_several_commits_add_up(log: MadeLog) -> None:
    start = log.commit(log.insert("Order", {"id": 1, "status": "new", "note": "a"}))
    log.commit(log.update("Order", 1, {"status": "new"}, {"status": "paid"}))
    end = log.commit(log.update("Order", 1, {"note": "a"}, {"note": "b"}))
    with open_index(log) as index:
        (row,) = difference(index, start, end)
    assert (row.what, row.before, row.after) == (
        "changed",
        {"status": "new", "note": "a"},
        {"status": "paid", "note": "b"},
    )


def test_a_row_that_takes_the_key_of_a_deleted_one_is_another_row(log: MadeLog) -> None:
    one, two = ({"id": number, "status": f"s{number}", "note": None} for number in (1, 2))
    start = log.commit(log.insert("Order", one), log.insert("Order", two))
    end = log.commit(log.delete("Order", two), log.rekey("Order", 1, 2))
    with open_index(log) as index:
        moved, removed = difference(index, start, end)
    assert (moved.what, moved.key, moved.newkey) == ("changed", {"id": 1}, {"id": 2})
    assert (removed.what, removed.key, removed.before) == ("removed", {"id": 2}, two)


def test_a_truncate_removes_the_rows_that_were_there_and_no_others(log: MadeLog) -> None:
    rows = [{"id": number, "status": "s", "note": None} for number in range(4)]
    log.commit(*(log.insert("Order", row) for row in rows[:3]))
    log.commit(log.truncate("Order"))
    log.commit(log.insert("Order", rows[1]), log.insert("Order", rows[2]))
    start = log.commit(log.delete("Order", rows[2]))
    end = log.commit(log.insert("Order", rows[3]), log.truncate("Order"))
    with open_index(log) as index:
        (row,) = difference(index, start, end)
    assert (row.what, row.key) == ("removed", {"id": 1})


def test_a_truncate_removes_a_row_once_whatever_key_it_had_got(log: MadeLog) -> None:
    row = {"id": 1, "status": "s", "note": None}
    start = log.commit(log.insert("Order", row))
    end = log.commit(log.rekey("Order", 1, 2), log.truncate("Order"), log.insert("Order", {**row, "id": 3}))
    with open_index(log) as index:
        removed, added = difference(index, start, end)
    assert (removed.what, removed.key, added.what, added.key) == ("removed", {"id": 1}, "added", {"id": 3})


def test_a_row_that_is_as_it_was_is_no_difference(log: MadeLog) -> None:
    start = log.commit(log.insert("Order", {"id": 1, "status": "new", "note": None}))
    log.commit(log.update("Order", 1, {"status": "new"}, {"status": "paid"}))
    log.commit(log.insert("Order", {"id": 2, "status": "new", "note": None}))
    log.commit(log.update("Order", 1, {"status": "paid"}, {"status": "new"}))
    log.commit(log.rekey("Order", 1, 7))
    log.commit(log.rekey("Order", 7, 1))
    log.commit(log.delete("Order", {"id": 2, "status": "new", "note": None}))
    end = log.snapshot("Order", {"id": 1, "status": "new", "note": None})
    with open_index(log) as index:
        assert difference(index, start, end) == []
