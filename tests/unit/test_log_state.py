"""What a log amounts to for its writer: folded from the records, kept in a cache that is believed only of this log."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from commitlog.cdc.log.chain import ChainWriter, Extras
from commitlog.cdc.log.embedded import Writer
from commitlog.cdc.log.location import Location
from commitlog.cdc.log.reader import Reader
from commitlog.cdc.log.state import LogState, Progress, state_of
from commitlog.schemas.record import Record

LOG = "0123456789abcdef0123456789abcdef"
SCHEMA, SHAPE = "a" * 64, "b" * 64
GENESIS = {"name": "shop", "system": "1", "timeline": 1, "database": "shop"}
ID = {"field": "id", "type": "int32", "engine_type": "integer", "class": "public", "form": "clear"}
MOOD = {
    "field": "mood",
    "type": "enum",
    "engine_type": "mood",
    "labels": ["sad", "ok"],
    "class": "public",
    "form": "clear",
}
TABLE = {"entity": "Order", "table": "public.orders", "key": ["id"], "columns": [ID, MOOD]}
GAP = {"reason": "lost", "lost_after": "0/3", "resumed_at": "0/9", "system": "2", "timeline": 1, "database": "shop"}


class Lines:
    """Records of a log, made one after the other."""

    def __init__(self) -> None:
        self._chain = ChainWriter(LOG, epoch=1, engine="postgresql", position="0/1")
        self.lines: list[bytes] = []

    def add(self, kind: str, item: Any = None, *, position: str = "", meta: Any = None, **extras: Any) -> "Lines":
        items = [] if item is None else [orjson.dumps(item)]
        self.lines.append(self._chain.record(kind, items, position=position, meta=meta, extras=Extras(**extras)))
        return self

    def commit(self, position: str, xid: int, part: tuple[int, bool] | None = None) -> "Lines":
        items = [b"null", b'{"xid":%d}' % xid]
        position = position if part is None or part[1] else self._chain.position
        self.lines.append(
            self._chain.commit(f"pg:1:1:{xid:016X}", xid, position=position, items=items, tail=Extras(part=part).text())
        )
        return self

    def next_epoch(self) -> "Lines":
        chain = self._chain
        self._chain = ChainWriter(LOG, epoch=2, engine="postgresql", head=chain.head, position=chain.position)
        return self

    def records(self) -> list[Record]:
        return [Record.parse(line) for line in self.lines]

    def write(self, folder: Path) -> Reader:
        location = Location(folder, "shop")
        with Writer.open(location, memory=None) as writer:
            for line in self.lines[writer.head.seq + 1 :]:
                writer.append(line, Record.parse(line).head)
            writer.flush()
        return Reader(location)


def some() -> Lines:
    """A log with a genesis, a schema, a shape, part of a snapshot, and two commits, the second in parts."""
    meta = {"snapshot": "2a", "entity": "Order", "from": None, "to": [7], "last": False}
    return (
        Lines()
        .add("genesis", GENESIS)
        .add("schema", {}, schema=SCHEMA)
        .add("shape", TABLE, shapes=(SHAPE,))
        .add("snapshot", {}, meta=meta, schema=SCHEMA, shapes=(SHAPE,))
        .commit("0/2", 8)
        .commit("", 9, (0, False))
        .commit("0/3", 9, (1, True))
    )


def folded(lines: Lines) -> LogState:
    state = LogState()
    state.fold(lines.records())
    return state


def test_a_log_is_folded() -> None:
    lines = some()

    state = folded(lines)

    assert state.head == lines.records()[-1].head
    assert (state.log, state.epoch, state.position) == (LOG, 1, "0/3")
    assert state.genesis == GENESIS
    assert state.commit == {
        "id": "pg:1:1:0000000000000009",
        "position": "0/3",
        "after": "0/2",
        "xid": 9,
        "time": "1970-01-01T00:00:00.000009Z",
    }
    assert state.schemas == {SCHEMA: 1}
    assert state.shapes == {SHAPE}
    assert state.labels == {"mood": ["sad", "ok"]}
    assert state.describes(TABLE)
    assert state.snapshots == {"Order": Progress("2a", [7], False)}


def test_a_shape_says_nothing_new_until_another_says_otherwise_of_its_table() -> None:
    state = folded(some())
    fewer, wider, moved = (
        {**TABLE, "columns": [{**ID, "class": "personal"}]},
        {**TABLE, "columns": [{**ID, "type": "int64", "engine_type": "bigint"}]},
        {**TABLE, "table": "public.purchases"},
    )
    assert state.describes(fewer)
    for other in wider, moved:
        assert not state.describes(other)
        state.describe(other)
        assert state.describes(other)
        assert not state.describes(TABLE)
        state.describe(TABLE)
        assert state.describes(TABLE)
    assert not state.describes({**TABLE, "entity": "Part"})
    assert not state.describes({**TABLE, "columns": [{**ID, "field": "number"}]})


def test_parts_without_their_last_are_no_commit_yet() -> None:
    state = folded(some().commit("", 10, (0, False)))

    assert state.commit["xid"] == 9
    assert state.position == "0/3"


def test_after_a_gap_nothing_of_the_lost_history_is_expected_of_the_source() -> None:
    state = folded(some().next_epoch().add("gap", GAP, position="0/9"))

    assert state.epoch == 2
    assert state.position == "0/9"
    assert state.commit == {}
    assert state.snapshots == {}
    assert state.genesis["system"] == "2"
    assert state.schemas == {SCHEMA: 1}


def test_a_commit_after_a_gap_is_the_last() -> None:
    assert folded(some().next_epoch().add("gap", GAP, position="0/9").commit("0/A", 3)).commit["xid"] == 3


def test_the_cache_says_what_was_saved(tmp_path: Path) -> None:
    state = folded(some())

    state.save(tmp_path / "state.json")

    assert LogState.load(tmp_path / "state.json") == state


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"head": 1}', "\x00"])
def test_a_cache_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)

    assert LogState.load(tmp_path / "state.json") == LogState()


def test_only_what_came_after_the_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, cache = some(), tmp_path / "state.json"
    state_of(lines.write(tmp_path), cache)
    reader = lines.commit("0/4", 10).write(tmp_path)
    asked: list[int] = []
    records = reader.records

    def counted(from_seq: int = 0, **more: Any) -> Any:
        asked.append(from_seq)
        return records(from_seq, **more)

    monkeypatch.setattr(reader, "records", counted)

    state = state_of(reader, cache)

    assert state == folded(lines)
    assert min(asked) == len(lines.lines) - 2
    assert LogState.load(cache) == state


def test_a_cache_of_another_log_is_not_believed(tmp_path: Path) -> None:
    other, cache = some().commit("0/5", 77), tmp_path / "state.json"
    folded(other).save(cache)

    state = state_of(some().write(tmp_path), cache)

    assert state.commit["xid"] == 9
