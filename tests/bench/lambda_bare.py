"""The competitor: the least that books a message once with aiobotocore and Powertools.

One transaction: a marker on condition that it is new, and an addition to one balance. Neither
prices nor attributes, and every field of the message is believed.
"""

import asyncio
import json
import os
from typing import Any

from aiobotocore.session import get_session
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.data_classes import SQSEvent
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

if os.environ.get("BENCH_TRACER"):
    from aws_lambda_powertools import Tracer

    TRACER = Tracer(service="bench", auto_patch=False)

LOGGER = Logger(service="bench")
METRICS = Metrics(namespace="Bench", service="bench")
RUNNER = asyncio.Runner()
TABLE = os.environ.get("BENCH_TABLE", "bench")
CLIENTS: list[Any] = []


async def client() -> Any:
    """Open the client once."""
    if not CLIENTS:
        CLIENTS.append(await get_session().create_client("dynamodb").__aenter__())
    return CLIENTS[0]


async def book(record: SQSRecord) -> None:
    """Book one message."""
    body = json.loads(record.body)
    key = {"pk": {"S": f"call#{body['requestId']}"}}
    balance = {"pk": {"S": f"spend#{body['identity']['arn']}"}}
    tokens = body["input"]["inputTokenCount"] + body["output"]["outputTokenCount"]
    put = {
        "TableName": TABLE,
        "Item": {**key, "tokens": {"N": str(tokens)}},
        "ConditionExpression": "attribute_not_exists(pk)",
    }
    add = {
        "TableName": TABLE,
        "Key": balance,
        "UpdateExpression": "ADD tokens :tokens",
        "ExpressionAttributeValues": {":tokens": {"N": str(tokens)}},
    }
    opened = await client()
    await opened.transact_write_items(TransactItems=[{"Put": put}, {"Update": add}])


async def work(event: SQSEvent) -> list[str]:
    """Book all messages; return those that failed."""
    failed = []
    for record in event.records:
        try:
            await book(record)
        except Exception:
            LOGGER.exception("not booked")
            failed.append(record.message_id)
    return failed


@LOGGER.inject_lambda_context
@METRICS.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer as SQS wants it."""
    failed = RUNNER.run(work(SQSEvent(event)))
    METRICS.add_metric("booked", MetricUnit.Count, len(event["Records"]) - len(failed))
    return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}
