"""Spans of OpenTelemetry for IMs that the front end has sampled; off unless ``LCS_OTLP_ENDPOINT`` is set."""

from collections.abc import Iterable

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from archiving.delivery import Delivery
from archiving.journal import Journal
from contract.message import TRACEPARENT_HEADER, TRACEPARENTS_HEADER


class Spans:
    """Exports a span for the commit of each sampled IM."""

    def __init__(self, endpoint: str, journal: Journal) -> None:
        """``endpoint``: the collector's."""
        self._journal = journal
        self._provider = TracerProvider(
            resource=Resource({"service.name": "lcs-archiving", "service.instance.id": journal.worker})
        )
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("archiving")
        self._context = TraceContextTextMapPropagator()

    def end_batch(self, deliveries: Iterable[Delivery]) -> None:
        """Export the spans of a batch just committed and acknowledged."""
        for delivery in deliveries:
            contexts = (delivery.properties.headers or {}).get(TRACEPARENTS_HEADER)
            for seq, traceparent in contexts.items() if isinstance(contexts, dict) else ():
                span = self._tracer.start_span(
                    "commit IM",
                    self._context.extract({TRACEPARENT_HEADER: str(traceparent)}),
                    SpanKind.CONSUMER,
                    {"lcs.seq": seq, "lcs.worker": self._journal.worker, "lcs.batch": self._journal.number},
                    start_time=int(delivery.consumed * 1e9),
                )
                span.end()

    def close(self) -> None:
        """Send the remaining spans."""
        self._provider.shutdown()
