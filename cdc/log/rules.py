"""What must hold between the records of a log, beyond the chain and the tree (schemas/README.md §2, §5, §6). No I/O.

Rules looks at records one after the other and keeps only what the next ones need.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from ...schemas.errors import DecodeError, VerificationFailed
from ...schemas.position import binlog_position, parse_binlog, parse_oplog
from ...schemas.record import Record, is_object
from . import canonical
from .pieces import Joiner

_MOVING = frozenset({"coverage", "gap", "source"})
"""Kinds, beside whole commits, with which the source's position moves."""

_STILL = frozenset({"genesis", "snapshot", "schema", "shape", "amend", "void"})
_OWN_ID = _MOVING | _STILL
"""Kinds whose id is `<log>:<epoch>:<seq>`."""

_OF_ROWS = frozenset({"commit", "snapshot"})
"""Kinds whose records may be parts, and their items in pieces."""

_RECENT = 1 << 17
"""Hashes kept for amend records, which name recent commits as a rule; older ones are looked up."""


class Rules:
    """The rules, over records given in their order from genesis on.

    Args:
        hash_of: Looks up the hash of an earlier record.
    """

    def __init__(self, hash_of: Callable[[int], str]) -> None:
        self.commits = 0
        self.log = ""
        self.unfinished: tuple[int, int] | None = None
        self._hash_of = hash_of
        self._epoch = 1
        self._position = ""
        self._part_of = self._part_kind = ""
        self._joiner = Joiner()
        self._schemas: set[str] = set()
        self._shapes: dict[str, str] = {}
        self._id_after: dict[str, str] = {}
        self._place = 0
        """Where the last commit from a binlog or an oplog ended."""
        self._recent = bytearray(32 * _RECENT)

    def take(self, record: Record, items: list[Any] | None) -> None:
        """Check the next record.

        Args:
            record: The record.
            items: Its items as `canonical.parse` gave them; None where the body is not shown whole.

        Raises:
            VerificationFailed: It breaks a rule.
        """
        if record.kind in _OF_ROWS:
            items = self._joiner.take(record.seq, items or []) or None
        trouble = (
            self._chain_wide(record)
            or self._source(record)
            or self._parts(record)
            or self._id(record)
            or self._of_kind(record, items)
            or (items is not None and _provenance(record, items))
        )
        if trouble:
            raise VerificationFailed(f"record {record.seq}: {trouble}", seq=record.seq)
        at = record.seq % _RECENT * 32
        self._recent[at : at + 32] = bytes.fromhex(record.hash)

    def _chain_wide(self, record: Record) -> str:
        header, seq = record.header, record.seq
        log, epoch = header["log"], header["epoch"]
        if (seq == 0) != (record.kind == "genesis"):
            return "a log begins with genesis, and has no other"
        if seq == 0:
            self.log = log
        if log != self.log:
            return f"it is of log {log}, not of {self.log}"
        if epoch != self._epoch and not (epoch == self._epoch + 1 and record.kind in ("gap", "source")):
            return f"its epoch {epoch} does not follow {self._epoch}"
        if epoch != self._epoch:
            self._id_after.clear()
            self._place = 0
        self._epoch = epoch
        return ""

    def _source(self, record: Record) -> str:
        header, kind = record.header, record.kind
        position, after = header["source"]["position"], header["source"]["after"]
        if record.seq and after != self._position:
            return f"it follows position {after!r}, and the record before stands at {self._position!r}"
        still = kind in _STILL or (kind == "commit" and not _is_whole(header))
        if still and position != after:
            return f"a {kind} record must not move the position, as it does from {after!r} to {position!r}"
        self._position = position
        return ""

    def _parts(self, record: Record) -> str:
        header, open_parts = record.header, self.unfinished
        part = header.get("part")
        if record.kind == "void":
            named = header.get("void", {})
            if open_parts != (named.get("from"), named.get("to")):
                return "it voids other records than the unfinished parts before it"
            self.unfinished = None
            self._joiner = Joiner()
            return ""
        expected = 0 if open_parts is None else open_parts[1] - open_parts[0] + 1
        whole = header["id"] if record.kind == "commit" else record.kind
        if part is None or part["n"] != expected or (open_parts and whole != self._part_of):
            if open_parts:
                return f"the {self._part_kind} begun in record {open_parts[0]} is neither finished nor void"
            return "" if part is None else f"it is part {part['n']} of a {record.kind} whose first parts are missing"
        self.unfinished = None if part["last"] else (record.seq - expected, record.seq)
        self._part_of, self._part_kind = whole, record.kind
        return ""

    def _id(self, record: Record) -> str:
        header, id_ = record.header, record.header["id"]
        if record.kind in _OWN_ID:
            own = f"{self.log}:{self._epoch}:{record.seq}"
            return "" if id_ == own else f"its id is {id_!r}, not {own!r}"
        if record.kind != "commit" or not _is_whole(header):
            return ""
        self.commits += 1
        if header["source"]["engine"] in ("mysql", "mariadb"):
            return self._in_binlog(header["source"]["position"])
        if header["source"]["engine"] == "mongodb":
            return self._in_oplog(header["source"]["position"], id_)
        if header["source"]["engine"] != "postgresql":
            return ""
        # The LSN in it has a fixed width, and grows with every commit of one server and timeline.
        of, _, place = id_.rpartition(":")
        if not (of and len(place) == 16 and place > self._id_after.get(of, "")):
            return f"its id {id_!r} does not come after that of the commit before"
        self._id_after[of] = place
        return ""

    def _in_binlog(self, position: str) -> str:
        """Whether a commit ends behind the one before: in a binlog GTIDs need not ascend."""
        try:
            place = binlog_position(*parse_binlog(position))
        except DecodeError as exc:
            return str(exc)
        return self._ascends(place, position)

    def _in_oplog(self, position: str, id_: str) -> str:
        """Whether a commit's id is of the place where it ends, behind the one before."""
        if id_.rpartition(":")[2] != position:
            return f"its id {id_!r} is not that of a commit at {position}"
        try:
            return self._ascends(parse_oplog(position), position)
        except DecodeError as exc:
            return str(exc)

    def _ascends(self, place: int, position: str) -> str:
        if place <= self._place:
            return f"its position {position} does not come after that of the commit before"
        self._place = place
        return ""

    def _of_kind(self, record: Record, items: list[Any] | None) -> str:
        header = record.header
        match record.kind:
            case "commit" | "snapshot":
                if self._joiner.open and _is_whole(header):
                    return "the last piece of a change is missing"
                return self._changes(record, items)
            case "schema":
                self._schemas.add(header.get("schema", ""))
                if items is not None and [header.get("schema")] != _hashes(items):
                    return "its app schema is not the one whose hash its header says"
            case "shape":
                shapes = header.get("shapes", [])
                if items is not None and shapes != _hashes(items):
                    return "its shapes are not those whose hashes its header says"
                entities = [_get(shape, "entity") for shape in items[2:]] if items is not None else [""] * len(shapes)
                self._shapes.update(zip(shapes, map(str, entities), strict=True))
            case "amend":
                return self._amends(record)
            case _:
                return ""
        return ""

    def _changes(self, record: Record, items: list[Any] | None) -> str:
        header = record.header
        shapes = header.get("shapes", [])
        if header.get("schema") not in self._schemas:
            return "its app schema was not recorded before"
        if not self._shapes.keys() >= set(shapes):
            return "a shape it uses was not recorded before"
        entities = [self._shapes[shape] for shape in shapes]
        for number, item in enumerate(items[2:] if items else (), 2):
            index = _get(item, "shape")
            if index is None and _get(item, "op") == "truncate":
                continue
            if type(index) is not int or not 0 <= index < len(entities):
                return f"item {number} names a shape that is not there"
            if entities[index] not in ("", item.get("entity")):
                return f"item {number} is of entity {item.get('entity')!r}, its shape of {entities[index]!r}"
        return ""

    def _amends(self, record: Record) -> str:
        ref = record.header.get("ref")
        if ref is None or not 0 <= ref["seq"] < record.seq:
            return "it amends no earlier record"
        if record.seq - ref["seq"] <= _RECENT:
            at = ref["seq"] % _RECENT * 32
            found = self._recent[at : at + 32].hex()
        else:
            found = self._hash_of(ref["seq"])
        return "" if found == ref["hash"] else f"it amends a record {ref['seq']} of another hash"


def _is_whole(header: dict[str, Any]) -> bool:
    """Whether a record ends its commit."""
    part = header.get("part")
    return part is None or part["last"]


def _provenance(record: Record, items: list[Any]) -> str:
    by, meta = items[0], items[1]
    if by is not None and (not is_object(by) or record.header.get("part", {"n": 0})["n"]):
        return "its by is not that of the first part, an object or null"
    return "" if is_object(meta) else "its meta is not an object"


def _hashes(items: list[Any]) -> list[str]:
    """The hashes of a record's own items; canonical JSON has one spelling, so these are those of its bytes."""
    return [sha256(canonical.dump(item)).hexdigest() for item in items[2:]]


def _get(item: Any, key: str) -> Any:
    return item.get(key) if is_object(item) else None
