"""What goes out: the bus that events are announced on, and the topic that people hear."""

from __future__ import annotations

from aws_cdk import aws_events as events
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.config import StageConfig
from infra.encryption import Encryption
from infra.queues import make_dead_letters
from infra.rules import bus_arn, let_send


class Announcing(Construct):
    """Where events go.

    The bus needs no policy: who puts events on it, and whose rules are on it, is of this account.

    Attributes:
        bus: Takes Ledgerock's own events.
        people: Emails; None if nobody is to have any.
        undelivered: Emails that could not be delivered, events that could not be decrypted, and
            events that started no workflow; None where there can be none of them.
    """

    def __init__(
        self, scope: Construct, name: str, config: StageConfig, encryption: Encryption
    ) -> None:
        super().__init__(scope, name)
        self.undelivered: sqs.Queue | None = None
        starts_workflows = config.enforcement.by == "workflows"
        if config.people.emails or encryption.key is not None or starts_workflows:
            self.undelivered = make_dead_letters(
                self, "Undelivered", f"{config.name}-undelivered", encryption.key
            )
            if encryption.key is not None:
                let_send(self.undelivered, [bus_arn(self, config.name)])
        self.bus = events.EventBus(
            self,
            "Bus",
            event_bus_name=config.name,
            description=f"What Ledgerock, stage {config.stage}, announces",
            kms_key=encryption.key,
            dead_letter_queue=self.undelivered if encryption.key is not None else None,
        )
        self.people: sns.Topic | None = None
        if config.people.emails:
            self.people = self._make_topic(config, encryption)

    def _make_topic(self, config: StageConfig, encryption: Encryption) -> sns.Topic:
        # Only the worker publishes, with a role of this account: AWS's own key lets it.
        key: kms.IKey = encryption.key or kms.Alias.from_alias_name(self, "SnsKey", "alias/aws/sns")
        topic = sns.Topic(
            self,
            "People",
            topic_name=f"{config.name}-people",
            display_name=f"Ledgerock {config.stage}",
            master_key=key,
            enforce_ssl=True,
        )
        for email in config.people.emails:
            topic.add_subscription(
                subscriptions.EmailSubscription(email, dead_letter_queue=self.undelivered)
            )
        return topic
