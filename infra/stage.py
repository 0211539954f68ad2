"""A stage: the stack of its ledger, and the stacks that feed it from elsewhere."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.announcing import Announcing
from infra.config import StageConfig
from infra.encryption import Encryption
from infra.ingest import Ingest
from infra.tables import LedgerTables
from infra.workers import Workers


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
        bound_all(self, config)
        self.config = config
        self.encryption = Encryption(self, "Encryption", config)
        self.tables = LedgerTables(self, "Tables", config, self.encryption)
        self.ingest = Ingest(self, "Ingest", config, self.encryption)
        self.announcing = Announcing(self, "Announcing", config, self.encryption)
        self.workers = Workers(
            self, config, self.encryption, self.tables, self.ingest, self.announcing
        )

    @property
    def availability_zones(self) -> list[str]:
        """Two zones, whichever those are where this is deployed: synthesising asks nobody."""
        zones = cdk.Fn.get_azs()
        return [cdk.Fn.select(number, zones) for number in range(2)]


def bound_all(stack: cdk.Stack, config: StageConfig) -> None:
    """Put the permissions boundary on all roles of a stack, if there is one."""
    if config.enforcement.boundary:
        policy = iam.ManagedPolicy.from_managed_policy_arn(
            stack, "Boundary", config.enforcement.boundary
        )
        iam.PermissionsBoundary.of(stack).apply(policy)


def tag_all(stack: cdk.Stack, config: StageConfig) -> None:
    """Tag everything in a stack that can be tagged."""
    for key, value in {
        "ledgerock:stage": config.stage,
        "ledgerock:name": config.name,
        **config.tags,
    }.items():
        cdk.Tags.of(stack).add(key, value)
