"""A span for each commit of a traced request: from its COMMIT on the source to its durable record, below the request's own span.

The request's traceparent comes from the commit's tag, and its sampled flag decides. Without tracing none of this is loaded.
"""

import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

from ..tail.transaction import Transaction
from .otlp import resource_of

OPEN_MAX = 10_000
"""Commits not yet durable whose spans are kept; more than one flush brings. The oldest go first."""

_TRACEPARENT = re.compile(rb'"traceparent"\s*:\s*"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})"')
"""W3C Trace Context, version 00."""


class _Open(NamedTuple):
    """A commit that is appended and not yet durable."""

    seq: int
    parent: SpanContext
    time_us: int
    attributes: dict[str, str | int]


class Tracing:
    """The spans of one worker.

    Args:
        exporter: Where they go, in batches, in a thread of its own.
        name: The log's name.
    """

    def __init__(self, exporter: SpanExporter, *, name: str) -> None:
        self._provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), resource=resource_of(name))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("commitlog")
        self._name = f"append {name}"
        self._common: dict[str, str | int] = {"commitlog.log": name}
        self._open: deque[_Open] = deque(maxlen=OPEN_MAX)

    def close(self) -> None:
        """Send what is still here."""
        self._provider.shutdown()

    def committed(
        self, transaction: Transaction, commit: str, seq: int, *, rows: int, source: Mapping[str, Any]
    ) -> None:
        """Take note of a transaction whose commit was appended, if it had anything to record.

        Args:
            transaction: Its last tag names the request's trace.
            commit: The commit's id.
            seq: The commit's record, its last one where there are parts.
            rows: How many changes it holds.
            source: The source's identity, as genesis has it.
        """
        parent = parent_of(transaction.tags[-1]) if rows and transaction.tags else None
        if parent is not None:
            attributes = {
                **self._common,
                "db.system.name": str(source["engine"]),
                "db.namespace": str(source["database"]),
                "commitlog.seq": seq,
                "commitlog.commit": commit,
                "commitlog.rows": rows,
            }
            self._open.append(_Open(seq, parent, transaction.time_us, attributes))

    def durable(self, seq: int, *, last: bool = False) -> None:
        """Everything up to `seq` is durable: the spans of these commits end now.

        Args:
            seq: The durable head.
            last: The attempt ended: what is not durable comes again, and is forgotten.
        """
        now = time.time_ns()
        while self._open and self._open[0].seq <= seq:
            found = self._open.popleft()
            span = self._tracer.start_span(
                self._name,
                context=set_span_in_context(NonRecordingSpan(found.parent)),
                kind=SpanKind.CONSUMER,
                attributes=found.attributes,
                start_time=found.time_us * 1000,
            )
            # The clocks of two machines need not agree.
            span.end(max(now, found.time_us * 1000))
        if last:
            self._open.clear()


def parent_of(tag: bytes) -> SpanContext | None:
    """The span of the request that a tag names, where that is sampled; None otherwise."""
    found = _TRACEPARENT.search(tag)
    if found is None or not int(found[3], 16) & TraceFlags.SAMPLED:
        return None
    context = SpanContext(
        int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=TraceFlags(int(found[3], 16))
    )
    return context if context.is_valid else None
