"""Delivers made-up calls the way AWS does: objects in S3, batches in Kinesis, events in SQS."""

import asyncio
import gzip
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from tools.laptop import names
from worker.adapters.aws_client import AwsClient
from worker.traffic.cloudtrail import Event
from worker.traffic.live import LiveCall
from worker.traffic.writer import name_hex, to_gzip, to_json

MESSAGES_PER_REQUEST: Final = 10
RECORDS_PER_REQUEST: Final = 500
LINES_PER_BATCH: Final = 200
"""Log events that a subscription puts into one record at most."""
REQUESTS_AT_ONCE: Final = 8
ATTEMPTS_MAX: Final = 8

_Home = tuple[str, str]


class Publisher:
    """Holds calls back for a moment and delivers them in batches.

    Args:
        run: Tells this publisher's objects from another's.
    """

    def __init__(self, run: str) -> None:
        """Connect to nothing yet."""
        self.requests = 0
        self.refused = 0
        self._run = run
        self._objects = 0
        self._s3, self._kinesis, self._sqs = AwsClient("s3"), AwsClient("kinesis"), AwsClient("sqs")
        self._queue_url = ""
        self._to_s3: dict[_Home, list[str]] = defaultdict(list)
        self._to_logs: dict[_Home, list[str]] = defaultdict(list)
        self._events: list[Event] = []
        self._at_once = asyncio.Semaphore(REQUESTS_AT_ONCE)

    def add(self, call: LiveCall) -> None:
        """Take a call; `flush` delivers it."""
        home = call.account, call.region
        for destination in call.destinations:
            (self._to_s3 if destination == "s3" else self._to_logs)[home].append(call.log)
        self._events += call.events

    async def flush(self) -> None:
        """Deliver what was taken; it all arrived when this returns."""
        to_s3, self._to_s3 = self._to_s3, defaultdict(list)
        to_logs, self._to_logs = self._to_logs, defaultdict(list)
        events, self._events = self._events, []
        async with asyncio.TaskGroup() as group:
            for home, lines in to_s3.items():
                group.create_task(self._put_object(home, lines))
            if to_logs:
                group.create_task(self._put_records(to_logs))
            for first in range(0, len(events), MESSAGES_PER_REQUEST):
                group.create_task(self._send(events[first : first + MESSAGES_PER_REQUEST]))

    async def close(self) -> None:
        """Close connections."""
        for client in (self._s3, self._kinesis, self._sqs):
            await client.close()

    async def _put_object(self, home: _Home, lines: Sequence[str]) -> None:
        """Write one log object; its bucket notifies the queue."""
        account, region = home
        self._objects += 1
        now = datetime.now(UTC)
        folder = f"AWSLogs/{account}/BedrockModelInvocationLogs/{region}/{now:%Y/%m/%d/%H}"
        unique = name_hex(self._run, *home, self._objects)
        stamp = f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z"
        await self._request(
            self._s3,
            "put_object",
            Bucket=names.BUCKET,
            Key=f"{folder}/{stamp}_{unique}.json.gz",
            Body=to_gzip("\n".join([*lines, ""])),
        )

    async def _put_records(self, by_home: dict[_Home, list[str]]) -> None:
        """Put batches of log events, as a subscription does; those refused go once more."""
        waiting = [
            {"Data": subscription_batch(account, lines[first : first + LINES_PER_BATCH], self._run),
             "PartitionKey": name_hex(self._run, account, first, len(lines), lines[first])}
            for (account, _), lines in by_home.items()
            for first in range(0, len(lines), LINES_PER_BATCH)
        ]  # fmt: skip
        for attempt in range(ATTEMPTS_MAX):
            chunk, rest = waiting[:RECORDS_PER_REQUEST], waiting[RECORDS_PER_REQUEST:]
            answer = await self._request(
                self._kinesis, "put_records", StreamName=names.STREAM, Records=chunk
            )
            refused = [
                record
                for record, result in zip(chunk, answer["Records"], strict=True)
                if result.get("ErrorCode")
            ]
            waiting = refused + rest
            if not waiting:
                return
            self.refused += len(refused)
            await asyncio.sleep(0.1 * 2**attempt)
        message = f"{names.STREAM} would not take {len(waiting)} records"
        raise RuntimeError(message)

    async def _send(self, events: Sequence[Event]) -> None:
        """Send events as EventBridge delivers them; those refused go once more."""
        if not self._queue_url:
            answer = await self._request(self._sqs, "get_queue_url", QueueName=names.QUEUE)
            self._queue_url = answer["QueueUrl"]
        waiting = {str(number): to_json(event) for number, event in enumerate(events)}
        for attempt in range(ATTEMPTS_MAX):
            answer = await self._request(
                self._sqs,
                "send_message_batch",
                QueueUrl=self._queue_url,
                Entries=[{"Id": number, "MessageBody": body} for number, body in waiting.items()],
            )
            waiting = {one["Id"]: waiting[one["Id"]] for one in answer.get("Failed", ())}
            if not waiting:
                return
            self.refused += len(waiting)
            await asyncio.sleep(0.1 * 2**attempt)
        message = f"{names.QUEUE} would not take {len(waiting)} messages"
        raise RuntimeError(message)

    async def _request(self, client: AwsClient, operation: str, **arguments: Any) -> Any:  # noqa: ANN401
        async with self._at_once:
            self.requests += 1
            return await client.call(
                operation,
                subject=f"{client.service} of the pipeline",
                action=operation,
                **arguments,
            )


def subscription_batch(account: str, lines: Sequence[str], run: str) -> bytes:
    """Return log events as a subscription of CloudWatch Logs delivers them, compressed."""
    now_ms = time.time_ns() // 1_000_000
    document = {
        "messageType": "DATA_MESSAGE",
        "owner": account,
        "logGroup": names.LOG_GROUP,
        "logStream": names.LOG_STREAM,
        "subscriptionFilters": ["ledgerock"],
        "logEvents": [
            {"id": f"{now_ms:020d}{name_hex(run, line)}", "timestamp": now_ms, "message": line}
            for line in lines
        ],
    }
    return gzip.compress(to_json(document).encode(), 1, mtime=0)
