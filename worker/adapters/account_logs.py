"""Reading an account: invocation logging, log groups, buckets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from worker.adapters.account_reads import AccountReads, Answer
from worker.ports.account import BucketState, InvocationLogging, LogFilter, LogGroup

BODIES: Final = ("text", "image", "embedding", "video", "audio")
BEDROCK: Final = "bedrock.amazonaws.com"
PAGES_MAX: Final = 20
_NO_BUCKET: Final = ("404", "NoSuchBucket")
_NO_ENCRYPTION: Final = "ServerSideEncryptionConfigurationNotFoundError"


class LogReads(AccountReads):
    """The part of `worker.ports.account.Account` on what becomes of invocation logs."""

    async def invocation_logging(self, region: str) -> InvocationLogging | None:
        """Return where invocation logs of a Region go; None if logging is off."""
        answer = await self.ask(
            "bedrock",
            "get_model_invocation_logging_configuration",
            subject=f"invocation logging in {region}",
            action="bedrock:GetModelInvocationLoggingConfiguration",
            region=region,
        )
        config = (answer or {}).get("loggingConfig")
        if not config:
            return None
        return InvocationLogging(
            log_group=config.get("cloudWatchConfig", {}).get("logGroupName", ""),
            bucket=config.get("s3Config", {}).get("bucketName", ""),
            bodies=tuple(one for one in BODIES if config.get(f"{one}DataDeliveryEnabled")),
        )

    async def logging_role(self, path: str, region: str) -> str | None:
        """Return the ARN of the role under a path that lets Bedrock write a Region's logs."""
        more: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            answer = await self.ask(
                "iam",
                "list_roles",
                subject=f"roles under {path}",
                action="iam:ListRoles",
                PathPrefix=path,
                **more,
            )
            page = answer or {}
            for role in page.get("Roles", ()):
                if trusts_bedrock(role.get("AssumeRolePolicyDocument", {}), region):
                    return str(role["Arn"])
            if not page.get("IsTruncated"):
                break
            more = {"Marker": page["Marker"]}
        return None

    async def log_group(self, region: str, name: str) -> LogGroup | None:
        """Return a log group."""
        answer = await self.ask(
            "logs",
            "describe_log_groups",
            subject=name,
            action="logs:DescribeLogGroups",
            region=region,
            logGroupNamePrefix=name,
        )
        for group in (answer or {}).get("logGroups", ()):
            if group["logGroupName"] == name:
                return LogGroup(name, int(group.get("retentionInDays", 0)))
        return None

    async def log_filters(self, region: str, group: str) -> Sequence[LogFilter]:
        """Return the subscription filters of a log group; none if there is no such group."""
        answer = await self.ask(
            "logs",
            "describe_subscription_filters",
            subject=group,
            action="logs:DescribeSubscriptionFilters",
            region=region,
            missing=("ResourceNotFoundException",),
            logGroupName=group,
        )
        return [
            LogFilter(
                name=one["filterName"],
                destination=one["destinationArn"],
                distribution=one.get("distribution", ""),
                role=one.get("roleArn", ""),
                pattern=one.get("filterPattern", ""),
            )
            for one in (answer or {}).get("subscriptionFilters", ())
        ]

    async def bucket(self, name: str) -> BucketState | None:
        """Return a bucket."""
        there = await self._of_bucket("head_bucket", name, "s3:ListBucket", *_NO_BUCKET)
        if there is None:
            return None
        encryption = await self._of_bucket(
            "get_bucket_encryption", name, "s3:GetEncryptionConfiguration", _NO_ENCRYPTION
        )
        policy = await self._of_bucket(
            "get_bucket_policy", name, "s3:GetBucketPolicy", "NoSuchBucketPolicy"
        )
        told = await self._of_bucket(
            "get_bucket_notification_configuration", name, "s3:GetBucketNotification"
        )
        return BucketState(
            name=name,
            is_encrypted=encryption is not None,
            is_tls_only=policy is not None and denies_plain(json.loads(policy["Policy"])),
            queues=tuple(one["QueueArn"] for one in (told or {}).get("QueueConfigurations", ())),
            tells_bus="EventBridgeConfiguration" in (told or {}),
        )

    async def _of_bucket(
        self, operation: str, name: str, action: str, *missing: str
    ) -> Answer | None:
        return await self.ask(
            "s3", operation, subject=f"s3://{name}", action=action, missing=missing, Bucket=name
        )


def trusts_bedrock(policy: Mapping[str, Any], region: str) -> bool:
    """Whether a role's trust policy lets Bedrock act for a Region: for it alone, or for all."""
    text = json.dumps(policy)
    return BEDROCK in text and (f":bedrock:{region}:" in text or ":bedrock:" not in text)


def denies_plain(policy: Mapping[str, Any]) -> bool:
    """Whether a bucket's policy denies everybody what is not encrypted on the way."""
    statements = policy.get("Statement", [])
    for one in statements if isinstance(statements, list) else [statements]:
        condition = one.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
        everybody = one.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
        actions = one.get("Action", [])
        everything = "s3:*" in actions or "*" in actions
        is_plain = str(condition).strip("[]'").lower() == "false"
        if one.get("Effect") == "Deny" and is_plain and everybody and everything:
            return True
    return False
