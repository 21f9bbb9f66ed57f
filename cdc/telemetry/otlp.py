"""OTLP over HTTP with JSON: sends metrics and spans where the environment's OTEL_… variables say, and nothing where they do not.

A collector that is away costs the worker nothing but what was to be sent. Headers may hold secrets and are never shown.

Source: OpenTelemetry specification, "OTLP Specification" (OTLP/HTTP, JSON Protobuf Encoding) and "OpenTelemetry Protocol
Exporter".
"""

import base64
import gzip
import http.client
import json
import logging
import os
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from opentelemetry.sdk.metrics.export import (
    Gauge,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = logging.getLogger("commitlog")

Signal = Literal["metrics", "traces"]

TIMEOUT_S = 10.0
"""How long sending may take where OTEL_EXPORTER_OTLP_TIMEOUT, in milliseconds, does not say."""

AGAIN_S = 0.5
"""The pause before something is sent again, twice as long each time, within the timeout."""

AGAIN = frozenset({429, 502, 503, 504})
"""Statuses after which the specification lets a client try again."""

KIND_OFFSET = 1
"""The protocol counts kinds of spans from 1, the SDK from 0."""


class Sender:
    """Sends one signal to one address.

    Args:
        url: Where to, https or http.
        headers: What each request bears besides.
        timeout_s: How long one document may take.
        compressed: Whether to gzip.
        certificate: A file of the authorities to be trusted; empty for the system's.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        compressed: bool = False,
        certificate: str = "",
    ) -> None:
        parts = urlsplit(url)
        place = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self.shown = f"{parts.scheme}://{place}{f':{parts.port}' if parts.port else ''}{parts.path}"
        self._url, self._timeout_s = f"{self.shown}{f'?{parts.query}' if parts.query else ''}", timeout_s
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        if compressed:
            self._headers["Content-Encoding"] = "gzip"
        self._tls = ssl.create_default_context(cafile=certificate or None) if parts.scheme == "https" else None
        self._compressed = compressed
        self._failing = False
        self._ending = threading.Event()
        self._end_at = float("inf")

    def end_within(self, seconds: float) -> None:
        """The process ends: what cannot be sent by then is given up."""
        self._end_at = time.monotonic() + seconds
        self._ending.set()

    def send(self, document: Mapping[str, object]) -> bool:
        """Send one document; whether the receiver took it. Says once when it begins to fail, and once when it works again."""
        data = json.dumps(document, separators=(",", ":")).encode()
        trouble = self._try(gzip.compress(data) if self._compressed else data)
        if trouble and not self._failing:
            log.warning("telemetry cannot be sent to %s: %s", self.shown, trouble)
        elif self._failing and not trouble:
            log.info("telemetry is sent to %s again", self.shown)
        self._failing = bool(trouble)
        return not trouble

    def _try(self, data: bytes) -> str:
        """Why it could not be sent; empty when it was."""
        deadline, pause_s = time.monotonic() + self._timeout_s, AGAIN_S
        while True:
            left_s = min(deadline, self._end_at) - time.monotonic()
            if left_s <= 0:
                return "no time is left"
            trouble, again = self._post(data, left_s)
            if not (trouble and again and time.monotonic() + pause_s < deadline) or self._ending.wait(pause_s):
                return trouble
            pause_s *= 2

    def _post(self, data: bytes, timeout_s: float) -> tuple[str, bool]:
        """Why one attempt failed, and whether another makes sense."""
        request = urllib.request.Request(self._url, data, self._headers, method="POST")  # noqa: S310 - http or https, see _url
        try:
            with urllib.request.urlopen(request, timeout=timeout_s, context=self._tls) as reply:  # noqa: S310
                reply.read()
            return "", False
        except urllib.error.HTTPError as exc:
            with exc:
                return f"HTTP status {exc.code}", exc.code in AGAIN
        except urllib.error.URLError as exc:
            return str(exc.reason), True
        except OSError as exc:
            return str(exc), True
        except (http.client.HTTPException, ValueError) as exc:
            # Its text may hold a header that cannot be sent.
            return type(exc).__name__, False


class Metrics(MetricExporter):
    """Sends metrics."""

    def __init__(self, sender: Sender) -> None:
        super().__init__()
        self.sender = sender

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = TIMEOUT_S * 1000, **_: object
    ) -> MetricExportResult:
        document = {
            "resourceMetrics": [
                {
                    "resource": _resource(found.resource),
                    "scopeMetrics": [
                        {"scope": {"name": scope.scope.name}, "metrics": [_metric(metric) for metric in scope.metrics]}
                        for scope in found.scope_metrics
                    ],
                }
                for found in metrics_data.resource_metrics
            ]
        }
        return MetricExportResult.SUCCESS if self.sender.send(document) else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 0) -> bool:
        """Nothing is kept here."""
        return True

    def shutdown(self, timeout_millis: float = 0, **_: object) -> None:
        """Nothing is open here."""


class Spans(SpanExporter):
    """Sends spans."""

    def __init__(self, sender: Sender) -> None:
        self.sender = sender

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        document = {
            "resourceSpans": [
                {
                    "resource": _resource(spans[0].resource),
                    "scopeSpans": [{"scope": {"name": "commitlog"}, "spans": [_span(span) for span in spans]}],
                }
            ]
        }
        return SpanExportResult.SUCCESS if self.sender.send(document) else SpanExportResult.FAILURE


def metric_exporter() -> Metrics | None:
    """What sends metrics where the environment asks for it, else None."""
    sender = _sender("metrics")
    return Metrics(sender) if sender else None


def span_exporter() -> Spans | None:
    """What sends spans where the environment asks for it, else None."""
    sender = _sender("traces")
    return Spans(sender) if sender else None


def resource_of(name: str) -> Resource:
    """Who sends the telemetry of a log's worker. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES hold over what is said here.

    Args:
        name: The log's name.
    """
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    default = {} if named else {"service.name": "commitlog"}
    return Resource.create({**default, "commitlog.log": name})


def _sender(signal: Signal) -> Sender | None:
    """What the environment asks for. A wish that cannot be met is said and not fatal: the worker works without it."""
    url = _url(signal)
    if not url:
        return None
    protocol = _setting(signal, "PROTOCOL") or "http/json"
    if protocol not in ("http/json", "http/protobuf"):
        log.warning(
            "no %s are sent: OTLP over %s is not spoken. OTEL_EXPORTER_OTLP_PROTOCOL=http/json, mostly on port 4318",
            signal,
            protocol,
        )
        return None
    try:
        sender = Sender(
            url,
            headers=_headers(_setting(signal, "HEADERS")),
            timeout_s=float(_setting(signal, "TIMEOUT") or TIMEOUT_S * 1000) / 1000,
            compressed=_setting(signal, "COMPRESSION") == "gzip",
            certificate=_setting(signal, "CERTIFICATE"),
        )
    except OSError as exc:
        log.warning("no %s are sent: OTEL_EXPORTER_OTLP_CERTIFICATE cannot be read: %s", signal, exc.strerror)
        return None
    except ValueError:
        # What is wrong may be in the middle of a password, so it is not repeated.
        log.warning("no %s are sent: OTEL_EXPORTER_OTLP_ENDPOINT or _TIMEOUT is malformed", signal)
        return None
    log.info("%s are sent to %s", signal, sender.shown)
    return sender


def _url(signal: Signal) -> str:
    """Where a signal is to be sent; empty for nowhere, which is the case unless an exporter or an endpoint is named."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    exporters = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "")
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "")
    base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    if exporters and "otlp" not in [name.strip() for name in exporters.split(",")]:
        return ""
    if not (exporters or own or base):
        return ""
    url = own or f"{(base or 'http://localhost:4318').rstrip('/')}/v1/{signal}"
    if not url.startswith(("http://", "https://")):
        log.warning("no %s are sent: an OTLP endpoint begins with http:// or https://", signal)
        return ""
    return url


