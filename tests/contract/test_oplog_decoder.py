"""The oplog's decoder against a real server: what it says that documents become is what the server makes of them."""

import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from bson import Decimal128, Int64, Timestamp, decode
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import WriteError

from commitlog.cdc.tail.oplog.assembler import OplogAssembler
from commitlog.cdc.tail.row_change import parse_change
from commitlog.schemas.change import DELETE
from fixtures.oplog_play import after_images, entries, now, play, pre_images

Client = MongoClient[dict[str, Any]]


def decoded(client: Client, database: str, begin: Timestamp, *, compiled: bool) -> list[tuple[int, bytes]]:
    """Position and document of everything but deletes, of `orders`."""

    def ask(uuid: bytes, first: int, last: int) -> Mapping[tuple[int, int], bytes]:
        return {key[1:]: data for key, data in pre_images(client, first, last).items() if key[0] == uuid}

    into = OplogAssembler(
        replica_set="a-set",
        wanted=lambda name, collection: (name, collection) == (database, "orders"),
        spill_bytes=1 << 20,
        pre_images=ask,
        database=database,
        compiled=compiled,
    )
    out = into.feed(b"".join(entries(client, begin)))
    return [
        (transaction.end, new[0])
        for transaction in out
        for relation, data in transaction.changes
        if not isinstance(relation, tuple) and relation.name == "orders"
        for op, _, _, new in (parse_change(data),)
        if op != DELETE and new is not None and isinstance(new[0], bytes)
    ]


def test_writes_of_every_kind(mongodb_database: str) -> None:
    client: Client = MongoClient(mongodb_database, uuidRepresentation="standard")
    with client:
        database = client.get_default_database().name
        begin = now(client)
        play(client, database)
        told = after_images(client, database, begin)
        assert len(told) > 30
        for compiled in (True, False):
            found = decoded(client, database, begin, compiled=compiled)
            # A change stream does not tell what the command applyOps does.
            assert [each for each in found if decode(each[1])["_id"] != 500] == told


_VALUES: list[Any] = [
    1,
    None,
    "text",
    Int64(5),
    Decimal128("1.50"),
    [],
    {},
    [1, [2], {"x": 1}],
    {"x": [1, 2, 3], "y": {"z": 1}},
    True,
]
_PATHS = ["a", "b", "a.x", "a.x.1", "a.x.4", "b.0", "b.y.z", "b.2.x", "c", "c.d.e", "c.0.x"]


def _update(rng: random.Random) -> Any:
    path, other, value = rng.choice(_PATHS), rng.choice(_PATHS), rng.choice(_VALUES)
    return rng.choice(
        [
            {"$set": {path: value}},
            {"$unset": {path: 1}},
            {"$set": {path: value}, "$unset": {other: 1}},
            {"$push": {path: {"$each": [value, 1], "$position": rng.randrange(3), "$slice": rng.choice([-3, 5])}}},
            {"$pop": {path: rng.choice([1, -1])}},
            {"$pull": {path: value}},
            {"$rename": {path: other}},
            {"$inc": {path: 1}},
            [{"$set": {path.replace(".0", "").replace(".1", ""): {"$literal": value}}}, {"$unset": other}],
            [{"$replaceWith": {"$mergeObjects": [{"_id": 1, "c": value}, "$$ROOT"]}}],
            [{"$replaceWith": {"$literal": {"_id": 1, "b": value, "a": {"x": [1, {"x": 2}, 3]}}}}],
            # An _id that these leave out, or put elsewhere, stays what and where it was.
            [{"$replaceWith": {"$literal": {"b": value, "a": {"x": [1, {"x": 2}, 3]}}}}],
            [{"$replaceWith": {"a": "$a", "b": {"$literal": value}, "long": "$long"}}],
            [{"$replaceWith": {"long": "$long", "a": "$a", "_id": {"$literal": rng.choice([1, Int64(1), 1.0])}}}],
            [{"$project": {"_id": 0, "c": 0}}],
        ]
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_updates_of_any_form(mongodb_database: str, seed: int) -> None:
    """What they make is what is stored; a change stream's own images have keys in another order where a pipeline moved them."""
    client: Client = MongoClient(mongodb_database)
    rng = random.Random(seed)
    with client:
        into = client.get_default_database()
        into.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
        raw: Any = into.get_collection("orders", codec_options=CodecOptions(document_class=RawBSONDocument))
        begin = now(client)
        into.orders.insert_one({"_id": 1, "long": "x" * 100})
        stored = [bytes(raw.find_one().raw)]
        for _ in range(400):
            # A path may lead nowhere in this document.
            with suppress(WriteError):
                if into.orders.update_one({"_id": 1}, _update(rng)).modified_count:
                    stored.append(bytes(raw.find_one().raw))
        assert len(stored) > 100
        for compiled in (True, False):
            assert [data for _, data in decoded(client, into.name, begin, compiled=compiled)] == stored
