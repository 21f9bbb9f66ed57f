"""Spans and OTLP without a worker: who is the parent, what is sent, and what happens when nobody takes it."""

import base64
import gzip
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from commitlog.cdc.tail.transaction import Transaction
from commitlog.cdc.telemetry import otlp
from commitlog.cdc.telemetry.metrics import COUNTERS, GAUGES
from commitlog.cdc.telemetry.tracing import OPEN_MAX, Tracing, parent_of
from commitlog.cdc.telemetry.vitals import Vitals

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
COMMIT = "pg:7:1:0000000000000010"
SOURCE = {"engine": "postgresql", "system": "7", "timeline": 1, "database": "shop"}


def tag(flags: str = "01", trace: str = TRACE, parent: str = PARENT) -> bytes:
    return json.dumps({"v": 1, "traceparent": f"00-{trace}-{parent}-{flags}", "request": "r"}).encode()


def transaction(*tags: bytes, end: int = 0x10, time_us: int = 1_000_000) -> Transaction:
    return Transaction(1, end, time_us, [], list(tags))


@pytest.fixture
def spans() -> Iterator[tuple[Tracing, InMemorySpanExporter]]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter, name="shop")
    yield tracing, exporter
    tracing.close()


def test_a_commit_of_a_sampled_request_is_a_span_below_the_requests_own(
    spans: tuple[Tracing, InMemorySpanExporter],
) -> None:
    tracing, exporter = spans
    tracing.committed(transaction(b"{}", tag()), COMMIT, 7, rows=3, source=SOURCE)
    tracing.durable(6)
    tracing.close()
    assert exporter.get_finished_spans() == (), "a span ends when its commit is durable, not before"


def test_a_span_says_which_commit_it_is(spans: tuple[Tracing, InMemorySpanExporter]) -> None:
    tracing, exporter = spans
    tracing.committed(transaction(tag()), COMMIT, 7, rows=3, source=SOURCE)
    tracing.durable(7)
    tracing.close()

    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("append shop", SpanKind.CONSUMER)
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert span.parent.is_remote
    assert dict(span.attributes or {}) == {
        "commitlog.log": "shop",
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "commitlog.seq": 7,
        "commitlog.commit": COMMIT,
        "commitlog.rows": 3,
    }
    assert span.start_time == 1_000_000_000
    assert span.end_time is not None
    assert span.start_time is not None
    assert span.end_time >= span.start_time


@pytest.mark.parametrize(
    "claimed",
    [
        tag("00"),
        tag("fe"),
        tag(trace="0" * 32),
        tag(parent="0" * 16),
        b"{}",
        b'{"traceparent":"nonsense"}',
        b"\xff\x00",
        tag().upper(),
    ],
)
def test_what_is_not_sampled_or_not_a_trace_makes_no_span(claimed: bytes) -> None:
    assert parent_of(claimed) is None


def test_untagged_transactions_and_such_as_recorded_nothing_make_no_span(
    spans: tuple[Tracing, InMemorySpanExporter],
) -> None:
    tracing, exporter = spans
    tracing.committed(transaction(), COMMIT, 1, rows=3, source=SOURCE)
    tracing.committed(transaction(tag()), COMMIT, 1, rows=0, source=SOURCE)
    tracing.durable(9)
    tracing.close()
    assert exporter.get_finished_spans() == ()


def test_spans_of_an_attempt_that_ended_are_forgotten_and_never_gather_without_bound(
    spans: tuple[Tracing, InMemorySpanExporter],
) -> None:
    tracing, exporter = spans
    for seq in range(OPEN_MAX + 5):
        tracing.committed(transaction(tag()), COMMIT, seq, rows=1, source=SOURCE)
    tracing.durable(6, last=True)
    tracing.durable(OPEN_MAX + 5)
    tracing.close()
    assert [span.attributes["commitlog.seq"] for span in exporter.get_finished_spans() if span.attributes] == [5, 6]


