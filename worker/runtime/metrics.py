"""The metrics table kept by Prometheus' own client, in a registry of its own for each worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from worker.telemetry import METRICS, MetricName, RequestCounts

PREFIX: Final = "ledgerock"
CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


class PrometheusMeter:
    """A `worker.telemetry.Meter` that Prometheus can scrape.

    Args:
        requests: Clients whose counts are read when somebody looks.
    """

    def __init__(self, requests: Sequence[RequestCounts] = ()) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self._counters: dict[MetricName, Counter] = {}
        self._gauges: dict[MetricName, Gauge] = {}
        self._histograms: dict[MetricName, Histogram] = {}
        self._requests = tuple(requests)
        self._seen: dict[MetricName, int] = {}
        for name, metric in METRICS.items():
            full = f"{PREFIX}_{name}"
            if metric.kind == "counter":
                self._counters[name] = Counter(
                    full, metric.help, metric.labels, registry=self.registry
                )
            elif metric.kind == "gauge":
                self._gauges[name] = Gauge(full, metric.help, metric.labels, registry=self.registry)
            else:
                self._histograms[name] = Histogram(
                    full,
                    metric.help,
                    metric.labels,
                    buckets=metric.buckets,
                    registry=self.registry,
                )
        ProcessCollector(registry=self.registry)

    def add(self, name: MetricName, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def set(self, name: MetricName, value: float, **labels: str) -> None:
        """Set a gauge."""
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def observe(self, name: MetricName, value: float, **labels: str) -> None:
        """Take a value into a histogram."""
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        self._follow("request_retries", sum(one.retries for one in self._requests))
        self._follow("request_conflicts", sum(one.conflicts for one in self._requests))
        self._follow("request_throttles", sum(one.throttles for one in self._requests))
        return generate_latest(self.registry)

    def _follow(self, name: MetricName, count: int) -> None:
        self.add(name, count - self._seen.get(name, 0))
        self._seen[name] = count
