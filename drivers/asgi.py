"""ASGI middleware: every request's session is bound until the app returns.

A streamed response is sent before the app returns, so it is covered. The binding belongs to the request's own task and
to the tasks and threads that inherit its context; lifespan events pass through unbound.
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
