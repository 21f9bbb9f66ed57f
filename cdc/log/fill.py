"""What an index keeps of records: a fold over scanned records into rows of its tables.

Writes rows and begins or ends no transaction; `Index` decides when.
"""

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any

import orjson

from ...schemas.errors import RecordError
from .pieces import Joiner, piece_of
from .row_key import NO_KEY, encode
from .scan import Scanned

RequestKey = Callable[[str], str]
"""A request id as received, to the one that all records of the same request share."""

TABLES = """
CREATE TABLE about(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE records(seq INTEGER PRIMARY KEY, kind TEXT, hash BLOB, segment INTEGER, at INTEGER, length INTEGER);
CREATE TABLE commits(seq INTEGER PRIMARY KEY, last INTEGER, kind TEXT, id TEXT, time TEXT, assurance INTEGER, user TEXT,
    request_key TEXT, build INTEGER, schema INTEGER, amended_by INTEGER);
CREATE INDEX commits_by_request ON commits(request_key) WHERE request_key IS NOT NULL;
CREATE TABLE chunks(seq INTEGER PRIMARY KEY, entity TEXT, snapshot TEXT, last INTEGER);
CREATE TABLE amends(seq INTEGER PRIMARY KEY, ref INTEGER);
CREATE TABLE entities(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE builds(id INTEGER PRIMARY KEY, app TEXT, version TEXT, build TEXT, UNIQUE(app, version, build));
CREATE TABLE schemas(id INTEGER PRIMARY KEY, hash TEXT UNIQUE, seq INTEGER);
CREATE TABLE fieldsets(id INTEGER PRIMARY KEY, fields TEXT UNIQUE);
CREATE TABLE shapes(seq INTEGER, hash TEXT PRIMARY KEY, entity TEXT, document TEXT);
CREATE TABLE touches(entity INTEGER, key TEXT, seq INTEGER, part INTEGER, item INTEGER, op INTEGER, other TEXT,
    changed INTEGER, PRIMARY KEY(entity, key, seq, part, item, op)) WITHOUT ROWID;
CREATE TABLE counts(entity INTEGER, seq INTEGER, part INTEGER, inserts INTEGER, updates INTEGER, deletes INTEGER,
    truncates INTEGER, PRIMARY KEY(entity, seq, part)) WITHOUT ROWID;
"""
"""`touches.changed` names the fields that an update with a full image set, so that the value of a field can be traced without
reading every record that touched its row.

A commit is known by the seq of its first part, everywhere. Touches and counts stand from its first part on, its row in
`commits` from its last: whoever reads them joins `commits`, and parts that are unfinished or void do not count."""


class Op(IntEnum):
    """What a record does to a row."""

    INSERT = 0
    UPDATE = 1
    DELETE = 2
    TRUNCATE = 3
    REKEY_TO = 4
    """The row got this key; `other` is the one it had."""
    REKEY_FROM = 5
    """The row gave up this key; `other` is the one it got."""
    ROW = 6
    """A snapshot found the row."""
    OMITTED = 7
    """A snapshot left the row to the commits before it."""
    ABSENT = 8
    """A snapshot of the whole entity did not find the row; not in `touches`, for there is no item that says so."""


_OPS = {"insert": (Op.INSERT, 0), "row": (Op.ROW, 0), "update": (Op.UPDATE, 1), "delete": (Op.DELETE, 2)}
"""A change's name to what it does and the column of `counts` that it counts in."""

_NO_BUILD = (None, None, None)


