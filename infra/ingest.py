"""What comes in: queues, the stream, invocation logs, rules on AWS's events."""

from __future__ import annotations

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.buckets import make_bucket
from infra.config import StageConfig
from infra.encryption import Encryption
from infra.invocation_logs import InvocationLogs
from infra.patterns import Feed, feeds, from_accounts, log_objects
from infra.places import (
    iam_region,
    intake_name,
    ledger_account,
    log_group_name,
    places,
    stream_name,
    subscription_name,
)
from infra.queues import make_dead_letters, make_queue
from infra.rules import MadeRule, Target, bus_arn, let_send, make_rule
from infra.service_roles import make_service_role

FUNCTION_SECONDS: Final = 60
"""How long a function that takes from the queue may run."""
VISIBILITY_SECONDS: Final = {"functions": 6 * FUNCTION_SECONDS, "container": 60}
"""Lambda wants six times the function's timeout (AWS documentation: "Using Lambda with Amazon
SQS"); the container prolongs what it works on by itself."""
RECEIVES_MAX: Final = 200
"""What cannot be read the worker puts into quarantine by itself. Everything else that is given back
waits for something to be mended, for which there is to be time: 20 hours of functions, more of a
container."""
STREAM_DAYS: Final = 7
"""How long an outage may last before log records are lost."""


