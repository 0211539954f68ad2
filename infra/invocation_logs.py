"""Bedrock's model invocation logs in one Region of one account: where they go, and the switch.

AWS documentation: "Monitor model invocation using CloudWatch Logs and Amazon S3".
"""

from __future__ import annotations

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.buckets import make_bucket, send_events
from infra.config import StageConfig
from infra.encryption import Encryption, removal_policy
from infra.log_groups import make_log_group
from infra.logging_switch import LoggingSwitch
from infra.patterns import Feed, log_objects
from infra.places import log_group_name
from infra.service_roles import Conditions, make_service_role

LOG_STREAM: Final = "aws/bedrock/modelinvocations"
"""The log stream that Bedrock writes to."""


class InvocationLogs(Construct):
    """A log group or a bucket that Bedrock writes to; neither, with `logs.via: none`.

    Attributes:
        group: The log group.
        bucket: The bucket.
        feed: The bucket's new objects; None without one.
    """

    def __init__(
        self, scope: Construct, name: str, config: StageConfig, encryption: Encryption
    ) -> None:
        super().__init__(scope, name)
        self.group: logs.LogGroup | None = None
        self.bucket: s3.Bucket | None = None
        self.feed: Feed | None = None
        if config.logs.via == "s3":
            self.bucket, self.feed = self._make_bucket(config, encryption)
            if config.logs.switch_on:
                switch = LoggingSwitch(self, "Switch", config, encryption, bucket=self.bucket)
                if self.bucket.policy is not None:
                    switch.resource.node.add_dependency(self.bucket.policy)
        elif config.logs.via != "none":
            self.group = self._make_group(config, encryption)
            role = self._make_role(config, self.group)
            if config.logs.switch_on:
                LoggingSwitch(self, "Switch", config, encryption, group=self.group, role=role)

    def _make_bucket(self, config: StageConfig, encryption: Encryption) -> tuple[s3.Bucket, Feed]:
        bucket = make_bucket(
            self, "Bucket", config, encryption.key, days=config.logs.retention_days
        )
        send_events(bucket)
        here = cdk.Stack.of(self)
        bucket.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AmazonBedrockLogsWrite",
                principals=[iam.ServicePrincipal("bedrock.amazonaws.com")],
                actions=["s3:PutObject"],
                resources=[
                    bucket.arn_for_objects(f"AWSLogs/{here.account}/BedrockModelInvocationLogs/*")
                ],
                conditions=dict(for_bedrock(here)),
            )
        )
        return bucket, log_objects(bucket.bucket_name)

    def _make_group(self, config: StageConfig, encryption: Encryption) -> logs.LogGroup:
        return make_log_group(
            self,
            "Group",
            log_group_name(config),
            encryption.key,
            days=config.logs.retention_days,
            removal_policy=removal_policy(config),
        )

    def _make_role(self, config: StageConfig, group: logs.LogGroup) -> iam.Role:
        here = cdk.Stack.of(self)
        written = here.format_arn(
            service="logs",
            resource="log-group",
            resource_name=f"{log_group_name(config)}:log-stream:{LOG_STREAM}",
            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
        )
        role = make_service_role(
            self,
            "Role",
            config,
            service="bedrock",
            description="Bedrock writes model invocation logs",
            conditions=for_bedrock(here),
            statements=[
                iam.PolicyStatement(
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[written]
                )
            ],
        )
        # Bedrock tries the role out when logging is switched on.
        role.node.add_dependency(group)
        return role


def for_bedrock(here: cdk.Stack) -> Conditions:
    """Return the conditions that Bedrock acts for this account and Region."""
    return {
        "StringEquals": {"aws:SourceAccount": here.account},
        "ArnLike": {
            "aws:SourceArn": f"arn:{here.partition}:bedrock:{here.region}:{here.account}:*"
        },
    }
