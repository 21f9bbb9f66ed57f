"""`pymongo.asynchronous.mongo_client`, with what tags in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymongo.asynchronous.mongo_client

if TYPE_CHECKING:
    from pymongo.asynchronous.mongo_client import AsyncMongoClient as AsyncMongoClient
else:
    from pymongo.typings import _DocumentType

    from ...pymongo_client import TaggingClient
    from ...pymongo_connection import StampedAsyncPool, WrappingAsyncPool

    class AsyncMongoClient(TaggingClient, pymongo.asynchronous.mongo_client.AsyncMongoClient[_DocumentType]):
        """See `pymongo.AsyncMongoClient`, and `TaggingClient` for `lone_writes`."""

        _pool_classes = (StampedAsyncPool, WrappingAsyncPool)


def __getattr__(name: str) -> Any:
    return getattr(pymongo.asynchronous.mongo_client, name)
