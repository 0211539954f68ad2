"""What runs, in the shape that the configuration wants."""

from __future__ import annotations

from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra import workflows
from infra.announcing import Announcing
from infra.config import StageConfig
from infra.container import Container
from infra.encryption import Encryption
from infra.enforcement import Enforcement
from infra.enforcement_rights import member_roles, role_everywhere
from infra.function import Purpose
from infra.functions import Functions
from infra.ingest import Ingest
from infra.parts import Parts
from infra.roles import OwnRoles
from infra.tables import LedgerTables


class Workers(Construct):
    """Functions or a container, and the workflows of enforcement.

    Attributes:
        functions: With shape `functions`; else None.
        container: With shape `container`; else None.
        enforcement: With `enforcement.by: workflows`; else None.
    """

    def __init__(
        self,
        scope: Construct,
        config: StageConfig,
        encryption: Encryption,
        tables: LedgerTables,
        ingest: Ingest,
        announcing: Announcing,
    ) -> None:
        super().__init__(scope, "Workers")
        elsewhere = [role_everywhere(config, name) for name in member_roles(config)]
        parts = Parts(
            config=config,
            encryption=encryption,
            tables=tables,
            ingest=ingest,
            announcing=announcing,
            own_roles=OwnRoles(elsewhere if config.members else ()),
        )
        is_container = config.shape == "container"
        self.functions = None if is_container else Functions(self, "Functions", parts)
        self.container = Container(self, "Container", parts) if is_container else None
        self.enforcement = (
            Enforcement(self, "Enforcement", parts)
            if config.enforcement.by == "workflows"
            else None
        )

    @property
    def all_functions(self) -> dict[Purpose, lambda_.Function]:
        """All functions that run the worker's code, by what they are for."""
        found = {} if self.functions is None else dict(self.functions.all)
        if self.enforcement is not None:
            found["enforcement"] = self.enforcement.function
        return found

    @property
    def state_machines(self) -> dict[workflows.Purpose, sfn.StateMachine]:
        """The workflows, by purpose."""
        return {} if self.enforcement is None else self.enforcement.state_machines
