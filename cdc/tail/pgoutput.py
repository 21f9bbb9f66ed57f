"""The messages of the pgoutput protocol, taken apart. No I/O, and no opinion on what is published.

Row changes stay the server's bytes until a transaction has ended, because its tag stands last and decides which app
schema shapes it; `read_tuple` and `Change` then take them apart.

Source: PostgreSQL manual, "Logical Replication Message Formats"; src/backend/replication/pgoutput/pgoutput.c.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from struct import error as struct_error
from types import MappingProxyType
from typing import Any, Final

from ...schemas.change import DELETE, INSERT, UNSENT, RawChange, RawRow
from ...schemas.errors import DecodeError
from .spill import Spill

HEADER_BYTES: Final = 25
"""What stands before a message in XLogData: `w`, and three 64-bit numbers."""

TAG_PREFIX: Final = b"commitlog"
NOTICE_PREFIX: Final = b"commitlog.ddl"

_u16 = Struct(">H").unpack_from
_u32 = Struct(">I").unpack_from
_type = Struct(">Ii").unpack_from

MALFORMED: Final = (IndexError, struct_error, ValueError)
"""What taking malformed bytes apart may raise; always turned into a DecodeError."""


Reader = tuple[str | None, Callable[[bytes], object]]
"""What becomes of a column: its field, or None where it is not published, and how its text becomes the record's value."""


class Notice(bytes):
    """Among a transaction's tags: what the event triggers of `setup` say of it (notices.py), which is no tag."""


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """A column as a Relation message describes it: name, whether it is part of the replica identity, type and typmod.

    `type_name`: schema and name of the type at the time, where it is not one of the system's; of a domain what it is at bottom.
    """

    name: str
    in_identity: bool
    type_oid: int
    modifier: int
    type_name: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """A table as it was when the server described it; a table that changes is described anew, as another object."""

    oid: int
    namespace: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]

    @property
    def table(self) -> tuple[str, str]:
        """Schema and name, unquoted."""
        return self.namespace, self.name


Entry = tuple[Relation | tuple[Relation, ...], bytes]
"""(the relation of a row change, or all those of a truncate; XLogData with the message from byte 25)."""


@dataclass(slots=True)
class Transaction:
    """One committed transaction, its changes still bytes.

    Args:
        xid: The top-level transaction number, 32 bits.
        end: The commit's end LSN: where a reader that has it goes on.
        time_us: Commit time, microseconds since 2000-01-01 UTC.
        changes: The entries in order.
        tags: The contents of all messages under the prefix `commitlog`, and the Notices.
    """

    xid: int
    end: int
    time_us: int
    changes: list[Entry] | Spill[Relation | tuple[Relation, ...]]
    tags: list[bytes]

    def relations(self) -> list[Relation]:
        """All relations that the changes are of, in the order of their first change."""
        changes = self.changes
        places = changes.relations if isinstance(changes, Spill) else dict.fromkeys(place for place, _ in changes)
        return [*dict.fromkeys(r for place in places for r in ((place,) if isinstance(place, Relation) else place))]

    def close(self) -> None:
        """Give back the disk space of a large transaction."""
        if isinstance(self.changes, Spill):
            self.changes.close()


def parse_type(data: bytes) -> tuple[int, tuple[str, str]]:
    """Take a Type message apart: the type's object id, and its schema and name. Raises MALFORMED."""
    namespace, at = _string(data, 30)
    return _u32(data, 26)[0], (namespace or "pg_catalog", _string(data, at)[0])


def parse_relation(data: bytes, types: Mapping[int, tuple[str, str]] = MappingProxyType({})) -> Relation:
    """Take a Relation message apart.

    Args:
        data: The XLogData.
        types: Object id to schema and name, of the types described before.

    Raises:
        DecodeError: It is malformed.
    """
    columns: list[RelationColumn] = []
    try:
        oid = _u32(data, 26)[0]
        namespace, at = _string(data, 30)
        name, at = _string(data, at)
        identity, count = chr(data[at]), _u16(data, at + 1)[0]
        at += 3
        for _ in range(count):
            flags = data[at]
            column, at = _string(data, at + 1)
            type_oid, modifier = _type(data, at)
            columns.append(RelationColumn(column, bool(flags & 1), type_oid, modifier, types.get(type_oid)))
            at += 8
    except MALFORMED as exc:
        raise DecodeError(f"malformed relation message: {exc}") from exc
    if at != len(data):
        raise DecodeError("a relation message of another length than it says")
    return Relation(oid, namespace or "pg_catalog", name, identity, tuple(columns))


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


