"""One entry of the oplog, taken apart: which operation, where, and in which session and transaction.

Source: MongoDB, src/mongo/db/repl/oplog_entry.idl.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ....schemas.errors import DecodeError
from .document import (
    ARRAY,
    BINARY,
    BOOL,
    DOCUMENT,
    Value,
    document_end,
    elements,
    items,
    string,
    timestamp,
    whole_number,
)

_VERSION: Final = 2
_UUID_BYTES: Final = 16
_EMPTY: Final[Value] = (0, b"")
_TRUE: Final[Value] = (BOOL, b"\1")
_VECTORED: Final = 1
"""`multiOpType` of an applyOps whose operations stand for themselves."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What happened, of an entry or of one of the operations in its applyOps.

    Args:
        op: `i`, `u`, `d`, `c` or `n`.
        database: Of its namespace.
        collection: Of its namespace.
        uuid: Of the collection; empty where it does not say it.
        o: The document, the update, the key or the command.
        migrated: It moves documents, rather than to change them.
    """

    op: str
    database: str
    collection: str
    uuid: bytes
    o: bytes
    migrated: bool

    @property
    def key(self) -> bytes:
        """What the compiled part knows its collection by."""
        return f"{self.database}.{self.collection}".encode() + b"\0" + self.uuid


@dataclass(frozen=True, slots=True)
class OplogEntry:
    """An entry.

    Args:
        operation: What happened.
        at: Its timestamp, 64 bits.
        term: The primary's term.
        time_us: When, microseconds since 1970.
        session: `lsid`, as it stands there; empty of what has no session.
        lsid: The session's UUID, or empty.
        txn_number: The number of the retryable write or of the transaction, or None.
        previous: The timestamp of the entry before in its transaction; 0 of the first.
        vectored: It is an applyOps that is no transaction.
    """

    operation: Operation
    at: int
    term: int
    time_us: int
    session: bytes
    lsid: bytes
    txn_number: int | None
    previous: int
    vectored: bool


def split(batch: bytes) -> Iterator[tuple[int, int]]:
    """Where the documents of a batch begin and end. Raises DecodeError."""
    at = 0
    while at < len(batch):
        end = document_end(batch, at, len(batch))
        yield at, end
        at = end


def read_entry(data: bytes) -> OplogEntry:
    """Take an entry apart.

    Raises:
        DecodeError: It is malformed, or of another version.
    """
    found = items(data)
    at = timestamp(found.get(b"ts"))
    if at is None:
        raise DecodeError("an entry without a timestamp")
    version = whole_number(found.get(b"v"))
    if version != _VERSION:
        raise DecodeError(f"an entry of version {version}, which is not known here")
    wall = whole_number(found.get(b"wall"))
    session = _of(DOCUMENT, found.get(b"lsid"))
    previous = _of(DOCUMENT, found.get(b"prevOpTime"))
    return OplogEntry(
        operation=_operation(found),
        at=at,
        term=whole_number(found.get(b"t")) or 0,
        time_us=(at >> 32) * 1_000_000 if wall is None else wall * 1000,
        session=session,
        lsid=_uuid(items(session).get(b"id")) if session else b"",
        txn_number=whole_number(found.get(b"txnNumber")),
        previous=(timestamp(items(previous).get(b"ts")) or 0) if previous else 0,
        vectored=whole_number(found.get(b"multiOpType")) == _VECTORED,
    )


def read_operations(data: Value) -> list[Operation]:
    """The operations of an applyOps.

    Raises:
        DecodeError: They are malformed.
    """
    kind, body = data
    if kind != ARRAY:
        raise DecodeError("an applyOps without operations")
    operations: list[Operation] = []
    for each, _, at, end in elements(body):
        if each != DOCUMENT:
            raise DecodeError("an applyOps with something else than operations")
        operations.append(_operation(items(body[at:end])))
    return operations


def _operation(found: dict[bytes, Value]) -> Operation:
    op, namespace = string(found.get(b"op")), string(found.get(b"ns"))
    kind, o = found.get(b"o", _EMPTY)
    if op is None or namespace is None or kind != DOCUMENT:
        raise DecodeError("an entry without an operation, a namespace or an object")
    database, _, collection = namespace.decode(errors="replace").partition(".")
    return Operation(
        op.decode(errors="replace"),
        database,
        collection,
        _uuid(found.get(b"ui")),
        o,
        found.get(b"fromMigrate") == _TRUE,
    )


def _of(kind: int, value: Value | None) -> bytes:
    return value[1] if value is not None and value[0] == kind else b""


def _uuid(value: Value | None) -> bytes:
    data = _of(BINARY, value)[5:]
    return data if len(data) == _UUID_BYTES else b""
