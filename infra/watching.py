"""Seeing a stage: alarms, the topics that they are told on, and the dashboard."""

from __future__ import annotations

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.alarm import Alarm, Severity
from infra.alarms import alarms_of
from infra.dashboard import dashboard_of
from infra.watched import Watched

CLOUDWATCH: Final = "cloudwatch.amazonaws.com"


class Watching(Construct):
    """Alarms, their topics and the dashboard; to be made with `watching.enabled` alone.

    A key of the stage's own lets CloudWatch use it; see `Encryption`.

    Attributes:
        topics: What alarms are told on, by severity.
        alarms: By name.
        dashboard: `NAME`.
    """

    def __init__(self, scope: Construct, name: str, watched: Watched) -> None:
        super().__init__(scope, name)
        self._name = watched.config.name
        emails: dict[Severity, tuple[str, ...]] = {
            "page": watched.config.watching.page,
            "ticket": watched.config.watching.ticket,
        }
        key = watched.encryption.key
        self.topics = {
            severity: self._topic(severity, addresses, key)
            for severity, addresses in emails.items()
        }
        self.alarms = {alarm.name: self._alarm(alarm) for alarm in alarms_of(watched)}
        self.dashboard = dashboard_of(self, watched, list(self.alarms.values()))

    def _topic(
        self, severity: Severity, emails: tuple[str, ...], key: kms.IKey | None
    ) -> sns.Topic:
        """Make the topic of a severity.

        Without a key of the stage's own it has none: CloudWatch may not use the key that AWS
        manages for SNS (AWS documentation: "Using Amazon SNS topics encrypted with KMS"). An
        alarm's message holds the alarm's own text and figures, and nothing of any call.
        """
        topic = sns.Topic(
            self,
            severity.title(),
            display_name=f"Ledgerock {self._name}: {severity}",
            master_key=key,
            enforce_ssl=True,
        )
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="LetAlarmsTell",
                actions=["sns:Publish"],
                principals=[iam.ServicePrincipal(CLOUDWATCH)],
                resources=[topic.topic_arn],
                conditions=self._of_these_alarms(),
            )
        )
        for email in emails:
            topic.add_subscription(subscriptions.EmailSubscription(email))
        return topic

    def _of_these_alarms(self) -> dict[str, dict[str, str]]:
        """Return the conditions under which CloudWatch acts for this stage's alarms alone."""
        stack = cdk.Stack.of(self)
        alarms = stack.format_arn(
            service="cloudwatch",
            resource="alarm",
            resource_name=f"{self._name}-*",
            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
        )
        return {
            "ArnLike": {"aws:SourceArn": alarms},
            "StringEquals": {"aws:SourceAccount": stack.account},
        }

    def _alarm(self, alarm: Alarm) -> cloudwatch.Alarm:
        made = cloudwatch.Alarm(
            self,
            alarm.name,
            alarm_name=f"{self._name}-{alarm.name}",
            alarm_description=alarm.description,
            metric=alarm.metric,
            threshold=alarm.threshold,
            comparison_operator=alarm.comparison,
            evaluation_periods=alarm.periods,
            treat_missing_data=alarm.missing,
        )
        tell = actions.SnsAction(self.topics[alarm.severity])
        made.add_alarm_action(tell)
        if alarm.severity == "page":
            made.add_ok_action(tell)  # whoever was woken hears that it is over
        return made
