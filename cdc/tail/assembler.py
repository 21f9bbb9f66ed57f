"""Messages in, whole transactions out, in commit order. No I/O.

Source: PostgreSQL manual, "Logical Replication Message Formats".
"""

from collections.abc import Callable
from struct import Struct

from ...schemas.errors import DecodeError
from ...schemas.position import PG_EPOCH_OFFSET_US, format_lsn
from .. import native
from .pgoutput import NOTICE_PREFIX, TAG_PREFIX, parse_relation, parse_type
from .row_change import MALFORMED, parse_truncate
from .spill import Spill
from .transaction import Entry, Notice, Relation, Transaction

_u32 = Struct(">I").unpack_from
_u64 = Struct(">Q").unpack_from
_oid = Struct(">I").pack
_begin = Struct(">QqI").unpack_from
_commit = Struct(">BQQq").unpack_from

GetCopyData = Callable[[int], tuple[int, memoryview | None]]
"""libpq's, as `psycopg.pq` has it: 1 for what does not wait, to size and message."""


Messages = GetCopyData | tuple[int, int, int]
"""Where messages come from; the second is for the compiled part alone: a PGconn and tail/libpq.py's functions, by their addresses."""


class PythonAssembler:
    """Collects messages into transactions, in commit order as the server sends them.

    Args:
        spill_bytes: A transaction with more raw bytes than this goes to a temporary file.
    """

    def __init__(self, spill_bytes: int) -> None:
        self._spill_bytes = spill_bytes
        self._relations: dict[bytes, Relation] = {}
        self._types: dict[int, tuple[str, str]] = {}
        self._changes: list[Entry] = []
        self._spill: Spill[Relation | tuple[Relation, ...]] | None = None
        self._bytes = 0
        self._tags: list[bytes] = []
        self._xid: int | None = None

    def feed(self, data: bytes, /) -> Transaction | None:
        """As `feed_any`."""
        return self.feed_any(data)

    def drain(self, get: Messages, out: list[Transaction], room: int, /) -> tuple[int, int, bytes | None]:
        """Take all that is at hand.

        Args:
            get: Gives the next message.
            out: The transactions that end are put behind these.
            room: How many bytes to take at most, or a message more.

        Returns:
            The room that is left; the last size, above 0 where the room is used up or a message is returned; the first message
            that is no XLogData.

        Raises what `feed_any` raises.
        """
        size = 0
        if isinstance(get, tuple):
            raise TypeError("an address is for the compiled part")
        while room > 0:
            size, data = get(1)
            if size <= 0 or data is None:
                break
            message = bytes(data)
            if message[:1] != b"w":
                return room, size, message
            room -= size
            transaction = self.feed(message)
            if transaction is not None:
                out.append(transaction)
        return room, size, None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction has begun and not yet ended."""
        return self._xid is not None

    def feed_any(self, data: bytes) -> Transaction | None:
        """Take one XLogData, of whatever kind; return the transaction when this message ends it.

        Raises:
            DecodeError: The bytes are not a message of this protocol, or stand where none may.
        """
        try:
            kind = data[25]
            if kind in b"IUD":
                self._keep(self._relations[data[26:30]], data)
            elif kind == 0x42:  # B
                if self._xid is not None:
                    raise DecodeError("a transaction begins inside another")
                self._xid = _begin(data, 26)[2]
            elif kind == 0x43:  # C
                return self._end(data)
            elif kind == 0x4D:  # M
                self._message(data)
            elif kind == 0x52:  # R
                self._relations[data[26:30]] = parse_relation(data, self._types)
            elif kind == 0x54:  # T
                self._keep(tuple(self._relations[_oid(oid)] for oid in parse_truncate(data).oids), data)
            elif kind == 0x59:  # Y
                oid, name = parse_type(data)
                self._types[oid] = name
            elif kind != 0x4F:  # O, which carries nothing a record needs
                raise DecodeError(f"unknown pgoutput message {bytes([kind])!r}")
        except KeyError as exc:
            raise DecodeError(
                f"a change of a table that was never described (oid {int.from_bytes(exc.args[0])})"
            ) from None
        except MALFORMED as exc:
            raise DecodeError(f"malformed pgoutput message at {_lsn_of(data)}: {exc}") from exc
        return None

    def close(self) -> None:
        """Drop what is in hand, and its temporary file."""
        if self._spill is not None:
            self._spill.close()
        self._changes, self._spill, self._bytes, self._tags, self._xid = [], None, 0, [], None

    def _keep(self, relation: Relation | tuple[Relation, ...], data: bytes) -> None:
        if self._xid is None:
            raise DecodeError("a change outside a transaction")
        if self._spill is not None:
            self._spill.append((relation, data))
            return
        self._changes.append((relation, data))
        self._bytes += len(data)
        if self._bytes > self._spill_bytes:
            self._spill = Spill(self._changes)
            self._changes = []

    def _message(self, data: bytes) -> None:
        transactional = data[26]
        end = data.index(b"\0", 35)
        prefix = data[35:end]
        if prefix not in (TAG_PREFIX, NOTICE_PREFIX) or not transactional:
            return
        length = _u32(data, end + 1)[0]
        if end + 5 + length != len(data):
            raise DecodeError("a logical message whose length is not its own")
        if self._xid is None:
            raise DecodeError("a tag outside a transaction")
        content = data[end + 5 :]
        self._tags.append(content if prefix == TAG_PREFIX else Notice(content))

    def _end(self, data: bytes) -> Transaction:
        if self._xid is None:
            raise DecodeError("a commit outside a transaction")
        _, _, end, time_us = _commit(data, 26)
        transaction = Transaction(
            xid=self._xid,
            end=end,
            time_us=time_us + PG_EPOCH_OFFSET_US,
            changes=self._changes if self._spill is None else self._spill,
            tags=self._tags,
        )
        self._changes, self._spill, self._bytes, self._tags, self._xid = [], None, 0, [], None
        return transaction


Assembler: type[PythonAssembler] = PythonAssembler

if native.COMPILED:

    class CompiledAssembler(native.Collector[Transaction], PythonAssembler):
        """The same, with the plain messages taken by native/collector.c, which holds the attributes, too."""

        def __init__(self, spill_bytes: int) -> None:
            native.Collector[Transaction].__init__(self, spill_bytes, Transaction)
            self._types = {}

    Assembler = CompiledAssembler


def _lsn_of(data: bytes) -> str:
    return format_lsn(_u64(data, 1)[0]) if len(data) >= 9 else "an unknown position"
