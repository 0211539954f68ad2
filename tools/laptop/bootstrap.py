"""Creates what the pipeline stands on, once LocalStack is up: `python -m tools.laptop.bootstrap`.

Tables, queues, the stream, the buckets with notifications, the bus and the rule that collects
what is announced; the registry, as a file; and a few budgets. What is there already stays.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from tools.laptop import names
from worker.adapters.aws_client import AwsClient
from worker.adapters.dynamodb_items import table_definitions
from worker.adapters.dynamodb_state import EXPIRES, state_table, state_table_definition
from worker.settings import Settings
from worker.traffic.live import company_registry

EXISTS: Final = frozenset(
    {
        "BucketAlreadyOwnedByYou",
        "ResourceAlreadyExistsException",
        "ResourceInUseException",
        "ValidationException",  # the time to live is set already
    }
)
WAIT_SECONDS: Final = 60
VISIBILITY_SECONDS: Final = 60


async def tables(prefix: str) -> None:
    """Create the ledger's tables and the state's, as they are on AWS."""
    client = AwsClient("dynamodb")
    try:
        for definition in [*table_definitions(prefix), state_table_definition(prefix)]:
            await ensure(client, "create_table", **definition)
            await active(client, "describe_table", "Table", TableName=definition["TableName"])
        await ensure(
            client,
            "update_time_to_live",
            TableName=state_table(prefix),
            TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES},
        )
    finally:
        await client.close()


async def stream() -> None:
    """Create the stream."""
    client = AwsClient("kinesis")
    try:
        await ensure(client, "create_stream", StreamName=names.STREAM, ShardCount=names.SHARDS)
        await active(
            client, "describe_stream_summary", "StreamDescriptionSummary", StreamName=names.STREAM
        )
    finally:
        await client.close()


async def queues() -> dict[str, str]:
    """Create the queues; return their ARNs by name."""
    client = AwsClient("sqs")
    try:
        arns: dict[str, str] = {}
        for name in (names.DEAD_LETTERS, names.ANNOUNCED, names.QUEUE):
            attributes = {"VisibilityTimeout": str(VISIBILITY_SECONDS)}
            if name == names.QUEUE:
                attributes["RedrivePolicy"] = json.dumps(
                    {
                        "deadLetterTargetArn": arns[names.DEAD_LETTERS],
                        "maxReceiveCount": names.RECEIVES_MAX,
                    }
                )
            made = await client.request("create_queue", QueueName=name, Attributes=attributes)
            answer = await client.request(
                "get_queue_attributes", QueueUrl=made["QueueUrl"], AttributeNames=["QueueArn"]
            )
            arns[name] = answer["Attributes"]["QueueArn"]
        return arns
    finally:
        await client.close()


async def buckets(queue_arn: str) -> None:
    """Create the buckets; that of the logs tells the queue of every invocation-log object."""
    client = AwsClient("s3")
    try:
        for name in (names.BUCKET, names.QUARANTINE):
            await ensure(client, "create_bucket", Bucket=name)
        rules = [{"Name": "prefix", "Value": "AWSLogs/"}]
        await client.request(
            "put_bucket_notification_configuration",
            Bucket=names.BUCKET,
            NotificationConfiguration={
                "QueueConfigurations": [
                    {
                        "QueueArn": queue_arn,
                        "Events": ["s3:ObjectCreated:*"],
                        "Filter": {"Key": {"FilterRules": rules}},
                    }
                ]
            },
        )
    finally:
        await client.close()


async def bus(collecting_queue_arn: str) -> None:
    """Create the bus, and a rule that puts all it announces into a queue."""
    client = AwsClient("events")
    try:
        await ensure(client, "create_event_bus", Name=names.BUS)
        await client.request(
            "put_rule",
            Name=names.ANNOUNCED,
            EventBusName=names.BUS,
            EventPattern=json.dumps({"source": ["ledgerock"]}),
        )
        await client.request(
            "put_targets",
            Rule=names.ANNOUNCED,
            EventBusName=names.BUS,
            Targets=[{"Id": "collect", "Arn": collecting_queue_arn}],
        )
    finally:
        await client.close()


async def ensure(client: AwsClient, operation: str, **arguments: Any) -> None:  # noqa: ANN401
    """Make a request that creates something, unless that is there already."""
    try:
        await client.request(operation, **arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] not in EXISTS:
            raise


async def active(client: AwsClient, operation: str, part: str, **arguments: Any) -> None:  # noqa: ANN401
    """Wait until what was created can be used."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            described = (await client.request(operation, **arguments))[part]
            if described.get("TableStatus", described.get("StreamStatus")) == "ACTIVE":
                return
            await asyncio.sleep(0.2)


def sample_budgets() -> None:
    """Set the budgets, as a person would."""
    for name, scope, limit, period in names.BUDGETS:
        command = ["ledgerock", "budgets", "set", name, "--scope", scope]
        subprocess.run([*command, "--limit", limit, "--period", period], check=True)


async def prepare(settings: Settings) -> None:
    """Create everything, side by side."""
    arns = await queues()
    async with asyncio.TaskGroup() as group:
        prefix = settings.ledger_tables
        if prefix is not None:
            group.create_task(tables(prefix))
        group.create_task(stream())
        group.create_task(buckets(arns[names.QUEUE]))
        group.create_task(bus(arns[names.ANNOUNCED]))


def main() -> int:
    """Prepare everything; the settings are the worker's own."""
    settings = Settings.read(os.environ)
    if settings.registry is not None:
        Path(settings.registry).write_text(company_registry(), encoding="utf-8")
    asyncio.run(prepare(settings))
    sample_budgets()
    sys.stderr.write("everything is there\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
