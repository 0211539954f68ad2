"""Metrics of the functions: the worker's own, in CloudWatch's embedded metric format."""

import os
from typing import Final

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from worker.settings import WORKER_ENVIRONMENT, WorkerSettings
from worker.telemetry import METRICS, Document, Tally

_DEFAULTS: Final = WorkerSettings()
NAMESPACE: Final = (
    os.environ.get(WORKER_ENVIRONMENT["metrics_namespace"]) or _DEFAULTS.metrics_namespace
)
SERVICE: Final = os.environ.get(WORKER_ENVIRONMENT["metrics_service"]) or _DEFAULTS.metrics_service

_UNITS: Final = {
    "Count": MetricUnit.Count,
    "Seconds": MetricUnit.Seconds,
    "None": MetricUnit.NoUnit,
}


class EmbeddedMeter(Tally):
    """Keeps what one invocation measures, and prints it at its end."""

    def flush(self) -> None:
        """Print what was measured, and forget it."""
        for document in self.take():
            _print(document)


def print_cold_start(context: LambdaContext) -> None:
    """Print the metric `ColdStart` of this function, as Powertools does."""
    _metrics().add_cold_start_metric(context)


def _print(document: Document) -> None:
    metrics = _metrics()
    for label, text in document.labels.items():
        metrics.add_dimension(label, text)
    for names in document.rollups:
        labels = {name: document.labels[name] for name in names}
        metrics.add_dimensions(**labels, service=SERVICE)
    for name, values in document.values.items():
        for value in values:
            metrics.add_metric(name, _UNITS[METRICS[name].unit], value)
    # A hundred values of one metric were printed on the way; none may be left.
    if metrics.metric_set:
        metrics.flush_metrics()


def _metrics() -> EphemeralMetrics:
    return EphemeralMetrics(namespace=NAMESPACE, service=SERVICE)
