"""A look at some documents of each collection, for a first app schema. It reads little, whatever the size of the collection."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS

from ....transforms.document_path import Keys
from ...app_schemas.draft import Sample, Seen
from ...tail.mongodb_catalog import Catalog, MongoCollection
from .checks import unfit

DOCUMENTS = 200
"""So many of each collection are looked at."""

BATCH = 20
DEPTH_MAX = 8
PATHS_MAX = 2_000
"""Of one collection no more are noted: keys that are data make no fields."""

TIME_MS = 20_000

_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)
_TYPES: dict[type, str] = {
    float: "double",
    str: "string",
    dict: "object",
    DBRef: "object",
    list: "array",
    bytes: "binData",
    Binary: "binData",
    ObjectId: "objectId",
    bool: "bool",
    DatetimeMS: "date",
    type(None): "null",
    Regex: "regex",
    Code: "javascript",
    int: "int",
    Timestamp: "timestamp",
    Int64: "long",
    Decimal128: "decimal",
    MinKey: "minKey",
    MaxKey: "maxKey",
}


def samples(catalog: Catalog) -> Iterator[Sample]:
    """Some documents of each collection of the source's database.

    Raises:
        Unreachable: The source does not answer.
        Refused: A collection may not be read.
    """
    for collection in catalog.collections(catalog.address.database):
        name = (collection.namespace, collection.name)
        why = unfit(collection)
        yield Sample(name, unfit=why[0]) if why else _sample(catalog, collection)


def _sample(catalog: Catalog, collection: MongoCollection) -> Sample:
    seen: dict[Keys, Seen] = {}
    count = 0
    with catalog.reading(f"documents of {collection.quoted} cannot be read"):
        found = catalog.client[collection.namespace].get_collection(collection.name, codec_options=_CODEC)
        with found.aggregate([{"$sample": {"size": DOCUMENTS}}], batchSize=BATCH, maxTimeMS=TIME_MS) as cursor:
            for document in cursor:
                _note(document, (), seen, in_array=False)
                count += 1
    return Sample((collection.namespace, collection.name), documents=count, seen=seen)


def _note(document: Mapping[str, object], at: Keys, seen: dict[Keys, Seen], *, in_array: bool) -> None:
    for key, value in document.items():
        keys = (*at, key)
        if keys not in seen and len(seen) >= PATHS_MAX:
            continue
        place = seen.setdefault(keys, Seen())
        place.in_array |= in_array
        name = _TYPES.get(type(value), "object")
        place.types[name] = place.types.get(name, 0) + 1
        for inner, through_array in _documents(value, in_array):
            if len(keys) < DEPTH_MAX:
                _note(inner, keys, seen, in_array=through_array)


def _documents(value: object, in_array: bool) -> Iterator[tuple[Mapping[str, object], bool]]:
    """The documents that a value is or has in arrays, each with whether its path goes through one."""
    if isinstance(value, dict):
        yield cast("dict[str, object]", value), in_array
    elif isinstance(value, list):
        for one in cast("list[object]", value):
            for inner, _ in _documents(one, True):
                yield inner, True
