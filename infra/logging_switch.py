"""Switches model invocation logging on: no resource of CloudFormation does, so a function has to.

The function is `handlers/invocation_logging.py` alone, on a managed runtime: it needs neither the
worker nor its image, so that other accounts and Regions can have it too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.config import StageConfig
from infra.encryption import Encryption
from infra.log_groups import make_log_group
from infra.places import log_group_name
from infra.service_roles import make_service_role

MODULE: Final = "invocation_logging"
HANDLERS: Final = Path(__file__).resolve().parent.parent / "handlers"
TIMEOUT_SECONDS: Final = 300
ANSWER_SECONDS_MAX: Final = 900
"""How long CloudFormation waits for the function, should Lambda itself not run it."""
RESOURCE_TYPE: Final = "Custom::LedgerockInvocationLogging"


class LoggingSwitch(Construct):
    """Invocation logging of this account and Region, as long as the stack lives.

    Attributes:
        function: Does it.
        resource: What CloudFormation creates, updates and deletes.
    """

    def __init__(  # noqa: PLR0913 - one destination or the other
        self,
        scope: Construct,
        name: str,
        config: StageConfig,
        encryption: Encryption,
        *,
        group: logs.LogGroup | None = None,
        role: iam.Role | None = None,
        bucket: s3.Bucket | None = None,
    ) -> None:
        super().__init__(scope, name)
        self.function = self._make_function(config, encryption, role)
        self.resource = cdk.CustomResource(
            self,
            "Logging",
            service_token=self.function.function_arn,
            resource_type=RESOURCE_TYPE,
            service_timeout=cdk.Duration.seconds(ANSWER_SECONDS_MAX),
            properties={
                "Id": f"{config.name}-invocation-logging",
                "LogGroup": log_group_name(config) if group else "",
                "Role": role.role_arn if role else "",
                "Bucket": bucket.bucket_name if bucket else "",
                "Bodies": str(config.logs.bodies).lower(),
                "ReplaceExisting": str(config.logs.replace_existing).lower(),
            },
        )
        if group is not None:
            self.resource.node.add_dependency(group)

    def _make_function(
        self, config: StageConfig, encryption: Encryption, role: iam.Role | None
    ) -> lambda_.Function:
        function_name = f"{config.name}-invocation-logging"
        log_group = make_log_group(
            self,
            "Logs",
            f"/aws/lambda/{function_name}",
            encryption.key,
            days=config.watching.log_days,
        )
        return lambda_.Function(
            self,
            "Function",
            function_name=function_name,
            description="Switches Bedrock's model invocation logging on and off",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            handler=f"{MODULE}.handler",
            code=lambda_.Code.from_asset(
                str(HANDLERS),
                exclude=["*", f"!{MODULE}.py"],
                ignore_mode=cdk.IgnoreMode.GIT,
            ),
            memory_size=256,
            timeout=cdk.Duration.seconds(TIMEOUT_SECONDS),
            log_group=log_group,
            role=make_service_role(
                self,
                "FunctionRole",
                config,
                service="lambda",
                description="Switches model invocation logging on and off",
                statements=self._statements(log_group, role),
            ).without_policy_updates(),
        )

    def _statements(
        self, log_group: logs.LogGroup, role: iam.Role | None
    ) -> list[iam.PolicyStatement]:
        here = cdk.Stack.of(self)
        statements = [
            iam.PolicyStatement(
                actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                resources=[log_group.log_group_arn],
            ),
            iam.PolicyStatement(
                actions=[
                    "bedrock:GetModelInvocationLoggingConfiguration",
                    "bedrock:PutModelInvocationLoggingConfiguration",
                    "bedrock:DeleteModelInvocationLoggingConfiguration",
                ],
                # The configuration is no resource with an ARN: there is one in a Region.
                resources=["*"],
                conditions={"StringEquals": {"aws:RequestedRegion": here.region}},
            ),
        ]
        if role is not None:
            statements.append(
                iam.PolicyStatement(
                    actions=["iam:PassRole"],
                    resources=[role.role_arn],
                    conditions={"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}},
                )
            )
        return statements
