"""What documents were before their changes: config.system.preimages, read by ranges beside the oplog.

Source: MongoDB, src/mongo/db/pipeline/change_stream_preimage.idl.
"""

from collections.abc import Iterator
from struct import Struct
from struct import error as struct_error
from typing import Any

from bson.binary import Binary
from bson.errors import BSONError
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.raw_bson import RawBSONDocument

from ...schemas.errors import DecodeError
from .mongodb_catalog import PRE_IMAGES, position_of, timestamp
from .mongodb_connection import Client
from .mongodb_cursor import MAJORITY, read_all
from .mongodb_wire import Wire
from .oplog.images import ImageKey

_DOING = "what documents were before cannot be read"
_UUID_SUBTYPE = 4
_HEAD = Struct("<i22s16s4sQ15sq16sq10si")
_FORM = (
    b"\x03_id\0\x45\0\0\0\x05nsUUID\0\x10\0\0\0\x04",
    b"\x11ts\0",
    b"\x12applyOpsIndex\0",
    b"\0\x09operationTime\0",
    b"\x03preImage\0",
)
"""What stands between the values of a pre-image, as servers write it."""


class PreImages:
    """Reads them, on a connection of its own, opened when first needed.

    Args:
        client: Of the set.
        user: Who reads, for messages.
        patience_s: How long to wait for an answer.
    """

    def __init__(self, client: Client, *, user: str, patience_s: float) -> None:
        self._client, self._user, self._patience_s = client, user, patience_s
        self._wire: Wire | None = None

    def close(self) -> None:
        """End the connection."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def read(self, uuid: bytes, first: int, last: int) -> dict[ImageKey, bytes]:
        """Those of a collection, of all entries from one position up to another, both included: raw documents.

        Raises:
            Unreachable: No member answers.
            Refused: The user may not read them.
        """
        images: dict[ImageKey, bytes] = {}
        for batch in self._find(uuid, first, last):
            _take(batch, images)
        return images

    def _find(self, uuid: bytes, first: int, last: int) -> Iterator[bytes]:
        if self._wire is None:
            self._wire = Wire(self._client, doing=_DOING, user=self._user)
        database, name = PRE_IMAGES
        command: dict[str, Any] = {
            "find": name,
            "filter": {"_id": {"$gte": _id(uuid, first, MinKey()), "$lte": _id(uuid, last, MaxKey())}},
            # Another member than the one whose oplog is read may be behind it.
            "readConcern": {**MAJORITY, "afterClusterTime": timestamp(last)},
            "batchSize": 1 << 20,
            "$db": database,
        }
        return read_all(self._wire, command, self._patience_s)


def _id(uuid: bytes, position: int, place: object) -> dict[str, object]:
    return {"nsUUID": Binary(uuid, _UUID_SUBTYPE), "ts": timestamp(position), "applyOpsIndex": place}


def _take(batch: bytes, images: dict[ImageKey, bytes]) -> None:
    """Take pre-images out of raw documents. Flat, because every update and delete passes here."""
    at, end, unpack = 0, len(batch), _HEAD.unpack_from
    try:
        while at < end:
            size, opening, _, ts, position, apply_ops, place, told, _, name, length = unpack(batch, at)
            begin = at + _HEAD.size - 4
            if (opening, ts, apply_ops, told, name) == _FORM and begin + length + 1 == at + size:
                images[position, place] = batch[begin : begin + length]
            else:
                key, image = _decoded(batch[at : at + size])
                images[key] = image
            at += size
    except (struct_error, BSONError, KeyError, TypeError, AttributeError) as exc:
        raise DecodeError(f"a pre-image that cannot be read: {exc}") from exc
    if at != end:
        raise DecodeError("pre-images of another length than they say")


def _decoded(data: bytes) -> tuple[ImageKey, bytes]:
    document: RawBSONDocument = RawBSONDocument(data)
    of: Any = document["_id"]
    return (position_of(of["ts"]), int(of["applyOpsIndex"])), bytes(document["preImage"].raw)
