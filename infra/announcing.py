"""What goes out: the bus that events are announced on, and the topic that people hear."""

from __future__ import annotations

from aws_cdk import aws_events as events
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.config import StageConfig
from infra.encryption import Encryption


class Announcing(Construct):
    """Where events go.

    Attributes:
        bus: Takes Ledgerock's own events.
        people: Emails; None if nobody is to have any.
    """

    def __init__(
        self, scope: Construct, name: str, config: StageConfig, encryption: Encryption
    ) -> None:
        super().__init__(scope, name)
        self.bus = events.EventBus(self, "Bus", event_bus_name=config.name)
        self.people: sns.Topic | None = None
        if config.people.emails:
            self.people = sns.Topic(self, "People")
