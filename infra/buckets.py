"""S3 buckets: private, encrypted, over TLS alone, emptied by age."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.config import StageConfig
from infra.encryption import removal_policy


def make_bucket(
    scope: Construct, name: str, config: StageConfig, key: kms.IKey | None, *, days: int
) -> s3.Bucket:
    """Make a bucket whose name AWS finds.

    Without versions: what is deleted is gone, as those may expect of whom a record tells.

    Args:
        scope: Where.
        name: Of the construct.
        config: Says what becomes of it when the stack is deleted.
        key: Encrypts it; None for S3's own.
        days: How long objects are kept.
    """
    encryption = s3.BucketEncryption
    return s3.Bucket(
        scope,
        name,
        encryption=encryption.KMS if key else encryption.S3_MANAGED,
        encryption_key=key,
        bucket_key_enabled=True if key else None,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        lifecycle_rules=[
            s3.LifecycleRule(
                id="Expire",
                expiration=cdk.Duration.days(days),
                abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
            )
        ],
        removal_policy=removal_policy(config),
    )


def send_events(bucket: s3.Bucket) -> None:
    """Have a bucket's events go to EventBridge.

    As a property: the CDK's own way runs a function that may change every bucket's notifications.
    """
    shape = bucket.node.default_child
    if isinstance(shape, s3.CfnBucket):
        shape.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(
                event_bridge_enabled=True
            )
        )
