"""Metrics of the functions: the worker's own, in CloudWatch's embedded metric format."""

import os
from typing import Final

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from worker.telemetry import METRICS, MetricName

NAMESPACE: Final = os.environ.get("POWERTOOLS_METRICS_NAMESPACE") or "Ledgerock"
SERVICE: Final = os.environ.get("POWERTOOLS_SERVICE_NAME") or "ledgerock"

_UNITS: Final = {
    "Count": MetricUnit.Count,
    "Seconds": MetricUnit.Seconds,
    "None": MetricUnit.NoUnit,
}
_Labels = tuple[tuple[str, str], ...]


class EmbeddedMeter:
    """Keeps what one invocation measures, and prints it at its end.

    There is one line for each set of labels.

    Counters are summed up first; of a histogram every value is written, so that CloudWatch works
    out percentiles itself.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._counts: dict[_Labels, dict[MetricName, float]] = {}
        self._values: dict[_Labels, dict[MetricName, list[float]]] = {}

    def add(self, name: MetricName, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        counts = self._counts.setdefault(tuple(labels.items()), {})
        counts[name] = counts.get(name, 0) + amount

    def set(self, name: MetricName, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._counts.setdefault(tuple(labels.items()), {})[name] = value

    def observe(self, name: MetricName, value: float, **labels: str) -> None:
        """Take a value into a histogram."""
        self._values.setdefault(tuple(labels.items()), {}).setdefault(name, []).append(value)

    def flush(self) -> None:
        """Print what was measured, and forget it."""
        for labels in {**self._counts, **self._values}:
            metrics = _metrics()
            for label, text in labels:
                metrics.add_dimension(label, text)
            for name, count in self._counts.get(labels, {}).items():
                metrics.add_metric(name, _UNITS[METRICS[name].unit], count)
            for name, values in self._values.get(labels, {}).items():
                for value in values:
                    metrics.add_metric(name, _UNITS[METRICS[name].unit], value)
            # A hundred values of one metric were printed on the way; none may be left.
            if metrics.metric_set:
                metrics.flush_metrics()
        self._counts.clear()
        self._values.clear()


def print_cold_start(context: LambdaContext) -> None:
    """Print the metric `ColdStart` of this function, as Powertools does."""
    _metrics().add_cold_start_metric(context)


def _metrics() -> EphemeralMetrics:
    return EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
