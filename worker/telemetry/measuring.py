"""Measuring what was done, the same way for containers and functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from worker.core.money import PICO_PER_USD
from worker.telemetry.metrics import BUDGET_STATES, RECORD_RESULTS, Meter


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
    cost_pico_usd: int
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
    if figures.recorded:
        meter.add("calls", figures.recorded)
    if figures.cost_pico_usd:
        # The only float that money ever becomes: metrics are floats, and this one shows how spend
        # goes. What was spent is said by the ledger, and no decision is taken by this.
        meter.add("spend_usd", figures.cost_pico_usd / PICO_PER_USD)
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


def measure_states(meter: Meter, budgets: Mapping[str, int]) -> None:
    """Take how many budgets are in which state into the metrics; states left out have none."""
    for state in BUDGET_STATES:
        meter.set("budgets", budgets.get(state, 0), state=state)
