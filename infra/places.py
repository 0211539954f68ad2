"""Where calls are made and events recorded, and the names by which one stack knows another's parts.

A stack cannot refer to what is made in another Region or account, so what has to be known there
is named, and its ARN put together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import aws_cdk as cdk

from infra.config import StageConfig

_IAM_REGIONS: Final = (("us-gov-", "us-gov-west-1"), ("cn-", "cn-north-1"))
_IAM_REGION: Final = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A Region of an account that feeds the ledger from elsewhere.

    Attributes:
        account: Its id; empty for the ledger's own, where the configuration leaves that open.
        region: Its name.
        has_calls: Its calls are booked; else it is asked for IAM's events alone.
        with_iam: IAM's events are recorded there.
        is_first: The first of its account.
        is_own: It is of the ledger's own account.
    """

    account: str
    region: str
    has_calls: bool
    with_iam: bool
    is_first: bool
    is_own: bool


def places(config: StageConfig) -> list[Place]:
    """Return all places but the ledger's own Region."""
    found = list(_places_of(config, config.account, config.regions, is_own=True))
    for member in config.members:
        found += _places_of(config, member.account, member.regions, is_own=False)
    return found


def _places_of(
    config: StageConfig, account: str, regions: tuple[str, ...], *, is_own: bool
) -> Iterator[Place]:
    iam = iam_region(config)
    asked = dict.fromkeys(regions, True)
    if config.keys:
        asked.setdefault(iam, False)
    if is_own:
        del asked[config.region]
    for number, (region, has_calls) in enumerate(asked.items()):
        yield Place(
            account=account,
            region=region,
            has_calls=has_calls,
            with_iam=region == iam,
            is_first=number == 0,
            is_own=is_own,
        )


def iam_region(config: StageConfig) -> str:
    """Return the Region in which the events of IAM are recorded.

    AWS documentation: "Logging IAM and AWS STS API calls with AWS CloudTrail"; the guides of the
    partitions for theirs.
    """
    for beginning, region in _IAM_REGIONS:
        if config.region.startswith(beginning):
            return region
    return _IAM_REGION


def ledger_account(config: StageConfig, here: cdk.Stack) -> str:
    """Return the ledger's account; that of a stack, where the configuration leaves it open."""
    return config.account or here.account


def stream_name(config: StageConfig) -> str:
    """Name the stream of log records, in the ledger's Region."""
    return f"{config.name}-invocations"


def intake_name(config: StageConfig) -> str:
    """Name the bus that takes events from elsewhere, in the ledger's Region."""
    return f"{config.name}-intake"


def log_group_name(config: StageConfig) -> str:
    """Name the log group of invocation logs, wherever calls are made."""
    return f"{config.name}-invocations"


def subscription_name(config: StageConfig) -> str:
    """Name the subscription filter of that log group, whatever it feeds."""
    return f"{config.name}-calls"


def destination_name(config: StageConfig) -> str:
    """Name the destination of log records, in the ledger's account, wherever calls are made."""
    return f"{config.name}-invocations"


def own_roles_pattern(config: StageConfig, here: cdk.Stack) -> str:
    """Return the pattern of ARNs of the roles that the stage has in the ledger's account."""
    return f"arn:{here.partition}:iam::{ledger_account(config, here)}:role{config.path}*"
