"""What upstream told last of every row of an entity: the log played again, up to the change in hand.

A fork needs it where a record says less than what changed: a TRUNCATE names no rows, and a snapshot after a gap no values of
before. It is made when first needed, on disk, and thrown away with the process; the log can make it again.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator
from typing import Any

import orjson

from ...schemas.errors import RecordError
from ...schemas.record import EMPTY, Head
from ...schemas.shape import Column
from ..log.home import LogReader
from .conflicts import key_text
from .spelling import one_spelling
from .units import Change, Place, Unit, Units

Fields = dict[str, Any]


class Told:
    """The rows of one entity, in a temporary file.

    Args:
        reader: The log.
        entity: The entity.
        key: The fields of its key.
        as_now: Makes fields as they were told what they are called now.

    Attributes:
        key: The fields of its key.
    """

    def __init__(
        self, reader: LogReader, entity: str, key: tuple[Column, ...], as_now: Callable[[Fields], Fields]
    ) -> None:
        self._reader, self._entity, self.key, self._as_now = reader, entity, key, as_now
        self._columns = {column.field: column for column in key}
        self._name = orjson.dumps(entity)
        self._after: Head = EMPTY
        self._open: Unit | None = None
        self._changes: Iterator[tuple[Place, Change]] = iter(())
        self._next: tuple[Place, Change] | None = None
        self._aside: dict[str, Fields] = {}
        self._snapshot: object = None
        self._snapshot_seq = -1
        # An empty name is a temporary file that SQLite removes when the connection ends.
        self._rows = sqlite3.connect("", isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("PRAGMA synchronous = OFF")
        self._rows.execute(
            "CREATE TABLE row (key TEXT PRIMARY KEY, seq INTEGER NOT NULL, fields BLOB NOT NULL) WITHOUT ROWID"
        )

    def close(self) -> None:
        """Throw it away."""
        self._rows.close()

    def advance(self, unit: Unit, place: Place) -> None:
        """Go on to just before a change; there is no way back.

        Args:
            unit: The unit of the change.
            place: The change's place; every change before it counts, and none after.

        Raises:
            CommitLogError: As `Reader.records` and `Units.take`.
        """
        if self._open is None or self._open.first_seq != unit.first_seq:
            self._finish()
            start = self._after if self._after.seq >= 0 else None
            units = Units(self._after)
            for record in self._reader.records(self._after.seq + 1, until=unit.first_seq - 1, after=start):
                whole = units.take(record)
                if whole is not None:
                    self._begin(whole)
                    self._finish()
            self._begin(unit)
        while self._next is not None and self._next[0] < place:
            self._take_next()

    def get(self, key: Fields) -> Fields | None:
        """A row as upstream told it last, or None."""
        found = self._rows.execute("SELECT fields FROM row WHERE key = ?", (self.text(key),)).fetchone()
        return None if found is None else self._as_now(orjson.loads(found[0]))

    def since(self, key: Fields, seq: int) -> bool:
        """Whether a row of that key was told of at this record or later."""
        query = "SELECT EXISTS (SELECT 1 FROM row WHERE key = ? AND seq >= ?)"
        return bool(self._rows.execute(query, (self.text(key), seq)).fetchone()[0])

    def first(self, key: Fields) -> Fields | None:
        """As `get`; where two rows have a key for a while, the one that had it first."""
        return self._aside.get(self.text(key)) or self.get(key)

    def shared(self, change: Change) -> bool:
        """Whether two rows have a change's key for the moment, and it is of the one that had it first."""
        return self._is_of(self._aside.get(self.text(change["key"])), change)

    def omitted(self, unit: Unit) -> Iterator[str]:
        """The keys, as `text` writes them, of rows that a snapshot leaves to the commits before it."""
        for values in unit.meta.get("omitted", ()):
            yield self.text(dict(zip(self._columns, values, strict=False)))

    def rows(self, *, before_seq: int | None = None, besides: Collection[str] = ()) -> Iterator[tuple[Fields, Fields]]:
        """(key, fields) of the rows, by key; reads on while others are written.

        Args:
            before_seq: Only rows not told of since before this record.
            besides: Keys, as `text` writes them, of rows to pass over.
        """
        limit = before_seq if before_seq is not None else 1 << 62
        last = ""
        while True:
            page = self._rows.execute(
                "SELECT key, fields FROM row WHERE key > ? AND seq < ? ORDER BY key LIMIT 1000", (last, limit)
            ).fetchall()
            for key, fields in page:
                if key not in besides:
                    yield self._as_now(orjson.loads(key)), self._as_now(orjson.loads(fields))
            if not page:
                return
            last = page[-1][0]

    def text(self, key: Fields) -> str:
        """A key as text, the same whichever type its values were told as."""
        return key_text({f: one_spelling(self._columns[f], value) for f, value in self._as_now(key).items()})

    def _begin(self, unit: Unit) -> None:
        """Take a unit in hand; one that does not name the entity changes nothing."""
        self._open = unit
        snapshot = unit.kind == "snapshot" and unit.meta.get("entity") == self._entity and not unit.begins_anew
        if snapshot and unit.meta.get("snapshot") != self._snapshot:
            self._snapshot, self._snapshot_seq = unit.meta.get("snapshot"), unit.first_seq
        if snapshot or (unit.kind == "commit" and (unit.items is None or self._name in unit.last.body_bytes)):
            self._changes = unit.changes(self._reader)
            self._next = next(self._changes, None)

    def _finish(self) -> None:
        """Take what is left of the unit in hand."""
        unit, self._open = self._open, None
        if unit is None:
            return
        while self._next is not None:
            self._take_next()
        self._after = unit.last.head
        self._merge_stale()
        if unit.kind == "snapshot" and unit.meta.get("entity") == self._entity:
            for key in self.omitted(unit):
                self._rows.execute("UPDATE row SET seq = ? WHERE key = ?", (unit.last.seq, key))
            if unit.meta.get("last") is True:
                self._rows.execute("DELETE FROM row WHERE seq < ?", (self._snapshot_seq,))

    def _take_next(self) -> None:
        assert self._next is not None
        at, change = self._next
        self._take(change, at)
        self._next = next(self._changes, None)

    def _take(self, change: Change, at: Place) -> None:
        try:
            if change["op"] == "truncate":
                if self._entity in change["entities"]:
                    self._rows.execute("DELETE FROM row")
            elif change["entity"] == self._entity:
                self._row(change, at[0])
        except (KeyError, TypeError) as exc:
            raise RecordError(f"record {at[0]}: item {at[1]} is not a change: {exc!r}", seq=at[0]) from exc

    def _row(self, change: Change, seq: int) -> None:
        key = self.text(change["key"])
        if change["op"] == "delete":
            if self._first_of(key, change) is None:
                self._rows.execute("DELETE FROM row WHERE key = ?", (key,))
            return
        fields: Fields = change["after"]
        if change["op"] == "row":
            # Of a field that its shape lacks it does not tell.
            fields = {**(self.get(change["key"]) or {}), **fields}
        newkey = key
        if change["op"] in ("update", "rekey"):
            aside = self._first_of(key, change)
            known = aside if aside is not None else self.get(change["key"])
            if known is None and (change["image"] != "key" or change.get("unsent")):
                # A row that no snapshot has reached yet: what it was is not known, and a snapshot will tell.
                return
            fields = {**(known or {}), **fields}
            if change["op"] == "rekey":
                newkey = self.text(change["newkey"])
                if aside is None:
                    self._rows.execute("DELETE FROM row WHERE key = ?", (key,))
            elif aside is not None:
                self._aside[key] = fields
                return
        if change["op"] in ("insert", "rekey"):
            self._step_aside(newkey, change["newkey"] if change["op"] == "rekey" else change["key"])
        self._rows.execute("INSERT OR REPLACE INTO row VALUES (?, ?, ?)", (newkey, seq, orjson.dumps(fields)))

    def _merge_stale(self) -> None:
        """Rows that had a key first and never left it went unseen: the fork has those that came in their places, with what only the old
        ones had told."""
        for key, first in self._aside.items():
            for (there,) in self._rows.execute("SELECT fields FROM row WHERE key = ?", (key,)).fetchall():
                both = orjson.dumps({**first, **orjson.loads(there)})
                self._rows.execute("UPDATE row SET fields = ? WHERE key = ?", (both, key))
        self._aside.clear()

    def _first_of(self, key: str, change: Change) -> Fields | None:
        """Take out the row that had a key first, where a change is of it."""
        return self._aside.pop(key) if self._is_of(self._aside.get(key), change) else None

    @staticmethod
    def _is_of(aside: Fields | None, change: Change) -> bool:
        """Whether a change is of the row that had its key first, and not of the one that came: what was before tells them apart. Where a
        table was made anew, the one that had it first may be none any more."""
        before: Fields = change.get("before") or {}
        return aside is not None and all(aside.get(field, was) == was for field, was in before.items())

    def _step_aside(self, key: str, fields: Fields) -> None:
        """Keys may be checked at the end of a transaction: until then the row that had a key first is meant by it."""
        known = self.get(fields)
        if known is not None:
            self._aside.setdefault(key, known)
