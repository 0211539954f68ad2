"""Kinesis: an event source mapping with `ReportBatchItemFailures` invokes this."""

from typing import Any, Final

from aws_lambda_powertools.utilities.data_classes import KinesisStreamEvent
from aws_lambda_powertools.utilities.data_classes.kinesis_stream_event import KinesisStreamRecord

from handlers.booking import attempts_since, book
from handlers.events import records_of, unpacked, wrong_event
from handlers.runtime import Answer, Event, Invocation, handler_of
from worker.ports import Delivery

NAME: Final = "handlers.kinesis.handler"
SOURCE: Final = "aws:kinesis"


async def _work(event: Event, invocation: Invocation) -> Answer:
    """Book records; name the first that must come again.

    Lambda takes the lowest sequence number reported as its checkpoint and hands over everything
    from there on anew (AWS documentation: "Configuring partial batch response with Kinesis Data
    Streams and Lambda"). What cannot be understood is quarantined and never reported: it would
    hold up its shard until it expires.
    """
    for number, record in enumerate(records_of(event, SOURCE, NAME, ("eventID", "kinesis"))):
        if not _is_numbered(record["kinesis"]):
            expected = f"Records[{number}].kinesis with data and a numeric sequenceNumber"
            raise wrong_event(NAME, expected, {"Records": [record]})
    deliveries = [_delivery(record) for record in KinesisStreamEvent(event).records]
    failed = await book(invocation, deliveries, stop_early=True)
    # Numbers of up to 128 bits, without leading zeros: as text, 99 would come after 100.
    return {"batchItemFailures": [{"itemIdentifier": one} for one in sorted(failed, key=int)[:1]]}


def _is_numbered(found: Any) -> bool:  # noqa: ANN401 - from outside
    if not isinstance(found, dict) or not isinstance(found.get("data"), str):
        return False
    number = str(found.get("sequenceNumber"))
    return number.isascii() and number.isdigit()


def _delivery(record: KinesisStreamRecord) -> Delivery:
    stream = str(record.get("eventSourceARN") or "").rpartition("/")[2] or "unknown"
    shard, _, number = record.event_id.rpartition(":")
    arrived = record["kinesis"].get("approximateArrivalTimestamp")
    sent_at_ms = int(arrived * 1000) if isinstance(arrived, int | float) else 0
    return Delivery(
        body=unpacked(record["kinesis"]["data"]),
        receipt=record.kinesis.sequence_number,
        name=f"kinesis:{stream}/{shard or 'unknown'}/{number}",
        group=shard,
        attempts=attempts_since(sent_at_ms),
        sent_at_ms=sent_at_ms,
        source=f"kinesis:{stream}",
    )


handler = handler_of(_work)
