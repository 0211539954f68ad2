"""What operators see: structured logs on stderr, and one table of all metrics.

The container serves the metrics to Prometheus, the functions write them in CloudWatch's embedded
metric format; both take names, kinds and labels from here. Neither logs nor labels ever hold
bodies, or text of callers beyond ids.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final, Literal, Protocol, TextIO

import msgspec
import orjson

from worker.core.errors import ConfigurationError, LedgerockError

LOG_LEVEL_VARIABLE: Final = "LEDGEROCK_LOG_LEVEL"
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
FRAMES_MAX: Final = 12
"""Frames of a traceback that a log line names, the innermost."""

# --- Metrics ---------------------------------------------------------------------------------

MetricName = Literal[
    "deliveries",
    "records",
    "call_to_booked_seconds",
    "delivery_age_seconds",
    "commit_seconds",
    "request_retries",
    "request_conflicts",
    "request_throttles",
    "quarantined_share",
    "unpriced_calls",
    "unmetered_calls",
    "crossings",
    "call_to_crossing_seconds",
    "notices_announced",
    "notices_failed",
    "notices_oldest_pending_seconds",
    "breaker_open",
    "deliveries_in_flight",
    "receives_failed",
    "source_behind_seconds",
    "batches_failed",
    "people_told",
    "people_failed",
    "people_given_up",
    "people_oldest_pending_seconds",
    "grace_periods",
    "suspensions",
    "restorations",
    "suspensions_failed",
    "crossing_to_denied_seconds",
    "hold_to_denied_seconds",
    "monitor_lag_seconds",
]
"""Every metric there is. Prometheus has them as `ledgerock_NAME`, counters with `_total`."""

MetricKind = Literal["counter", "gauge", "histogram"]
"""A counter only grows, a gauge is set, a histogram is observed."""

RECORD_RESULTS: Final = ("recorded", "upgraded", "duplicate", "ignored", "quarantined")
"""Values of the label `result` of `records`."""
DELIVERY_RESULTS: Final = ("acknowledged", "deferred", "quarantined")
"""Values of the label `result` of `deliveries`."""

COMMIT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of what a commit takes, seconds."""
LAG_BUCKETS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 86400.0)
"""Upper bounds of the time since a call, seconds: AWS delivers logs after minutes."""


DENIAL_BUCKETS: Final = (
    *(1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0),
    *(3600.0, 4 * 3600.0, 86400.0, 7 * 86400.0),
)
"""Upper bounds of the time from a crossing to the denial, seconds: grace periods may be days."""


class Metric(msgspec.Struct, frozen=True):
    """What a metric is.

    Attributes:
        kind: How it is kept.
        help: What it says, for people.
        unit: `Count`, `Seconds` or `None` (a share), as CloudWatch names them.
        labels: Names of its labels.
        buckets: Upper bounds of a histogram's buckets.
    """

    kind: MetricKind
    help: str
    unit: Literal["Count", "Seconds", "None"] = "Count"
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


