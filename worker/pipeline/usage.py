"""Noticing usage that is not (yet) charged: unpriced, unmetered, quarantined."""

from __future__ import annotations

from collections.abc import Sequence

from worker.core.ledger import Amounts, Leaf
from worker.core.results import Malformed
from worker.ports import Clock, Notice, Outbox


class UsageWatch:
    """Writes down, once per subject, cause and day, that usage is not charged.

    Args:
        outbox: Keeps the notices.
        clock: Ledger time.
    """

    def __init__(self, *, outbox: Outbox, clock: Clock) -> None:
        """Remember nothing yet."""

    async def look(
        self, postings: Sequence[tuple[Leaf, Amounts]], malformed: Sequence[Malformed]
    ) -> list[Notice]:
        """Write down what one commit brought; return notices that are new."""
        raise NotImplementedError
