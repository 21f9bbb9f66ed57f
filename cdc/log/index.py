"""An index of a log: which records touch which row, and which commits are of which request, user and build.

It lives beside its log in `index.sqlite`, is filled when somebody asks, from where it stands to the log's head, and is
disposable. It holds no values of rows: those are read from the log, and checked, each time.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from operator import itemgetter
from typing import Any

from ...schemas.errors import UsageError
from ...schemas.record import Head, Record
from ...schemas.shape import Shape
from .fill import Op, RequestKey
from .home import LogLocation
from .index_file import IndexFile
from .places import Places
from .row_key import NO_KEY
from .scan import Place


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit, or one chunk of a snapshot, as far as the index knows it; provenance is the amended one.

    Args:
        seq: Of its first part.
        last: The seq of its last part; the same without parts.
        kind: `commit` or `snapshot`.
        id: README §6.
        time: As the header has it.
        assurance: 0 to 3.
        user: Or None.
        request_key: Its request, made comparable, or None.
        amended_by: The seq of the amend record that holds, or None.
    """

    seq: int
    last: int
    kind: str
    id: str
    time: str
    assurance: int
    user: str | None
    request_key: str | None
    amended_by: int | None


@dataclass(frozen=True, slots=True)
class Touch:
    """One thing that a record does to a row.

    Args:
        seq: The commit's.
        part: The part's number.
        item: The place among the items of the part.
        op: What.
        entity: Whose row.
        key: The row's key, encoded; NO_KEY for a truncate.
        other: With REKEY_TO the key before, with REKEY_FROM the key after.
        changed: The fields it set, where the record says only those; None where it holds the whole row, or none of it.
    """

    seq: int
    part: int
    item: int
    op: Op
    entity: str
    key: str
    other: str | None
    changed: tuple[str, ...] | None = None

    @property
    def order(self) -> tuple[int, int, int]:
        """Its place in the log."""
        return self.seq, self.part, self.item