METRICS: Final[Mapping[MetricName, Metric]] = {
    "deliveries": Metric("counter", "Deliveries that ended.", labels=("source", "result")),
    "records": Metric("counter", "Records of committed batches.", labels=("result",)),
    "call_to_booked_seconds": Metric(
        "histogram",
        "Time from the oldest call of a commit to its booking.",
        "Seconds",
        buckets=LAG_BUCKETS,
    ),
    "delivery_age_seconds": Metric(
        "histogram",
        "Time from a source's taking in a delivery to its end.",
        "Seconds",
        buckets=LAG_BUCKETS,
    ),
    "commit_seconds": Metric(
        "histogram",
        "Time that a commit took, its quarantine and budgets included.",
        "Seconds",
        buckets=COMMIT_BUCKETS,
    ),
    "request_retries": Metric("counter", "Requests to DynamoDB made again."),
    "request_conflicts": Metric("counter", "Transactions that met another one."),
    "request_throttles": Metric("counter", "Requests to DynamoDB that were throttled."),
    "quarantined_share": Metric(
        "gauge", "Share of the records in the breaker's window that were quarantined.", "None"
    ),
    "unpriced_calls": Metric("counter", "Calls booked without a rate."),
    "unmetered_calls": Metric("counter", "Calls booked without counts."),
    "crossings": Metric("counter", "Thresholds found crossed."),
    "call_to_crossing_seconds": Metric(
        "histogram",
        "Time from the oldest call of a commit to the writing down of a crossing it caused.",
        "Seconds",
        buckets=LAG_BUCKETS,
    ),
    "notices_announced": Metric("counter", "Notices that the event bus took."),
    "notices_failed": Metric("counter", "Attempts to announce a notice that failed."),
    "notices_oldest_pending_seconds": Metric(
        "gauge", "Time since the oldest pending notice fell due; 0 if none is.", "Seconds"
    ),
    "breaker_open": Metric("gauge", "1 while the breaker is open, 0.5 half-open, 0 closed."),
    "deliveries_in_flight": Metric("gauge", "Deliveries received and not yet settled."),
    "receives_failed": Metric("counter", "Polls of a source that failed.", labels=("source",)),
    "source_behind_seconds": Metric(
        "gauge",
        "How far a stream's shard that is furthest behind is behind its newest record.",
        "Seconds",
        labels=("source",),
    ),
    "batches_failed": Metric("counter", "Batches that ended with an error nobody expected."),
    "people_told": Metric("counter", "Messages that a channel took.", labels=("channel",)),
    "people_failed": Metric("counter", "Attempts to tell people that failed.", labels=("channel",)),
    "people_given_up": Metric(
        "counter", "Messages that nobody was told, and nobody will be.", labels=("channel",)
    ),
    "people_oldest_pending_seconds": Metric(
        "gauge",
        "Time since the oldest message that a channel did not take fell due; 0 if none did.",
        "Seconds",
        labels=("channel",),
    ),
    "grace_periods": Metric("counter", "Grace periods that began."),
    "suspensions": Metric("counter", "Principals suspended, and read back from IAM."),
    "restorations": Metric("counter", "Principals restored, and read back from IAM."),
    "suspensions_failed": Metric(
        "counter", "Attempts to suspend or to restore that failed, or that a person must complete."
    ),
    "crossing_to_denied_seconds": Metric(
        "histogram",
        "Time from finding a limit reached to the verified deny, the grace period included.",
        "Seconds",
        buckets=DENIAL_BUCKETS,
    ),
    "hold_to_denied_seconds": Metric(
        "histogram",
        "Time from a principal's first hold, the grace period being over, to the verified deny.",
        "Seconds",
        buckets=DENIAL_BUCKETS,
    ),
    "monitor_lag_seconds": Metric(
        "gauge", "For how long the oldest due work of the monitor had been due.", "Seconds"
    ),
}
"""The one table of all metrics."""


