"""The enforcer: carries out suspensions and restorations, and records only what it verified."""

from __future__ import annotations

from worker.enforcer.enforcer import Acts, Enforcer
from worker.enforcer.figures import Enforced
from worker.enforcer.hands import GoneError, Hands, IsGone, TargetsOf, UnverifiedError
from worker.enforcer.snapshots import Snapshots
from worker.enforcer.steps import ChangedError, StepAnswer, Steps, StepTask

__all__ = [
    "Acts",
    "ChangedError",
    "Enforced",
    "Enforcer",
    "GoneError",
    "Hands",
    "IsGone",
    "Snapshots",
    "StepAnswer",
    "StepTask",
    "Steps",
    "TargetsOf",
    "UnverifiedError",
]
