"""The dashboard of a stage: what was spent, whether it is booked in time, what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.alarms_aws import FAILURES, THROTTLES
from infra.watched import (
    LOG_DELIVERIES,
    Watched,
    bedrock,
    function_metric,
    queue_metric,
    service_metric,
    stream_metric,
    table_metric,
    workflow_metric,
)

WIDTH: Final = 24
THIRD: Final = WIDTH // 3
HEIGHT: Final = 6

RECORD_RESULTS: Final = ("recorded", "upgraded", "duplicate", "ignored", "quarantined")
BUDGET_STATES: Final = ("active", "warning", "critical", "grace_period", "suspended")
"""Values of the labels of `records` and `budgets`; a test compares them with the code's own."""

MAXIMUM: Final = cloudwatch.Stats.MAXIMUM
MEDIAN: Final = cloudwatch.Stats.p(50)
TAIL: Final = cloudwatch.Stats.p(99)

Metrics = Sequence[cloudwatch.IMetric]


def dashboard_of(
    scope: Construct, watched: Watched, alarms: Iterable[cloudwatch.IAlarm]
) -> cloudwatch.Dashboard:
    """Make the dashboard, named as the stage is.

    Args:
        scope: What it is part of.
        watched: The parts of the stage; each shape has widgets of its own.
        alarms: Whose states it shows.
    """
    dashboard = cloudwatch.Dashboard(
        scope,
        "Dashboard",
        dashboard_name=watched.config.name,
        default_interval=cdk.Duration.hours(12),
    )
    dashboard.add_widgets(
        cloudwatch.AlarmStatusWidget(
            title="Alarms", alarms=list(alarms), width=WIDTH, height=HEIGHT
        )
    )
    widgets = [
        *_spending(watched),
        *_lag(watched),
        *_results(watched),
        *_budgets(watched),
        *_parts(watched),
    ]
    for start in range(0, len(widgets), WIDTH // THIRD):
        dashboard.add_widgets(*widgets[start : start + WIDTH // THIRD])
    return dashboard


def _spending(watched: Watched) -> Iterator[cloudwatch.IWidget]:
    yield _graph("Spend per hour, USD (the ledger has it exactly)", _hourly(watched, "spend_usd"))
    yield _graph("Spend per day, USD", [watched.own("spend_usd", minutes=24 * 60)], bars=True)
    yield _graph("Calls per hour", _hourly(watched, "calls"))


def _hourly(watched: Watched, name: str) -> Metrics:
    return [watched.own(name, minutes=60)]


def _lag(watched: Watched) -> Iterator[cloudwatch.IWidget]:
    yield _graph(
        "From call to booked, seconds",
        _percentiles(watched, "call_to_booked_seconds"),
    )
    ages: list[cloudwatch.IMetric] = [
        queue_metric(watched.ingest.queue.queue_name, "ApproximateAgeOfOldestMessage").with_(
            label="queue, seconds"
        )
    ]
    late: list[cloudwatch.IMetric] = []
    if watched.ingest.stream is not None:
        stream = watched.ingest.stream.stream_name
        age = stream_metric(stream, "GetRecords.IteratorAgeMilliseconds", MAXIMUM, minutes=1)
        late.append(age.with_(label="stream, milliseconds"))
    yield _graph("Age of what is next", ages, right=late)
    yield _graph(
        "From call to crossing, seconds", _percentiles(watched, "call_to_crossing_seconds")
    )


def _results(watched: Watched) -> Iterator[cloudwatch.IWidget]:
    yield _graph(
        "Records by result",
        [watched.own("records", result=one).with_(label=one) for one in RECORD_RESULTS],
        stacked=True,
    )
    yield _graph(
        "Quarantined records, dead letters",
        [watched.own("records", result="quarantined").with_(label="records")],
        right=[
            queue_metric(
                watched.ingest.dead_letters.queue_name, "ApproximateNumberOfMessagesVisible"
            ).with_(label="dead letters")
        ],
    )
    yield _graph(
        "Calls that are not charged",
        [watched.own("unpriced_calls"), watched.own("unmetered_calls")],
    )
    yield _graph("Commits, seconds", _percentiles(watched, "commit_seconds"))
    yield _graph(
        "Requests to DynamoDB made again",
        [watched.own(name) for name in ("request_retries", "request_conflicts")],
        right=[watched.own("request_throttles")],
    )


def _budgets(watched: Watched) -> Iterator[cloudwatch.IWidget]:
    yield _graph(
        "Budgets by state",
        [watched.own("budgets", MAXIMUM, state=one).with_(label=one) for one in BUDGET_STATES],
        stacked=True,
    )
    yield _graph(
        "Crossings, grace periods", [watched.own("crossings"), watched.own("grace_periods")]
    )
    yield _graph(
        "Announcing",
        [watched.own("notices_announced"), watched.own("notices_failed")],
        right=[watched.own("notices_oldest_pending_seconds", MAXIMUM, minutes=1)],
    )
    yield _graph(
        "The monitor's lag, seconds", [watched.own("monitor_lag_seconds", MAXIMUM, minutes=1)]
    )
    if watched.tells_people:
        yield _graph(
            "Telling people",
            [watched.own(name) for name in ("people_told", "people_failed", "people_given_up")],
            right=[watched.own("people_oldest_pending_seconds", MAXIMUM)],
        )
    if watched.config.enforcement.by != "off":
        yield _graph(
            "Suspensions",
            [watched.own(name) for name in ("suspensions", "restorations", "suspensions_failed")],
            right=[watched.own("hold_to_denied_seconds", TAIL)],
        )
    for name, machine in watched.workflows.items():
        ends = ("ExecutionsStarted", "ExecutionsSucceeded", *FAILURES)
        yield _graph(f"Workflow: {name}", [workflow_metric(machine, one) for one in ends])


def _parts(watched: Watched) -> Iterator[cloudwatch.IWidget]:
    tables = (watched.tables.entries, watched.tables.balances, watched.tables.state)
    yield _graph(
        "Write units of the tables",
        [table_metric(one.table_name, "ConsumedWriteCapacityUnits", 1) for one in tables],
    )
    yield _graph(
        "Throttles of the tables",
        [table_metric(one.table_name, metric) for one in tables for metric in THROTTLES],
    )
    if watched.config.logs.via in LOG_DELIVERIES:
        delivery = LOG_DELIVERIES[watched.config.logs.via]
        names = ("Invocations", f"{delivery}Success", f"{delivery}Failure")
        yield _graph("Calls and invocation logs of this Region", [bedrock(one) for one in names])
    if watched.ingest.stream is not None:
        stream = watched.ingest.stream.stream_name
        yield _graph(
            "Stream: records, refused writes",
            [stream_metric(stream, "IncomingRecords")],
            right=[stream_metric(stream, "WriteProvisionedThroughputExceeded")],
        )
    yield from _shape(watched)


def _shape(watched: Watched) -> Iterator[cloudwatch.IWidget]:
    functions = watched.functions.items()
    if functions:
        for title, metric, statistic in (
            ("Invocations", "Invocations", cloudwatch.Stats.SUM),
            ("Errors", "Errors", cloudwatch.Stats.SUM),
            ("Throttles", "Throttles", cloudwatch.Stats.SUM),
            ("Duration p99, milliseconds", "Duration", TAIL),
            ("Concurrent executions", "ConcurrentExecutions", MAXIMUM),
        ):
            shown = [
                function_metric(one, metric, statistic).with_(label=name) for name, one in functions
            ]
            yield _graph(f"Functions: {title}", shown)
    if watched.service is not None:
        service = watched.service
        yield _graph(
            "Tasks: CPU and memory, per cent",
            [
                service_metric(service, name, MAXIMUM)
                for name in ("CPUUtilization", "MemoryUtilization")
            ],
        )
        yield _graph(
            "Deliveries in hand",
            [watched.own("deliveries_in_flight", MAXIMUM, minutes=1)],
            right=[
                watched.own("breaker_open", MAXIMUM, minutes=1),
                watched.own("quarantined_share", MAXIMUM, minutes=1),
            ],
        )
        yield _graph(
            "Failed polls and batches",
            [watched.own("receives_failed"), watched.own("batches_failed")],
        )


def _percentiles(watched: Watched, name: str) -> Metrics:
    return [
        watched.own(name, statistic).with_(label=label)
        for label, statistic in (("p50", MEDIAN), ("p99", TAIL))
    ]


def _graph(
    title: str,
    left: Metrics,
    right: Metrics = (),
    *,
    stacked: bool = False,
    bars: bool = False,
) -> cloudwatch.IWidget:
    return cloudwatch.GraphWidget(
        title=title,
        left=list(left),
        right=list(right),
        stacked=stacked,
        view=cloudwatch.GraphWidgetView.BAR if bars else cloudwatch.GraphWidgetView.TIME_SERIES,
        left_y_axis=cloudwatch.YAxisProps(min=0),
        width=THIRD,
        height=HEIGHT,
    )