def _setting(signal: Signal, name: str) -> str:
    return os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}") or os.environ.get(
        f"OTEL_EXPORTER_OTLP_{name}", ""
    )


def _headers(text: str) -> dict[str, str]:
    """`key=value,key2=value2`, percent-encoded."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {unquote(key.strip()): unquote(value.strip()) for key, _, value in pairs}


def _resource(resource: Resource) -> dict[str, object]:
    return {"attributes": _attributes(resource.attributes)}


def _attributes(attributes: Mapping[str, Any] | None) -> list[dict[str, object]]:
    return [{"key": key, "value": _value(value)} for key, value in (attributes or {}).items()]


def _value(value: object) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    return {"stringValue": str(value)}


def _metric(metric: Metric) -> dict[str, object]:
    found: dict[str, object] = {"name": metric.name, "description": metric.description, "unit": metric.unit}
    data = metric.data
    if isinstance(data, Sum):
        found["sum"] = {
            "dataPoints": [_point(point) for point in data.data_points],
            "aggregationTemporality": int(data.aggregation_temporality),
            "isMonotonic": data.is_monotonic,
        }
    elif isinstance(data, Gauge):
        found["gauge"] = {"dataPoints": [_point(point) for point in data.data_points]}
    return found


def _point(point: NumberDataPoint) -> dict[str, object]:
    value = {"asInt": str(point.value)} if isinstance(point.value, int) else {"asDouble": point.value}
    start = {"startTimeUnixNano": str(point.start_time_unix_nano)} if point.start_time_unix_nano else {}
    return {
        "attributes": _attributes(point.attributes),
        **start,
        "timeUnixNano": str(point.time_unix_nano),
        **value,
    }


def _span(span: ReadableSpan) -> dict[str, object]:
    context, parent = span.get_span_context(), span.parent
    if context is None:
        raise ValueError("a span without a context")
    found: dict[str, object] = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "name": span.name,
        "kind": span.kind.value + KIND_OFFSET,
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes),
        "status": {},
    }
    if parent is not None:
        found["parentSpanId"] = f"{parent.span_id:016x}"
    return found
