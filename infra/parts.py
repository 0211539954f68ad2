"""What of a stage is there before anything runs in it."""

from __future__ import annotations

from dataclasses import dataclass

from infra.announcing import Announcing
from infra.config import StageConfig
from infra.encryption import Encryption
from infra.ingest import Ingest
from infra.roles import OwnRoles
from infra.tables import LedgerTables


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What functions and containers work with.

    Attributes:
        config: What is deployed.
        encryption: The stage's key, if any.
        tables: The ledger.
        ingest: What comes in.
        announcing: Where events go.
        own_roles: Takes in the roles that functions and containers run under.
    """

    config: StageConfig
    encryption: Encryption
    tables: LedgerTables
    ingest: Ingest
    announcing: Announcing
    own_roles: OwnRoles
