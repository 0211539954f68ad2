"""The worker as Lambda functions, and what invokes them."""

from __future__ import annotations

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as lambda_destinations
from aws_cdk import aws_logs as logs
from aws_cdk import aws_logs_destinations as logs_destinations
from constructs import Construct

from infra import permissions
from infra.enforcement_rights import hands_of_monitor
from infra.environment import announcing_environment, secret_environment
from infra.function import Purpose, Work, make_function
from infra.images import Image
from infra.parts import Parts

BOOKING_SECONDS: Final = 60
"""Timeout of what books; the queue hides its messages for at least six times as long."""
SUBSCRIPTION_SECONDS: Final = 120
DUE_SECONDS: Final = 300
"""Timeout of the monitor: one suspension may take most of two minutes. Several may run at once."""

QUEUE_BATCH: Final = 500
OBJECTS_BATCH: Final = 50
"""Each message may name an object of thousands of calls, and all are to be read in time."""
STREAM_BATCH: Final = 1_000
NOTICE_BATCH: Final = 100
WINDOW_SECONDS: Final = 1
"""A batch waits so long for more: fewer, larger commits, and a second later at most."""
POLLERS_MAX: Final = 1_000
"""As many as an event source mapping may have of one queue."""
STREAM_AGE_DAYS: Final = 6
"""Records are tried for so long: longer than an outage, and shorter than the stream keeps them, so
that what is given up is named in the queue of dead letters."""
SUBSCRIPTION_AGE_HOURS: Final = 6
"""As long as Lambda keeps an asynchronous event at most."""
NOTICE_AGE_SECONDS: Final = 60
"""Nothing is lost with a record of the state table's stream: the schedule announces everything."""
NOTICES: Final = "s#"
"""What the keys of notices begin with, which alone are news to the announcer."""


