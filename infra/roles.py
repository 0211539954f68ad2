"""Roles: one for each thing that runs, under the stage's path, with the statements it is given."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
import jsii
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.config import StageConfig


def make_role(  # noqa: PLR0913 - what a role consists of
    scope: Construct,
    name: str,
    config: StageConfig,
    *,
    trusted: iam.IPrincipal,
    description: str,
    statements: Sequence[iam.PolicyStatement],
    role_name: str | None = None,
) -> iam.Role:
    """Make a role; hand it on as `made.without_policy_updates()`, so that it gets no other rights.

    Args:
        scope: Where.
        name: Of the construct.
        config: Says the path.
        trusted: Who may assume it.
        description: What it is for, for people.
        statements: All that it may do.
        role_name: Its name, where others have to know it; AWS finds one otherwise.
    """
    role = iam.Role(
        scope,
        name,
        assumed_by=trusted,
        path=config.path,
        description=description,
        role_name=role_name,
    )
    for statement in statements:
        role.add_to_policy(statement)
    return role


@jsii.implements(cdk.IStableStringProducer)
class OwnRoles:
    """The roles that Ledgerock's code runs under; complete when the application is synthesised.

    Args:
        arns: ARNs of further ones, such as those in other accounts.
    """

    def __init__(self, arns: Sequence[str] = ()) -> None:
        self._arns = [*arns]

    def add(self, role: iam.Role) -> None:
        """Take a role in."""
        self._arns.append(role.role_arn)

    def produce(self) -> str:
        """Return the ARNs of all, with commas between."""
        return ",".join(self._arns)

    @property
    def text(self) -> str:
        """What will be the ARNs of all, with commas between."""
        return cdk.Lazy.string(self)
