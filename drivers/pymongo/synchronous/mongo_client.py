"""`pymongo.synchronous.mongo_client`, with what tags in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymongo.synchronous.mongo_client

if TYPE_CHECKING:
    from pymongo.synchronous.mongo_client import MongoClient as MongoClient
else:
    from pymongo.typings import _DocumentType

    from ...pymongo_client import TaggingClient
    from ...pymongo_connection import StampedPool, WrappingPool

    class MongoClient(TaggingClient, pymongo.synchronous.mongo_client.MongoClient[_DocumentType]):
        """See `pymongo.MongoClient`, and `TaggingClient` for `lone_writes`."""

        _pool_classes = (StampedPool, WrappingPool)


def __getattr__(name: str) -> Any:
    return getattr(pymongo.synchronous.mongo_client, name)
