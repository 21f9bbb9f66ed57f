"""The net change of each row between two places of a log: what came, what went, and what is another value now."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .history import History, Row, RowName
from .index import Commit, Filter, Index
from .row_key import encode

What = Literal["added", "changed", "removed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not at the later place what it was at the earlier one.

    Args:
        entity: Its entity.
        key: Its key at the earlier place; of a row that was added, its key at the later one.
        newkey: Its key at the later place, where it is another one.
        what: What became of it.
        before: The fields that changed, as far as the log knows what they were; of a removed row what its deletion says of
            it, so nothing of one that a TRUNCATE removed.
        after: The fields that changed, as they are; of an added row all of it.
        types: Field to canonical type.
    """

    entity: str
    key: Mapping[str, Any]
    newkey: Mapping[str, Any] | None
    what: What
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    types: Mapping[str, str]


@dataclass(slots=True)
class _Net:
    """A row while the commits between the two places are gone through."""

    key: Mapping[str, Any]
    existed: bool
    was: Mapping[str, Any]
    before: dict[str, Any] = field(default_factory=dict[str, Any])
    after: dict[str, Any] = field(default_factory=dict[str, Any])
    gone: bool = False
    types: Mapping[str, str] = field(default_factory=dict[str, str])


def difference(index: Index, start: int, end: int) -> list[Difference]:
    """The rows that differ between two places of a log, by entity and key.

    Args:
        index: The log's index, filled.
        start: The seq of the earlier place: what this record did is not part of the difference.
        end: The seq of the later place: what this record did is.

    Raises:
        VerificationFailed: A record between them is damaged.
    """
    fold: _Fold | None = None
    for commit in index.commits(Filter(kinds=("commit", "snapshot")), newest_first=False, after=start, until=end):
        # A commit in parts counts with its last: the first may stand before the earlier place.
        fold = fold or _Fold(index, min(start + 1, commit.seq))
        fold.take(commit)
    return sorted(fold.result(), key=_order) if fold else []


class _Fold:
    """Adds up changes.

    Args:
        index: The log's index.
        first: The first seq that is part of the difference.
    """

    def __init__(self, index: Index, first: int) -> None:
        self._index, self._history = index, History(index)
        self._before = (first, 0, 0)
        self._rows: dict[tuple[str, str], _Net] = {}
        self._replaced: list[tuple[str, _Net]] = []

    def take(self, commit: Commit) -> None:
        """Add the changes of a commit."""
        for seq in range(commit.seq, commit.last + 1):
            read = self._history.read(seq)
            for change in read.items[2:]:
                if change["op"] == "truncate":
                    for entity in change["entities"]:
                        self._truncate(entity)
                else:
                    self._row(change, self._history.types(read.header, change))

    def result(self) -> Iterator[Difference]:
        """What differs."""
        for entity, net in [*self._replaced, *((entity, net) for (entity, _), net in self._rows.items())]:
            if net.gone and net.existed:
                yield Difference(entity, net.was, None, "removed", net.before, {}, net.types)
            elif not net.gone and not net.existed:
                yield Difference(entity, net.key, None, "added", {}, net.after, net.types)
            elif not net.gone:
                yield from self._changed(entity, net)

    def _changed(self, entity: str, net: _Net) -> Iterator[Difference]:
        if net.after.keys() - net.before.keys():
            row = self._at_start(entity, net.was)
            net.before = {**(row.values if row else {}), **net.before}
        after = {f: v for f, v in net.after.items() if f not in net.before or net.before[f] != v}
        newkey = net.key if net.was != net.key else None
        if after or newkey:
            before = {f: net.before[f] for f in after if f in net.before}
            yield Difference(entity, net.was, newkey, "changed", before, after, net.types)

    def _at_start(self, entity: str, key: Mapping[str, Any]) -> Row | None:
        return self._history.row(RowName(entity, (encode(key.values()),)), before=self._before)

    def _row(self, change: Mapping[str, Any], types: Mapping[str, str]) -> None:
        op, entity, key = change["op"], change["entity"], change["key"]
        net = self._rows.get((entity, encode(key.values())))
        if net is None:
            net = self._rows[entity, encode(key.values())] = self._first(change)
        net.types = {**net.types, **types}
        if op == "delete":
            before: Mapping[str, Any] = change.get("before", {})
            for name, value in before.items():
                if name not in net.after:
                    net.before.setdefault(name, value)
            net.gone, net.after = True, {}
            return
        if change.get("image") == "full" and net.existed:
            for name, value in change["before"].items():
                if name not in net.after:
                    net.before.setdefault(name, value)
        if op in ("insert", "row"):
            net.after = {}
        net.gone = False
        net.after.update(change["after"])
        if op == "rekey":
            del self._rows[entity, encode(key.values())]
            net.key = change["newkey"]
            self._give_key(entity, net)

    def _first(self, change: Mapping[str, Any]) -> _Net:
        """A row that comes up for the first time."""
        existed = change["op"] != "insert"
        if change["op"] == "row":
            row = self._at_start(change["entity"], change["key"])
            existed = row is not None and row.end is None
        return _Net(change["key"], existed=existed, was=change["key"])

    def _give_key(self, entity: str, net: _Net) -> None:
        """Put a row under its new key. A row that had it before is gone, else the source had refused."""
        place = (entity, encode(net.key.values()))
        if place in self._rows:
            self._replaced.append((entity, self._rows[place]))
        self._rows[place] = net

    def _truncate(self, entity: str) -> None:
        nets = [*self._replaced, *((name, net) for (name, _), net in self._rows.items())]
        # A row that has come up is known by the key it began with, whatever key it has now.
        known = {encode(net.was.values()) for name, net in nets if name == entity and net.existed}
        for key in self._index.rows(entity, before=self._before):
            place = encode(key.values())
            if place not in known:
                self._rows[entity, place] = _Net(key, existed=True, was=key)
        for (name, _), net in self._rows.items():
            if name == entity:
                net.gone, net.after = True, {}


def _order(row: Difference) -> tuple[Any, ...]:
    return row.entity, [(isinstance(value, str), value) for value in row.key.values()]
