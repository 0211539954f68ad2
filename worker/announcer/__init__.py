"""Announcing what was written down: to the bus, and through each channel to people (promise 9)."""

from __future__ import annotations

from worker.announcer.bus import Announcer
from worker.announcer.copies import copies_of, copy_id, copy_subject
from worker.announcer.entries import BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, entry_bytes, fitting
from worker.announcer.figures import Announced
from worker.announcer.telling import Teller

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_ENTRIES_MAX",
    "Announced",
    "Announcer",
    "Teller",
    "copies_of",
    "copy_id",
    "copy_subject",
    "entry_bytes",
    "fitting",
]
