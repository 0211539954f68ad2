"""Reading an account: queues, streams, and metrics that say how far behind their readers are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from worker.adapters.account_reads import AccountReads
from worker.ports.account import QueueState, Statistic, StreamState

METRIC_MINUTES: Final = 15
_NO_QUEUE: Final = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


class TransportReads(AccountReads):
    """The part of `worker.ports.account.Account` on what brings deliveries."""

    async def queue(self, url: str) -> QueueState | None:
        """Return a queue."""
        found = await self.ask(
            "sqs",
            "get_queue_attributes",
            subject=url,
            action="sqs:GetQueueAttributes",
            missing=_NO_QUEUE,
            QueueUrl=url,
            AttributeNames=["QueueArn", "ApproximateNumberOfMessages", "RedrivePolicy"],
        )
        if found is None:
            return None
        attributes = found["Attributes"]
        redrive = json.loads(attributes.get("RedrivePolicy") or "{}")
        return QueueState(
            arn=attributes["QueueArn"],
            messages=int(attributes.get("ApproximateNumberOfMessages", 0)),
            dead_letters=redrive.get("deadLetterTargetArn", ""),
        )

    async def stream(self, name: str) -> StreamState | None:
        """Return a stream, by name or ARN."""
        key = "StreamARN" if name.startswith("arn:") else "StreamName"
        found = await self.ask(
            "kinesis",
            "describe_stream_summary",
            subject=f"stream {name}",
            action="kinesis:DescribeStreamSummary",
            missing=("ResourceNotFoundException",),
            **{key: name},
        )
        if found is None:
            return None
        summary = found["StreamDescriptionSummary"]
        return StreamState(summary["StreamName"], summary["StreamStatus"])

    async def metric(
        self, namespace: str, name: str, dimensions: Mapping[str, str], statistic: Statistic
    ) -> int | None:
        """Return a metric of the last quarter of an hour."""
        now = datetime.now(UTC)
        found = await self.ask(
            "cloudwatch",
            "get_metric_statistics",
            subject=f"{namespace} {name}",
            action="cloudwatch:GetMetricStatistics",
            Namespace=namespace,
            MetricName=name,
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=now - timedelta(minutes=METRIC_MINUTES),
            EndTime=now + timedelta(minutes=1),
            Period=60,
            Statistics=[statistic],
        )
        values = [point[statistic] for point in (found or {}).get("Datapoints", ())]
        if not values:
            return None
        return int(max(values) if statistic == "Maximum" else sum(values))
