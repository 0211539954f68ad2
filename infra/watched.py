"""What is watched: the parts of a stage, and their metrics in CloudWatch.

Ledgerock's own metrics are those of `worker.telemetry`, which writes them with the dimension
`service` and their labels; CloudWatch finds a metric under exactly the dimensions that it was
written with, and a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn

from infra.announcing import Announcing
from infra.config import StageConfig
from infra.encryption import Encryption
from infra.ingest import Ingest
from infra.tables import LedgerTables
from worker.settings import WorkerSettings

NAMESPACE: Final = WorkerSettings().metrics_namespace
SERVICE: Final = "service"
"""The dimension that tells the stages of an account apart."""

LOG_DELIVERIES: Final = {
    "s3": "ModelInvocationLogsS3Delivery",
    "kinesis": "ModelInvocationLogsCloudWatchDelivery",
    "subscription": "ModelInvocationLogsCloudWatchDelivery",
}
"""Begins the names of Bedrock's metrics on its logs, by the way that they take."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """The parts of a stage, and what runs in it.

    Attributes:
        config: What is deployed.
        encryption: Whose key alarms are told under.
        tables: The ledger's tables.
        ingest: What comes in.
        announcing: What goes out.
        functions: By what each is for; few or none in the shape `container`.
        service: The container's; None in the shape `functions`.
        workflows: State machines by what each is for; none unless they enforce.
    """

    config: StageConfig
    encryption: Encryption
    tables: LedgerTables
    ingest: Ingest
    announcing: Announcing
    functions: Mapping[str, lambda_.IFunction] = field(default_factory=dict)
    service: ecs.IBaseService | None = None
    workflows: Mapping[str, sfn.IStateMachine] = field(default_factory=dict)

    @property
    def tells_people(self) -> bool:
        """Whether people hear of budgets."""
        people = self.config.people
        return bool(people.emails) or people.webhook

    def own(
        self, name: str, statistic: str = cloudwatch.Stats.SUM, minutes: int = 5, **labels: str
    ) -> cloudwatch.Metric:
        """Return one of our own metrics."""
        return cloudwatch.Metric(
            namespace=NAMESPACE,
            metric_name=name,
            dimensions_map={**labels, SERVICE: self.config.name},
            statistic=statistic,
            period=cdk.Duration.minutes(minutes),
        )


def metric_of(
    namespace: str,
    name: str,
    dimensions: Mapping[str, str],
    statistic: str = cloudwatch.Stats.SUM,
    minutes: int = 5,
) -> cloudwatch.Metric:
    """Return a metric that an AWS service writes."""
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        dimensions_map=dict(dimensions) or None,
        statistic=statistic,
        period=cdk.Duration.minutes(minutes),
    )


def bedrock(name: str, minutes: int = 5) -> cloudwatch.Metric:
    """Return a metric of all models of the Region together, which has no dimensions.

    AWS documentation: "Monitor bedrock-runtime inference using CloudWatch metrics".
    """
    return metric_of("AWS/Bedrock", name, {}, minutes=minutes)


def queue_metric(
    queue: str, name: str, statistic: str = cloudwatch.Stats.MAXIMUM, minutes: int = 1
) -> cloudwatch.Metric:
    """Return a metric of a queue.

    AWS documentation: "Available CloudWatch metrics for Amazon SQS".
    """
    return metric_of("AWS/SQS", name, {"QueueName": queue}, statistic, minutes)


def stream_metric(
    stream: str, name: str, statistic: str = cloudwatch.Stats.SUM, minutes: int = 5
) -> cloudwatch.Metric:
    """Return a metric of a stream.

    AWS documentation: "Monitor the Amazon Kinesis Data Streams service with Amazon CloudWatch".
    """
    return metric_of("AWS/Kinesis", name, {"StreamName": stream}, statistic, minutes)


def table_metric(table: str, name: str, minutes: int = 5) -> cloudwatch.Metric:
    """Return a metric of a table, its indexes left out.

    AWS documentation: "DynamoDB metrics and dimensions".
    """
    return metric_of("AWS/DynamoDB", name, {"TableName": table}, minutes=minutes)


def function_metric(
    function: lambda_.IFunction,
    name: str,
    statistic: str = cloudwatch.Stats.SUM,
    minutes: int = 5,
) -> cloudwatch.Metric:
    """Return a metric of a function.

    AWS documentation: "Types of metrics for Lambda functions".
    """
    dimensions = {"FunctionName": function.function_name}
    return metric_of("AWS/Lambda", name, dimensions, statistic, minutes)


def service_metric(
    service: ecs.IBaseService, name: str, statistic: str, minutes: int = 1
) -> cloudwatch.Metric:
    """Return a metric of an ECS service.

    AWS documentation: "Amazon ECS CloudWatch metrics".
    """
    dimensions = {
        "ClusterName": service.cluster.cluster_name,
        "ServiceName": service.service_name,
    }
    return metric_of("AWS/ECS", name, dimensions, statistic, minutes)


def workflow_metric(machine: sfn.IStateMachine, name: str, minutes: int = 5) -> cloudwatch.Metric:
    """Return a metric of a state machine.

    AWS documentation: "Monitoring Step Functions metrics using Amazon CloudWatch".
    """
    dimensions = {"StateMachineArn": machine.state_machine_arn}
    return metric_of("AWS/States", name, dimensions, minutes=minutes)
