"""Prometheus metrics. No label has values that clients could choose freely."""

from __future__ import annotations

from prometheus_client import (
    GC_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from langchain_moa.server.admission_queue import AdmissionQueue
from langchain_moa.server.exchange import Exchange

# Seconds; a mixture's first token waits for its proposers.
_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)


class Metrics:
    """The metrics of one app."""

    def __init__(self, queue: AdmissionQueue) -> None:
        """Register the metrics.

        Args:
            queue: Provides the number of running and waiting requests.
        """
        self._registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, GC_COLLECTOR):
            self._registry.register(collector)
        self._requests = self._counter("moa_requests", "Requests that were answered", "model", "status")
        self._seconds = self._histogram("moa_request_seconds", "From a request to the end of its answer")
        self._first_token = self._histogram("moa_first_token_seconds", "From a request to its answer's first token")
        self._tokens = self._counter("moa_tokens", "Tokens of all calls of all mixtures", "model", "kind")
        self._cost = self._counter("moa_cost_dollars", "Cost of all calls of all mixtures, of known prices", "model")
        self._failures = self._counter(
            "moa_proposer_failures", "Proposers that gave no whole reference", "model", "proposer", "status"
        )
        self._gauge("moa_requests_in_flight", "Answers in the making").set_function(lambda: queue.running)
        self._gauge("moa_requests_queued", "Requests that wait for their turn").set_function(lambda: queue.queued)

    def count(self, seen: Exchange) -> None:
        """Record one request."""
        self._requests.labels(seen.model, seen.status).inc()
        if seen.model:
            self._seconds.labels(seen.model).observe(seen.seconds)
        if seen.first_token_seconds is not None:
            self._first_token.labels(seen.model).observe(seen.first_token_seconds)
        if seen.usage:
            self._tokens.labels(seen.model, "prompt").inc(seen.usage["input_tokens"])
            self._tokens.labels(seen.model, "completion").inc(seen.usage["output_tokens"])
        if seen.cost:
            self._cost.labels(seen.model).inc(seen.cost)
        for proposer, status in seen.failures:
            self._failures.labels(seen.model, "" if seen.is_variant else proposer, status).inc()

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str) -> Histogram:
        return Histogram(name, what, ("model",), registry=self._registry, buckets=_BUCKETS)

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(name, what, registry=self._registry)
