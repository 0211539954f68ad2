"""Metrics for CloudWatch's embedded metric format: documents that are printed into a log.

CloudWatch adds nothing up: an alarm sees what was written under exactly its own dimensions. So a
metric with labels is written under other sets of them as well, where somebody may want the sum of
it or the worst of it; see `Metric.rollups`. Every set has the dimension `service` besides, which
tells the stages of an account apart.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from worker.telemetry.metrics import METRICS, MetricName

SERVICE_DIMENSION: Final = "service"

VALUES_MAX: Final = 100
"""Values of one metric in one document at most (AWS documentation: "Specification: Embedded metric
format")."""
SAMPLE_MAX: Final = 1_000
"""Values of a histogram that are kept at most until they are written; of more, a sample is."""
_DECIMALS: Final = 6
"""Of a histogram's values: microseconds."""


class Document(msgspec.Struct, frozen=True):
    """What goes into one line.

    Attributes:
        labels: Names and values of the metrics' labels.
        rollups: The other sets of labels under which the same values are written.
        values: Of each metric.
    """

    labels: dict[str, str]
    rollups: tuple[tuple[str, ...], ...]
    values: dict[MetricName, list[float]]

    @property
    def dimension_sets(self) -> tuple[tuple[str, ...], ...]:
        """Names of the labels of each set under which the values are written; without `service`."""
        return (tuple(self.labels), *self.rollups)

    def content(self, namespace: str, service: str, at_ms: int) -> dict[str, Any]:
        """Return the document in the embedded metric format.

        Args:
            namespace: CloudWatch's, of all metrics.
            service: Value of the dimension `service`.
            at_ms: When this was measured, epoch milliseconds UTC.
        """
        metrics = [{"Name": name, "Unit": METRICS[name].unit} for name in self.values]
        sets = [[*names, SERVICE_DIMENSION] for names in self.dimension_sets]
        directive = {"Namespace": namespace, "Dimensions": sets, "Metrics": metrics}
        content: dict[str, Any] = {"_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [directive]}}
        content |= {**self.labels, SERVICE_DIMENSION: service}
        content.update(self.values.items())
        return content


class Tally:
    """A `Meter` that keeps what was measured until it is taken, in bounded memory.

    Counters are summed up, gauges keep their last value. Of a histogram every value is kept up to
    `SAMPLE_MAX`, so that CloudWatch works out percentiles itself; of more, a random sample that
    has the greatest.

    Args:
        keeps_gauges: Gauges are taken again each time, as they were set last: for a process that
            goes on.
    """

    def __init__(self, *, keeps_gauges: bool = False) -> None:
        """Start empty."""
        self._keeps_gauges = keeps_gauges
        self._counters: dict[_Key, float] = {}
        self._gauges: dict[_Key, float] = {}
        self._samples: dict[_Key, _Sample] = {}

    def add(self, name: MetricName, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        key = _key(name, labels)
        self._counters[key] = self._counters.get(key, 0) + amount

    def set(self, name: MetricName, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._gauges[_key(name, labels)] = value

    def observe(self, name: MetricName, value: float, **labels: str) -> None:
        """Take a value into a histogram."""
        self._samples.setdefault(_key(name, labels), _Sample()).take(round(value, _DECIMALS))

    def take(self) -> Iterator[Document]:
        """Return what was measured since the last time; it is forgotten."""
        values = {key: [value] for key, value in (*self._counters.items(), *self._gauges.items())}
        values |= {key: sample.values for key, sample in self._samples.items()}
        self._counters, self._samples = {}, {}
        if not self._keeps_gauges:
            self._gauges = {}
        return _documents(values)


_Labels = tuple[tuple[str, str], ...]
_Key = tuple[MetricName, _Labels]


class _Sample:
    """Some values, each as likely to be kept as any other, and the greatest."""

    def __init__(self) -> None:
        self._kept: list[float] = []
        self._count = 0
        self._greatest = float("-inf")

    def take(self, value: float) -> None:
        self._count += 1
        self._greatest = max(self._greatest, value)
        if len(self._kept) < SAMPLE_MAX:
            self._kept.append(value)
        elif (place := random.randrange(self._count)) < SAMPLE_MAX:  # noqa: S311 - statistics
            self._kept[place] = value

    @property
    def values(self) -> list[float]:
        """What was kept, in no order if it is not all."""
        if self._greatest in self._kept:
            return self._kept
        return [self._greatest, *self._kept[1:]]


def _key(name: MetricName, labels: Mapping[str, str]) -> _Key:
    return name, tuple((label, labels[label]) for label in METRICS[name].labels)


def _documents(values: Mapping[_Key, list[float]]) -> Iterator[Document]:
    """Group values that are written under the same dimensions."""
    groups: dict[tuple[_Labels, tuple[tuple[str, ...], ...]], dict[MetricName, list[float]]] = {}
    for (name, labels), some in values.items():
        groups.setdefault((labels, METRICS[name].rollups), {})[name] = some
    for (labels, rollups), metrics in groups.items():
        longest = max(map(len, metrics.values()))
        for start in range(0, longest, VALUES_MAX):
            part = {
                name: some[start : start + VALUES_MAX]
                for name, some in metrics.items()
                if start < len(some)
            }
            yield Document(dict(labels), rollups, part)