@contextmanager
def receiver(*statuses: int) -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    """An HTTP server that answers with these statuses, then 200: its address, and (path, headers, body) of what it got."""
    got: list[tuple[str, dict[str, str], bytes]] = []
    answers = iter(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(next(answers, 200))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join(10)


def test_a_busy_receiver_is_asked_again_and_one_that_refuses_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "commitlog")
    with receiver(503, 200, 400) as (url, got):
        sender = otlp.Sender(f"{url}/v1/traces", timeout_s=30)
        assert sender.send({"a": 1})
        assert len(got) == 2
        assert not sender.send({"a": 1})
        assert len(got) == 3
        assert sender.send({"a": 1})
    assert [record.getMessage() for record in caplog.records] == [
        f"telemetry cannot be sent to {url}/v1/traces: HTTP status 400",
        f"telemetry is sent to {url}/v1/traces again",
    ]


def test_headers_and_compression_go_with_it_and_secrets_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver() as (url, got):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{url}/base/")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=se%20cret,other=1")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        exporter = otlp.metric_exporter()
        assert exporter is not None
        assert exporter.sender.send({"a": [1]})
    (path, headers, body), *_ = got
    assert (path, headers["x-key"], headers["content-encoding"]) == ("/base/v1/metrics", "se cret", "gzip")
    assert json.loads(gzip.decompress(body)) == {"a": [1]}
    assert "cret" not in caplog.text


def test_a_login_in_the_address_is_sent_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with receiver() as (url, got):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url.replace("//", "//ann:canary%2F7@"))
        exporter = otlp.span_exporter()
        assert exporter is not None
        assert exporter.sender.send({})
        assert got[0][1]["authorization"] == f"Basic {base64.b64encode(b'ann:canary/7').decode()}"
        for malformed in ("http://ann:canary/7@host:4318", "http://host:canary", "http://[canary"):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", malformed)
            assert otlp.span_exporter() is None
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "a=canary%0A7")
        exporter = otlp.span_exporter()
        assert exporter is not None
        assert not exporter.sender.send({})
    assert "canary" not in caplog.text


def test_a_receiver_that_is_away_costs_no_more_than_the_end_allows() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        sender = otlp.Sender(f"http://127.0.0.1:{deaf.getsockname()[1]}/", timeout_s=60)
        sender.end_within(0.2)
        assert not sender.send({})
        assert not sender.send({})


@pytest.mark.parametrize(
    ("environment", "metrics", "traces"),
    [
        ({}, False, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, True, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:4318/t"}, False, True),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, True, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", "OTEL_TRACES_EXPORTER": "none"}, True, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", "OTEL_SDK_DISABLED": "true"}, False, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "h:4318"}, False, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, False, False),
    ],
)
def test_telemetry_is_sent_where_the_environment_asks_for_it_and_nowhere_else(
    environment: dict[str, str], metrics: bool, traces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (otlp.metric_exporter() is not None, otlp.span_exporter() is not None) == (metrics, traces)


def test_every_figure_has_a_name_in_the_metrics() -> None:
    assert set(Vitals(60).figures()) <= set(COUNTERS) | set(GAUGES)


def test_a_worker_that_streams_must_move_and_one_that_waits_for_its_source_need_not() -> None:
    vitals = Vitals(silence_s=0)
    assert vitals.stuck() == ""
    assert vitals.unready() != ""
    vitals.trouble = ""
    assert "has not moved" in vitals.stuck()
    assert "has not moved" in vitals.unready()


def test_the_lag_in_time_is_known_only_when_something_is() -> None:
    vitals = Vitals(60)
    assert vitals.lag_s() is None
    vitals.observe(10, told=20, commit=None)
    assert vitals.lag_s() is None
    vitals.trouble = ""
    vitals.observe(20, told=20, commit=None)
    assert vitals.lag_s() == 0
    vitals.observe(20, told=30, commit="2026-01-01T00:00:00.000000Z")
    found = vitals.lag_s()
    assert found is not None
    assert 0 <= found < 60, "it was even a moment ago, however old the last commit is"
    vitals.level.even_at = 0
    found = vitals.lag_s()
    assert found is not None
    assert found > 3600
