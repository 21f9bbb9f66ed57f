"""What happened to one row, and who last set each of its fields.

The index says which records touch the row; what they say is read from the log, each record checked.
"""

import difflib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...schemas.errors import UsageError
from .fill import Op
from .index import Index, Touch
from .pieces import Joiner, piece_of
from .reader import items_of
from .row_key import parse_keys

KEPT_BYTES = 8 << 20
"""Records up to this size together stay parsed: fields of a row are often set by the same few commits."""

End = Literal["deleted", "truncated", "rekeyed", "absent"]
_ENDS: dict[Op, End] = {
    Op.DELETE: "deleted",
    Op.TRUNCATE: "truncated",
    Op.REKEY_FROM: "rekeyed",
    Op.ABSENT: "absent",
}


@dataclass(frozen=True, slots=True)
class Read:
    """A record, checked whole and parsed. Its items are empty where its body is withheld or redacted.

    A change in pieces is an item of the record with its last piece, and the records with the others have none.
    """

    hash: str
    header: Mapping[str, Any]
    items: list[Any]
    bytes: int

    @property
    def by(self) -> Mapping[str, Any] | None:
        """Item 0."""
        return self.items[0] if self.items else None

    @property
    def meta(self) -> Mapping[str, Any]:
        """Item 1."""
        return self.items[1] if self.items else {}


@dataclass(frozen=True, slots=True)
class RowName:
    """A row as a command names it: its entity, and its key in each form that shapes of the entity gave it."""

    entity: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """A field's value and what set it."""

    value: Any
    touch: Touch


@dataclass(frozen=True, slots=True)
class Row:
    """A row at a place of the log.

    Args:
        key: Its key, as recorded.
        fields: Each field that is known, with its origin. Of a row that is gone: what it held last.
        end: How it ended, None where it is there.
        ended_by: What ended it.
        whole: Whether all its fields are known: the log saw it begin.
    """

    key: Mapping[str, Any]
    fields: dict[str, Origin]
    end: End | None
    ended_by: Touch | None
    whole: bool

    @property
    def values(self) -> dict[str, Any]:
        """Field to value."""
        return {field: origin.value for field, origin in self.fields.items()}


