"""Alarms on what AWS's services say of a stage's parts; see `infra.alarms`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aws_cdk import aws_cloudwatch as cloudwatch

from infra.alarm import BELOW, BREACHING, LATE_SECONDS, Alarm, math
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

THROTTLES: Final = ("ReadThrottleEvents", "WriteThrottleEvents")
FAILURES: Final = {
    "ExecutionsFailed": ("failed", "FAILED"),
    "ExecutionsTimedOut": ("timed-out", "TIMED_OUT"),
    "ExecutionsAborted": ("aborted", "ABORTED"),
}
"""Metrics on executions that did not end well, each with its part of a name, and the status."""
MEMORY_PERCENT_MAX: Final = 90


def service_alarms(watched: Watched, doctor: str) -> Iterator[Alarm]:
    """Yield the alarms on metrics of AWS's services.

    Args:
        watched: The parts of the stage.
        doctor: The command that says what is wrong with them.
    """
    yield from _ingestion(watched, doctor)
    yield from _tables(watched)
    yield from _functions(watched)
    yield from _tasks(watched, doctor)
    yield from _workflows(watched)


def _ingestion(watched: Watched, doctor: str) -> Iterator[Alarm]:
    dead_letters = watched.ingest.dead_letters
    yield Alarm(
        name="dead-letters",
        severity="page",
        metric=queue_metric(dead_letters.queue_name, "ApproximateNumberOfMessagesVisible"),
        threshold=0,
        means="Messages were given up after many attempts and lie in the dead-letter queue: their"
        " calls are not booked.",
        mend=f"{doctor} says what refuses them; then `aws sqs start-message-move-task --source-arn"
        f" {dead_letters.queue_arn} --destination-arn {watched.ingest.queue.queue_arn}`. A message"
        " with `KinesisBatchInfo` only names what lay in the stream then: replay the logs of that"
        " time.",
    )
    if watched.announcing.undelivered is not None:
        undelivered = watched.announcing.undelivered.queue_name
        yield Alarm(
            name="undelivered",
            severity="ticket",
            metric=queue_metric(undelivered, "ApproximateNumberOfMessagesVisible"),
            threshold=0,
            means="Emails on budgets could not be delivered, events on the bus not be decrypted, or"
            " events start no workflow, and were put aside.",
            mend=f"`aws sqs receive-message --queue-url {watched.announcing.undelivered.queue_url}`"
            f" shows which; {doctor} says which subscription is not confirmed. An event that"
            " started no workflow is announced again by itself, as long as it is due.",
        )
    if watched.ingest.stream is not None:
        yield from _stream(watched.ingest.stream.stream_name, doctor)
    if watched.config.logs.via in LOG_DELIVERIES:
        yield from _logs(LOG_DELIVERIES[watched.config.logs.via], doctor)


def _stream(stream: str, doctor: str) -> Iterator[Alarm]:
    yield Alarm(
        name="stream-late",
        severity="page",
        # Written by every read, of which there are some each second as long as anybody reads.
        metric=stream_metric(
            stream,
            "GetRecords.IteratorAgeMilliseconds",
            cloudwatch.Stats.MAXIMUM,
            minutes=1,
        ),
        threshold=LATE_SECONDS * 1000,
        periods=5,
        missing=BREACHING,
        means=f"For five minutes what is read from the stream has been older than {LATE_SECONDS}"
        " seconds, or nobody has read it: logged calls are booked late.",
        mend=f"{doctor} says whether the stream is read; if it is, raise `logs.shards` or"
        " `capacity`.",
    )
    yield Alarm(
        name="stream-throttled",
        severity="ticket",
        metric=stream_metric(stream, "WriteProvisionedThroughputExceeded"),
        threshold=0,
        periods=3,
        means="For fifteen minutes the stream has refused log records for want of shards;"
        " CloudWatch Logs tries again for a day.",
        mend="Raise `logs.shards`, or set it to 0 for on demand, and deploy.",
    )


def _logs(metric: str, doctor: str) -> Iterator[Alarm]:
    yield Alarm(
        name="logs-undelivered",
        severity="page",
        metric=bedrock(f"{metric}Failure"),
        threshold=0,
        means="Bedrock could not deliver invocation logs in this Region: their calls are never"
        " booked, unless CloudTrail is read as well.",
        mend=f"{doctor} says whether Bedrock's role may write, and where.",
    )
    # FILL makes zeros of what is missing.
    yield Alarm(
        name="logging-off",
        severity="page",
        metric=math(
            "IF(FILL(calls, 0) > 0 AND FILL(logs, 0) == 0, 1, 0)",
            {"calls": bedrock("Invocations", 15), "logs": bedrock(f"{metric}Success", 15)},
            "calls are made and no log is delivered",
            minutes=15,
        ),
        threshold=0,
        periods=2,
        means="For half an hour models were called in this Region and no invocation log was"
        " delivered: somebody switched logging off, or elsewhere.",
        mend=f"{doctor} shows where logs go, and the command that switches them back.",
    )


def _tables(watched: Watched) -> Iterator[Alarm]:
    """Yield alarms by table; the workers' own count says that requests of any were throttled."""
    tables = {
        "entries": watched.tables.entries,
        "balances": watched.tables.balances,
        "state": watched.tables.state,
    }
    for name, table in tables.items():
        for metric in THROTTLES:
            kind = "reads" if metric.startswith("Read") else "writes"
            yield Alarm(
                name=f"{name}-{kind}-throttled",
                severity="ticket",
                metric=table_metric(table.table_name, metric),
                threshold=0,
                periods=3,
                means=f"For fifteen minutes DynamoDB has throttled {kind} of the table {name};"
                " calls are booked late, none is lost.",
                mend="docs/cost.md says how much heat a partition takes; quotas of tables are in"
                " `aws service-quotas list-service-quotas --service-code dynamodb`.",
            )


