"""What each thing that runs may do: a function for each duty, a statement for each kind of right.

A test computes from the code of every function and container which requests it can make, and
compares that with what stands here. Which requests take which permission: AWS documentation,
"Service Authorization Reference".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs

from infra.config import StageConfig
from infra.parts import Parts

SETTINGS: Final = "settings"
"""Below the stage's path: parameters that stand for environment variables."""
TIERS: Final = "tiers"
"""Below the stage's path: budgets by tier."""
QUARANTINE_PREFIX: Final = "quarantine"
"""Of the objects in the quarantine's bucket."""

NAME_LETTERS_KEPT: Final = 16
"""CloudFormation cuts names that it makes up, and keeps more of them than that."""

Statements = list[iam.PolicyStatement]
Conditions = Mapping[str, Mapping[str, object]]


def allow(
    sid: str,
    actions: Sequence[str],
    resources: Sequence[str],
    conditions: Conditions | None = None,
) -> iam.PolicyStatement:
    """Return a statement that allows something."""
    return iam.PolicyStatement(
        sid=sid,
        actions=list(actions),
        resources=list(resources),
        conditions={key: {**value} for key, value in conditions.items()} if conditions else None,
    )


# --- What is kept -----------------------------------------------------------------------------


def booking(parts: Parts) -> Statements:
    """Return what booking takes: the tables, quarantine, objects, profiles, tiers."""
    kept = parts.ingest.quarantine.arn_for_objects(f"{QUARANTINE_PREFIX}/*")
    return [
        *_tables(parts, ledger=[*READ, *WRITE, *BOOK], state=[*READ, *WRITE]),
        *_key(parts),
        *_tiers(parts),
        allow("Quarantine", ["s3:PutObject"], [kept]),
        *_objects(parts),
        _profiles(parts.config),
    ]


def booking_and_due(parts: Parts) -> Statements:
    """Return what the container takes, which books and does what is due."""
    ours = {"Ledger", "State", "Indexes", "Key", "Tiers"}
    return [*monitoring(parts), *(one for one in booking(parts) if one.sid not in ours)]


def monitoring(parts: Parts) -> Statements:
    """Return what it takes to do what is due, which books calls of agents anew."""
    return [
        *_tables(parts, ledger=[*READ, *WRITE, *BOOK], state=[*READ, *WRITE, DELETE]),
        *_key(parts),
        *_tiers(parts),
    ]


def reading(parts: Parts) -> Statements:
    """Return what it takes to announce, or to do steps of workflows: nothing is booked by that."""
    return [
        *_tables(parts, ledger=LOOK, state=[*READ, *WRITE, DELETE]),
        *_key(parts),
        *_tiers(parts),
    ]


LOOK: Final = ("dynamodb:BatchGetItem", "dynamodb:Query")
READ: Final = (*LOOK, "dynamodb:GetItem")
WRITE: Final = ("dynamodb:PutItem", "dynamodb:UpdateItem")
BOOK: Final = ("dynamodb:BatchWriteItem", "dynamodb:ConditionCheckItem")
DELETE: Final = "dynamodb:DeleteItem"


def _tables(parts: Parts, *, ledger: Sequence[str], state: Sequence[str]) -> Statements:
    """Return rights on the tables, and to read their indexes.

    Nothing scans: whoever reads whole tables (`ledgerock report`, `verify`) is a person. Nothing
    deletes from the ledger.
    """
    books = [parts.tables.entries.table_arn, parts.tables.balances.table_arn]
    beside = parts.tables.state.table_arn
    return [
        allow("Ledger", ledger, books),
        allow("State", state, [beside]),
        allow("Indexes", ["dynamodb:Query"], [f"{arn}/index/*" for arn in (*books, beside)]),
    ]


def _objects(parts: Parts) -> Statements:
    """Return the right to read invocation logs and results of batch jobs.

    Without the right to list a bucket, S3 says of a missing object that it is denied.
    """
    config, own = parts.config, parts.ingest.log_bucket
    buckets = [*config.batch_buckets]
    if own is not None:
        buckets.append(own.bucket_arn)
    statements = []
    if buckets:
        statements += _reading(buckets, "")
    if own is not None and config.sources:
        # Buckets of other Regions and accounts, whose names AWS makes up: they begin with as much
        # of the stage's as fits.
        foreign = [f"arn:{cdk.Aws.PARTITION}:s3:::{config.name[:NAME_LETTERS_KEPT]}*"]
        accounts = sorted({one.account for one in config.sources})
        statements += _reading(
            foreign, "Elsewhere", {"StringEquals": {"aws:ResourceAccount": accounts}}
        )
        if config.data.customer_key:
            statements.append(_keys_elsewhere(config, accounts))
    return statements


