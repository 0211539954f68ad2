"""What all stacks of a stage have in common."""

from __future__ import annotations

import re
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.config import StageConfig

_ACCOUNT: Final = re.compile(r"(?<=:)[0-9]{12}(?=:)", re.ASCII)


class StageStack(cdk.Stack):
    """A stack of a stage: named after it, tagged, with a boundary on its roles if there is one.

    Args:
        scope: The application.
        name: Of the construct.
        config: What to deploy.
        suffix: What its name ends with.
        description: What it is, for people.
        account: Where; empty for that of the credentials in use.
        region: Where.
    """

    def __init__(  # noqa: PLR0913 - what a stack consists of
        self,
        scope: Construct,
        name: str,
        config: StageConfig,
        *,
        suffix: str = "",
        description: str,
        account: str,
        region: str,
    ) -> None:
        super().__init__(
            scope,
            name,
            stack_name=f"{config.name}{suffix}",
            description=f"Ledgerock, stage {config.stage}: {description}",
            env=cdk.Environment(account=account or None, region=region),
            termination_protection=config.data.keep,
        )
        _tag_all(self, config)
        _bound_all(self, config, account)


def _tag_all(stack: cdk.Stack, config: StageConfig) -> None:
    """Tag everything in a stack that can be tagged."""
    for key, value in {
        "ledgerock:stage": config.stage,
        "ledgerock:name": config.name,
        **config.tags,
    }.items():
        cdk.Tags.of(stack).add(key, value)


def _bound_all(stack: cdk.Stack, config: StageConfig, account: str) -> None:
    """Put the permissions boundary on all roles of a stack, if there is one.

    A boundary is of its role's own account: other accounts have a policy of the same name.
    """
    boundary = config.enforcement.boundary
    if boundary:
        arn = _ACCOUNT.sub(account, boundary, count=1) if account else boundary
        policy = iam.ManagedPolicy.from_managed_policy_arn(stack, "Boundary", arn)
        iam.PermissionsBoundary.of(stack).apply(policy)
