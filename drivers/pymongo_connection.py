"""The connections and pools of pymongo, with stamps before what they are for: see `pymongo_stamping`."""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any, cast

from pymongo.asynchronous.pool import AsyncConnection
from pymongo.asynchronous.pool import Pool as AsyncPool
from pymongo.synchronous.pool import Connection, Pool

from .pymongo_stamp import Refusals
from .pymongo_stamping import Stamping, Steps


class StampedConnection(Stamping, Connection):
    """See `pymongo.pool.Connection`."""

    def send_message(self, message: bytes, max_doc_size: int) -> None:
        self._under_way = steps = self._steps(message, max_doc_size)
        if steps is None:
            super().send_message(message, max_doc_size)
        else:
            self._run(steps, None)

    def receive_message(self, request_id: int | None) -> Any:
        steps, self._under_way = self._under_way, None
        return super().receive_message(request_id) if steps is None else self._run(steps, request_id)

    def _run(self, steps: Steps, value: Any) -> Any:
        try:
            while (step := steps.send(value)) is not None:
                value = None
                if isinstance(step, int):
                    value = super().receive_message(step)
                else:
                    super().send_message(*step)
        except StopIteration as end_of_steps:
            return end_of_steps.value
        return None


class StampedAsyncConnection(Stamping, AsyncConnection):
    """See `pymongo.asynchronous.pool.AsyncConnection`."""

    async def send_message(self, message: bytes, max_doc_size: int) -> None:
        self._under_way = steps = self._steps(message, max_doc_size)
        if steps is None:
            await super().send_message(message, max_doc_size)
        else:
            await self._run(steps, None)

    async def receive_message(self, request_id: int | None) -> Any:
        steps, self._under_way = self._under_way, None
        return await (super().receive_message(request_id) if steps is None else self._run(steps, request_id))

    async def _run(self, steps: Steps, value: Any) -> Any:
        try:
            while (step := steps.send(value)) is not None:
                value = None
                if isinstance(step, int):
                    value = await super().receive_message(step)
                else:
                    await super().send_message(*step)
        except StopIteration as end_of_steps:
            return end_of_steps.value
        return None


class StampedPool(Pool):
    """See `pymongo.pool.Pool`. Its connections stamp once they have shaken hands."""

    wraps = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.refusals = Refusals()

    def connect(self, handler: Any = None) -> Connection:
        conn = super().connect(handler)
        if not self.is_sdam:
            conn.__class__ = StampedConnection
            cast(StampedConnection, conn).refusals = self.refusals
            cast(StampedConnection, conn).wraps = self.wraps
        return conn


class StampedAsyncPool(AsyncPool):
    """See `pymongo.asynchronous.pool.Pool`."""

    wraps = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.refusals = Refusals()

    async def connect(self, handler: Any = None) -> AsyncConnection:
        conn = await super().connect(handler)
        if not self.is_sdam:
            conn.__class__ = StampedAsyncConnection
            cast(StampedAsyncConnection, conn).refusals = self.refusals
            cast(StampedAsyncConnection, conn).wraps = self.wraps
        return conn


class WrappingPool(StampedPool):
    """Puts lone writes of a request into transactions."""

    wraps = True


class WrappingAsyncPool(StampedAsyncPool):
    """Puts lone writes of a request into transactions."""

    wraps = True
