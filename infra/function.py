"""One function of the image: its role, its log group, and how it is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra import permissions
from infra.environment import booking_environment
from infra.images import FUNCTION_ARCHITECTURE, Image
from infra.own_logs import own_log_group
from infra.parts import Parts
from infra.roles import make_role

Purpose = Literal["queue", "stream", "subscription", "announcer", "monitor", "enforcement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one function is there for.

    Attributes:
        purpose: Ends its name: `ledgerock-dev-PURPOSE`.
        handler: In the image.
        description: For people.
        seconds: Its timeout.
        statements: Its rights, besides those of logs and traces.
        environment: Its variables, besides those that all have.
        role: Name of its role, where other accounts have to know it.
        reserved: Concurrency that is reserved for it; 0 for none.
    """

    purpose: Purpose
    handler: str
    description: str
    seconds: int
    statements: Sequence[iam.PolicyStatement]
    environment: Mapping[str, str]
    role: str | None = None
    reserved: int = 0


def make_function(scope: Construct, parts: Parts, image: Image, work: Work) -> lambda_.Function:
    """Make a function with a role and a log group of its own."""
    config = parts.config
    name, construct = f"{config.name}-{work.purpose}", work.purpose.capitalize()
    group = own_log_group(scope, f"{construct}Logs", parts, f"/aws/lambda/{name}")
    role = make_role(
        scope,
        f"{construct}Role",
        config,
        trusted=iam.ServicePrincipal("lambda.amazonaws.com"),
        description=f"{name}: {work.description}",
        statements=[
            *work.statements,
            *permissions.logging(group),
            *permissions.tracing(config),
        ],
        role_name=work.role,
    )
    parts.own_roles.add(role)
    return lambda_.DockerImageFunction(
        scope,
        construct,
        code=image.function(work.handler),
        function_name=name,
        description=f"Ledgerock: {work.description}",
        architecture=FUNCTION_ARCHITECTURE,
        memory_size=config.capacity.function_mb,
        timeout=cdk.Duration.seconds(work.seconds),
        environment={**booking_environment(parts), **work.environment},
        role=role.without_policy_updates(),
        log_group=group,
        tracing=(lambda_.Tracing.ACTIVE if config.watching.tracing else lambda_.Tracing.DISABLED),
        reserved_concurrent_executions=work.reserved or None,
    )
