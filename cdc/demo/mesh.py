"""The mesh: a reverse proxy in a process of its own, as a sidecar or an ingress would stand before an app.

It knows the users by their tokens, gives every request its id and its trace, and writes an access log like Envoy's in
JSON. Neither the token nor the user's name goes on to the app. Where requests go is read from a file that may change.
"""

import http.client
import json
import secrets
import sys
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

USERS_FILE = "users.json"
ROUTES_FILE = "routes.json"
ACCESS_LOG = "access.log"

CANARY_HEADER = "x-canary"
"""A request that has it goes to the route `canary`, any other to `stable`."""

UPSTREAM_TIMEOUT_S = 10
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host"})
# What the app must not see: who it is, and what a stranger could have set in the mesh's name.
_KEPT_BACK = _HOP_BY_HOP | {"authorization", "x-request-id", "traceparent", "x-forwarded-user", CANARY_HEADER}


class Mesh(ThreadingHTTPServer):
    """The proxy.

    Args:
        folder: Holds `users.json` (token to user), `routes.json` (route to port), and receives `access.log`.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.users: Mapping[str, str] = json.loads((folder / USERS_FILE).read_text())
        self._routes = folder / ROUTES_FILE
        self._access_log = (folder / ACCESS_LOG).open("a", encoding="utf-8", buffering=1)
        self._lock = Lock()

    def server_close(self) -> None:
        """Stop listening, and close the access log."""
        super().server_close()
        self._access_log.close()

    def port_of(self, route: str) -> int:
        """The port of the app that serves a route, as the file says it now."""
        return int(json.loads(self._routes.read_text())[route])

    def log(self, entry: Mapping[str, Any]) -> None:
        """Append a line to the access log."""
        with self._lock:
            self._access_log.write(json.dumps(entry) + "\n")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._forward()

    def do_POST(self) -> None:
        self._forward()

    def do_PUT(self) -> None:
        self._forward()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the standard library
        """Requests are in the access log."""

    @property
    def _mesh(self) -> Mesh:
        assert isinstance(self.server, Mesh)
        return self.server

    def _forward(self) -> None:
        started, clock = datetime.now(UTC), time.monotonic()
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        request, trace = str(uuid.uuid4()), f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
        user = self._mesh.users.get((self.headers.get("authorization") or "").removeprefix("Bearer "))
        port = 0
        if user is None:
            status, answer = 401, b'{"error":"who are you?"}'
        else:
            port = self._mesh.port_of("canary" if CANARY_HEADER in self.headers else "stable")
            status, answer = self._ask(port, body, {"x-request-id": request, "traceparent": trace})
        # Written before the answer goes out: who has the answer finds the line.
        self._mesh.log(
            {
                "start_time": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "method": self.command,
                "path": self.path,
                "protocol": self.request_version,
                "response_code": status,
                "bytes_received": len(body),
                "bytes_sent": len(answer),
                "duration": round((time.monotonic() - clock) * 1000),
                "request_id": request,
                "traceparent": trace,
                "upstream_host": f"127.0.0.1:{port}" if port else None,
                "user": user,
            }
        )
        self.send_response_only(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.send_header("x-request-id", request)
        self.end_headers()
        self.wfile.write(answer)

    def _ask(self, port: int, body: bytes, own_headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Send the request on; 502 where the app does not answer."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _KEPT_BACK}
        upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=UPSTREAM_TIMEOUT_S)
        try:
            upstream.request(self.command, self.path, body, {**headers, **own_headers})
            response = upstream.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            return 502, json.dumps({"error": f"the app does not answer: {error}"}).encode()
        finally:
            upstream.close()


def main(folder: Path) -> None:
    """Serve on a free port of the loopback, which is printed on the first line of stdout, until the process ends."""
    with Mesh(folder) as mesh:
        sys.stdout.write(f"{mesh.server_port}\n")
        sys.stdout.flush()
        mesh.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
