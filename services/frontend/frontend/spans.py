"""Spans of OpenTelemetry for a collector: off unless ``LCS_OTLP_ENDPOINT`` names one.

An IM's trace has the IM's own id, unless its sender brought a context (W3C Trace Context). The context goes
on in the AMQP headers; the worker adds the commit. No span holds an address or content.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from aio_pika.abc import HeadersType
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import Span, SpanKind, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from contract.message import IM, TRACEPARENT_HEADER, TRACEPARENTS_HEADER, milliseconds_of
from frontend.config import FrontEndSettings
from frontend.receipt import Receipt

_MAX_OPEN: Final = 10_000
_RANDOM: Final = (1 << 56) - 1
"""The random bits of a trace id (W3C Trace Context 2), random in a UUIDv7 too: they choose the IMs."""


class _Ids(RandomIdGenerator):
    """Names a trace that begins here after its IM."""

    im = 0

    def generate_trace_id(self) -> int:
        return self.im


class Tracing:
    """The spans of the IMs under way that are sampled."""

    def __init__(self, settings: FrontEndSettings) -> None:
        """``settings.otlp_endpoint`` is there; nothing is sent yet."""
        self._ids = _Ids()
        self._below = round(settings.trace_ratio * (_RANDOM + 1))
        self._provider = TracerProvider(
            sampler=ParentBased(ALWAYS_ON),
            resource=Resource({"service.name": "lcs-frontend", "service.instance.id": settings.front_end}),
            id_generator=self._ids,
        )
        exporter = OTLPSpanExporter(f"{str(settings.otlp_endpoint).rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("frontend")
        self._context = TraceContextTextMapPropagator()
        self._open: OrderedDict[UUID, Span] = OrderedDict()
        self._publishes: list[Span] = []

    def begin(self, receipt: Receipt, traceparent: str | None) -> None:
        """Begin the span of an IM taken in, if it is sampled; ``traceparent`` is its sender's."""
        chosen = receipt.id.int & _RANDOM < self._below
        if traceparent is None and not chosen:
            return
        parent = self._context.extract({TRACEPARENT_HEADER: traceparent} if traceparent else {})
        if not get_current_span(parent).get_span_context().is_valid and not chosen:
            return
        self._ids.im = receipt.id.int
        decision = receipt.decision
        span = self._tracer.start_span(
            "archive IM",
            parent,
            SpanKind.SERVER,
            {"lcs.im": str(receipt.id), "lcs.rule": decision.rule, "lcs.policy_version": decision.version},
            start_time=milliseconds_of(receipt.id) * 1_000_000,
        )
        if not span.is_recording():
            return
        self._open[receipt.id] = span
        if len(self._open) > _MAX_OPEN:  # refused, or long in the spool
            self._open.popitem(last=False)[1].end()

    def publish(self, ims: Sequence[IM]) -> HeadersType:
        """Begin the spans of a publish; return the AMQP headers that carry their contexts on."""
        contexts: HeadersType = {}
        for im in ims if self._open else ():
            if (span := self._open.get(im.id)) is not None:
                attributes: Attributes = {"lcs.agent": str(im.agent), "lcs.seq": im.seq}
                above = set_span_in_context(span)
                publish = self._tracer.start_span("publish lcslog", above, SpanKind.PRODUCER, attributes)
                self._publishes.append(publish)
                carrier: dict[str, str] = {}
                self._context.inject(carrier, set_span_in_context(publish))
                contexts[str(im.seq)] = carrier[TRACEPARENT_HEADER]
        if not contexts:
            return {}
        return {TRACEPARENT_HEADER: next(iter(contexts.values())), TRACEPARENTS_HEADER: contexts}

    def end_publish(self, ims: Sequence[IM], *, confirmed: bool) -> None:
        """End the spans of a publish and, if it was confirmed, those of its IMs."""
        for publish in self._publishes:
            publish.set_attribute("lcs.confirmed", confirmed)
            publish.end()
        self._publishes.clear()
        for im in ims if confirmed and self._open else ():
            if (span := self._open.pop(im.id, None)) is not None:
                span.end()

    def close(self) -> None:
        """Send the last spans."""
        self._provider.shutdown()