class Fill:
    """Turns records, given in their order, into rows.

    Args:
        db: The index, its tables in place.
        request_key: Makes request ids comparable.
        pending: The row of a commit whose last part had not come when the last fill ended, as that fill left it.
        read_again: Gives the items of the records from one seq to another.
    """

    def __init__(
        self,
        db: Any,
        request_key: RequestKey,
        pending: list[Any] | None,
        read_again: Callable[[int, int], Iterable[list[Any]]],
    ) -> None:
        # `db` is an apsw.Connection; apsw's own types speak of Buffer, which Python 3.11 does not know.
        self.pending = pending
        self._db, self._request_key, self._read_again = db, request_key, read_again
        self._entities = _Names(db, "entities", "name")
        self._builds = _Names(db, "builds", "app", "version", "build")
        self._schemas = _Names(db, "schemas", "hash")
        self._fieldsets = _Names(db, "fieldsets", "fields")
        self._records: list[tuple[Any, ...]] = []
        self._commits: list[list[Any]] = []
        self._touches: list[tuple[Any, ...]] = []
        self._counts: list[tuple[Any, ...]] = []
        self._amends: list[tuple[Any, ...]] = []

    def add(self, record: Scanned) -> None:
        """Take one record in.

        Raises:
            RecordError: It is not what its kind says.
        """
        header = record.header
        kind = header.get("kind")
        self._records.append((record.seq, kind, bytes.fromhex(record.hash), record.segment, record.at, record.length))
        try:
            if self.pending is not None and kind not in ("void", self.pending[2]):
                raise ValueError(f"it stands between the parts of a {self.pending[2]}")
            match kind:
                case "commit" | "snapshot":
                    self._commit(record, kind)
                case "amend":
                    by = record.items()[0]
                    self._amends.append((record.seq, header["ref"]["seq"], *self._provenance(by)))
                case "shape":
                    self._shapes(record)
                case "schema":
                    self._db.execute(
                        "UPDATE schemas SET seq = ? WHERE id = ? AND seq IS NULL",
                        (record.seq, self._schemas[header["schema"]]),
                    )
                case "void":
                    self.pending = None
                case _:
                    pass
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as exc:
            raise RecordError(f"record {record.seq} is not what its kind ({kind}) says: {exc}", seq=record.seq) from exc

    def write(self) -> None:
        """Write what was taken in since the last time."""
        many = self._db.executemany
        many("INSERT INTO records VALUES(?,?,?,?,?,?)", self._records)
        many("INSERT INTO commits VALUES(?,?,?,?,?,?,?,?,?,?,NULL)", self._commits)
        many("INSERT OR IGNORE INTO touches VALUES(?,?,?,?,?,?,?,?)", self._touches)
        many("INSERT INTO counts VALUES(?,?,?,?,?,?,?)", self._counts)
        for seq, ref, *who in self._amends:
            found = self._db.execute(
                "SELECT seq FROM commits WHERE seq <= ? AND last >= ? ORDER BY seq DESC LIMIT 1", (ref, ref)
            ).fetchone()
            if found:
                self._db.execute("INSERT INTO amends VALUES(?,?)", (seq, found[0]))
                self._db.execute(
                    "UPDATE commits SET amended_by = ?, assurance = ?, user = ?, request_key = ?, build = ? WHERE seq = ?",
                    (seq, *who, found[0]),
                )
        for rows in (self._records, self._commits, self._touches, self._counts, self._amends):
            rows.clear()

    def _commit(self, record: Scanned, kind: str) -> None:
        header, items = record.header, record.items()
        part = header.get("part")
        number = part["n"] if part else 0
        if number == 0:
            if self.pending is not None:
                raise ValueError("a part of the commit before is missing")
            schema = self._schemas[header["schema"]] if "schema" in header else None
            who = self._provenance(items[0] if items else None)
            row: list[Any] = [record.seq, None, kind, header["id"], header["time"], *who, schema]
        elif self.pending is None or self.pending[0] + number != record.seq:
            raise ValueError("the parts before it are missing")
        else:
            row = self.pending
        whole = part is None or part["last"]
        self._changes(self._joined(record.seq, items), row[0], number)
        if kind == "snapshot" and items and whole:
            self._chunk(row[0], number, items[1])
        self.pending = row
        if whole:
            row[1] = record.seq
            self._commits.append(row)
            self.pending = None

    def _joined(self, seq: int, items: list[Any]) -> list[Any]:
        """The items of a record, with a change whose last piece it holds; nothing of one that is still to go on."""
        piece = piece_of(items)
        if piece is None:
            return items
        number, last = piece
        joiner = Joiner()
        for before, read in enumerate(self._read_again(seq - number, seq - 1) if last and number else (), seq - number):
            joiner.take(before, read)
        return joiner.take(seq, items) if last else items[:2]

    def _chunk(self, seq: int, part: int, meta: dict[str, Any]) -> None:
        entity = meta["entity"]
        self._db.execute("INSERT INTO chunks VALUES(?,?,?,?)", (seq, entity, meta["snapshot"], meta["last"]))
        number = self._entities[entity]
        self._touches += [
            (number, encode(key), seq, part, 1, Op.OMITTED, None, None) for key in meta.get("omitted", ())
        ]

    def _changes(self, items: list[Any], seq: int, part: int) -> None:
        counts: dict[int, list[int]] = {}
        for number in range(2, len(items)):
            item = items[number]
            op = item["op"]
            if op == "truncate":
                for name in item["entities"]:
                    entity = self._entities[name]
                    self._touches.append((entity, NO_KEY, seq, part, number, Op.TRUNCATE, None, None))
                    counts.setdefault(entity, [0, 0, 0, 0])[3] += 1
                continue
            entity = self._entities[item["entity"]]
            key = encode(item["key"].values())
            changed = self._fieldsets[encode(item["after"])] if item.get("image") == "full" else None
            if op == "rekey":
                new = encode(item["newkey"].values())
                self._touches.append((entity, key, seq, part, number, Op.REKEY_FROM, new, None))
                self._touches.append((entity, new, seq, part, number, Op.REKEY_TO, key, changed))
                counted = 1
            else:
                code, counted = _OPS[op]
                self._touches.append((entity, key, seq, part, number, code, None, changed))
            count = counts.get(entity)
            if count is None:
                count = counts[entity] = [0, 0, 0, 0]
            count[counted] += 1
        self._counts += [(entity, seq, part, *count) for entity, count in counts.items()]

    def _provenance(self, by: Any) -> tuple[Any, ...]:
        """assurance, user, request_key and build of item 0."""
        if by is None:
            return 0, None, None, None
        request = by.get("request")
        build = by.get("app"), by.get("version"), by.get("build")
        return (
            by["assurance"],
            by.get("user"),
            self._request_key(request) if request else None,
            None if build == _NO_BUILD else self._builds[build],
        )

    def _shapes(self, record: Scanned) -> None:
        for digest, shape in zip(record.header["shapes"], record.items()[2:], strict=True):
            self._db.execute(
                "INSERT OR REPLACE INTO shapes VALUES(?,?,?,?)",
                (record.seq, digest, shape["entity"], orjson.dumps(shape).decode()),
            )
            self._entities[shape["entity"]]


class _Names(dict[Any, int]):
    """The ids of names that are few and come again and again; one that is new gets its id when it is asked for.

    A name of one column is its text, one of several a tuple.
    """

    def __init__(self, db: Any, table: str, *columns: str) -> None:
        names = ", ".join(columns)
        rows = db.execute(f"SELECT id, {names} FROM {table}").fetchall()  # noqa: S608 - names of ours
        super().__init__((row[1] if len(columns) == 1 else tuple(row[1:]), row[0]) for row in rows)
        self._db = db
        self._insert = f"INSERT INTO {table}({names}) VALUES({', '.join('?' * len(columns))}) RETURNING id"

    def __missing__(self, name: Any) -> int:
        found = int(self._db.execute(self._insert, name if isinstance(name, tuple) else (name,)).fetchone()[0])
        self[name] = found
        return found
