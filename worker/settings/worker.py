"""What only the worker and the functions need to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from worker.core.errors import ConfigurationError
from worker.settings.values import values_of

WORKER_ENVIRONMENT: Final = {
    "queues": "LEDGEROCK_QUEUES",
    "streams": "LEDGEROCK_STREAMS",
    "bus": "LEDGEROCK_BUS",
    "batch_deliveries_max": "LEDGEROCK_BATCH_DELIVERIES_MAX",
    "batch_bytes_max": "LEDGEROCK_BATCH_BYTES_MAX",
    "linger_ms": "LEDGEROCK_LINGER_MS",
    "receivers": "LEDGEROCK_RECEIVERS",
    "batches_in_flight": "LEDGEROCK_BATCHES_IN_FLIGHT",
    "visibility_seconds": "LEDGEROCK_VISIBILITY_SECONDS",
    "lease_seconds": "LEDGEROCK_LEASE_SECONDS",
    "drain_seconds": "LEDGEROCK_DRAIN_SECONDS",
    "http_port": "LEDGEROCK_HTTP_PORT",
    "lag_seconds_max": "LEDGEROCK_LAG_SECONDS_MAX",
    "resolve_profiles": "LEDGEROCK_RESOLVE_PROFILES",
    "metrics": "LEDGEROCK_METRICS",
    "metrics_namespace": "POWERTOOLS_METRICS_NAMESPACE",
    "metrics_service": "POWERTOOLS_SERVICE_NAME",
}
"""The environment variable behind each of the worker's settings."""

METRICS: Final = ("prometheus", "emf", "both")
"""Ways in which the container shows its metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What only the worker and the functions need to know.

    Attributes:
        queues: URLs of the SQS queues to work on.
        streams: Names or ARNs of the Kinesis streams to work on.
        bus: EventBridge bus (name or ARN) that events are announced on, `file:PATH` for a file
            of JSON lines, or empty: they are written down, and announced by somebody else.
        batch_deliveries_max: Deliveries that are booked together at most.
        batch_bytes_max: Their bodies' bytes together at most.
        linger_ms: How long a delivery waits at most for others to be booked with, for each batch
            that is being worked on; while nothing is, it is booked at once.
        receivers: Receivers that poll each queue at the same time.
        batches_in_flight: Batches that are worked on at the same time.
        visibility_seconds: For how long a queue hides what was received; prolonged while it is
            still being worked on.
        lease_seconds: For how long a worker that is not heard of keeps its shards.
        drain_seconds: How long after SIGTERM the worker may finish what it began.
        http_port: Where `/healthz`, `/readyz` and `/metrics` are served; 0 for nowhere.
        lag_seconds_max: Beyond this age of the oldest unsettled delivery the worker is not ready.
        resolve_profiles: Ask Bedrock about application inference profiles that are not known.
        metrics: How the container shows its metrics: `prometheus` serves them on `/metrics`,
            `emf` prints them on stdout in CloudWatch's embedded metric format, `both` does both.
            The functions always print them.
        metrics_namespace: CloudWatch's namespace of all metrics.
        metrics_service: Value of the dimension `service` of all metrics: a name for each stage,
            for stages of one account that share it share their metrics.
    """

    queues: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    bus: str = ""
    batch_deliveries_max: int = 500
    batch_bytes_max: int = 8_000_000
    linger_ms: int = 50
    receivers: int = 4
    batches_in_flight: int = 4
    visibility_seconds: int = 60
    lease_seconds: int = 20
    drain_seconds: int = 25
    http_port: int = 8080
    lag_seconds_max: int = 900
    resolve_profiles: bool = True
    metrics: str = "prometheus"
    metrics_namespace: str = "Ledgerock"
    metrics_service: str = "ledgerock"

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> WorkerSettings:
        """Read the settings from the environment.

        Raises:
            ConfigurationError: A value is not what it must be.
        """
        values = values_of(
            cls, WORKER_ENVIRONMENT, environment, may_be_zero={"http_port", "linger_ms"}
        )
        settings = cls(**values)  # type: ignore[arg-type]  # each value has its default's type
        if settings.metrics not in METRICS:
            message = f"LEDGEROCK_METRICS={settings.metrics}: give {', '.join(METRICS)}"
            raise ConfigurationError(message)
        return settings