class Functions(Construct):
    """One function for each thing that invokes: queue, stream, subscription, and schedules.

    None reserves concurrency unless the configuration says so: what an account has may be little.

    Attributes:
        all: The functions, by what they are for.
        schedules: The rules that invoke the announcer and the monitor.
        subscription: The filter that invokes a function, with `logs.via: subscription`.
    """

    def __init__(self, scope: Construct, name: str, parts: Parts) -> None:
        super().__init__(scope, name)
        self._parts = parts
        self._image = Image(self, "Image", parts.config, "lambda")
        self.all: dict[Purpose, lambda_.Function] = {}
        self.schedules: list[events.Rule] = []
        self.subscription: logs.SubscriptionFilter | None = None
        self._book_queue()
        if parts.ingest.stream is not None:
            self._book_stream(parts.ingest.stream.stream_arn)
        if parts.config.logs.via == "subscription" and parts.ingest.log_group is not None:
            self._book_subscription(parts.ingest.log_group)
        self._announce()
        self._monitor()

    def _make(self, work: Work) -> lambda_.Function:
        made = make_function(self, self._parts, self._image, work)
        self.all[work.purpose] = made
        return made

    # --- Booking ------------------------------------------------------------------------------

    def _book_queue(self) -> None:
        parts, concurrency = self._parts, self._parts.config.capacity.concurrency
        queue = parts.ingest.queue
        function = self._make(
            Work(
                purpose="queue",
                handler="handlers.sqs.handler",
                description="books what comes in on the queue",
                seconds=BOOKING_SECONDS,
                statements=[*permissions.booking(parts), *permissions.fed_by_queue(queue)],
                environment={},
                reserved=concurrency,
            )
        )
        lambda_.EventSourceMapping(
            self,
            "QueueSource",
            target=function,
            event_source_arn=queue.queue_arn,
            batch_size=OBJECTS_BATCH if parts.config.logs.via == "s3" else QUEUE_BATCH,
            max_batching_window=cdk.Duration.seconds(WINDOW_SECONDS),
            report_batch_item_failures=True,
            # Pollers beyond what is reserved would be refused, and messages thrown away for it.
            max_concurrency=min(concurrency, POLLERS_MAX) or None,
        )

    def _book_stream(self, stream_arn: str) -> None:
        parts, dead_letters = self._parts, self._parts.ingest.dead_letters
        function = self._make(
            Work(
                purpose="stream",
                handler="handlers.kinesis.handler",
                description="books invocation logs from the stream",
                seconds=BOOKING_SECONDS,
                statements=[
                    *permissions.booking(parts),
                    *permissions.fed_by_stream(stream_arn),
                    *permissions.dead_letters(dead_letters),
                ],
                environment={},
            )
        )
        mapping = lambda_.EventSourceMapping(
            self,
            "StreamSource",
            target=function,
            event_source_arn=stream_arn,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=STREAM_BATCH,
            max_batching_window=cdk.Duration.seconds(WINDOW_SECONDS),
            report_batch_item_failures=True,
            bisect_batch_on_error=True,
            max_record_age=cdk.Duration.days(STREAM_AGE_DAYS),
        )
        _resource(
            mapping
        ).destination_config = lambda_.CfnEventSourceMapping.DestinationConfigProperty(
            on_failure=lambda_.CfnEventSourceMapping.OnFailureProperty(
                destination=dead_letters.queue_arn
            )
        )

    def _book_subscription(self, group: logs.LogGroup) -> None:
        parts, dead_letters = self._parts, self._parts.ingest.dead_letters
        function = self._make(
            Work(
                purpose="subscription",
                handler="handlers.cloudwatch_logs.handler",
                description="books invocation logs from a subscription",
                seconds=SUBSCRIPTION_SECONDS,
                statements=[
                    *permissions.booking(parts),
                    *permissions.dead_letters(dead_letters),
                ],
                environment={},
            )
        )
        function.configure_async_invoke(
            max_event_age=cdk.Duration.hours(SUBSCRIPTION_AGE_HOURS),
            retry_attempts=2,
            on_failure=lambda_destinations.SqsDestination(dead_letters),
        )
        self.subscription = logs.SubscriptionFilter(
            self,
            "Calls",
            log_group=group,
            destination=logs_destinations.LambdaDestination(function),
            filter_pattern=logs.FilterPattern.all_events(),
            filter_name=f"{parts.config.name}-calls",
        )

    # --- What is due --------------------------------------------------------------------------

    def _announce(self) -> None:
        parts, stream_arn = self._parts, self._parts.tables.state.table_stream_arn
        if stream_arn is None:
            raise ValueError("the state table has no stream; infra.tables gives it one")
        function = self._make(
            Work(
                purpose="announcer",
                handler="handlers.announcer.handler",
                description="announces on the bus what is written down, and tells people",
                seconds=BOOKING_SECONDS,
                statements=[
                    *permissions.reading(parts),
                    *permissions.announcing(parts),
                    *permissions.telling(parts),
                    *permissions.settings(parts.config),
                    *permissions.fed_by_table(stream_arn),
                ],
                environment={
                    **announcing_environment(parts),
                    **secret_environment(parts.config),
                },
            )
        )
        lambda_.EventSourceMapping(
            self,
            "NoticeSource",
            target=function,
            event_source_arn=stream_arn,
            starting_position=lambda_.StartingPosition.LATEST,
            batch_size=NOTICE_BATCH,
            report_batch_item_failures=True,
            max_record_age=cdk.Duration.seconds(NOTICE_AGE_SECONDS),
            filters=[
                lambda_.FilterCriteria.filter(
                    {"dynamodb": {"Keys": {"pk": {"S": [{"prefix": NOTICES}]}}}}
                )
            ],
        )
        self._every_minute("Announcer", function)

    def _monitor(self) -> None:
        parts = self._parts
        hands = hands_of_monitor(parts.config)
        function = self._make(
            Work(
                purpose="monitor",
                handler="handlers.monitor.handler",
                description="does what is due about budgets",
                seconds=DUE_SECONDS,
                statements=[
                    *permissions.monitoring(parts),
                    *permissions.announcing(parts),
                    *permissions.telling(parts),
                    *permissions.settings(parts.config),
                    *hands.statements,
                ],
                environment={
                    **announcing_environment(parts),
                    **secret_environment(parts.config),
                    **hands.environment,
                },
                role=hands.role,
            )
        )
        self._every_minute("Monitor", function)

    def _every_minute(self, name: str, function: lambda_.Function) -> None:
        """Invoke a function each minute.

        A rule and not a schedule of EventBridge Scheduler, whose events are of another type. What
        an invocation fails at the next one does: it is neither tried again nor put aside.
        """
        function.configure_async_invoke(
            max_event_age=cdk.Duration.seconds(NOTICE_AGE_SECONDS), retry_attempts=0
        )
        self.schedules.append(
            events.Rule(
                self,
                f"{name}Schedule",
                rule_name=f"{self._parts.config.name}-{name.lower()}",
                description=f"Invokes {self._parts.config.name}-{name.lower()} each minute",
                schedule=events.Schedule.rate(cdk.Duration.minutes(1)),
                targets=[targets.LambdaFunction(function, retry_attempts=0)],
            )
        )


def _resource(mapping: lambda_.EventSourceMapping) -> lambda_.CfnEventSourceMapping:
    found = mapping.node.default_child
    assert isinstance(found, lambda_.CfnEventSourceMapping)  # noqa: S101 - what the construct makes
    return found
