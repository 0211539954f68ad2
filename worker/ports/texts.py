"""Everything that is kept beside the ledger, as texts: for taking a person's name out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

Rewrite = Callable[[Sequence[str]], Sequence[str]]
"""Takes the texts of one thing that is kept, keys and documents, and returns as many."""


class StateTexts(Protocol):
    """Budgets, notices and records, whatever they are about; the audit log is left out.

    That log has a way of its own to forget people (`core.audit`).
    """

    async def rewrite(self, change: Rewrite) -> int:
        """Rewrite all that is kept; this goes through everything.

        What is changed is replaced on condition that it is still as it was read; what somebody
        else changes meanwhile is left, for the next time. Doing it again does no harm.

        Returns:
            How many things were changed.

        Raises:
            TransientError: Some may be rewritten, others not; do it again.
        """
