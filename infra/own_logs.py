"""Ledgerock's own logs."""

from __future__ import annotations

from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.log_groups import make_log_group
from infra.parts import Parts


def own_log_group(scope: Construct, name: str, parts: Parts, group: str) -> logs.LogGroup:
    """Make a log group that keeps what is said there as long as the configuration wants it.

    Args:
        scope: Where.
        name: Of the construct.
        parts: Say for how long, and under which key.
        group: Name of the log group.
    """
    return make_log_group(
        scope, name, group, parts.encryption.key, days=parts.config.watching.log_days
    )
