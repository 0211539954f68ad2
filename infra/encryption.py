"""Encryption at rest: the keys of AWS, or one of the stage's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra.config import StageConfig

_LOGS_ACTIONS: Final = (
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:DescribeKey",
)


class Encryption(Construct):
    """The key of a stage in one Region of one account, if it is to have one.

    Services that write on nobody's behalf are allowed by the key's policy. Who has a role is
    allowed by its own policies, for the key trusts IAM of its account.

    Args:
        scope: Where.
        name: Of the construct.
        config: Whether there is to be one.
        writers: Services that write encrypted, for something of this account and Region.

    Attributes:
        key: For everything at rest; None for the keys that AWS owns.
    """

    def __init__(
        self,
        scope: Construct,
        name: str,
        config: StageConfig,
        writers: Sequence[str] = ("events", "sns", "cloudwatch"),
    ) -> None:
        super().__init__(scope, name)
        self.key: kms.Key | None = None
        if config.data.customer_key:
            self.key = kms.Key(
                self,
                "Key",
                alias=config.name,
                description=f"Ledgerock, stage {config.stage}: everything at rest",
                enable_key_rotation=True,
                removal_policy=removal_policy(config),
            )
            for statement in self._statements(config, writers):
                self.key.add_to_resource_policy(statement)

    def _statements(self, config: StageConfig, writers: Sequence[str]) -> list[iam.PolicyStatement]:
        """Return what services may do with the key.

        AWS documentation: "Encrypt log data in CloudWatch Logs using AWS Key Management Service";
        "Configure KMS permissions for AWS services" (Amazon SQS); "Monitor model invocation using
        CloudWatch Logs and Amazon S3".
        """
        here = cdk.Stack.of(self)
        log_groups = here.format_arn(
            service="logs",
            resource="log-group",
            # Those of functions and state machines begin with what AWS has them begin with.
            resource_name=f"*{config.name}-*",
            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
        )
        allowed = [
            _allow(
                "Logs",
                f"logs.{here.region}.{here.url_suffix}",
                _LOGS_ACTIONS,
                {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": log_groups}},
            ),
            *(self._writer(one) for one in writers),
        ]
        if config.logs.via == "s3":
            allowed.append(self._writer("bedrock"))
        return allowed

    def _writer(self, service: str) -> iam.PolicyStatement:
        """Allow a service to write encrypted, for something of this account and Region."""
        here = cdk.Stack.of(self)
        return _allow(
            service.title(),
            f"{service}.amazonaws.com",
            ("kms:GenerateDataKey", "kms:Decrypt"),
            {
                "StringEquals": {"aws:SourceAccount": here.account},
                "ArnLike": {
                    "aws:SourceArn": f"arn:{here.partition}:{service}:{here.region}:"
                    f"{here.account}:*"
                },
            },
        )


def removal_policy(config: StageConfig) -> cdk.RemovalPolicy:
    """Return what becomes of data when a stack is deleted, or a resource replaced.

    What is kept goes all the same if its own creation is rolled back: a first deployment that
    failed could not be repeated beside it.
    """
    keep = cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE
    return keep if config.data.keep else cdk.RemovalPolicy.DESTROY


def _allow(
    sid: str, service: str, actions: tuple[str, ...], conditions: dict[str, dict[str, str]]
) -> iam.PolicyStatement:
    return iam.PolicyStatement(
        sid=sid,
        principals=[iam.ServicePrincipal(service)],
        actions=list(actions),
        # In a key's policy, this is the key itself.
        resources=["*"],
        conditions=conditions,
    )
