"""Alarms: on what is really measured, told to the right people, and explained."""

import ast
import io
import itertools
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from handlers.measures import EmbeddedMeter
from tests.infra.shapes import Json
from tests.infra.watching import (
    ACCOUNT,
    SEEN,
    Metric,
    Seen,
    alarm_metrics,
    seen,
    state_of,
    widget_metrics,
)
from tests.tidy.sources import ROOT, read_text
from tests.tidy.test_readme import help_of
from worker.runtime import metrics as container
from worker.telemetry import METRICS, Meter

EACH = pytest.mark.parametrize("name", SEEN)
PAGE: Final = Path("docs/alarms.md")
OWN: Final = "Ledgerock"

HEARTBEATS: Final = {
    "announcing-late": "the announcer looks each minute, and says so",
    "monitor-late": "the monitor looks each minute, and says so",
    "stream-late": "whoever reads a stream asks it each second",
    "tasks-missing": "ECS writes each minute, of running tasks alone",
}
"""Alarms that silence sets off, and why what they watch is never silent otherwise."""

DOCUMENTED: Final = {
    # AWS documentation: "Available CloudWatch metrics for Amazon SQS".
    "AWS/SQS": (
        {"QueueName"},
        {"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible"},
    ),
    # AWS documentation: "Monitor the Amazon Kinesis Data Streams service with Amazon CloudWatch".
    "AWS/Kinesis": (
        {"StreamName"},
        {
            "GetRecords.IteratorAgeMilliseconds",
            "IncomingRecords",
            "WriteProvisionedThroughputExceeded",
        },
    ),
    # AWS documentation: "DynamoDB metrics and dimensions".
    "AWS/DynamoDB": (
        {"TableName"},
        {"ReadThrottleEvents", "WriteThrottleEvents", "ConsumedWriteCapacityUnits"},
    ),
    # AWS documentation: "Types of metrics for Lambda functions".
    "AWS/Lambda": (
        {"FunctionName"},
        {"Errors", "Throttles", "Invocations", "Duration", "ConcurrentExecutions"},
    ),
    # AWS documentation: "Monitoring Step Functions metrics using Amazon CloudWatch".
    "AWS/States": (
        {"StateMachineArn"},
        {
            *("ExecutionsStarted", "ExecutionsSucceeded", "ExecutionsFailed"),
            *("ExecutionsTimedOut", "ExecutionsAborted"),
        },
    ),
    # AWS documentation: "Amazon ECS CloudWatch metrics".
    "AWS/ECS": ({"ClusterName", "ServiceName"}, {"CPUUtilization", "MemoryUtilization"}),
    # AWS documentation: "Monitor bedrock-runtime inference using CloudWatch metrics": those of
    # all models together have no dimension.
    "AWS/Bedrock": (
        set[str](),
        {
            "Invocations",
            *(
                f"ModelInvocationLogs{where}Delivery{how}"
                for where in ("CloudWatch", "S3")
                for how in ("Success", "Failure")
            ),
        },
    ),
}
"""What AWS's services write: the dimensions, and the metrics that have exactly these."""

LABELS: Final = {
    "result": ("recorded", "upgraded", "duplicate", "ignored", "quarantined", "acknowledged"),
    "state": ("active", "warning", "critical", "grace_period", "suspended"),
    "source": ("queue",),
    "channel": ("sns",),
}


# --- The two lists ----------------------------------------------------------------------------


def watched(shown: Seen) -> Iterator[Metric]:
    """Yield what alarms watch and graphs show."""
    for alarm in shown.alarms.values():
        yield from alarm_metrics(alarm)
    yield from widget_metrics(shown.dashboard)