class Ingest(Construct):
    """Everything between AWS's own logs and events, and the worker.

    Attributes:
        queue: Events, and new objects of logs; the worker polls it.
        dead_letters: What could not be worked on: of the queue, of rules, of functions.
        stream: Log records, with `logs.via: kinesis`; else None.
        log_group: Of invocation logs, unless they come through S3 or not at all.
        log_bucket: Of invocation logs, with `logs.via: s3`; else None.
        subscription: The filter that feeds the stream; None without a stream.
        quarantine: What could not be understood.
        intake: The bus that other accounts and Regions put events on; None without any.
        rules: Rules that bring events, for the deployment's description.
        made_rules: The same, with what each brings.
    """

    def __init__(
        self, scope: Construct, name: str, config: StageConfig, encryption: Encryption
    ) -> None:
        super().__init__(scope, name)
        self._config = config
        self._encryption = encryption
        self.dead_letters, self.queue = self._make_queues()
        self.quarantine = make_bucket(
            self, "Quarantine", config, encryption.key, days=config.data.quarantine_days
        )
        invocations = InvocationLogs(self, "Invocations", config, encryption)
        self.log_group: logs.LogGroup | None = invocations.group
        self.log_bucket: s3.Bucket | None = invocations.bucket
        self.stream: kinesis.Stream | None = None
        self.subscription: logs.CfnSubscriptionFilter | None = None
        if config.logs.via == "kinesis":
            self.stream = self._make_stream()
            self.subscription = self._subscribe(invocations, self.stream)
        self.intake: events.EventBus | None = None
        self.made_rules = self._make_own_rules(invocations.feed)
        if places(config):
            self.intake = self._make_intake()
            self.made_rules += self._make_intake_rules()
        self.rules: list[events.CfnRule] = [one.rule for one in self.made_rules]
        arns = [one.arn for one in self.made_rules]
        let_send(self.queue, arns)
        if self.intake is not None and encryption.key is not None:
            arns.append(bus_arn(self, intake_name(config)))
        let_send(self.dead_letters, arns)

    def _make_queues(self) -> tuple[sqs.Queue, sqs.Queue]:
        """Return the queue of dead letters, and the queue."""
        name, key = f"{self._config.name}-events", self._encryption.key
        here = cdk.Stack.of(self)
        dead_letters = make_dead_letters(
            self,
            "DeadLetters",
            f"{self._config.name}-dead-letters",
            key,
            # By its name: each of the two names the other.
            feeding=here.format_arn(service="sqs", resource=name),
        )
        queue = make_queue(
            self,
            "Events",
            name,
            key,
            visibility_seconds=VISIBILITY_SECONDS[self._config.shape],
            dead_letters=sqs.DeadLetterQueue(queue=dead_letters, max_receive_count=RECEIVES_MAX),
        )
        return dead_letters, queue

    def _make_stream(self) -> kinesis.Stream:
        shards, key = self._config.logs.shards, self._encryption.key
        encryption, mode = kinesis.StreamEncryption, kinesis.StreamMode
        return kinesis.Stream(
            self,
            "Stream",
            stream_name=stream_name(self._config),
            stream_mode=mode.PROVISIONED if shards else mode.ON_DEMAND,
            shard_count=shards or None,
            retention_period=cdk.Duration.days(STREAM_DAYS),
            encryption=encryption.KMS if key else encryption.MANAGED,
            encryption_key=key,
            # What is in it is in the log group too.
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )

    def _subscribe(
        self, invocations: InvocationLogs, stream: kinesis.Stream
    ) -> logs.CfnSubscriptionFilter:
        """Send every record of the log group to the stream, whichever shard takes it.

        AWS documentation: "Subscription filters with Amazon Kinesis Data Streams".
        """
        here = cdk.Stack.of(self)
        may_write = [
            iam.PolicyStatement(actions=["kinesis:PutRecord"], resources=[stream.stream_arn])
        ]
        if self._encryption.key is not None:
            may_write.append(
                iam.PolicyStatement(
                    actions=["kms:GenerateDataKey"], resources=[self._encryption.key.key_arn]
                )
            )
        role = make_service_role(
            self,
            "SubscriptionRole",
            self._config,
            service="logs",
            description="CloudWatch Logs puts invocation logs on the stream",
            statements=may_write,
            conditions={
                "StringLike": {
                    "aws:SourceArn": here.format_arn(
                        service="logs",
                        resource="*",
                        arn_format=cdk.ArnFormat.NO_RESOURCE_NAME,
                    )
                }
            },
        )
        subscription = logs.CfnSubscriptionFilter(
            self,
            "Subscription",
            log_group_name=log_group_name(self._config),
            filter_name=subscription_name(self._config),
            filter_pattern="",
            destination_arn=stream.stream_arn,
            role_arn=role.role_arn,
            distribution="Random",
        )
        if invocations.group is not None:
            subscription.node.add_dependency(invocations.group)
        return subscription

    def _make_own_rules(self, new_logs: Feed | None) -> list[MadeRule]:
        """Make the rules on this account's and Region's own events."""
        here = Construct(self, "Own")
        with_iam = self._config.region == iam_region(self._config)
        wanted = feeds(self._config, with_iam=with_iam)
        if new_logs is not None:
            wanted.append(new_logs)
        target = Target(arn=self.queue.queue_arn, dead_letters=self.dead_letters)
        return [make_rule(here, self._config.name, feed, target) for feed in wanted]

    def _make_intake(self) -> events.EventBus:
        """Make the bus that takes events from elsewhere, from exactly the accounts that are told.

        Rules elsewhere put them there with roles of theirs (AWS documentation: "Sending and
        receiving events between AWS accounts in Amazon EventBridge"); this account's own need no
        policy.
        """
        intake = events.EventBus(
            self,
            "Intake",
            event_bus_name=intake_name(self._config),
            description="Events of other accounts and Regions, for Ledgerock",
            kms_key=self._encryption.key,
            dead_letter_queue=self.dead_letters if self._encryption.key is not None else None,
        )
        if self._config.members:
            partition = cdk.Stack.of(self).partition
            policy = iam.PolicyStatement(
                sid="Members",
                principals=[
                    iam.ArnPrincipal(f"arn:{partition}:iam::{one.account}:root")
                    for one in self._config.members
                ],
                actions=["events:PutEvents"],
                resources=[intake.event_bus_arn],
            )
            events.CfnEventBusPolicy(
                self,
                "IntakePolicy",
                event_bus_name=intake.event_bus_name,
                statement_id="Members",
                statement=policy.to_statement_json(),
            )
        return intake

    def _make_intake_rules(self) -> list[MadeRule]:
        """Make the rules on what comes from elsewhere; the same as those that sent it here."""
        here = Construct(self, "Foreign")
        stack = cdk.Stack.of(self)
        own = ledger_account(self._config, stack)
        foreign = places(self._config)
        wanted = feeds(
            self._config,
            with_iam=any(place.with_iam for place in foreign),
            with_region=any(place.has_calls for place in foreign),
        )
        if self._config.logs.via == "s3" and any(place.has_calls for place in foreign):
            wanted.append(log_objects())
        accounts = list(dict.fromkeys(place.account or own for place in foreign))
        target = Target(arn=self.queue.queue_arn, dead_letters=self.dead_letters)
        made = []
        for feed in wanted:
            taken = Feed(
                key=feed.key,
                why=feed.why,
                pattern=from_accounts(feed.pattern, accounts),
                all_events=feed.all_events,
            )
            bus = intake_name(self._config)
            rule = make_rule(here, f"{self._config.name}-from", taken, target, bus)
            if self.intake is not None:
                rule.rule.node.add_dependency(self.intake)
            made.append(rule)
        return made
