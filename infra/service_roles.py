"""Roles that services of AWS take on, to write into what a stage made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.config import StageConfig

Conditions = Mapping[str, Mapping[str, str | list[str]]]


def make_service_role(  # noqa: PLR0913 - what a role consists of
    scope: Construct,
    name: str,
    config: StageConfig,
    *,
    service: str,
    description: str,
    statements: Sequence[iam.PolicyStatement],
    conditions: Conditions | None = None,
) -> iam.Role:
    """Make a role whose rights are part of it, so that whoever waits for it waits for them.

    Args:
        scope: Where.
        name: Of the construct.
        config: Says the path.
        service: Who takes it on, `logs` for `logs.amazonaws.com`.
        description: What it is for, for people.
        statements: All that it may do.
        conditions: On whose behalf the service may take it on.
    """
    return iam.Role(
        scope,
        name,
        assumed_by=iam.ServicePrincipal(f"{service}.amazonaws.com", conditions=conditions or {}),
        path=config.path,
        description=description,
        inline_policies={"Rights": iam.PolicyDocument(statements=statements)},
    )
