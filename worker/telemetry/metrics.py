"""The one table of all metrics, and who keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Protocol

import msgspec

MetricName = Literal[
    "deliveries",
    "records",
    "calls",
    "spend_usd",
    "call_to_booked_seconds",
    "delivery_age_seconds",
    "commit_seconds",
    "request_retries",
    "request_conflicts",
    "request_throttles",
    "quarantined_share",
    "unpriced_calls",
    "unmetered_calls",
    "budgets",
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
"""Every metric there is. CloudWatch has them by these names, Prometheus as `ledgerock_NAME`,
counters with `_total`."""

MetricKind = Literal["counter", "gauge", "histogram"]
"""A counter is added to, a gauge is set, a histogram is observed."""

RECORD_RESULTS: Final = ("recorded", "upgraded", "duplicate", "ignored", "quarantined")
"""Values of the label `result` of `records`."""
DELIVERY_RESULTS: Final = ("acknowledged", "deferred", "quarantined")
"""Values of the label `result` of `deliveries`."""
BUDGET_STATES: Final = ("active", "warning", "critical", "grace_period", "suspended")
"""Values of the label `state` of `budgets`."""

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
        unit: `Count`, `Seconds` or `None` (a share, or money), as CloudWatch names them.
        labels: Names of its labels.
        rollups: Sets of fewer labels under which CloudWatch has it as well: of a counter their
            sum, of a gauge or histogram all values together. Each is a metric that is paid for.
        buckets: Upper bounds of a histogram's buckets.
    """

    kind: MetricKind
    help: str
    unit: Literal["Count", "Seconds", "None"] = "Count"
    labels: tuple[str, ...] = ()
    rollups: tuple[tuple[str, ...], ...] = ()
    buckets: tuple[float, ...] = ()


_ALL: Final = ((),)
"""All of it together, whatever its labels."""

METRICS: Final[Mapping[MetricName, Metric]] = {
    "deliveries": Metric(
        "counter",
        "Deliveries that ended.",
        labels=("source", "result"),
        rollups=((), ("result",)),
    ),
    "records": Metric("counter", "Records of committed batches.", labels=("result",), rollups=_ALL),
    "calls": Metric("counter", "Calls that were booked for the first time."),
    "spend_usd": Metric(
        "counter", "Charges that were posted, net, rounded; the ledger has them exactly.", "None"
    ),
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
    "budgets": Metric("gauge", "Budgets in force, by their states.", labels=("state",)),
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
    "receives_failed": Metric(
        "counter", "Polls of a source that failed.", labels=("source",), rollups=_ALL
    ),
    "source_behind_seconds": Metric(
        "gauge",
        "How far a stream's shard that is furthest behind is behind its newest record.",
        "Seconds",
        labels=("source",),
        rollups=_ALL,
    ),
    "batches_failed": Metric("counter", "Batches that ended with an error nobody expected."),
    "people_told": Metric(
        "counter", "Messages that a channel took.", labels=("channel",), rollups=_ALL
    ),
    "people_failed": Metric(
        "counter", "Attempts to tell people that failed.", labels=("channel",), rollups=_ALL
    ),
    "people_given_up": Metric(
        "counter",
        "Messages that nobody was told, and nobody will be.",
        labels=("channel",),
        rollups=_ALL,
    ),
    "people_oldest_pending_seconds": Metric(
        "gauge",
        "Time since the oldest message that a channel did not take fell due; 0 if none did.",
        "Seconds",
        labels=("channel",),
        rollups=_ALL,
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
        """Add to a counter; what was added may be taken back."""

    def set(self, name: MetricName, value: float, **labels: str) -> None:
        """Set a gauge."""

    def observe(self, name: MetricName, value: float, **labels: str) -> None:
        """Take a value into a histogram."""
