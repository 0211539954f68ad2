"""Log groups of CloudWatch Logs."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct


def make_log_group(
    scope: Construct,
    name: str,
    group_name: str,
    key: kms.IKey | None,
    *,
    days: int,
    removal_policy: cdk.RemovalPolicy = cdk.RemovalPolicy.DESTROY,
) -> logs.LogGroup:
    """Make a log group.

    Args:
        scope: Where.
        name: Of the construct.
        group_name: Its name.
        key: Encrypts it; None for the one of CloudWatch Logs.
        days: How long events are kept; one of `config.LOG_DAYS`.
        removal_policy: What becomes of it when the stack is deleted.
    """
    group = logs.LogGroup(
        scope,
        name,
        log_group_name=group_name,
        encryption_key=key,
        retention=logs.RetentionDays.INFINITE,
        removal_policy=removal_policy,
    )
    shape = group.node.default_child
    if isinstance(shape, logs.CfnLogGroup):
        # The CDK's own enumeration has a name for each number, which says no more.
        shape.retention_in_days = days
    return group
