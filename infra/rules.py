"""Rules of EventBridge that bring events to a queue, or to a bus elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.patterns import Feed

DEFAULT_BUS: Final = "default"
ATTEMPTS_MAX: Final = 185
AGE_SECONDS_MAX: Final = 86_400
"""As often, and for as long, as EventBridge tries at most (AWS documentation: "How EventBridge
retries delivering events")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a rule sends what it matches.

    Attributes:
        arn: Of the queue or bus.
        role: ARN of the role that may put events on the bus; None for queues.
        dead_letters: What could not be delivered; the rule's own account and Region.
    """

    arn: str
    dead_letters: sqs.IQueue
    role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeRule:
    """A rule, as the deployment's description names it.

    Attributes:
        rule: Its resource.
        name: Its name.
        bus: Its bus's name.
        feed: What it brings.
    """

    rule: events.CfnRule
    name: str
    bus: str
    feed: Feed

    @property
    def arn(self) -> str:
        """Its ARN, which is known before it is made."""
        path = self.name if self.bus == DEFAULT_BUS else f"{self.bus}/{self.name}"
        stack = cdk.Stack.of(self.rule)
        return stack.format_arn(service="events", resource="rule", resource_name=path)


def make_rule(
    scope: Construct, prefix: str, feed: Feed, target: Target, bus: str = DEFAULT_BUS
) -> MadeRule:
    """Make a rule that sends whole events on; nothing of them is changed.

    Args:
        scope: Where.
        prefix: What its name begins with.
        feed: What it matches, and its state.
        target: Where events go.
        bus: The name of the bus that it is on.
    """
    name = f"{prefix}-{feed.key}"
    rule = events.CfnRule(
        scope,
        f"Rule{feed.title}",
        name=name,
        description=feed.why,
        event_bus_name=None if bus == DEFAULT_BUS else bus,
        event_pattern=feed.pattern,
        state=feed.state,
        targets=[
            events.CfnRule.TargetProperty(
                id="Ledgerock",
                arn=target.arn,
                role_arn=target.role,
                dead_letter_config=events.CfnRule.DeadLetterConfigProperty(
                    arn=target.dead_letters.queue_arn
                ),
                retry_policy=events.CfnRule.RetryPolicyProperty(
                    maximum_retry_attempts=ATTEMPTS_MAX,
                    maximum_event_age_in_seconds=AGE_SECONDS_MAX,
                ),
            )
        ],
    )
    return MadeRule(rule=rule, name=name, bus=bus, feed=feed)


def bus_arn(scope: Construct, name: str) -> str:
    """Return the ARN of a bus, which is known before it is made."""
    return cdk.Stack.of(scope).format_arn(
        service="events", resource="event-bus", resource_name=name
    )


def let_send(queue: sqs.IQueue, senders: Iterable[str]) -> None:
    """Allow rules or buses to send to a queue.

    Args:
        queue: Which.
        senders: Their ARNs.
    """
    queue.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("events.amazonaws.com")],
            actions=["sqs:SendMessage"],
            resources=[queue.queue_arn],
            conditions={"ArnEquals": {"aws:SourceArn": list(senders)}},
        )
    )
