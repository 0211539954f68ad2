"""The metrics of a worker: served to Prometheus, printed for CloudWatch, or both."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, TextIO

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from worker.settings import WorkerSettings
from worker.telemetry import METRICS, Meter, MetricName, RequestCounts, Tally

PREFIX: Final = "ledgerock"
CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


class PrometheusMeter:
    """A `worker.telemetry.Meter` that Prometheus can scrape, in a registry of its own."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self._counters: dict[MetricName, Counter] = {}
        self._gauges: dict[MetricName, Gauge] = {}
        self._histograms: dict[MetricName, Histogram] = {}
        self._owed: dict[tuple[str, ...], float] = {}
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
        """Add to a counter, which only grows: what is taken back is made up for by what follows."""
        key = name, *labels.values()
        amount += self._owed.pop(key, 0)
        if amount < 0:
            self._owed[key] = amount
            return
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
        return generate_latest(self.registry)


class EmbeddedMeter(Tally):
    """Prints what was measured since it printed last, a JSON document a line.

    CloudWatch takes the metrics out of the lines wherever they reach a log group of its own.

    Args:
        namespace: CloudWatch's, of all metrics.
        service: Value of the dimension `service`.
        stream: Where to print; stdout by default.
    """

    def __init__(self, namespace: str, service: str, stream: TextIO | None = None) -> None:
        """Have nothing to print yet."""
        super().__init__(keeps_gauges=True)
        self._namespace = namespace
        self._service = service
        self._stream = stream

    def print(self, now_ms: int) -> None:
        """Print it, and forget all but the gauges.

        Args:
            now_ms: Epoch milliseconds UTC.

        Raises:
            OSError: Nobody takes what is printed.
        """
        lines = [
            orjson.dumps(document.content(self._namespace, self._service, now_ms)).decode()
            for document in self.take()
        ]
        stream = self._stream or sys.stdout
        stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()


class WorkerMeter:
    """The meter of a worker: keeps metrics in all the ways that its settings ask for.

    Args:
        settings: Which they are.
        requests: Clients whose counts are read when somebody looks.
        stream: Where metrics are printed; stdout by default.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        requests: Sequence[RequestCounts] = (),
        stream: TextIO | None = None,
    ) -> None:
        """Begin at zero."""
        self.prometheus = None if settings.metrics == "emf" else PrometheusMeter()
        self.embedded = None
        if settings.metrics != "prometheus":
            names = settings.metrics_namespace, settings.metrics_service
            self.embedded = EmbeddedMeter(*names, stream)
        every: tuple[Meter | None, ...] = (self.prometheus, self.embedded)
        self._meters = [meter for meter in every if meter is not None]
        self._requests = tuple(requests)
        self._seen: dict[MetricName, int] = {}

    def add(self, name: MetricName, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        for meter in self._meters:
            meter.add(name, amount, **labels)

    def set(self, name: MetricName, value: float, **labels: str) -> None:
        """Set a gauge."""
        for meter in self._meters:
            meter.set(name, value, **labels)

    def observe(self, name: MetricName, value: float, **labels: str) -> None:
        """Take a value into a histogram."""
        for meter in self._meters:
            meter.observe(name, value, **labels)

    def follow_requests(self) -> None:
        """Take in what the clients counted since the last time."""
        self._follow("request_retries", sum(one.retries for one in self._requests))
        self._follow("request_conflicts", sum(one.conflicts for one in self._requests))
        self._follow("request_throttles", sum(one.throttles for one in self._requests))

    def _follow(self, name: MetricName, count: int) -> None:
        more = count - self._seen.get(name, 0)
        if more:
            self.add(name, more)
        self._seen[name] = count
