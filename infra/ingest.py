"""What comes in: queues, the stream, invocation logs, rules on AWS's events."""

from __future__ import annotations

from aws_cdk import aws_events as events
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.config import StageConfig
from infra.encryption import Encryption


class Ingest(Construct):
    """Everything between AWS's own logs and events, and the worker.

    Attributes:
        queue: Events, and notifications of new objects; the worker polls it.
        dead_letters: What could not be worked on: of the queue, of rules, of functions.
        stream: Log records, with `logs.via: kinesis`; else None.
        log_group: Of invocation logs, unless they come through S3 or not at all.
        log_bucket: Of invocation logs, with `logs.via: s3`; else None.
        quarantine: What could not be understood.
        intake: The bus that other accounts and Regions put events on; None without any.
        rules: Rules that bring events, for the deployment's description.
    """

    def __init__(
        self, scope: Construct, name: str, config: StageConfig, encryption: Encryption
    ) -> None:
        super().__init__(scope, name)
        self.dead_letters = sqs.Queue(self, "DeadLetters")
        self.queue = sqs.Queue(self, "Events")
        self.quarantine = s3.Bucket(self, "Quarantine")
        self.stream: kinesis.Stream | None = None
        self.log_group: logs.LogGroup | None = None
        self.log_bucket: s3.Bucket | None = None
        self.intake: events.EventBus | None = None
        self.rules: list[events.CfnRule] = []
