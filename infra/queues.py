"""SQS queues: encrypted, over TLS alone."""

from __future__ import annotations

from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

RETENTION_DAYS: Final = 14
"""As long as SQS keeps a message at most."""
WAIT_SECONDS: Final = 20
"""As long as a receive waits at most."""


def make_queue(  # noqa: PLR0913 - what a queue consists of
    scope: Construct,
    name: str,
    queue_name: str,
    key: kms.IKey | None,
    *,
    visibility_seconds: int = 60,
    dead_letters: sqs.DeadLetterQueue | None = None,
    redrive: sqs.RedriveAllowPolicy | None = None,
) -> sqs.Queue:
    """Make a queue.

    Args:
        scope: Where.
        name: Of the construct.
        queue_name: Its name.
        key: Encrypts it; None for SQS's own.
        visibility_seconds: For how long what was received is hidden.
        dead_letters: Where messages end that are received too often.
        redrive: Whose dead letters it takes.
    """
    encryption = sqs.QueueEncryption
    return sqs.Queue(
        scope,
        name,
        queue_name=queue_name,
        encryption=encryption.KMS if key else encryption.SQS_MANAGED,
        encryption_master_key=key,
        enforce_ssl=True,
        retention_period=cdk.Duration.days(RETENTION_DAYS),
        visibility_timeout=cdk.Duration.seconds(visibility_seconds),
        receive_message_wait_time=cdk.Duration.seconds(WAIT_SECONDS),
        dead_letter_queue=dead_letters,
        redrive_allow_policy=redrive,
    )


def make_dead_letters(
    scope: Construct, name: str, queue_name: str, key: kms.IKey | None, *, feeding: str = ""
) -> sqs.Queue:
    """Make a queue of what could not be worked on or delivered.

    Args:
        scope: Where.
        name: Of the construct.
        queue_name: Its name.
        key: Encrypts it; None for SQS's own.
        feeding: ARN of the queue whose messages end in it, and may be moved back; empty if only
            services send to it.
    """
    permission = sqs.RedrivePermission
    redrive = sqs.RedriveAllowPolicy(redrive_permission=permission.DENY_ALL)
    if feeding:
        redrive = sqs.RedriveAllowPolicy(
            redrive_permission=permission.BY_QUEUE,
            source_queues=[sqs.Queue.from_queue_arn(scope, f"{name}Feeding", feeding)],
        )
    return make_queue(scope, name, queue_name, key, redrive=redrive)