class History:
    """Histories of the rows of one log.

    Args:
        index: Its index, filled.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._kept: OrderedDict[int, Read] = OrderedDict()
        self._kept_bytes = 0
        self._types: dict[str, Mapping[str, str]] = {}

    def entity(self, name: str) -> str:
        """`name`, if it is an entity of the log.

        Raises:
            UsageError: It is not; the hint has the nearest.
        """
        known = self._index.entities()
        if name in known:
            return name
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = (
            f"write {near[0]}" if near else f"it has {', '.join(known[:20])}" if known else "no table is recorded yet"
        )
        raise UsageError(f"log {self._index.location} has no entity {name!r}", hint=hint)

    def name(self, entity: str, key: str) -> RowName:
        """The row of a key as commands take it.

        Raises:
            UsageError: No such entity, or not a key of it.
        """
        shapes = self._index.shapes(self.entity(entity))
        if not shapes:
            raise UsageError(f"the log does not say yet what the key of {entity} is")
        keys: dict[str, None] = {}
        refused: list[UsageError] = []
        for shape in shapes:
            try:
                keys |= dict.fromkeys(parse_keys(key, shape))
            except UsageError as exc:
                refused.append(exc)
        if not keys:
            raise refused[0]
        return RowName(entity, tuple(keys))

    def touches(self, row: RowName, *, before: tuple[int, int, int] | None = None) -> list[Touch]:
        """All that happened to the rows of this key, in the log's order; of the last, also under keys it had before."""
        own = _alive(self._index.touches(row.entity, row.keys, before=before))
        own = [touch for touch in own if touch.op is not Op.OMITTED]
        born = next((touch for touch in reversed(own) if touch.op is Op.REKEY_TO), None)
        return own if born is None else sorted(self._former(born) + own, key=lambda touch: touch.order)

    def row(self, row: RowName, *, before: tuple[int, int, int] | None = None) -> Row | None:
        """The row at the end of the log, or before a place of it; None where nothing ever touched it."""
        own = _alive(self._index.touches(row.entity, row.keys, before=before))
        born = _last_rekey(own)
        touches = own if born is None else self._former(own[born]) + own[born:]
        if touches and touches[-1].op not in _ENDS:
            # After a gap a new snapshot says what is left; of a row that went in the gap there is nothing else.
            missing = self._index.snapshot_after(
                row.entity, touches[-1].order, before=before or (self._index.head.seq + 1, 0, 0)
            )
            if missing is not None:
                touches = [*touches, replace(touches[-1], seq=missing, part=0, item=0, op=Op.ABSENT)]
        touches = [touch for touch in touches if touch.op is not Op.OMITTED]
        return self._replay(touches) if touches else None

    def item(self, touch: Touch) -> dict[str, Any]:
        """The change itself."""
        found: dict[str, Any] = self.read(touch.seq + touch.part).items[touch.item]
        return found

    def read(self, seq: int) -> Read:
        """A record.

        Raises:
            VerificationFailed: It is damaged.
            UsageError: There is none.
        """
        read = self._kept.pop(seq, None)
        if read is None:
            read = self._read(seq)
            self._kept_bytes += read.bytes
            while self._kept and self._kept_bytes > KEPT_BYTES:
                self._kept_bytes -= self._kept.popitem(last=False)[1].bytes
        self._kept[seq] = read
        return read

    def _read(self, seq: int) -> Read:
        record = self._index.record(seq)
        items, size = items_of(record), len(record.body_bytes)
        if record.kind in ("commit", "snapshot") and (piece := piece_of(items)) is not None:
            number, last = piece
            joiner = Joiner()
            for before in range(seq - number, seq) if last else ():
                part = self._index.record(before)
                joiner.take(before, items_of(part))
                size += len(part.body_bytes)
            items = joiner.take(seq, items) if last else items[:2]
        return Read(record.hash, record.header, items, size)

    def _former(self, born: Touch) -> list[Touch]:
        """What happened to a row under the keys it had before it got this one."""
        former: list[Touch] = []
        while True:
            assert born.other is not None
            touches = _alive(self._index.touches(born.entity, (born.other,), before=born.order))
            at = _last_rekey(touches)
            former = touches[at or 0 :] + former
            if at is None:
                return former
            born = touches[at]

    def types(self, header: Mapping[str, Any], change: Mapping[str, Any]) -> Mapping[str, str]:
        """Field to canonical type, of a change in the record of that header; empty where it names no shape."""
        shapes, number = header.get("shapes", ()), change.get("shape")
        if type(number) is not int or not 0 <= number < len(shapes):
            return {}
        digest = shapes[number]
        if digest not in self._types:
            shape = self._index.shape(digest)
            self._types[digest] = {column.field: column.type for column in shape.columns} if shape else {}
        return self._types[digest]

    def _replay(self, touches: Sequence[Touch]) -> Row:
        setters: dict[str, Touch] = {}
        ended_by: Touch | None = None
        whole = False
        for touch in touches:
            if touch.op in _ENDS:
                ended_by = touch
                continue
            if ended_by is not None or touch.op is Op.INSERT:
                setters, ended_by, whole = {}, None, False
            if touch.changed is not None:
                setters.update(dict.fromkeys(touch.changed, touch))
                continue
            self._set_whole(setters, touch)
            whole = True
        fields = {field: Origin(self._value(touch, field), touch) for field, touch in setters.items()}
        named = next(touch for touch in reversed(touches) if touch.op not in (Op.TRUNCATE, Op.ABSENT))
        key = self.item(named)["newkey" if named.op is Op.REKEY_TO else "key"]
        return Row(key, fields, _ENDS[ended_by.op] if ended_by else None, ended_by, whole)

    def _set_whole(self, setters: dict[str, Touch], touch: Touch) -> None:
        """A record that holds the whole row sets the fields that are not what they were; what it leaves out stays."""
        item = self.item(touch)
        after, unsent = item["after"], item.get("unsent", ())
        for field in [field for field in setters if field not in after and field not in unsent]:
            del setters[field]
        for field, value in after.items():
            setter = setters.get(field)
            if setter is None or self._value(setter, field) != value:
                setters[field] = touch

    def _value(self, touch: Touch, field: str) -> Any:
        return self.item(touch)["after"][field]


def _last_rekey(touches: list[Touch]) -> int | None:
    """Where in the list the row of today got its key, None where it was born with it."""
    return max((at for at, touch in enumerate(touches) if touch.op is Op.REKEY_TO), default=None)


def _alive(touches: list[Touch]) -> list[Touch]:
    """The touches without the truncates that found no row."""
    kept: list[Touch] = []
    alive = False
    for touch in touches:
        if touch.op is not Op.TRUNCATE or alive:
            kept.append(touch)
            alive = touch.op not in _ENDS
    return kept
