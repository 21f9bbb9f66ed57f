"""Rows that meet at a key within a transaction, where the server checks keys at its end only: what became of each of them.

The stream tells of changes one after the other. Where a row comes to a key and leaves it, another may have had the key all the while, also
one that the transaction says nothing of; which of them a change of that key means is not to be seen from the key. From the old row it is:
so the changes of such a table are put together to one for each row, from the transaction's beginning to its end, and stand in an
order in which every key is free when a row comes to it. Rows that are the same in all columns may stand for each other.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from ...schemas.change import DELETE, INSERT, UNSENT, RawRow
from ...schemas.errors import ACCEPT_GAP, HistoryLost
from ...transforms.table_name import TableName, quoted
from .old_rows import ROW_AT
from .row_change import HEADER_BYTES, parse_change, read_tuple, write_tuple
from .spill import Spill
from .transaction import Changes, Entry, Relation

ARRIVED_MAX: Final = 100_000
"""Keys that rows of one table came to, remembered at most while one looks whether any can have met; above that they may have."""

ALIVE_CHANGES: Final = 10_000
"""After so many changes others are told that this goes on."""

_TWICE: Final = """
SELECT 1 FROM row GROUP BY start HAVING start IS NOT NULL AND count(*) > 1
UNION ALL SELECT 1 FROM row GROUP BY here HAVING here IS NOT NULL AND count(*) > 1
"""
"""Keys of two rows at an end of the changes."""


@dataclass(frozen=True, slots=True)
class LateKey:
    """The key of a table whose rows may share it within a transaction.

    Args:
        key: The places of its columns in a row.
        name: The places of the columns by which an old row says which one it is: all of them, unless the table logs less.
        read: Gives a change whose old row is whole only where it says so.
    """

    key: tuple[int, ...]
    name: tuple[int, ...]
    read: Callable[[bytes], bytes] = bytes


def settled(changes: Changes, late: Mapping[Relation, LateKey], alive: Callable[[], None] = lambda: None) -> Changes:
    """The changes of a transaction, those of a table whose rows met at a key as one for each row.

    They stand where the table's last change stood: deletes, changes in place, changes of keys, inserts. Where nothing met, the very
    same changes are given back. Where the changes are on disk, the new ones are, too, and the old ones are closed.

    Args:
        changes: All changes, in their order.
        late: The tables to look at.
        alive: Told now and then that this goes on.

    Raises:
        HistoryLost: Rows cannot be told apart.
        DecodeError: A change cannot be read.
    """
    suspects = _suspects(changes, late, alive)
    if not suspects:
        return changes
    with ExitStack() as opened:
        stretches = _stretches(_watched(changes, alive), suspects, late, opened)
        if not any(stretch.rows.met for of_table in stretches.values() for stretch in of_table):
            return changes
        entries = _put_together(_watched(changes, alive), stretches)
        if isinstance(changes, list):
            return list(entries)
        result = Spill(entries)
        changes.close()
        return result


def _watched(changes: Changes, alive: Callable[[], None]) -> Iterator[Entry]:
    for number, entry in enumerate(changes):
        if number % ALIVE_CHANGES == ALIVE_CHANGES - 1:
            alive()
        yield entry


def _suspects(changes: Changes, late: Mapping[Relation, LateKey], alive: Callable[[], None]) -> set[TableName]:
    """The tables of which a key that a row came to is mentioned again."""
    # Where rows only come, none can have left the key of another.
    left = {r.table for r, data in changes if not isinstance(r, tuple) and r in late and data[HEADER_BYTES] != INSERT}
    found: set[TableName] = set()
    arrived: dict[TableName, set[bytes]] = {table: set() for table in left}
    for relation, data in _watched(changes, alive) if left else ():
        if isinstance(relation, tuple) or relation.table not in left - found:
            continue
        places, keys = late[relation].key, arrived[relation.table]
        op, old, _, new = parse_change(data)
        before = None if op == INSERT else _texts(old or new, places)
        after = None if op == DELETE else _texts(_filled(new, old), places)
        if before in keys or (after != before and after in keys) or len(keys) >= ARRIVED_MAX:
            found.add(relation.table)
        if after is not None and after != before:
            keys.add(after)
    return found


@dataclass(slots=True)
class _Stretch:
    """Changes of one table between which it was not emptied or altered: keys tell its rows apart at both ends.

    Attributes:
        relation: The table, as it was described last.
        rows: What the changes lead to.
        count: How many there are.
    """

    relation: Relation
    rows: "_Rows"
    count: int = field(default=0)


def _stretches(
    changes: Iterator[Entry], suspects: set[TableName], late: Mapping[Relation, LateKey], opened: ExitStack
) -> dict[TableName, list[_Stretch]]:
    stretches: dict[TableName, list[_Stretch]] = {table: [] for table in suspects}
    ended: set[TableName] = set()
    for relation, data in changes:
        if isinstance(relation, tuple):
            ended |= {r.table for r in relation}
            continue
        table = relation.table
        if table not in suspects:
            continue
        of_table = stretches[table]
        # A table may be described anew without a change. While two rows have one key the server lets nobody alter or empty it.
        if not of_table or table in ended or of_table[-1].relation.columns != relation.columns:
            of_table.append(_Stretch(relation, opened.enter_context(closing(_Rows(relation, late[relation])))))
            ended.discard(table)
        stretch = of_table[-1]
        stretch.relation = relation
        stretch.rows.take(data)
        stretch.count += 1
    return stretches


def _put_together(changes: Iterator[Entry], stretches: Mapping[TableName, list[_Stretch]]) -> Iterator[Entry]:
    waiting = {table: iter(of_table) for table, of_table in stretches.items()}
    now: dict[TableName, _Stretch] = {}
    for relation, data in changes:
        if isinstance(relation, tuple) or relation.table not in waiting:
            yield relation, data
            continue
        table = relation.table
        stretch = now[table] if table in now else now.setdefault(table, next(waiting[table]))
        stretch.count -= 1
        if not stretch.rows.met:
            yield relation, data
        elif not stretch.count:
            yield from ((stretch.relation, change) for change in stretch.rows.changes())
        if not stretch.count:
            del now[table]


class _Rows:
    """What the changes of a table make of its rows, in a temporary file: what each was first, and what it is now.

    Args:
        relation: The table.
        late: Its key.

    Attributes:
        met: Whether a row came to a key that another may have had.
    """

    def __init__(self, relation: Relation, late: LateKey) -> None:
        self.met = False
        self._relation, self._late = relation, late
        self._opening = self._oid = self._letter = b""
        # An empty name is a temporary file that SQLite removes when the connection ends.
        self._file = sqlite3.connect("", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA cache_size = -32768",
            # first, now: TupleData, NULL where there was or is no row. name: of `now`. start, here: the keys of the two.
            "CREATE TABLE row (id INTEGER PRIMARY KEY, first BLOB, now BLOB, name BLOB, start BLOB, here BLOB, came BOOL, told BOOL)",
            "CREATE INDEX by_name ON row (name)",
            "CREATE INDEX by_start ON row (start)",
            "CREATE INDEX by_here ON row (here)",
            "BEGIN",
        ):
            self._file.execute(statement)

    def close(self) -> None:
        """Throw it away."""
        self._file.close()

    def take(self, data: bytes) -> None:
        """Take the next change.

        Raises:
            HistoryLost: It does not say of which row.
            DecodeError: It cannot be read.
        """
        op, old, old_is_key, new = parse_change(self._late.read(data))
        self._opening, self._oid = data[:HEADER_BYTES], data[HEADER_BYTES + 1 : ROW_AT]
        if op == INSERT:
            self._come(_texts(new, self._late.key))
            self._add(first=None, start=None, now=new, came=True)
            return
        said = old or new or []
        whole = len(self._late.name) == len(said)
        if whole and (old is None or old_is_key):
            raise HistoryLost(
                f"{quoted(self._relation.table)}: a row came without what it was before, and its key may be another's within a transaction",
                hint=f"ALTER TABLE {quoted(self._relation.table)} REPLICA IDENTITY FULL, then commitlog resume --accept-gap",
            )
        self._letter = b"O" if whole else b"K"
        first = [value if whole or place in self._late.name else None for place, value in enumerate(said)]
        self._change(first, new if op != DELETE else None)

    def _change(self, first: RawRow, new: RawRow | None) -> None:
        start = _texts(first, self._late.key)
        known = self._file.execute(
            "SELECT id, first IS NULL, now, came FROM row WHERE name = ? LIMIT 1", (self._name(first),)
        ).fetchone()
        row, is_new, came = (known[0], known[1], known[3]) if known else (0, False, False)
        if new is not None:
            was = read_tuple(known[2], 0)[0] if known else [first[p] if p in self._late.name else UNSENT for p in range(len(first))]  # fmt: skip
            new = _filled(new, was)
        here = None if new is None else _texts(new, self._late.key)
        self.met = self.met or (here != start if came else self._taken(start))
        if here is not None and here != start:
            self._come(here)
            came = True
        if not known:
            self._add(first=first, start=start, now=new, came=came)
        elif new is None and is_new:
            self._file.execute("DELETE FROM row WHERE id = ?", (row,))
        else:
            self._file.execute(
                "UPDATE row SET now = ?, name = ?, here = ?, came = ? WHERE id = ?",
                (new and write_tuple(new), new and self._name(new), here, came, row),
            )

    def _add(self, *, first: RawRow | None, start: bytes | None, now: RawRow | None, came: bool) -> None:
        self._file.execute(
            "INSERT INTO row (first, start, now, name, here, came, told) VALUES (?, ?, ?, ?, ?, ?, FALSE)",
            (
                first and write_tuple(first),
                start,
                now and write_tuple(now),
                now and self._name(now),
                now and _texts(now, self._late.key),
                came,
            ),
        )

    def _come(self, here: bytes) -> None:
        self.met = self.met or self._taken(here)

    def _taken(self, key: bytes) -> bool:
        """Whether a row came to a key."""
        return self._file.execute("SELECT 1 FROM row WHERE here = ? AND came LIMIT 1", (key,)).fetchone() is not None

    def _name(self, row: RawRow) -> bytes:
        return blake2b(_texts(row, self._late.name), digest_size=16).digest()

    def changes(self) -> Iterator[bytes]:
        """What became of each row, as row changes.

        Raises:
            HistoryLost: Two rows would have one key at an end, where the server checks them.
        """
        if self._file.execute(_TWICE).fetchone():
            raise HistoryLost(
                f"{quoted(self._relation.table)}: rows that had one key within a transaction cannot be told apart",
                hint=ACCEPT_GAP,
            )
        yield from self._told("now IS NULL")
        yield from self._told("start = here")
        for first in self._file.execute("SELECT id FROM row WHERE start <> here ORDER BY id"):
            yield from self._turn(first[0])
        yield from self._told("first IS NULL")

    def _told(self, which: str) -> Iterator[bytes]:
        for first, now in self._file.execute(f"SELECT first, now FROM row WHERE {which} ORDER BY id"):  # noqa: S608 - ours
            if first is None:
                yield self._message(b"I", b"N", now)
            elif now is None:
                yield self._message(b"D", self._letter, first)
            elif first != now:
                yield self._message(b"U", self._letter, first, b"N", now)

    def _turn(self, row: int) -> Iterator[bytes]:
        """The changes of keys that wait for each other, from one of them: the one whose way is free first, or round about."""
        told, start, here = self._file.execute("SELECT told, start, here FROM row WHERE id = ?", (row,)).fetchone()
        if told:
            return
        last, key = row, here
        while (found := self._moved("start", key)) is not None and found[0] != row:
            last, key = found[0], found[2]
        ring = found is not None
        at: int | None = row if ring else last
        while at is not None:
            yield from self._told(f"id = {at:d}")
            self._file.execute("UPDATE row SET told = TRUE WHERE id = ?", (at,))
            start, here = self._file.execute("SELECT start, here FROM row WHERE id = ?", (at,)).fetchone()
            following = self._moved("start", here) if ring else self._moved("here", start)
            at = None if following is None or following[3] else following[0]

    def _moved(self, by: str, key: bytes) -> tuple[int, bytes, bytes, bool] | None:
        """The row that goes from a key (`start`) or to it (`here`): id, both keys, and whether it was told."""
        found: tuple[int, bytes, bytes, bool] | None = self._file.execute(
            f"SELECT id, start, here, told FROM row WHERE {by} = ? AND start <> here",  # noqa: S608 - one of ours
            (key,),
        ).fetchone()
        return found

    def _message(self, op: bytes, *parts: bytes) -> bytes:
        return b"".join((self._opening, op, self._oid, *parts))


def _filled(new: RawRow | None, was: RawRow | None) -> RawRow:
    """A new row with the values that were not sent, for they are as they were."""
    if new is None:
        return []
    return new if was is None else [old if now is UNSENT else now for now, old in zip(new, was, strict=True)]


def _texts(row: RawRow | None, places: tuple[int, ...]) -> bytes:
    """Some values of a row as bytes that no other values have."""
    return write_tuple([row[place] for place in places]) if row else b""
