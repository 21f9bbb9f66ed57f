"""WSGI and ASGI middleware: which headers become a session, and how long it is bound."""

import asyncio
import io
import json
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from contextvars import copy_context
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from commitlog.drivers import asgi, request, session, wsgi

KEY = "k" * 20
NOTHING = request.Headers("", "", "", "", "")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(session, "_settings", session.Settings("shop", None, None, "allow", KEY.encode()))
    yield
    assert session.current() is None, "the middleware leaked a session"


def bound() -> dict[str, Any]:
    """Return the tag at this point of the app, {} where nothing is bound."""
    now = session.current()
    return json.loads(now.tag) if now else {}


def hashed(raw: str) -> str:
    return session.hash_session(raw, KEY.encode())


def ask_wsgi(headers: dict[str, str], options: request.Headers | None) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen.append(bound())
        return [b""]

    environ: dict[str, Any] = {f"HTTP_{k.upper().replace('-', '_')}": v for k, v in headers.items()}
    setup_testing_defaults(environ)
    wsgi.CommitLogMiddleware(app, options)(environ, lambda *_: None)  # type: ignore[arg-type, return-value] # a bare server
    return seen[0]


def ask_asgi(headers: dict[str, str], options: request.Headers | None) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(bound())

    scope = {"type": "http", "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()]}
    run(asgi.CommitLogMiddleware(app, options)(scope, receive, send))
    return seen[0]


def run(awaitable: Awaitable[None]) -> None:
    async def main() -> None:
        await asyncio.wait_for(awaitable, timeout=10)

    asyncio.run(main())


async def receive() -> MutableMapping[str, Any]:
    return {}


async def send(message: MutableMapping[str, Any]) -> None:
    return None


@pytest.fixture(params=[ask_wsgi, ask_asgi], ids=["wsgi", "asgi"])
def ask(request: pytest.FixtureRequest) -> Callable[[dict[str, str], request.Headers | None], dict[str, Any]]:
    return request.param  # type: ignore[no-any-return] # pytest does not type parameters


Ask = Callable[[dict[str, str], request.Headers | None], dict[str, Any]]


def test_the_defaults_read_request_trace_and_session(ask: Ask) -> None:
    tag = ask({"X-Request-Id": "r-1", "Traceparent": TRACE, "X-Session-Id": "s", "X-Forwarded-User": "eve"}, None)
    assert tag == {"v": 1, "traceparent": TRACE, "request": "r-1", "session": hashed("s"), "app": "shop"}


def test_the_cookie_goes_before_the_header(ask: Ask) -> None:
    tag = ask({"Cookie": 'a=1; session="c=="; other', "X-Session-Id": "h"}, None)
    assert tag["session"] == hashed("c==")


def test_the_user_header_is_read_only_when_trusted(ask: Ask) -> None:
    assert "user" not in ask({"X-Forwarded-User": "ann"}, None)
    assert ask({"X-Forwarded-User": "ann"}, request.Headers(trust_user_header=True))["user"] == "ann"


def test_every_name_can_be_set_and_an_empty_one_reads_nothing(ask: Ask) -> None:
    names = request.Headers("X-Rid", "X-Trace", "sid", "X-S", "X-U", trust_user_header=True)
    tag = ask({"X-Rid": "r", "X-Trace": "t", "Cookie": "sid=c", "X-U": "u"}, names)
    assert tag == {"v": 1, "traceparent": "t", "request": "r", "session": hashed("c"), "user": "u", "app": "shop"}
    assert ask({"X-Request-Id": "r", "Traceparent": "t", "Cookie": "session=c"}, NOTHING) == {"v": 1, "app": "shop"}


@pytest.mark.parametrize("value", ["x" * 201, "caf\xe9", "a\tb", "a\x7f"])
def test_a_value_that_is_long_or_not_printable_ascii_is_left_out_and_counted(ask: Ask, value: str) -> None:
    before = session.counters().get("header left out: x-request-id", 0)
    assert ask({"X-Request-Id": value, "X-Session-Id": "s"}, None) == {"v": 1, "session": hashed("s"), "app": "shop"}
    assert session.counters()["header left out: x-request-id"] == before + 1


def test_a_value_of_200_bytes_and_a_long_cookie_are_taken(ask: Ask) -> None:
    tag = ask({"X-Request-Id": "x" * 200, "Cookie": f"session={'c' * 4096}"}, None)
    assert tag["request"] == "x" * 200
    assert tag["session"] == hashed("c" * 4096)


def wsgi_response(app: Any, request_id: str) -> Any:
    environ: dict[str, Any] = {"HTTP_X_REQUEST_ID": request_id, "wsgi.file_wrapper": FileWrapper}
    setup_testing_defaults(environ)
    return wsgi.CommitLogMiddleware(app)(environ, lambda *_: None)  # type: ignore[arg-type, return-value] # a bare server


def test_a_streamed_wsgi_response_is_bound_in_each_step_and_in_close_and_nowhere_between() -> None:
    seen: list[str | None] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        try:
            for _ in range(2):
                seen.append(bound().get("request"))
                yield b"x"
        finally:
            seen.append(bound().get("request"))

    first, second = wsgi_response(app, "one"), wsgi_response(app, "two")
    for step in (first, second, first):
        assert next(step) == b"x"
        assert session.current() is None
    first.close()
    assert session.current() is None
    assert seen == ["one", "two", "one", "one"]
    assert list(second) == [b"x"]
    assert seen == ["one", "two", "one", "one", "two", "two"]


def test_an_abandoned_wsgi_response_does_not_reach_the_next_request_of_the_thread() -> None:
    def streaming(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield b"x"

    abandoned = wsgi_response(streaming, "abandoned")
    next(abandoned)
    assert session.current() is None


def test_a_failing_wsgi_app_leaves_nothing_bound() -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        raise KeyError

    with pytest.raises(KeyError):
        wsgi_response(app, "r")
    assert session.current() is None


def test_lists_and_files_reach_the_server_as_they_are() -> None:
    body = [b"x"]
    assert wsgi_response(lambda environ, start_response: body, "r") is body
    file = FileWrapper(io.BytesIO(b"x"))
    assert wsgi_response(lambda environ, start_response: file, "r") is file


def test_closing_a_file_is_bound_and_the_server_still_sees_its_own_file() -> None:
    seen: list[str | None] = []

    class File(io.BytesIO):
        def close(self) -> None:
            seen.append(bound().get("request"))

    response = wsgi_response(lambda environ, start_response: environ["wsgi.file_wrapper"](File(b"x")), "r")
    assert type(response) is FileWrapper
    assert list(response) == [b"x"]
    response.close()
    assert seen == ["r"]


def test_a_nested_wsgi_app_gives_back_the_outer_session() -> None:
    seen: list[str | None] = []

    def inner(environ: Any, start_response: Any) -> Iterable[bytes]:
        seen.append(bound().get("request"))
        return [b""]

    def outer(environ: Any, start_response: Any) -> Iterable[bytes]:
        body = wsgi.CommitLogMiddleware(inner)({**environ, "HTTP_X_REQUEST_ID": "in"}, start_response)
        seen.append(bound().get("request"))
        return body

    wsgi_response(outer, "out")
    assert seen == ["in", "out"]


def test_interleaved_asgi_requests_keep_their_own_session_until_the_app_returns() -> None:
    seen: dict[str, list[str | None]] = {"one": [], "two": []}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            seen[scope["path"]].append(bound().get("request"))
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0)

    tagged = asgi.CommitLogMiddleware(app)

    async def both() -> None:
        scopes = ({"type": "http", "path": p, "headers": [(b"x-request-id", p.encode())]} for p in seen)
        await asyncio.gather(*(tagged(scope, receive, send) for scope in scopes))
        assert session.current() is None

    run(both())
    assert seen == {"one": ["one"] * 3, "two": ["two"] * 3}


def test_cookies_in_several_asgi_headers_are_one() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(bound())

    headers = [(b"cookie", b"a=1"), (b"cookie", b"session=c"), (b"x-request-id", b"r1"), (b"x-request-id", b"r2")]
    run(asgi.CommitLogMiddleware(app)({"type": "websocket", "headers": headers}, receive, send))
    assert seen == [{"v": 1, "request": "r1", "session": hashed("c"), "app": "shop"}]


def test_a_session_goes_where_the_context_goes_and_into_no_other_thread() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        seen["task"] = await asyncio.create_task(coroutine())
        seen["to_thread"] = await asyncio.to_thread(bound)
        seen["executor"] = await loop.run_in_executor(None, bound)
        seen["context"] = await loop.run_in_executor(None, copy_context().run, bound)
        thread = threading.Thread(target=lambda: seen.update(thread=bound()))
        thread.start()
        thread.join(timeout=10)

    async def coroutine() -> dict[str, Any]:
        return bound()

    run(asgi.CommitLogMiddleware(app, NOTHING)({"type": "http", "headers": []}, receive, send))
    tag = {"v": 1, "app": "shop"}
    inherited = tag if getattr(sys.flags, "thread_inherit_context", 0) else {}
    assert seen == {"task": tag, "to_thread": tag, "executor": inherited, "context": tag, "thread": inherited}


@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError])
def test_a_failing_or_cancelled_asgi_app_leaves_nothing_bound(error: type[BaseException]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    async def main() -> None:
        with pytest.raises(error):
            await asgi.CommitLogMiddleware(app)({"type": "http", "headers": []}, receive, send)
        assert session.current() is None

    run(main())


def test_lifespan_passes_through_unbound() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(session.current())

    run(asgi.CommitLogMiddleware(app)({"type": "lifespan"}, receive, send))
    assert seen == [None]
