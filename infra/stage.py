"""A stage: the stack of its ledger, and the stacks that feed it from elsewhere."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from infra.announcing import Announcing
from infra.config import ZONES_MIN, StageConfig
from infra.encryption import Encryption
from infra.ingest import Ingest
from infra.manifest import Manifest
from infra.sources import add_sources
from infra.stacks import StageStack
from infra.tables import LedgerTables
from infra.watched import Watched
from infra.watching import Watching
from infra.workers import Workers


def add_stage(app: cdk.App, config: StageConfig) -> None:
    """Add all stacks of a stage to an application."""
    add_sources(app, config, LedgerStack(app, config))


class LedgerStack(StageStack):
    """Everything of a stage in the ledger's own account and Region.

    Args:
        scope: The application.
        config: What to deploy.
    """

    def __init__(self, scope: Construct, config: StageConfig) -> None:
        super().__init__(
            scope,
            "Ledger",
            config,
            description="the ledger and its workers",
            account=config.account,
            region=config.region,
        )
        self.config = config
        self.encryption = Encryption(self, "Encryption", config)
        self.tables = LedgerTables(self, "Tables", config, self.encryption)
        self.ingest = Ingest(self, "Ingest", config, self.encryption)
        # What may be refused comes first: protected tables would stay behind a failed deployment.
        self.tables.node.add_dependency(self.ingest)
        self.announcing = Announcing(self, "Announcing", config, self.encryption)
        self.workers = Workers(
            self, config, self.encryption, self.tables, self.ingest, self.announcing
        )
        self.watching = self._watch() if config.watching.enabled else None
        self.manifest = Manifest(
            self,
            "Manifest",
            config,
            encryption=self.encryption,
            ingest=self.ingest,
            announcing=self.announcing,
            workers=self.workers,
            topics={} if self.watching is None else dict(self.watching.topics.items()),
        )

    def _watch(self) -> Watching:
        running = self.workers
        watched = Watched(
            config=self.config,
            encryption=self.encryption,
            tables=self.tables,
            ingest=self.ingest,
            announcing=self.announcing,
            functions={str(name): one for name, one in running.all_functions.items()},
            service=None if running.container is None else running.container.service,
            workflows={str(name): one for name, one in running.state_machines.items()},
        )
        return Watching(self, "Watching", watched)

    @property
    def availability_zones(self) -> list[str]:
        """Zones of the configuration, or the first two of the account: synthesising asks nobody."""
        if self.config.network.zones:
            return list(self.config.network.zones)
        zones = cdk.Fn.get_azs()
        return [cdk.Fn.select(number, zones) for number in range(ZONES_MIN)]
