"""What a transaction in MongoDB writes: documents whole, so that nothing in them is ever taken for an operator; and the memory of it, as a
server gives up a transaction with all that was written in it. No I/O."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, UpdateOne

from ...tail.oplog.document import DOCUMENT, TIMESTAMP, Value, document, element, items

RAW: Final = CodecOptions[RawBSONDocument](document_class=RawBSONDocument)


@dataclass(frozen=True, slots=True)
class Write:
    """One document's change.

    Args:
        key: Its _id.
        before: The document as it was read; None for none.
        after: The document as it is to be; None for none.
    """

    key: Value
    before: bytes | None
    after: bytes | None


class Journal:
    """What the transaction in hand has written, to be written again."""

    def __init__(self) -> None:
        self._writes: list[tuple[str, list[Write]]] = []
        self._notes: list[Callable[[], None]] = []

    @property
    def length(self) -> tuple[int, int]:
        """How far it goes, for `cut`."""
        return len(self._writes), len(self._notes)

    def add(self, collection: str, writes: Sequence[Write]) -> None:
        """Documents were changed."""
        self._writes.append((collection, list(writes)))

    def note(self, write: Callable[[], None]) -> None:
        """The fork's memory was: it depends on no document, and no document on it."""
        self._notes.append(write)

    def cut(self, length: tuple[int, int]) -> None:
        """Forget what was written since."""
        del self._writes[length[0] :]
        del self._notes[length[1] :]

    def again(self) -> Iterator[tuple[str, list[Write]]]:
        """The changes of documents in order, as few at a time as their keys allow; it is kept so."""
        merged: list[tuple[str, list[Write]]] = []
        keys: set[Value] = set()
        for collection, writes in self._writes:
            new = {write.key for write in writes}
            if merged and merged[-1][0] == collection and keys.isdisjoint(new):
                merged[-1][1].extend(writes)
                keys |= new
            else:
                merged.append((collection, list(writes)))
                keys = new
        self._writes = merged
        yield from merged

    @property
    def notes(self) -> Sequence[Callable[[], None]]:
        """What writes to the fork's memory, in order."""
        return self._notes


def operation(write: Write) -> Any:
    """What writes a document exactly: nothing in it is ever taken for an operator."""
    query = raw((b"_id", (DOCUMENT, document([element(write.key[0], b"$eq", write.key[1])]))))
    if write.after is None:
        return DeleteOne(query)
    after = RawBSONDocument(write.after, RAW)
    if write.before is None and not _has_a_time_to_fill(write.after):
        return InsertOne(after)
    return UpdateOne(query, [{"$replaceWith": {"$literal": after}}], upsert=write.before is None)


def _has_a_time_to_fill(after: bytes) -> bool:
    """Whether an insert would put the server's time in place of an empty timestamp."""
    return any(kind == TIMESTAMP and not any(data) for kind, data in items(after).values())


def raw(*fields: tuple[bytes, Value]) -> RawBSONDocument:
    return RawBSONDocument(document(element(kind, name, data) for name, (kind, data) in fields), RAW)