def _functions(watched: Watched) -> Iterator[Alarm]:
    for name, function in watched.functions.items():
        log = f"`aws logs tail /aws/lambda/{function.function_name} --since 1h`"
        yield Alarm(
            name=f"function-{name}-failing",
            severity="ticket",
            metric=function_metric(function, "Errors"),
            threshold=0,
            periods=3,
            means=f"For fifteen minutes invocations of the function {name} have failed; what it was"
            " to book comes again.",
            mend=f"{log} has the error.",
        )
        yield Alarm(
            name=f"function-{name}-throttled",
            severity="ticket",
            metric=function_metric(function, "Throttles"),
            threshold=0,
            periods=3,
            means=f"For fifteen minutes invocations of the function {name} have been throttled.",
            mend="Raise `capacity.concurrency`, or the account's quota: `aws service-quotas"
            " list-service-quotas --service-code lambda`.",
        )


def _tasks(watched: Watched, doctor: str) -> Iterator[Alarm]:
    if watched.service is None:
        return
    # ECS writes nothing of a service without running tasks (AWS documentation: "Amazon ECS
    # CloudWatch metrics"), so missing data is what says that none runs.
    yield Alarm(
        name="tasks-missing",
        severity="page",
        metric=service_metric(watched.service, "CPUUtilization", cloudwatch.Stats.SAMPLE_COUNT),
        threshold=1,
        comparison=BELOW,
        periods=5,
        missing=BREACHING,
        means="For five minutes no task of the worker has run: nothing is booked, and nobody is"
        " suspended.",
        mend=f"{doctor} says why tasks end; the service's events and the log have the reason.",
    )
    yield Alarm(
        name="tasks-memory",
        severity="ticket",
        metric=service_metric(
            watched.service, "MemoryUtilization", cloudwatch.Stats.MAXIMUM, minutes=5
        ),
        threshold=MEMORY_PERCENT_MAX,
        periods=3,
        means="For fifteen minutes a task has used more than"
        f" {MEMORY_PERCENT_MAX} % of its memory.",
        mend="Raise `capacity.memory_mb` and deploy.",
    )


def _workflows(watched: Watched) -> Iterator[Alarm]:
    for name, machine in watched.workflows.items():
        for metric, (ending, status) in FAILURES.items():
            yield Alarm(
                name=f"workflow-{name}-{ending}",
                severity="page",
                metric=workflow_metric(machine, metric),
                threshold=0,
                means=f"An execution of the workflow of {name} ended as {status}: somebody may"
                " spend on, or stand still.",
                mend="`aws stepfunctions list-executions --state-machine-arn"
                f" {machine.state_machine_arn} --status-filter {status}` says which;"
                " docs/workflows.md says what each failure means.",
            )
