"""What the clients of pymongo have more when they tag, the one that waits and the one that is awaited alike."""

from __future__ import annotations

from typing import Any, ClassVar

from .session import current


class TaggingClient:
    """Stands before `pymongo.MongoClient` or `pymongo.AsyncMongoClient` among the bases of a client.

    Args:
        lone_writes: "alone" leaves a write outside transactions as it is. "transaction" puts each command that writes
            in a request, and has a session, into a transaction of its own: all it writes is one commit, also
            `update_many`; it fails where transactions do (WriteConflict), and is not retried.
    """

    _pool_classes: ClassVar[tuple[type, type]]
    """Of connections that leave lone writes alone, and of those that put them into transactions."""

    def __init__(self, *args: Any, lone_writes: str = "alone", **kwargs: Any) -> None:
        if lone_writes not in ("alone", "transaction"):
            raise ValueError(f'lone_writes is {lone_writes!r}, must be "alone" or "transaction"')
        self._wraps = lone_writes == "transaction"
        kwargs.setdefault("_pool_class", self._pool_classes[self._wraps])
        super().__init__(*args, **kwargs)

    def _retry_with_session(self, retryable: bool, *args: Any, **kwargs: Any) -> Any:
        client: Any = super()
        return client._retry_with_session(retryable and not (self._wraps and current() is not None), *args, **kwargs)
