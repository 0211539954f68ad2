"""The doctor: looks at everything that a ledger lives from, and says what is wrong with it."""

from __future__ import annotations

from worker.doctor.examination import examine
from worker.doctor.patient import Books, Patient

__all__ = ["Books", "Patient", "examine"]