class Meter(Protocol):
    """Keeps metrics; labels are given by name, all of them, as `METRICS` lists them."""

    def add(self, name: MetricName, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def set(self, name: MetricName, value: float, **labels: str) -> None:
        """Set a gauge."""

    def observe(self, name: MetricName, value: float, **labels: str) -> None:
        """Take a value into a histogram."""


class RequestCounts(Protocol):
    """What a client of DynamoDB counts; see `worker.adapters.dynamodb_requests.Dynamo`."""

    retries: int
    conflicts: int
    throttles: int


class CommitFigures(Protocol):
    """What one commit did: the part of `worker.pipeline.Figures` that is measured."""

    records: int
    recorded: int
    upgraded: int
    duplicates: int
    ignored: int
    quarantined: int
    unpriced_calls: int
    unmetered_calls: int
    crossings: int
    first_at_ms: int
    commit_seconds: float


def measure_commit(meter: Meter, figures: CommitFigures, now_ms: int) -> None:
    """Take the figures of one commit into the metrics; the same for containers and functions.

    Args:
        meter: Keeps them.
        figures: What the commit did.
        now_ms: Ledger time after it, epoch milliseconds UTC.
    """
    counts = (
        figures.recorded,
        figures.upgraded,
        figures.duplicates,
        figures.ignored,
        figures.quarantined,
    )
    for result, count in zip(RECORD_RESULTS, counts, strict=True):
        if count:
            meter.add("records", count, result=result)
    # Net figures: better evidence prices a call that was unpriced, and counters only grow.
    if figures.unpriced_calls > 0:
        meter.add("unpriced_calls", figures.unpriced_calls)
    if figures.unmetered_calls > 0:
        meter.add("unmetered_calls", figures.unmetered_calls)
    if figures.commit_seconds:
        meter.observe("commit_seconds", figures.commit_seconds)
    since_call = max(0, now_ms - figures.first_at_ms) / 1000
    if figures.first_at_ms:
        meter.observe("call_to_booked_seconds", since_call)
    if figures.crossings:
        meter.add("crossings", figures.crossings)
        if figures.first_at_ms:
            for _ in range(figures.crossings):
                meter.observe("call_to_crossing_seconds", since_call)


class AnnouncedFigures(Protocol):
    """What one look at the outbox did; see `worker.announcer.Announced`."""

    announced: int
    failed: int
    lapsed: int
    oldest_wait_ms: int


def measure_announced(meter: Meter, figures: AnnouncedFigures, *, is_of_all: bool) -> None:
    """Take what the bus took into the metrics; `is_of_all`: everything due was looked at."""
    if figures.announced:
        meter.add("notices_announced", figures.announced)
    if figures.failed:
        meter.add("notices_failed", figures.failed)
    if is_of_all:
        meter.set("notices_oldest_pending_seconds", figures.oldest_wait_ms / 1000)


def measure_told(meter: Meter, channel: str, figures: AnnouncedFigures, *, is_of_all: bool) -> None:
    """Take what a channel for people took into the metrics."""
    if figures.announced:
        meter.add("people_told", figures.announced, channel=channel)
    if figures.failed:
        meter.add("people_failed", figures.failed, channel=channel)
    if figures.lapsed:
        meter.add("people_given_up", figures.lapsed, channel=channel)
    if is_of_all:
        waited = figures.oldest_wait_ms / 1000
        meter.set("people_oldest_pending_seconds", waited, channel=channel)


class EnforcedFigures(Protocol):
    """What one look at due suspensions did; see `worker.enforcer.Enforced`."""

    suspended: int
    restored: int
    failed: int
    needs_person: int
    crossing_to_deny_ms: list[int]
    hold_to_deny_ms: list[int]


def measure_enforced(meter: Meter, figures: EnforcedFigures) -> None:
    """Take what the enforcer did into the metrics."""
    if figures.suspended:
        meter.add("suspensions", figures.suspended)
    if figures.restored:
        meter.add("restorations", figures.restored)
    if figures.failed or figures.needs_person:
        meter.add("suspensions_failed", figures.failed + figures.needs_person)
    for passed_ms in figures.crossing_to_deny_ms:
        meter.observe("crossing_to_denied_seconds", passed_ms / 1000)
    for passed_ms in figures.hold_to_deny_ms:
        meter.observe("hold_to_denied_seconds", passed_ms / 1000)


class MonitoredFigures(Protocol):
    """What one run of the monitor did; see `worker.monitor.Monitored`."""

    deadlines: int
    crossings: int
    lag_ms: int


def measure_monitored(meter: Meter, figures: MonitoredFigures) -> None:
    """Take what the monitor did into the metrics."""
    if figures.deadlines:
        meter.add("grace_periods", figures.deadlines)
    if figures.crossings:
        meter.add("crossings", figures.crossings)
    meter.set("monitor_lag_seconds", figures.lag_ms / 1000)


# --- Logs ------------------------------------------------------------------------------------


def log_level(environment: Mapping[str, str] = os.environ) -> str:
    """Return the level that the environment asks for, `info` by default.

    Raises:
        ConfigurationError: There is no such level.
    """
    level = environment.get(LOG_LEVEL_VARIABLE, "").strip().lower() or "info"
    if level not in LEVELS:
        message = f"{LOG_LEVEL_VARIABLE}={level}: give one of {', '.join(LEVELS)}"
        raise ConfigurationError(message)
    return level


def configure_logs(level: str = "info", stream: TextIO | None = None) -> None:
    """Write every log line as one JSON object, with its time in ISO 8601 UTC, to stderr.

    Lines of libraries (from `logging`) are written the same way, from warnings on.
    """
    import structlog  # noqa: PLC0415 - 60 ms, and the functions write their logs without it

    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        explain_exception,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_json)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_json),
            ],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))


def _json(document: Mapping[str, Any], **_options: object) -> str:
    return orjson.dumps(document, default=str).decode()


def explain_exception(
    _logger: object, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace an exception by its type and where it was raised (a processor of structlog).

    Its message is kept only where it is ours or the operating system's: any other may quote what
    a caller wrote.
    """
    raised = line.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        line["error_type"] = type(error).__name__
        if isinstance(error, LedgerockError | OSError):
            line["error"] = str(error)
        line["error_at"] = _frames(error)
    return line


def _frames(error: BaseException) -> Sequence[str]:
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
