"""A row change as every tail hands it on: the bytes of an Insert, Update, Delete or Truncate message of pgoutput, in its XLogData.

PostgreSQL's are as the server sent them, for nothing is cheaper; the other tails write theirs alike. A value is the text that the
record's value is made from, by the converter of its canonical type.

Source: PostgreSQL manual, "Logical Replication Message Formats"; src/backend/replication/pgoutput/pgoutput.c.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from struct import error as struct_error
from typing import Any, Final

from ...schemas.change import DELETE, INSERT, UNSENT, RawChange, RawRow
from ...schemas.errors import LOG_WHOLE_ROWS, DecodeError

HEADER_BYTES: Final = 25
"""What stands before a message in XLogData: `w`, and three 64-bit numbers."""

_u16 = Struct(">H").unpack_from
_u32 = Struct(">I").unpack_from
_count = Struct(">H").pack
_length = Struct(">I").pack

MALFORMED: Final = (IndexError, struct_error, ValueError)
"""What taking malformed bytes apart may raise; always turned into a DecodeError."""


Reader = tuple[str | None, Callable[[bytes], object]]
"""What becomes of a column: its field, or None where it is not published, and how its text becomes the record's value."""


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
            elif kind == 0x75:  # u: of MySQL a session may log less
                raise DecodeError(f"an insert that does not log {field or 'all of its row'}", hint=LOG_WHOLE_ROWS)
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


def write_tuple(row: RawRow) -> bytes:
    """A row as TupleData, as `read_tuple` reads it."""
    parts = [_count(len(row))]
    for value in row:
        if isinstance(value, bytes):
            parts += (b"t", _length(len(value)), value)
        else:
            parts.append(b"u" if value is UNSENT else b"n")
    return b"".join(parts)
