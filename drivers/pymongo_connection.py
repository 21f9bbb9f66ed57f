"""The connections and pools of pymongo, with stamps before what they are for: see `pymongo_stamping`."""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, cast

import pymongo
from pymongo.asynchronous.pool import AsyncConnection
from pymongo.asynchronous.pool import Pool as AsyncPool
from pymongo.synchronous.pool import Connection, Pool

from .pymongo_stamp import SHARDED, STANDALONE, Refusals
from .pymongo_stamping import Stamper, Steps

_FIRST = (4, 18)
if pymongo.version_tuple < _FIRST:
    # Before, not everything that is sent went by `Connection.send_message`.
    raise ImportError(f"commitlog.drivers.pymongo needs pymongo 4.18 or later, and {pymongo.version} is installed")


def _stamper(conn: Connection | AsyncConnection, refusals: Refusals, *, wraps: bool) -> Stamper:
    """Return what stamps for a connection that has shaken hands, and is still pymongo's own."""
    rest: dict[str, Any] = {}
    conn.add_server_api(rest)
    why = STANDALONE if conn.is_standalone else SHARDED if conn.is_mongos else None
    return Stamper(conn.address, why, rest, refusals=refusals, wraps=wraps)


class StampedConnection(Connection):
    """See `pymongo.pool.Connection`."""

    stamper: Stamper

    _under_way: Steps | None = None

    def command(self, dbname: str, spec: MutableMapping[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super().command(dbname, spec, *args, **self.stamper.options(spec, kwargs))

    def send_cluster_time(self, command: MutableMapping[str, Any], session: Any, client: Any) -> None:
        super().send_cluster_time(command, session, client)
        self.stamper.note(command, session)

    def add_server_api(self, command: MutableMapping[str, Any]) -> None:
        super().add_server_api(command)
        self.stamper.note_any(command)

    def send_message(self, message: bytes, max_doc_size: int) -> None:
        self._under_way = steps = self.stamper.steps(message, max_doc_size)
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


class StampedAsyncConnection(AsyncConnection):
    """See `pymongo.asynchronous.pool.AsyncConnection`."""

    stamper: Stamper

    _under_way: Steps | None = None

    async def command(self, dbname: str, spec: MutableMapping[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        return await super().command(dbname, spec, *args, **self.stamper.options(spec, kwargs))

    def send_cluster_time(self, command: MutableMapping[str, Any], session: Any, client: Any) -> None:
        super().send_cluster_time(command, session, client)
        self.stamper.note(command, session)

    def add_server_api(self, command: MutableMapping[str, Any]) -> None:
        super().add_server_api(command)
        self.stamper.note_any(command)

    async def send_message(self, message: bytes, max_doc_size: int) -> None:
        self._under_way = steps = self.stamper.steps(message, max_doc_size)
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
            stamper = _stamper(conn, self.refusals, wraps=self.wraps)
            conn.__class__ = StampedConnection
            cast(StampedConnection, conn).stamper = stamper
        return conn


class StampedAsyncPool(AsyncPool):
    """See `pymongo.asynchronous.pool.Pool`. Its connections stamp once they have shaken hands."""

    wraps = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.refusals = Refusals()

    async def connect(self, handler: Any = None) -> AsyncConnection:
        conn = await super().connect(handler)
        if not self.is_sdam:
            stamper = _stamper(conn, self.refusals, wraps=self.wraps)
            conn.__class__ = StampedAsyncConnection
            cast(StampedAsyncConnection, conn).stamper = stamper
        return conn


class WrappingPool(StampedPool):
    """Puts lone writes of a request into transactions."""

    wraps = True


class WrappingAsyncPool(StampedAsyncPool):
    """Puts lone writes of a request into transactions."""

    wraps = True
