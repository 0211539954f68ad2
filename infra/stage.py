"""A stage: the stack of its ledger, and the stacks that feed it from elsewhere."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from infra.announcing import Announcing
from infra.config import StageConfig
from infra.encryption import Encryption
from infra.ingest import Ingest
from infra.tables import LedgerTables


def add_stage(app: cdk.App, config: StageConfig) -> None:
    """Add all stacks of a stage to an application."""
    LedgerStack(app, config)


class LedgerStack(cdk.Stack):
    """Everything of a stage in the ledger's own account and Region.

    Args:
        scope: The application.
        config: What to deploy.
    """

    def __init__(self, scope: Construct, config: StageConfig) -> None:
        super().__init__(
            scope,
            "Ledger",
            stack_name=config.name,
            description=f"Ledgerock, stage {config.stage}: the ledger and its workers",
            env=cdk.Environment(account=config.account or None, region=config.region),
            termination_protection=config.data.keep,
        )
        tag_all(self, config)
        self.config = config
        self.encryption = Encryption(self, "Encryption", config)
        self.tables = LedgerTables(self, "Tables", config, self.encryption)
        self.ingest = Ingest(self, "Ingest", config, self.encryption)
        self.announcing = Announcing(self, "Announcing", config, self.encryption)


def tag_all(stack: cdk.Stack, config: StageConfig) -> None:
    """Tag everything in a stack that can be tagged."""
    for key, value in {
        "ledgerock:stage": config.stage,
        "ledgerock:name": config.name,
        **config.tags,
    }.items():
        cdk.Tags.of(stack).add(key, value)
