"""Settings: read once at the start from options and environment, frozen from then on."""

from __future__ import annotations

from worker.settings.enforcement import ENFORCEMENT_ENVIRONMENT, EnforcementSettings
from worker.settings.main import (
    ENVIRONMENT,
    LEDGER_DEFAULT,
    QUARANTINE_DEFAULT,
    SSM_PATH_VARIABLE,
    TABLE_PREFIX_DEFAULT,
    Settings,
)
from worker.settings.worker import WORKER_ENVIRONMENT, WorkerSettings

__all__ = [
    "ENFORCEMENT_ENVIRONMENT",
    "ENVIRONMENT",
    "LEDGER_DEFAULT",
    "QUARANTINE_DEFAULT",
    "SSM_PATH_VARIABLE",
    "TABLE_PREFIX_DEFAULT",
    "WORKER_ENVIRONMENT",
    "EnforcementSettings",
    "Settings",
    "WorkerSettings",
]