def _keys_elsewhere(config: StageConfig, accounts: list[str]) -> iam.PolicyStatement:
    """Return the right to decrypt logs of other Regions and accounts, with the stage's keys there.

    The ids of the keys are not known here; their alias is.
    """
    return allow(
        "KeysElsewhere",
        ["kms:Decrypt"],
        [f"arn:{cdk.Aws.PARTITION}:kms:*:{account}:key/*" for account in accounts],
        {"ForAnyValue:StringEquals": {"kms:ResourceAliases": f"alias/{config.name}"}},
    )


def _reading(buckets: list[str], where: str, conditions: Conditions | None = None) -> Statements:
    return [
        allow(
            f"Objects{where}",
            ["s3:GetObject", "s3:GetObjectVersion"],
            [f"{bucket}/*" for bucket in buckets],
            conditions,
        ),
        allow(f"Buckets{where}", ["s3:ListBucket"], buckets, conditions),
    ]


def _profiles(config: StageConfig) -> iam.PolicyStatement:
    """Return the right to ask for application inference profiles, of every Region that is booked.

    Their names are not known before they are seen in a log.
    """
    return allow(
        "Profiles",
        ["bedrock:GetInferenceProfile", "bedrock:ListTagsForResource"],
        [
            f"arn:{cdk.Aws.PARTITION}:bedrock:{region}:{cdk.Aws.ACCOUNT_ID}:"
            "application-inference-profile/*"
            for region in config.regions
        ],
    )


def _tiers(parts: Parts) -> Statements:
    if parts.config.tiers != "ssm":
        return []
    return [allow("Tiers", ["ssm:GetParametersByPath"], _parameters(parts.config, TIERS))]


def settings(config: StageConfig) -> Statements:
    """Return what a function needs whose secrets stand in the Parameter Store, if there are any."""
    if not config.people.webhook:
        return []
    return [allow("Settings", ["ssm:GetParametersByPath"], _parameters(config, SETTINGS))]


def _parameters(config: StageConfig, below: str) -> list[str]:
    path = (
        f"arn:{cdk.Aws.PARTITION}:ssm:{cdk.Aws.REGION}:{cdk.Aws.ACCOUNT_ID}:"
        f"parameter{config.path}{below}"
    )
    return [path, f"{path}/*"]


def _key(parts: Parts) -> Statements:
    """Return the right to use the stage's key, through the services whose data it encrypts.

    They make the requests to KMS in the caller's name (AWS documentation: "How Amazon DynamoDB
    uses AWS KMS", and the like of S3, SQS, Kinesis and SNS).
    """
    key = parts.encryption.key
    if key is None:
        return []
    services = ("dynamodb", "s3", "sqs", "kinesis", "sns")
    via = [f"{one}.{cdk.Aws.REGION}.{cdk.Aws.URL_SUFFIX}" for one in services]
    return [
        allow(
            "Key",
            ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
            [key.key_arn],
            {"StringEquals": {"kms:ViaService": via}},
        )
    ]


# --- What goes out ----------------------------------------------------------------------------


def announcing(parts: Parts) -> Statements:
    """Return what it takes to announce on the bus."""
    bus = parts.announcing.bus.event_bus_arn
    return [allow("Bus", ["events:DescribeEventBus", "events:PutEvents"], [bus])]


def telling(parts: Parts) -> Statements:
    """Return what it takes to tell people of what was announced, if anybody is told by email."""
    people = parts.announcing.people
    return [] if people is None else [allow("People", ["sns:Publish"], [people.topic_arn])]


# --- What comes in ----------------------------------------------------------------------------


def polling_queue(parts: Parts) -> Statements:
    """Return what a container needs of the queue."""
    actions = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"]
    return [allow("Queue", actions, [parts.ingest.queue.queue_arn])]


