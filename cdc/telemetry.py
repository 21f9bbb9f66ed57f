"""A worker's health and figures: `GET /healthz /readyz /metrics`, in a thread of its own.

Figures are read when someone asks: the stream only counts, and no row pays for a metric. Names follow OpenTelemetry's, with
`commitlog.` before them.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import REGISTRY, exposition

log = logging.getLogger("commitlog")

Figures = Callable[[], Mapping[str, float]]
"""Name of a figure to its value now."""

COUNTERS = {
    "commitlog.commits": ("{commit}", "Commits appended since the worker started"),
    "commitlog.rows": ("{row}", "Row changes appended since the worker started"),
    "commitlog.untagged": ("{transaction}", "Transactions that carried no tag"),
    "commitlog.unpublished": ("{transaction}", "Transactions of which no app schema publishes anything"),
    "commitlog.attempts": ("{attempt}", "Times the worker connected to its source"),
}
GAUGES = {
    "commitlog.lag": ("By", "WAL between what the source has told of and what is durable in the log"),
    "commitlog.head.seq": ("{record}", "The log's last durable record"),
    "commitlog.pending": ("By", "Appended and not yet durable"),
    "commitlog.waiting": ("1", "1 while a commit waits for the app schema of its build"),
    "commitlog.up": ("1", "1 while the stream runs"),
}


class Telemetry:
    """Serves a worker's figures.

    Args:
        address: (host, port); None to serve nothing.
        figures: Gives the present values of COUNTERS and GAUGES. Called from another thread.
        name: The log's name.
    """

    def __init__(self, address: tuple[str, int] | None, *, figures: Figures, name: str) -> None:
        self._figures = figures
        self._server: ThreadingHTTPServer | None = None
        self._provider = MeterProvider(
            metric_readers=[PrometheusMetricReader()],
            resource=Resource.create({"service.name": "commitlog", "commitlog.log": name}),
        )
        meter = self._provider.get_meter("commitlog")
        for counter, (unit, text) in COUNTERS.items():
            meter.create_observable_counter(counter, [self._observer(counter)], unit=unit, description=text)
        for gauge, (unit, text) in GAUGES.items():
            meter.create_observable_gauge(gauge, [self._observer(gauge)], unit=unit, description=text)
        if address is not None:
            self._serve(address)

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._provider.shutdown()

    def _observer(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            value = self._figures().get(name)
            return [] if value is None else [Observation(value)]

        return observe

    def _serve(self, address: tuple[str, int]) -> None:
        """Listen; where that is not possible the worker works all the same, and says so."""
        figures = self._figures

        class Handler(BaseHTTPRequestHandler):
            """Three paths, read only."""

            def do_GET(self) -> None:
                now = figures()
                if self.path == "/healthz":
                    self._reply(200, "ok\n")
                elif self.path == "/readyz":
                    ready = bool(now.get("commitlog.up")) and not now.get("commitlog.waiting")
                    self._reply(200 if ready else 503, "ready\n" if ready else "not streaming\n")
                elif self.path == "/metrics":
                    self._reply(200, exposition.generate_latest(REGISTRY).decode(), exposition.CONTENT_TYPE_LATEST)
                else:
                    self._reply(404, "there are /healthz, /readyz and /metrics\n")

            def _reply(self, status: int, text: str, content_type: str = "text/plain; charset=utf-8") -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
                """Requests are no events of the worker."""

        try:
            self._server = ThreadingHTTPServer(address, Handler)
        except OSError as exc:
            log.warning("no metrics: %s:%d cannot be listened on: %s", *address, exc.strerror)
            return
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="telemetry", daemon=True).start()
        log.info("health and metrics on http://%s:%d", *self._server.server_address[:2])