@dataclass(slots=True)
class Truncate:
    """A TRUNCATE statement: the tables it emptied, and its flags."""

    oids: list[int]
    cascade: bool
    restart_identity: bool


def parse_truncate(data: bytes) -> Truncate:
    """Take a Truncate message apart.

    Raises:
        DecodeError: It is malformed.
    """
    try:
        count, flags = _u32(data, 26)[0], data[30]
        if len(data) != 31 + 4 * count:
            raise DecodeError("a truncate message of another length than it says")
        oids = [_u32(data, 31 + 4 * i)[0] for i in range(count)]
    except MALFORMED as exc:
        raise DecodeError(f"malformed truncate message: {exc}") from exc
    return Truncate(oids, bool(flags & 1), bool(flags & 2))


def parse_change(data: bytes) -> RawChange:
    """Take an Insert, Update or Delete message apart, from byte 25 of its XLogData.

    Raises:
        DecodeError: It is malformed.
    """
    old: RawRow | None = None
    new: RawRow | None = None
    old_is_key = False
    try:
        op, at = data[25], 30
        if op != INSERT and data[at] in b"KO":
            old_is_key = data[at] == 0x4B
            old, at = read_tuple(data, at + 1)
        if op != DELETE:
            if data[at] != 0x4E:
                raise DecodeError("a row change without a new row")
            new, at = read_tuple(data, at + 1)
        elif old is None:
            raise DecodeError("a delete without an old row")
    except MALFORMED as exc:
        raise DecodeError(f"malformed row change: {exc}") from exc
    if at != len(data):
        raise DecodeError("a row change of another length than it says")
    return op, old, old_is_key, new


def read_insert(data: bytes, readers: Sequence[Reader]) -> dict[str, Any]:
    """The new row of an Insert message as recorded values, in one pass: two of three changes are inserts.

    Args:
        data: The XLogData.
        readers: One for each column of the relation.

    Raises:
        DecodeError: It is malformed.
        ValueError: A value is not the text of its type.
    """
    row: dict[str, Any] = {}
    try:
        if data[30] != 0x4E or _u16(data, 31)[0] != len(readers):
            raise DecodeError("an insert whose row is not of its relation")
        at = 33
        length = _u32
        for field, convert in readers:
            kind = data[at]
            if kind == 0x74:  # t
                end = at + 5 + length(data, at + 1)[0]
                if field is not None:
                    row[field] = convert(data[at + 5 : end])
                at = end
            elif kind == 0x6E:  # n
                if field is not None:
                    row[field] = None
                at += 1
            else:
                raise DecodeError(f"unknown kind of value {bytes([kind])!r} in an insert")
    except (IndexError, struct_error) as exc:
        raise DecodeError(f"malformed insert: {exc}") from exc
    if at != len(data):
        raise DecodeError("an insert of another length than it says")
    return row


def read_tuple(data: bytes, at: int) -> tuple[RawRow, int]:
    """Read a TupleData at `at`: the values' texts in column order, and where it ends."""
    count = _u16(data, at)[0]
    at += 2
    values: RawRow = []
    keep = values.append
    for _ in range(count):
        kind = data[at]
        if kind == 0x74:  # t
            end = at + 5 + _u32(data, at + 1)[0]
            keep(data[at + 5 : end])
            at = end
        elif kind == 0x6E:  # n
            keep(None)
            at += 1
        elif kind == 0x75:  # u
            keep(UNSENT)
            at += 1
        else:
            raise DecodeError(f"unknown kind of value {bytes([kind])!r}")
    return values, at
