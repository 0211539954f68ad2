"""From settings to working parts: the only place that knows which adapter stands for a port."""

from __future__ import annotations

from worker.bootstrap.announcing import make_announcer
from worker.bootstrap.booking import Booking, open_booking, open_pipeline
from worker.bootstrap.books import open_bus, open_ledger, open_object_store, open_quarantine
from worker.bootstrap.due import due_parts
from worker.bootstrap.posters import (
    load_poster,
    make_poster,
    make_registry,
    with_directory,
    with_profiles,
)
from worker.bootstrap.sources import WorkerParts, open_worker
from worker.bootstrap.state import State, open_state
from worker.bootstrap.tiers import open_tiers, team_tag

__all__ = [
    "Booking",
    "State",
    "WorkerParts",
    "due_parts",
    "load_poster",
    "make_announcer",
    "make_poster",
    "make_registry",
    "open_booking",
    "open_bus",
    "open_ledger",
    "open_object_store",
    "open_pipeline",
    "open_quarantine",
    "open_state",
    "open_tiers",
    "open_worker",
    "team_tag",
    "with_directory",
    "with_profiles",
]