@dataclass(frozen=True, slots=True)
class Counts:
    """How many changes of a commit are of one entity; a rekey is an update."""

    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    truncates: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which commits are asked for; what is left out does not matter.

    Args:
        seqs: These only.
        entity: Those that touch it.
        kinds: Of these kinds.
        since: Not before this time, as headers write times.
        until: Not after it.
        user: Of this user, as amended.
        build: A build id, a version or an app, or a pattern of one with `*`.
        request_key: Of this request.
    """

    seqs: Sequence[int] | None = None
    entity: str | None = None
    kinds: tuple[str, ...] = ("commit",)
    since: str | None = None
    until: str | None = None
    user: str | None = None
    build: str | None = None
    request_key: str | None = None


class Index(IndexFile):
    """The index of one log. `refresh` first; then ask.

    Args:
        location: The log.
        request_key: Makes request ids comparable, always the same way for one log.

    Raises:
        UsageError: There is no such log.
        VerificationFailed: Its head file is damaged.
        Unreachable: Another process keeps the index for itself, or it was found damaged in mid-question. Every method
            may raise it.
    """

    def __init__(self, location: LogLocation, *, request_key: RequestKey) -> None:
        super().__init__(location, request_key=request_key)
        self._places = Places(self.reader)

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        super().close()
        self._places.close()

    def commit(self, seq: int) -> Commit | None:
        """The commit, or chunk of a snapshot, that the record `seq` is or is a part of; None where it is neither."""
        rows = self._rows(f"{_COMMITS} WHERE c.seq <= ? AND c.last >= ? ORDER BY c.seq DESC LIMIT 1", (seq, seq))
        return next((Commit(*row) for row in rows), None)

    def commits(
        self, which: Filter, *, newest_first: bool = True, after: int = -1, until: int | None = None, limit: int = -1
    ) -> Iterator[Commit]:
        """The commits asked for.

        Args:
            which: Which.
            newest_first: Or oldest first.
            after: Only those whose last record is after this seq.
            until: And not after this one.
            limit: How many at most; -1 for all.
        """
        conditions = ["c.last > ?", "c.last <= ?", f"c.kind IN ({', '.join('?' * len(which.kinds))})"]
        values: list[Any] = [after, self.head.seq if until is None else until, *which.kinds]
        source = _COMMITS
        if which.entity is not None:
            # The entity's counts stand in the order asked for; each leads to its commit.
            source = _COMMITS_OF_ENTITY
            conditions.append("n.entity = (SELECT id FROM entities WHERE name = ?)")
            values.append(which.entity)
        if which.seqs is not None:
            conditions.append("c.seq IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(which.seqs)))
        for column, value in (("time >=", which.since), ("time <=", which.until), ("user =", which.user)):
            if value is not None:
                conditions.append(f"c.{column} ?")
                values.append(value)
        if which.request_key is not None:
            conditions.append("c.request_key = ?")
            values.append(which.request_key)
        if which.build is not None:
            conditions.append("c.build IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(self._builds(which.build)))
        order = f"{'n' if which.entity else 'c'}.seq {'DESC' if newest_first else 'ASC'}"
        group = "GROUP BY n.seq" if which.entity is not None else ""
        query = f"{source} WHERE {' AND '.join(conditions)} {group} ORDER BY {order} LIMIT {int(limit)}"
        for row in self._rows(query, values):
            yield Commit(*row)

    def _builds(self, pattern: str) -> list[int]:
        rows = self._rows("SELECT id, app, version, build FROM builds")
        return [row[0] for row in rows if any(name and fnmatchcase(name, pattern) for name in row[1:])]

    def commits_of_request(self, request_key: str) -> list[Commit]:
        """The commits of a request, oldest first."""
        return list(self.commits(Filter(request_key=request_key), newest_first=False))

    def counts(self, seq: int) -> dict[str, Counts]:
        """Entity to the number of changes, of the commit `seq`."""
        rows = self._rows(
            "SELECT e.name, sum(inserts), sum(updates), sum(deletes), sum(truncates) FROM entities e"
            " CROSS JOIN counts n ON n.entity = e.id AND n.seq = ? GROUP BY e.id ORDER BY e.name",
            (seq,),
        )
        return {name: Counts(*numbers) for name, *numbers in rows}

    def assurances(self) -> dict[int, int]:
        """How many commits are of each assurance, as amended."""
        rows = self._rows(
            "SELECT assurance, count(*) FROM commits WHERE kind = 'commit' GROUP BY assurance ORDER BY 1 DESC"
        )
        return {row[0]: row[1] for row in rows}

    def touches(self, entity: str, keys: Iterable[str], *, before: tuple[int, int, int] | None = None) -> list[Touch]:
        """What was done under these keys, and to the entity as a whole, in the log's order.

        Args:
            entity: The entity.
            keys: Encoded keys.
            before: Only what stands before this place.
        """
        rows = self._rows(
            "SELECT t.seq, t.part, t.item, t.op, t.key, t.other, t.changed FROM touches t JOIN commits c ON c.seq = t.seq"
            " WHERE t.entity = (SELECT id FROM entities WHERE name = ?) AND t.key IN (SELECT value FROM json_each(?))"
            " AND (t.seq, t.part, t.item) < (?, ?, ?) AND c.last <= ? ORDER BY t.seq, t.part, t.item, t.op DESC",
            (entity, json.dumps([NO_KEY, *keys]), *(before or (self.head.seq + 1, 0, 0)), self.head.seq),
        )
        fields = {row[0]: tuple(json.loads(row[1])) for row in self._rows("SELECT id, fields FROM fieldsets")}
        return [
            Touch(seq, part, item, Op(op), entity, key, other, fields.get(changed))
            for seq, part, item, op, key, other, changed in rows
        ]

    def rows(self, entity: str, *, before: tuple[int, int, int]) -> Iterator[dict[str, Any]]:
        """The keys of the rows of an entity that were there before a place of the log, as far as the log knows."""
        fields = {len(shape.key): shape.key for shape in reversed(self.shapes(entity))}
        emptied = max((touch.order for touch in self.touches(entity, (), before=before)), default=(-1, 0, 0))
        found = self._rows(
            "SELECT t.key, t.seq, t.part, t.item, t.op FROM touches t JOIN commits c ON c.seq = t.seq"
            " WHERE t.entity = (SELECT id FROM entities WHERE name = ?) AND t.key <> ? AND (t.seq, t.part, t.item) < (?, ?, ?)"
            " ORDER BY t.key, t.seq, t.part, t.item, t.op DESC",
            (entity, NO_KEY, *before),
        )
        for key, touches in groupby(found, key=itemgetter(0)):
            *_, (_, seq, part, item, op) = touches
            if (
                (seq, part, item) > emptied
                and op not in (Op.DELETE, Op.REKEY_FROM)
                and (self.snapshot_after(entity, (seq, part, item), before=before) is None)
            ):
                values = json.loads(key)
                yield dict(zip(fields[len(values)], values, strict=True))

    def entities(self) -> list[str]:
        """The entities that the log has named so far."""
        return [row[0] for row in self._rows("SELECT name FROM entities ORDER BY name")]

    def shapes(self, entity: str) -> list[Shape]:
        """An entity's shapes, the newest first."""
        rows = self._rows("SELECT document FROM shapes WHERE entity = ? ORDER BY seq DESC, rowid DESC", (entity,))
        return [Shape.parse(row[0].encode()) for row in rows]

    def shape(self, digest: str) -> Shape | None:
        """The shape of that hash."""
        rows = self._rows("SELECT document FROM shapes WHERE hash = ?", (digest,))
        return next((Shape.parse(row[0].encode()) for row in rows), None)

    def snapshot_after(self, entity: str, order: tuple[int, int, int], *, before: tuple[int, int, int]) -> int | None:
        """The seq of the last chunk of a snapshot of a whole entity, taken after one place of the log and before another."""
        rows = self._rows(
            "SELECT max(seq) FROM chunks WHERE entity = ? GROUP BY snapshot"
            " HAVING min(seq) > ? AND max(seq) < ? AND max(last) ORDER BY 1 LIMIT 1",
            (entity, order[0], before[0]),
        )
        return next((row[0] for row in rows), None)

    def schemas(self) -> list[tuple[str, int | None]]:
        """(hash, seq of its record) of the app schemas, in the order they came."""
        return [(row[0], row[1]) for row in self._rows("SELECT hash, seq FROM schemas ORDER BY id")]

    def amends(self, *, after: int = -1) -> list[tuple[int, int]]:
        """(seq of the amend record, seq of the commit it amends), of all records after a seq."""
        return [
            (row[0], row[1]) for row in self._rows("SELECT seq, ref FROM amends WHERE seq > ? ORDER BY seq", (after,))
        ]

    def last_of_kind(self, kind: str) -> int | None:
        """The seq of the last record of a kind, or None."""
        rows = self._rows("SELECT seq FROM records WHERE kind = ? ORDER BY seq DESC LIMIT 1", (kind,))
        return next((row[0] for row in rows), None)

    def snapshots(self) -> list[tuple[str, int, int, bool]]:
        """(entity, chunks, seq of the last chunk, whether that ends it) of each entity's latest snapshot since the last gap."""
        rows = self._rows(
            "SELECT entity, count(*), max(seq), last FROM chunks c"
            " WHERE seq > coalesce((SELECT max(seq) FROM records WHERE kind = 'gap'), -1) AND snapshot ="
            " (SELECT snapshot FROM chunks n WHERE n.entity = c.entity ORDER BY seq DESC LIMIT 1) GROUP BY entity ORDER BY entity"
        )
        return [(row[0], row[1], row[2], bool(row[3])) for row in rows]

    def find(self, text: str) -> int:
        """The seq of the record that `text` names: a seq, an id, a hash or the beginning of one, or `HEAD`.

        Raises:
            UsageError: It names none, or more than one.
        """
        if text == "HEAD":
            return self.head.seq
        if text.isascii() and text.isdecimal() and len(text) < 12:
            if int(text) > self.head.seq:
                raise UsageError(f"log {self.location} has no record {text}", hint=f"its head is {self.head.seq}")
            return int(text)
        found = self._find_id(text) if ":" in text else self._find_hash(text)
        if not found:
            raise UsageError(
                f"log {self.location} has no record {text!r}",
                hint="name a record by its seq, its id, or at least 4 digits of its hash; commitlog log lists commits",
            )
        if len(found) > 1:
            raise UsageError(
                f"{text} is the beginning of {len(found)} hashes", hint=f"{len(text) + 4} digits are enough"
            )
        return found[0]

    def _find_id(self, text: str) -> list[int]:
        rows = self._rows("SELECT seq FROM commits WHERE id = ? ORDER BY seq DESC LIMIT 1", (text,))
        found = [row[0] for row in rows]
        seq = text.rpartition(":")[2]
        if not found and seq.isascii() and seq.isdecimal() and len(seq) < 19 and int(seq) <= self.head.seq:
            found = [int(seq)] if self.record(int(seq)).header["id"] == text else []
        return found

    def _find_hash(self, text: str) -> list[int]:
        if not 4 <= len(text) <= 64 or not set(text) <= set("0123456789abcdef"):
            return []
        low, high = bytes.fromhex(text.ljust(64, "0")), bytes.fromhex(text.ljust(64, "f"))
        return [row[0] for row in self._rows("SELECT seq FROM records WHERE hash BETWEEN ? AND ? LIMIT 9", (low, high))]

    def line(self, seq: int) -> bytes:
        """The line of a record as it stands, line feed and all."""
        place, _ = self._place_of(seq)
        return self._places.line(place)

    def record(self, seq: int) -> Record:
        """A record, checked whole.

        Raises:
            VerificationFailed: It is damaged.
            UsageError: There is none.
        """
        place, head = self._place_of(seq)
        return self._places.record(place, head)

    def _place_of(self, seq: int) -> tuple[Place, Head]:
        rows = self._rows("SELECT segment, at, length, hash FROM records WHERE seq = ?", (seq,))
        for segment, at, length, digest in rows:
            return Place(segment, at, length), Head(seq, digest.hex())
        raise UsageError(f"log {self.location} has no record {seq}")


_FIELDS = "c.seq, c.last, c.kind, c.id, c.time, c.assurance, c.user, c.request_key, c.amended_by"
_COMMITS = f"SELECT {_FIELDS} FROM commits c"  # noqa: S608 - constants
_COMMITS_OF_ENTITY = f"SELECT {_FIELDS} FROM counts n CROSS JOIN commits c ON c.seq = n.seq"  # noqa: S608 - constants
