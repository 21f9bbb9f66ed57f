"""`pymongo.synchronous.mongo_client`, with what tags in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymongo.synchronous.mongo_client

if TYPE_CHECKING:
    from pymongo.synchronous.mongo_client import MongoClient as MongoClient
else:
    from pymongo.typings import _DocumentType

    from ...pymongo_connection import StampedPool, WrappingPool
    from ...session import current

    class MongoClient(pymongo.synchronous.mongo_client.MongoClient[_DocumentType]):
        """See `pymongo.MongoClient`.

        Args:
            lone_writes: "alone" leaves a write outside transactions as it is. "transaction" puts each command that writes
                in a request, and has a session, into a transaction of its own: all it writes is one commit, also
                `update_many`; it fails where transactions do (WriteConflict), and is not retried.
        """

        def __init__(self, *args: Any, lone_writes: str = "alone", **kwargs: Any) -> None:
            if lone_writes not in ("alone", "transaction"):
                raise ValueError(f'lone_writes is {lone_writes!r}, must be "alone" or "transaction"')
            self._wraps = lone_writes == "transaction"
            kwargs.setdefault("_pool_class", WrappingPool if self._wraps else StampedPool)
            super().__init__(*args, **kwargs)

        def _retry_with_session(self, retryable: bool, *args: Any, **kwargs: Any) -> Any:
            return super()._retry_with_session(
                retryable and not (self._wraps and current() is not None), *args, **kwargs
            )


def __getattr__(name: str) -> Any:
    return getattr(pymongo.synchronous.mongo_client, name)
