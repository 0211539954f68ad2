"""What is kept beside the ledger, and who is asked about profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from worker.core.budget_terms import Budget
from worker.core.registry import ApplicationProfile


class Notes(Protocol):
    """Small notes under a name, that outlive a process: how far an object was booked."""

    async def get(self, name: str) -> str | None:
        """Return a note, strongly read."""

    async def put(self, name: str, note: str, *, keep_until_ms: int) -> None:
        """Keep a note, at least until then."""


class BudgetStore(Protocol):
    """Where budgets are kept."""

    async def budgets(self) -> list[Budget]:
        """Return all budgets, strongly read, by name, removed ones included."""

    async def changed(
        self, since_ms: int, known: Mapping[str, Budget] | None = None
    ) -> list[Budget]:
        """Return the budgets whose revision was made at `since_ms` or later, and perhaps others.

        Found through an index, at a cost that depends on what changed alone. The index may be
        behind by a moment, and writers' clocks differ: ask for some minutes more.

        Args:
            since_ms: Epoch milliseconds UTC, by the clocks of those who made the revisions.
            known: Budgets by name that are known; those whose revision is not another one by
                now are not read, and may be left out.
        """

    async def find(self, name: str) -> Budget | None:
        """Return a budget, strongly read, also one that was removed; None if there is none."""

    async def put(self, budget: Budget) -> bool:
        """Keep a budget on condition that its revision follows the one that is kept.

        Returns:
            False if somebody else was first; nothing was changed then.

        Raises:
            TransientError: It may have been kept or not; read the budgets before trying again.
        """


class ProfileStore(Protocol):
    """Application inference profiles that were seen, for ever, deleted ones included."""

    async def profiles(self) -> list[ApplicationProfile]:
        """Return all profiles, strongly read."""

    async def learn(self, profiles: Sequence[ApplicationProfile]) -> int:
        """Keep profiles that are new, or whose tags are known by now; return how many."""


class ProfileSource(Protocol):
    """Asks AWS what an application inference profile stands for (`GetInferenceProfile`)."""

    async def profile(self, arn: str) -> ApplicationProfile | None:
        """Return a profile with its tags; None if it is gone, or not ours to see.

        Raises:
            TransientError: Try again.
        """

    async def close(self) -> None:
        """Close connections."""
