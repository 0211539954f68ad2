"""CloudWatch Logs: a subscription filter invokes this, asynchronously."""

from typing import Final

from aws_lambda_powertools.utilities.data_classes import CloudWatchLogsEvent

from handlers.booking import book_one
from handlers.events import unpacked, wrong_event
from handlers.runtime import Answer, Event, Invocation, handler_of
from worker.ports import Delivery

NAME: Final = "handlers.cloudwatch_logs.handler"


async def _work(event: Event, invocation: Invocation) -> Answer:
    """Book the log events of a subscription's payload, which is one delivery.

    An error that is raised makes Lambda invoke again with the same payload, twice by default;
    after that it goes to the function's destination on failure, or is lost where there is none.
    CloudWatch Logs itself retries only what Lambda did not take.
    """
    found = event.get("awslogs") if isinstance(event, dict) else None
    if not isinstance(found, dict) or not isinstance(found.get("data"), str):
        raise wrong_event(NAME, "awslogs.data of a CloudWatch Logs subscription", event)
    name = f"cloudwatch-logs:{invocation.request_id}"
    data = CloudWatchLogsEvent(event).raw_logs_data
    await book_one(invocation, Delivery(unpacked(data), name, name, source="cloudwatch-logs"))
    return None


handler = handler_of(_work)
