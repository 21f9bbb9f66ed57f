"""A worker's health and figures: `GET /healthz /readyz /metrics`, in a thread of its own.

Figures are read when someone asks: the stream only counts, and no row pays for a metric. Names follow OpenTelemetry's, with
`commitlog.` before them.
"""

import logging
import socket
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from prometheus_client import REGISTRY, exposition

from . import otlp
from .vitals import Vitals

if TYPE_CHECKING:
    from .tracing import Tracing

log = logging.getLogger("commitlog")

COUNTERS = {
    "commitlog.commits": ("{commit}", "Commits appended since the worker started"),
    "commitlog.rows": ("{row}", "Row changes appended since the worker started"),
    "commitlog.untagged": ("{transaction}", "Transactions that carried no tag"),
    "commitlog.unpublished": ("{transaction}", "Transactions of which no app schema publishes anything"),
    "commitlog.attempts": ("{attempt}", "Times the worker connected to its source"),
    "commitlog.waits": ("{wait}", "Times a commit had to wait for the app schema of its build"),
    "commitlog.sessions.malformed": ("{message}", "Messages of the topic of session records that were none"),
    "commitlog.snapshot.rows": ("{row}", "Rows recorded in snapshots since the worker started"),
}
GAUGES = {
    "commitlog.lag": ("By", "WAL between the end of the source's and what is durable in the log"),
    "commitlog.lag.time": ("s", "How long ago the log last held all that was committed, at most; 0 while it does"),
    "commitlog.wal.retained": ("By", "WAL that the source keeps for the slot"),
    "commitlog.wal.safe": ("By", "WAL that may still be written before the slot is in danger, where there is a limit"),
    "commitlog.head.seq": ("{record}", "The log's last durable record"),
    "commitlog.pending": ("By", "Appended and not yet durable"),
    "commitlog.flush.time": ("s", "When the last flush ended, in seconds since 1970"),
    "commitlog.snapshot.unfinished": ("{entity}", "Entities that lack their whole snapshot"),
    "commitlog.unknown_builds": ("{build}", "Builds that tags named and no app schema names"),
    "commitlog.waiting": ("1", "1 while a commit waits for the app schema of its build"),
    "commitlog.up": ("1", "1 while the stream runs"),
}

END_S = 2.0
"""How long sending the last metrics and spans may hold up the worker's end."""

REQUEST_TIMEOUT_S = 10.0
"""A client that sends nothing for so long is let go."""


class Telemetry:
    """Serves a worker's state, and sends it where the environment's OTEL_… variables ask for that.

    Args:
        address: (host, port); None to serve nothing.
        vitals: The worker's state.
        name: The log's name.

    Attributes:
        tracing: Takes the commits of traced requests; None where no spans are sent.
    """

    def __init__(self, address: tuple[str, int] | None, *, vitals: Vitals, name: str) -> None:
        self._vitals = vitals
        self._server: ThreadingHTTPServer | None = None
        readers: list[MetricReader] = [PrometheusMetricReader()]
        metrics, spans = otlp.metric_exporter(), otlp.span_exporter()
        self._senders = [exporter.sender for exporter in (metrics, spans) if exporter is not None]
        if metrics is not None:
            readers.append(PeriodicExportingMetricReader(metrics))
        self.tracing = _tracing(spans, name) if spans is not None else None
        self._provider = MeterProvider(metric_readers=readers, resource=otlp.resource_of(name))
        meter = self._provider.get_meter("commitlog")
        for counter, (unit, text) in COUNTERS.items():
            meter.create_observable_counter(counter, [self._observer(counter)], unit=unit, description=text)
        for gauge, (unit, text) in GAUGES.items():
            meter.create_observable_gauge(gauge, [self._observer(gauge)], unit=unit, description=text)
        if address is not None:
            self._serve(address)

    def close(self) -> None:
        """Stop serving; what is still to be sent is sent now."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        for sender in self._senders:
            sender.end_within(END_S)
        if self.tracing is not None:
            self.tracing.close()
        self._provider.shutdown()

    def _observer(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            value = self._vitals.figures().get(name)
            return [] if value is None else [Observation(value)]

        return observe

    def _serve(self, address: tuple[str, int]) -> None:
        """Listen; where that is not possible the worker works all the same, and says so."""
        vitals = self._vitals

        class Handler(_Handler):
            """Requests to this worker."""

            def answer(self, path: str) -> tuple[int, str, str]:
                if path == "/metrics":
                    return 200, exposition.generate_latest(REGISTRY).decode(), exposition.CONTENT_TYPE_LATEST
                if path in ("/healthz", "/readyz"):
                    trouble, good = (vitals.stuck(), "ok") if path == "/healthz" else (vitals.unready(), "ready")
                    return (503, f"{trouble}\n", _TEXT) if trouble else (200, f"{good}\n", _TEXT)
                return 404, "there are /healthz, /readyz and /metrics\n", _TEXT

        try:
            self._server = _Server(address, Handler)
        except OSError as exc:
            log.warning("no metrics: %s:%d cannot be listened on: %s", *address, exc.strerror)
            return
        threading.Thread(target=self._server.serve_forever, name="telemetry", daemon=True).start()
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        log.info("health and metrics on http://%s:%d", host, self._server.server_port)


def _tracing(exporter: otlp.Spans, name: str) -> "Tracing":
    from .tracing import Tracing

    return Tracing(exporter, name=name)


_TEXT = "text/plain; charset=utf-8"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is no event of the worker."""


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD; a path's query is not looked at."""

    timeout = REQUEST_TIMEOUT_S

    def answer(self, path: str) -> tuple[int, str, str]:
        """Status, text and content type."""
        raise LookupError(path)

    def do_GET(self) -> None:
        status, text, content_type = self.answer(self.path.partition("?")[0])
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the base class calls it so

    def version_string(self) -> str:
        """Which Python this is concerns nobody."""
        return "commitlog"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Requests are no events of the worker."""
