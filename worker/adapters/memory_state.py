"""Budgets, notices, notes and profiles in memory: gone with the process. For dry runs and tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from worker.adapters.state_values import (
    better_profile,
    decoded_budget,
    decoded_notice,
    encoded,
    is_known,
    settled,
)
from worker.core.budget_terms import Budget
from worker.core.registry import ApplicationProfile
from worker.ports import Notice, NoticeState
from worker.ports.texts import Rewrite

NOTICES_PER_CHUNK: Final = 100


class MemoryBudgets:
    """A `worker.ports.BudgetStore` in a dictionary."""

    def __init__(self) -> None:
        """Start without budgets."""
        self._budgets: dict[str, Budget] = {}

    async def budgets(self) -> list[Budget]:
        """Return all budgets; see the port."""
        return [self._budgets[name] for name in sorted(self._budgets)]

    async def changed(
        self, since_ms: int, known: Mapping[str, Budget] | None = None
    ) -> list[Budget]:
        """Return the budgets that were last changed since then; see the port."""
        changed = [one for one in await self.budgets() if one.created_at_ms >= since_ms]
        return [one for one in changed if not is_known(known, one.name, one.revision)]

    async def find(self, name: str) -> Budget | None:
        """Return a budget."""
        return self._budgets.get(name)

    async def put(self, budget: Budget) -> bool:
        """Keep a budget if its revision is the next one; see the port."""
        before = self._budgets.get(budget.name)
        if budget.revision != (1 if before is None else before.revision + 1):
            return False
        self._budgets[budget.name] = budget
        return True

    def rewrite(self, change: Rewrite) -> int:
        """Rewrite all budgets; see `worker.ports.StateTexts`."""
        changed = 0
        for name, budget in list(self._budgets.items()):
            texts = [name, encoded(budget)]
            if (new := list(change(texts))) != texts:
                del self._budgets[name]
                self._budgets[new[0]] = decoded_budget(new[1])
                changed += 1
        return changed


class MemoryOutbox:
    """A `worker.ports.Outbox` in a dictionary."""

    def __init__(self) -> None:
        """Start empty."""
        self._notices: dict[tuple[str, str], Notice] = {}

    async def put(self, notices: Sequence[Notice]) -> list[Notice]:
        """Keep notices whose ids are new; see the port."""
        new = []
        for notice in notices:
            key = notice.subject, notice.id
            if key not in self._notices:
                self._notices[key] = notice
                new.append(notice)
        return new

    async def due(self, now_ms: int, channel: str = "") -> AsyncIterator[Sequence[Notice]]:
        """Yield what is pending and due on a channel, the longest due first."""
        due = [
            notice
            for notice in self._notices.values()
            if notice.state == "pending"
            and notice.channel == channel
            and notice.due_at_ms <= now_ms
        ]
        due.sort(key=lambda notice: (notice.due_at_ms, notice.subject, notice.id))
        for start in range(0, len(due), NOTICES_PER_CHUNK):
            yield due[start : start + NOTICES_PER_CHUNK]

    async def settle(
        self, notice: Notice, state: NoticeState, at_ms: int, detail: bytes | None = None
    ) -> bool:
        """Turn a pending notice into an announced or lapsed one; see the port."""
        key = notice.subject, notice.id
        kept = self._notices.get(key)
        if kept is None or kept.state != "pending":
            return False
        self._notices[key] = settled(kept, state, at_ms, detail)
        return True

    async def find(self, subject: str, notice_id: str) -> Notice | None:
        """Return one notice."""
        return self._notices.get((subject, notice_id))

    async def about(self, subject: str) -> list[Notice]:
        """Return the notices on a subject, by time."""
        found = [notice for notice in self._notices.values() if notice.subject == subject]
        return sorted(found, key=lambda notice: (notice.recorded_at_ms, notice.id))

    def rewrite(self, change: Rewrite) -> int:
        """Rewrite all notices; see `worker.ports.StateTexts`."""
        changed = 0
        for key, notice in list(self._notices.items()):
            texts = [*key, encoded(notice)]
            if (new := list(change(texts))) != texts:
                del self._notices[key]
                self._notices[new[0], new[1]] = decoded_notice(new[2])
                changed += 1
        return changed


class MemoryNotes:
    """`worker.ports.Notes` in a dictionary."""

    def __init__(self) -> None:
        """Start without notes."""
        self._notes: dict[str, str] = {}

    async def get(self, name: str) -> str | None:
        """Return a note."""
        return self._notes.get(name)

    async def put(self, name: str, note: str, *, keep_until_ms: int) -> None:
        """Keep a note, for as long as the process lives."""
        del keep_until_ms
        self._notes[name] = note


class MemoryProfiles:
    """A `worker.ports.ProfileStore` in a dictionary."""

    def __init__(self) -> None:
        """Start without profiles."""
        self._profiles: dict[str, ApplicationProfile] = {}

    async def profiles(self) -> list[ApplicationProfile]:
        """Return all profiles, by ARN."""
        return [self._profiles[arn] for arn in sorted(self._profiles)]

    async def learn(self, profiles: Sequence[ApplicationProfile]) -> int:
        """Keep profiles that are new or better known; see the port."""
        learnt = 0
        for profile in profiles:
            old = self._profiles.get(profile.arn)
            better = profile if old is None else better_profile(old, profile)
            if better is not None:
                self._profiles[profile.arn] = better
                learnt += 1
        return learnt