def measure_everything(meter: Meter) -> None:
    """Have a meter take every metric there is, with every label."""
    for name, metric in METRICS.items():
        combinations: list[dict[str, str]] = [{}]
        for label in metric.labels:
            combinations = [{**one, label: text} for one in combinations for text in LABELS[label]]
        for labels in combinations:
            if metric.kind == "counter":
                meter.add(name, 1, **labels)
            elif metric.kind == "gauge":
                meter.set(name, 1, **labels)
            else:
                meter.observe(name, 1, **labels)


def written(lines: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Return which metrics CloudWatch takes out of what was printed, with their dimensions."""
    found = set()
    for line in lines.splitlines():
        document = json.loads(line)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            assert directive["Namespace"] == OWN
            for names in directive["Dimensions"]:
                dimensions = sorted((one, document[one]) for one in names if one != "service")
                assert "service" in names
                found |= {(one["Name"], tuple(dimensions)) for one in directive["Metrics"]}
    return found


@cache
def container_writes() -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    stream = io.StringIO()
    meter = container.EmbeddedMeter(OWN, "ledgerock-try", stream)
    measure_everything(meter)
    meter.print(0)
    return written(stream.getvalue())


@EACH
def test_own_metrics_are_written_with_exactly_these_dimensions(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = EmbeddedMeter()
    measure_everything(meter)
    meter.flush()
    functions_write = written(capsys.readouterr().out)
    assert functions_write == container_writes()
    shown = seen(name)
    own = [one for one in watched(shown) if one.namespace == OWN]
    assert len({one.name for one in own}) > 15
    for one in own:
        dimensions = dict(one.dimensions)
        assert dimensions.pop("service") == shown.config.name
        assert (one.name, tuple(sorted(dimensions.items()))) in functions_write, one


@EACH
def test_statistics_fit_what_is_measured(name: str) -> None:
    fitting = {"counter": {"Sum"}, "gauge": {"Maximum"}, "histogram": {"p50", "p99"}}
    for one in watched(seen(name)):
        if one.namespace == OWN:
            kind = next(metric.kind for own, metric in METRICS.items() if own == one.name)
            assert one.statistic in fitting[kind], one


@cache
def call_sites() -> dict[str, set[str]]:
    """Return the files that name each metric, the table of metrics itself left out."""
    found: dict[str, set[str]] = {name: set() for name in METRICS}
    for folder in ("worker", "handlers"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name == "metrics.py" and path.parent.name == "telemetry":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and node.value in found:
                    found[str(node.value)].add(str(path.relative_to(ROOT)))
    return found


@EACH
def test_own_metrics_are_measured_somewhere_in_the_shape(name: str) -> None:
    """What only the container's loop measures is watched in its shape alone."""
    is_container = seen(name).config.shape == "container"
    for one in watched(seen(name)):
        if one.namespace == OWN:
            sites = call_sites()[one.name]
            outside = {site for site in sites if not site.startswith("worker/runtime/")}
            assert sites if is_container else outside, one


@EACH
def test_metrics_of_aws_are_documented_ones(name: str) -> None:
    for one in watched(seen(name)):
        if one.namespace != OWN:
            dimensions, names = DOCUMENTED[one.namespace]
            assert {dimension for dimension, _ in one.dimensions} == dimensions, one
            assert one.name in names, one


# --- Each alarm -------------------------------------------------------------------------------


@EACH
def test_silence_sets_off_what_is_never_silent_and_nothing_else(name: str) -> None:
    alarms = seen(name).alarms
    loud = {one for one, alarm in alarms.items() if alarm["TreatMissingData"] == "breaching"}
    assert loud == alarms.keys() & HEARTBEATS.keys()
    others = {alarm["TreatMissingData"] for one, alarm in alarms.items() if one not in loud}
    assert others == {"notBreaching"}


def test_every_heartbeat_is_watched_somewhere() -> None:
    assert HEARTBEATS.keys() <= {one for name in SEEN for one in seen(name).alarms}


@EACH
def test_alarms_are_named_after_the_stage_and_explained(name: str) -> None:
    shown = seen(name)
    for short, alarm in shown.alarms.items():
        assert alarm["AlarmName"] == f"ledgerock-try-{short}"
        text = alarm["AlarmDescription"]
        assert len(text) <= 1024  # AWS documentation: "PutMetricAlarm"
        assert text.endswith(f"See docs/alarms.md, {short}.")
        assert re.search(r"`[^`]+`", text) or "docs/cost.md" in text, short


@EACH
def test_commands_that_alarms_name_exist(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = {
        tuple(command.split())
        for alarm in seen(name).alarms.values()
        for command in re.findall(r"`ledgerock ([^`]+)`", alarm["AlarmDescription"])
    }
    assert ("quarantine", "list") in {words[:2] for words in commands}
    for words in commands:
        plain = itertools.takewhile(lambda word: not word.startswith("-"), words)
        named = [word for word in plain if word.islower()]
        code, text = help_of(named, capsys)
        assert code == 0, words
        for option in (word for word in words if word.startswith("--")):
            assert option in text, words


@EACH
def test_pages_and_tickets_are_told_on_their_topics(name: str) -> None:
    shown = seen(name)
    topics = {
        resource["Properties"]["DisplayName"].split(": ")[1]: logical
        for logical, resource in shown.template["Resources"].items()
        if resource["Type"] == "AWS::SNS::Topic" and logical.startswith("Watching")
    }
    assert topics.keys() == {"page", "ticket"}
    severities = documented_severities()
    for short, alarm in shown.alarms.items():
        severity = severities[documented_name(short)]
        assert alarm["AlarmActions"] == [topics[severity]]
        assert alarm.get("OKActions", []) == ([topics["page"]] if severity == "page" else [])


def test_people_are_subscribed_by_severity() -> None:
    subscribed = {
        (one["Protocol"], one["Endpoint"], one["TopicArn"])
        for one in seen("functions").of_type("AWS::SNS::Subscription")
        if one["TopicArn"].startswith("Watching")
    }
    assert {(kind, address) for kind, address, _topic in subscribed} == {
        ("email", "page@example.com"),
        ("email", "ticket@example.com"),
    }
    assert len({topic for _kind, _address, topic in subscribed}) == 2


@EACH
def test_topics_take_alarms_of_this_stage_alone_and_tls_alone(name: str) -> None:
    shown = seen(name)
    policies = [
        one["PolicyDocument"]["Statement"]
        for one in shown.of_type("AWS::SNS::TopicPolicy")
        if one["Topics"][0].startswith("Watching")
    ]
    assert len(policies) == 2
    for refused, allowed in policies:
        assert refused["Effect"] == "Deny"
        assert refused["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert_of_these_alarms(allowed)
        assert allowed["Action"] == "sns:Publish"


def assert_of_these_alarms(statement: Json) -> None:
    assert statement["Effect"] == "Allow"
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    arn = f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:ledgerock-try-*"
    assert statement["Condition"] == {
        "ArnLike": {"aws:SourceArn": arn},
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
    }


def test_with_a_key_of_the_stage_alarms_may_use_it() -> None:
    shown = seen("container")
    topics = shown.of_type("AWS::SNS::Topic")
    assert {one["KmsMasterKeyId"].split(".")[1] for one in topics} == {"Arn"}
    [key] = shown.of_type("AWS::KMS::Key")
    cloudwatch = {"Service": "cloudwatch.amazonaws.com"}
    [statement] = [one for one in key["KeyPolicy"]["Statement"] if one["Principal"] == cloudwatch]
    assert statement["Effect"] == "Allow"
    assert {"kms:Decrypt", "kms:GenerateDataKey"} <= set(statement["Action"])
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}


def test_without_a_key_topics_have_none_that_alarms_could_not_use() -> None:
    for one in seen("functions").of_type("AWS::SNS::Topic"):
        if one["DisplayName"].startswith("Ledgerock ledgerock-try: "):
            assert "KmsMasterKeyId" not in one


@pytest.mark.parametrize(
    "name, there, missing",
    [
        ("functions", "suspensions-failed", "workflow-suspension-failed"),
        ("functions", "stream-late", "tasks-missing"),
        ("functions", "function-monitor-failing", "breaker-open"),
        ("functions", "people-given-up", "batches-failed"),
        ("functions", "unmetered", "receives-failed"),
        ("functions-s3", "quarantine-share", "stream-late"),
        ("functions-s3", "unpriced", "unmetered"),
        ("functions-s3", "logs-undelivered", "people-late"),
        ("container", "workflow-restoration-aborted", "people-given-up"),
        ("container", "tasks-memory", "function-monitor-failing"),
    ],
)
def test_alarms_follow_what_is_deployed(name: str, there: str, missing: str) -> None:
    assert there in seen(name).alarms
    assert missing not in seen(name).alarms


# --- Alarms on expressions --------------------------------------------------------------------

NONE: Final[list[float | None]] = [None, None, None]


@pytest.mark.parametrize(
    "alarm, values, state",
    [
        ("nobody-books", {"visible": [3, 3, 3], "records": NONE, "booked": NONE}, "ALARM"),
        ("nobody-books", {"visible": NONE, "records": [9, 9, 9], "booked": NONE}, "ALARM"),
        ("nobody-books", {"visible": [3, 3, 3], "records": NONE, "booked": [0, 0, 0]}, "ALARM"),
        ("nobody-books", {"visible": [3, 3, 3], "records": NONE, "booked": [None, 1, None]}, "OK"),
        ("nobody-books", {"visible": [3, 0, 3], "records": [0, 0, 0], "booked": NONE}, "OK"),
        ("nobody-books", {"visible": NONE, "records": NONE, "booked": NONE}, "OK"),
        ("quarantine-share", {"all": [100], "quarantined": [11]}, "ALARM"),
        ("quarantine-share", {"all": [100], "quarantined": [10]}, "OK"),
        ("quarantine-share", {"all": [99], "quarantined": [99]}, "OK"),
        ("quarantine-share", {"all": [500], "quarantined": [None]}, "OK"),
        ("quarantine-share", {"all": [None], "quarantined": [None]}, "OK"),
        ("logging-off", {"calls": [1, 1], "logs": [None, None]}, "ALARM"),
        ("logging-off", {"calls": [1, 1], "logs": [None, 1]}, "OK"),
        ("logging-off", {"calls": [None, 1], "logs": [None, None]}, "OK"),
        ("logging-off", {"calls": [None, None], "logs": [None, None]}, "OK"),
    ],
)
def test_expressions_say_what_the_alarms_mean(
    alarm: str, values: dict[str, list[float | None]], state: str
) -> None:
    properties = seen("functions").alarms[alarm]
    assert {one["Id"] for one in properties["Metrics"] if "MetricStat" in one} == values.keys()
    assert state_of(properties, values) == state


# --- The page ---------------------------------------------------------------------------------


def documented_name(short: str) -> str:
    """Return an alarm's name as the page has it, where functions and workflows have no names."""
    for pattern, name in (
        (r"function-\w+-(\w+)", r"function-NAME-\1"),
        (r"workflow-\w+-([\w-]+)", r"workflow-NAME-\1"),
        (r"(entries|balances|state)-(\w+)-throttled", r"TABLE-\2-throttled"),
    ):
        if re.fullmatch(pattern, short):
            return re.sub(pattern, name, short)
    return short


def documented_severities() -> dict[str, str]:
    rows = re.findall(r"^\| `([\w-]+)` \| (page|ticket) \|", read_text(PAGE), re.MULTILINE)
    assert len(rows) == len(dict(rows))
    return dict(rows)


def test_every_alarm_is_on_the_page_and_no_other() -> None:
    there = {documented_name(short) for name in SEEN for short in seen(name).alarms}
    assert there == documented_severities().keys()
