"""Collections as the oplog names them: relations of one column, the whole document as raw BSON."""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from ....schemas.change import DELETE, INSERT
from ....schemas.errors import DecodeError
from ..row_change import HEADER_BYTES
from ..transaction import Relation, RelationColumn

COLUMNS: Final = (RelationColumn("document", True, 0, -1),)

_START: Final = b"w" + bytes(HEADER_BYTES - 1)
_head = Struct(">cI").pack
_value = Struct(">HcI").pack
_NOTHING: Final = b"\0\0"
"""A row of no columns."""
_TRUNCATE: Final = b"T"
_UNTOLD_BYTES_MAX: Final = HEADER_BYTES + 5 + 2 * 3
"""Of a change with two rows of no columns; one with any document is longer."""


@dataclass(frozen=True, slots=True, eq=False)
class CollectionRelation(Relation):
    """A collection. One that is dropped and made anew, or gets another name, is another relation.

    Args:
        uuid: The collection's own, 16 bytes; empty where an entry did not say it.
    """

    uuid: bytes

    @staticmethod
    def of(number: int, database: str, name: str, uuid: bytes) -> "CollectionRelation":
        """A collection under a number of the tail's own."""
        return CollectionRelation(number, database, name, "f", COLUMNS, uuid)


def row_change(op: int, relation: Relation, old: bytes | None, new: bytes | None) -> bytes:
    """A document's change as tail/row_change.py describes it.

    Args:
        op: INSERT, UPDATE or DELETE.
        relation: The collection.
        old: The whole document before, where there was one.
        new: And after.
    """
    change = _START + _head(bytes((op,)), relation.oid)
    if old is not None:
        change += b"O" + _value(1, b"t", len(old)) + old
    if new is not None:
        change += b"N" + _value(1, b"t", len(new)) + new
    return change


def untold_change(op: int, relation: Relation) -> bytes:
    """A change of a collection that nobody wants: to be counted, not to be read."""
    old = b"" if op == INSERT else b"O" + _NOTHING
    return _START + _head(bytes((op,)), relation.oid) + old + (b"" if op == DELETE else b"N" + _NOTHING)


def is_untold(data: bytes) -> bool:
    """Whether a change of documents is one that `untold_change` made."""
    return len(data) <= _UNTOLD_BYTES_MAX


def truncation(relation: Relation) -> bytes:
    """What is left of a collection that was dropped, as tail/row_change.py describes a Truncate."""
    return _START + _TRUNCATE + (1).to_bytes(4, "big") + b"\0" + relation.oid.to_bytes(4, "big")


def unreadable(relation: Relation, exc: DecodeError) -> DecodeError:
    """The error of a document with a value that cannot be told."""
    return DecodeError(
        f"a document of {'.'.join(relation.table)} cannot be told: {exc}",
        hint="put that value right in the collection, then commitlog resume --accept-gap",
    )
