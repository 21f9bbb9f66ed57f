"""ASGI middleware: every request's session is bound until the app returns.

A streamed response is sent before the app returns, so it is covered, and so are background tasks. The binding belongs
to the request's own task and to what inherits its context: tasks that it starts, `asyncio.to_thread`, the threads in
which Starlette and Django run synchronous handlers. `loop.run_in_executor` and thread pools of one's own inherit
nothing: `contextvars.copy_context().run` brings the session there. Lifespan events pass through unbound.

A websocket is one session for as long as it is open; `session.bind(request=…)` around a message tells it apart. Where a
framework nests middleware, this is the outermost: what stands around it is not covered.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from . import request
from . import session as sessions

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class CommitLogMiddleware:
    """An ASGI app around another one, for `http` and `websocket` connections.

    Args:
        app: The app; it may hold another of these.
        headers: Where the session is read from.
    """

    def __init__(self, app: App, headers: request.Headers | None = None) -> None:
        self.app = app
        self.headers = headers or request.Headers()
        self._names = {name.encode("latin-1"): name for name in self.headers.names()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        with sessions.resume(request.read(self.headers, self._wanted(scope["headers"]).get)):
            await self.app(scope, receive, send)

    def _wanted(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
        found: dict[str, str] = {}
        for raw, value in headers:
            name = self._names.get(raw.lower())
            if name == "cookie" and name in found:
                # HTTP/2 may send every cookie in a header of its own.
                found[name] += "; " + value.decode("latin-1")
            elif name is not None:
                found.setdefault(name, value.decode("latin-1"))
        return found