def reading_stream(parts: Parts) -> Statements:
    """Return what a container needs of the stream, if there is one."""
    stream = parts.ingest.stream
    if stream is None:
        return []
    actions = ["kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
    return [allow("Stream", actions, [stream.stream_arn])]


def fed_by_queue(queue: sqs.IQueue) -> Statements:
    """Return what Lambda polls a queue with, in a function's name.

    AWS documentation: "AWSLambdaSQSQueueExecutionRole".
    """
    actions = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
    return [allow("Source", actions, [queue.queue_arn])]


def fed_by_stream(stream_arn: str) -> Statements:
    """Return what Lambda reads a Kinesis stream with, in a function's name.

    AWS documentation: "AWSLambdaKinesisExecutionRole", without enhanced fan-out, which is not used.
    """
    actions = ["DescribeStream", "DescribeStreamSummary", "GetRecords", "GetShardIterator"]
    return [
        allow("Source", [f"kinesis:{one}" for one in (*actions, "ListShards")], [stream_arn]),
        # It has no resources: whoever may list streams, may list them all.
        allow("SourceList", ["kinesis:ListStreams"], ["*"]),
    ]


def fed_by_table(stream_arn: str) -> Statements:
    """Return what Lambda reads a table's stream with, in a function's name.

    AWS documentation: "AWSLambdaDynamoDBExecutionRole".
    """
    actions = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"]
    return [
        allow("Source", actions, [stream_arn]),
        # It has no resources: whoever may list streams, may list them all.
        allow("SourceList", ["dynamodb:ListStreams"], ["*"]),
    ]


def dead_letters(queue: sqs.IQueue) -> Statements:
    """Return what Lambda puts aside with, in a function's name, what the function failed at."""
    return [allow("DeadLetters", ["sqs:SendMessage"], [queue.queue_arn])]


# --- What is seen -----------------------------------------------------------------------------


def logging(group: logs.ILogGroup) -> Statements:
    """Return the right to write into a log group."""
    actions = ["logs:CreateLogStream", "logs:PutLogEvents"]
    return [allow("Logs", actions, [group.log_group_arn])]


def tracing(config: StageConfig) -> Statements:
    """Return what X-Ray takes, where it is on."""
    if not config.watching.tracing:
        return []
    # Traces have no resources: these cannot be limited to any (AWS documentation: "Actions,
    # resources, and condition keys for AWS X-Ray").
    return [allow("Traces", ["xray:PutTelemetryRecords", "xray:PutTraceSegments"], ["*"])]


def tracing_workflows(config: StageConfig) -> Statements:
    """Return what X-Ray takes of a state machine, where it is on.

    AWS documentation: "Trace Step Functions request data in AWS X-Ray".
    """
    if not config.watching.tracing:
        return []
    actions = ["GetSamplingRules", "GetSamplingTargets", "PutTelemetryRecords", "PutTraceSegments"]
    # As above: traces have no resources.
    return [allow("Traces", [f"xray:{one}" for one in actions], ["*"])]


def delivering_logs() -> Statements:
    """Return what a state machine sets up the delivery of its log with.

    AWS documentation: "Using CloudWatch Logs to log execution history in Step Functions": these
    cannot be limited to any log group.
    """
    actions = [
        "logs:CreateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:DescribeLogGroups",
        "logs:DescribeResourcePolicies",
        "logs:GetLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:UpdateLogDelivery",
    ]
    return [allow("LogDelivery", actions, ["*"])]


def writing_flow_logs(group: logs.ILogGroup) -> Statements:
    """Return what a network writes its flow log with.

    AWS documentation: "IAM role for publishing flow logs to CloudWatch Logs", without the right to
    make log groups.
    """
    actions = ["CreateLogStream", "DescribeLogStreams", "PutLogEvents"]
    return [allow("Logs", [f"logs:{one}" for one in actions], [group.log_group_arn])]


# --- What starts a task -----------------------------------------------------------------------


def pulling(repository: ecr.IRepository) -> Statements:
    """Return the right to pull an image."""
    actions = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    return [
        allow("Image", actions, [repository.repository_arn]),
        # A token is for all that its holder may do at the registry; it has no resources.
        allow("Registry", ["ecr:GetAuthorizationToken"], ["*"]),
    ]


def secrets(config: StageConfig) -> Statements:
    """Return the right to hand secrets to a task."""
    [_, below] = _parameters(config, SETTINGS)
    return [allow("Secrets", ["ssm:GetParameters"], [below])]
