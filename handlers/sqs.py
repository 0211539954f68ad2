"""SQS: an event source mapping with `ReportBatchItemFailures` invokes this."""

from typing import Final

from aws_lambda_powertools.utilities.data_classes import SQSEvent
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from handlers.booking import book
from handlers.events import records_of, wrong_event
from handlers.runtime import Answer, Event, Invocation, handler_of
from worker.ports import Delivery

NAME: Final = "handlers.sqs.handler"
FIFO: Final = ".fifo"


async def _work(event: Event, invocation: Invocation) -> Answer:
    """Book messages; name those that must come again, and nobody else.

    Of a FIFO queue's batch, those are the first that failed and all after it (AWS documentation:
    "Handling errors for an SQS event source in Lambda"). An empty list is a complete success. An
    error that is raised makes the whole batch come again.
    """
    for number, record in enumerate(records_of(event, "aws:sqs", NAME, ("messageId",))):
        if not isinstance(record.get("body"), str):
            raise wrong_event(NAME, f"Records[{number}] with a body", {"Records": [record]})
    deliveries = [_delivery(record) for record in SQSEvent(event).records]
    is_fifo = any(one.group for one in deliveries)
    failed = await book(invocation, deliveries, stop_early=is_fifo)
    if is_fifo and failed:
        everything = list(dict.fromkeys(one.receipt for one in deliveries))
        failed = everything[everything.index(failed[0]) :]
    return {"batchItemFailures": [{"itemIdentifier": receipt} for receipt in failed]}


def _delivery(record: SQSRecord) -> Delivery:
    attributes = record.get("attributes") or {}
    queue = str(record.get("eventSourceARN") or "").rpartition(":")[2] or "unknown"
    group = str(attributes.get("MessageGroupId") or "")
    return Delivery(
        # Text that is no text is the decoder's to refuse, not a reason to fail the batch.
        body=record.body.encode(errors="surrogatepass"),
        receipt=record.message_id,
        name=f"sqs:{queue}/{record.message_id}",
        group=group or (queue if queue.endswith(FIFO) else ""),
        attempts=_whole(attributes.get("ApproximateReceiveCount"), 1),
        sent_at_ms=_whole(attributes.get("SentTimestamp"), 0),
        source=f"sqs:{queue}",
    )


def _whole(text: object, otherwise: int) -> int:
    found = str(text)
    return int(found) if found.isascii() and found.isdigit() else otherwise


handler = handler_of(_work)
