"""WSGI middleware: every request's session is bound while the app, or its response, is at work.

A streamed response runs the app's code while the server iterates it, so the session is bound again for each step and
for `close()`. It is bound by nobody in between: a thread that a server uses again, or an iterator that it never closes,
cannot carry a session into another request.

A thread that the app starts, or takes from a pool of its own, has no session: have it run in the request's context, by
`executor.submit(contextvars.copy_context().run, function)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from . import request
from . import session as sessions

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class CommitLogMiddleware:
    """A WSGI app around another one.

    Args:
        app: The app; it may hold another of these.
        headers: Where the session is read from.
    """

    def __init__(self, app: WSGIApplication, headers: request.Headers | None = None) -> None:
        self.app = app
        self.headers = headers or request.Headers()
        self._keys = {name: f"HTTP_{name.upper().replace('-', '_')}" for name in self.headers.names()}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def get(name: str) -> str | None:
            return environ.get(self._keys[name])

        session = request.read(self.headers, get)
        with sessions.resume(session):
            response = self.app(environ, start_response)
        if isinstance(response, list | tuple):
            # No code of the app runs in these, and servers look at their length.
            return response  # pyright: ignore[reportUnknownVariableType] - a list of bytes by the WSGI contract
        if _is_file(response, environ):
            _bind_close(response, session)
            return response
        return _Response(response, session)


class _Response:
    """The app's response, each step of which runs with the session bound."""

    def __init__(self, response: Iterable[bytes], session: sessions.Session) -> None:
        self._response = response
        self._session = session
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> _Response:
        return self

    def __next__(self) -> bytes:
        with sessions.resume(self._session):
            if self._iterator is None:
                self._iterator = iter(self._response)
            return next(self._iterator)

    def close(self) -> None:
        close = getattr(self._response, "close", None)
        if close is not None:
            with sessions.resume(self._session):
                close()


def _bind_close(file: Any, session: sessions.Session) -> None:
    """Bind the end of a file, where Django's requests end; servers look at its type (sendfile), so it stays itself."""
    close = getattr(file, "close", None)
    if close is None or not hasattr(file, "__dict__"):
        return

    def bound() -> None:
        with sessions.resume(session):
            close()

    file.close = bound


def _is_file(response: object, environ: dict[str, Any]) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(response, wrapper)
