"""What operators see: structured logs on stderr, and one table of all metrics.

The container serves the metrics to Prometheus, or prints them for CloudWatch as the functions do;
all take names, kinds and labels from here. Neither logs nor labels ever hold bodies, or text of
callers beyond ids.
"""

from __future__ import annotations

from worker.telemetry.embedded import Document, Tally
from worker.telemetry.logs import (
    LOG_LEVEL_VARIABLE,
    configure_logs,
    explain_exception,
    log_level,
)
from worker.telemetry.measuring import (
    RequestCounts,
    measure_announced,
    measure_commit,
    measure_enforced,
    measure_monitored,
    measure_states,
    measure_told,
)
from worker.telemetry.metrics import METRICS, Meter, Metric, MetricName

__all__ = [
    "LOG_LEVEL_VARIABLE",
    "METRICS",
    "Document",
    "Meter",
    "Metric",
    "MetricName",
    "RequestCounts",
    "Tally",
    "configure_logs",
    "explain_exception",
    "log_level",
    "measure_announced",
    "measure_commit",
    "measure_enforced",
    "measure_monitored",
    "measure_states",
    "measure_told",
]
