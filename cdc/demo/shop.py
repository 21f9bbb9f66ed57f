"""The shop: an ordinary WSGI app, and build 1 of it as a process of its own.

Two lines tie it to commitlog: its database driver comes from `drivers` (see `shop_postgres`, `shop_mysql` and `shop_mongodb`), and the app stands
in the middleware. It knows customers and orders; which user sent a request it never learns.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from ...drivers.wsgi import CommitLogMiddleware
from .shop_database import CheckFailed, Misunderstood, Store
from .shop_stores import open_store

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Document = Mapping[str, Any]
Handler = Callable[[Store, int, Document], tuple[str, Document]]
Route = tuple[str, str, Handler]

DATABASE_VARIABLE = "SHOP_DATABASE"
THREADS = 4

OK, CREATED = "200 OK", "201 Created"
NOT_FOUND, CONFLICT, INVALID = "404 Not Found", "409 Conflict", "400 Bad Request"


def place_order(store: Store, _: int, order: Document) -> tuple[str, Document]:
    """POST /orders {"customer","lines":[{"product","quantity"}],"note"}: take from stock and write the order."""
    lines = sorted((line["product"], line["quantity"]) for line in order["lines"])
    number, total = store.place_order(order["customer"], lines, order.get("note"))
    return CREATED, {"id": number, "total": total}


def set_status(store: Store, order: int, document: Document) -> tuple[str, Document]:
    """PUT /orders/ID/status {"status"}."""
    return changed(store.set_order(order, "status", document["status"]), order)


def set_note(store: Store, order: int, document: Document) -> tuple[str, Document]:
    """PUT /orders/ID/note {"note"}."""
    return changed(store.set_order(order, "note", document["note"]), order)


def cancel_order(store: Store, order: int, _: Document) -> tuple[str, Document]:
    """POST /orders/ID/cancel: put the goods back and mark the order."""
    return changed(store.cancel_order(order), order)


def set_email(store: Store, customer: int, document: Document) -> tuple[str, Document]:
    """PUT /customers/ID/email {"email"}."""
    return changed(store.set_email(customer, document["email"]), customer)


def get_order(store: Store, order: int, _: Document) -> tuple[str, Document]:
    """GET /orders/ID."""
    found = store.order(order)
    if found is None:
        raise LookupError(f"no order {order}")
    return OK, {"id": order, **found}


def changed(found: bool, number: int) -> tuple[str, Document]:
    """The answer for a change of one thing.

    Raises:
        LookupError: It is not there.
    """
    if not found:
        raise LookupError(f"nothing has the number {number}")
    return OK, {"id": number}


ROUTES: Sequence[Route] = (
    ("POST", r"/orders", place_order),
    ("GET", r"/orders/(\d+)", get_order),
    ("PUT", r"/orders/(\d+)/status", set_status),
    ("PUT", r"/orders/(\d+)/note", set_note),
    ("POST", r"/orders/(\d+)/cancel", cancel_order),
    ("PUT", r"/customers/(\d+)/email", set_email),
)


class Shop:
    """The WSGI app.

    Args:
        url: The database.
        routes: Method, pattern of the path whose one group is a number, and the handler.
    """

    def __init__(self, url: str, routes: Sequence[Route]) -> None:
        self._url = url
        self._routes = [(method, re.compile(path), handler) for method, path, handler in routes]
        self._thread = threading.local()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, document = self._answer(environ)
        body = json.dumps(document).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _answer(self, environ: WSGIEnvironment) -> tuple[str, Document]:
        handler, number = self._find(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if handler is None:
            return NOT_FOUND, {"error": "no such page"}
        try:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return handler(self._store(), number, json.loads(body) if body else {})
        except LookupError as error:
            return NOT_FOUND, {"error": str(error)}
        except CheckFailed:
            return CONFLICT, {"error": "not enough in stock"}
        except (ValueError, Misunderstood):
            return INVALID, {"error": "the request is not understood"}

    def _find(self, method: str, path: str) -> tuple[Handler | None, int]:
        for wanted, pattern, handler in self._routes:
            match = pattern.fullmatch(path)
            if match and wanted == method:
                return handler, int(match[1]) if pattern.groups else 0
        return None, 0

    def _store(self) -> Store:
        """This thread's connection; a new one where the last was lost."""
        store: Store | None = getattr(self._thread, "store", None)
        if store is None or store.closed:
            store = self._thread.store = open_store(self._url)
        return store


class _Handler(WSGIRequestHandler):
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        """Requests are in the mesh's log."""


class _Server(WSGIServer):
    """Hands requests to a few threads that live as long as the process, so that each keeps its connection."""

    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._threads = ThreadPoolExecutor(THREADS)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._threads.submit(self._process, request, client_address)

    def _process(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except ConnectionError:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)


def serve(routes: Sequence[Route]) -> None:
    """Serve on a free port of the loopback, which is printed on the first line of stdout, until the process ends."""
    app: WSGIApplication = CommitLogMiddleware(Shop(os.environ[DATABASE_VARIABLE], routes))
    with _Server() as server:
        server.set_app(app)
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    serve(ROUTES)
