"""`pymongo.asynchronous.mongo_client`, with what tags in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymongo.asynchronous.mongo_client

if TYPE_CHECKING:
    from pymongo.asynchronous.mongo_client import AsyncMongoClient as AsyncMongoClient
else:
    from pymongo.typings import _DocumentType

    from ...pymongo_connection import StampedAsyncPool, WrappingAsyncPool
    from ...session import current

    class AsyncMongoClient(pymongo.asynchronous.mongo_client.AsyncMongoClient[_DocumentType]):
        """See `pymongo.AsyncMongoClient`.

        Args:
            lone_writes: "alone" leaves a write outside transactions as it is. "transaction" puts each command that writes
                in a request, and has a session, into a transaction of its own: all it writes is one commit, also
                `update_many`; it fails where transactions do (WriteConflict), and is not retried.
        """

        def __init__(self, *args: Any, lone_writes: str = "alone", **kwargs: Any) -> None:
            if lone_writes not in ("alone", "transaction"):
                raise ValueError(f'lone_writes is {lone_writes!r}, must be "alone" or "transaction"')
            self._wraps = lone_writes == "transaction"
            kwargs.setdefault("_pool_class", WrappingAsyncPool if self._wraps else StampedAsyncPool)
            super().__init__(*args, **kwargs)

        async def _retry_with_session(self, retryable: bool, *args: Any, **kwargs: Any) -> Any:
            return await super()._retry_with_session(
                retryable and not (self._wraps and current() is not None), *args, **kwargs
            )


def __getattr__(name: str) -> Any:
    return getattr(pymongo.asynchronous.mongo_client, name)
