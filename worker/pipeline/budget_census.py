"""How many budgets are in which state: for people who watch, found through an index."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, get_args

from worker.core.budget import RECHECK_CALM_MS
from worker.core.enforcement import BudgetStatus, State
from worker.core.enforcement_names import QUEUE_MONITOR
from worker.core.errors import LedgerCorruptError
from worker.pipeline.budget_looks import is_look
from worker.pipeline.budget_states import is_member, status_of
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.chunks import taken
from worker.ports import Clock, Record, Records

CENSUS_SECONDS: Final = 300.0
"""How often budgets are counted; those that are not active are read for it."""
CLOCKS_MS: Final = 120_000
"""How far the clocks of those who wrote states may be ahead."""

_STATES: Final[tuple[State, ...]] = get_args(State)
"""From the least to the most serious."""


class BudgetCensus:
    """Counts budgets by their states, now and then.

    Whatever is not active waits for the monitor to look at it again, soon (`core.budget.due_of`):
    so the index of what is due lists it. The other budgets that are in force are active, or were
    never spent of. It costs a query, and reads what is not active; nothing is scanned.

    Args:
        watch: Says which budgets are in force.
        records: Keep the states.
        clock: Ledger time.
        monotonic: Seconds that never go back.
    """

    def __init__(
        self,
        *,
        watch: BudgetWatch,
        records: Records,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Have counted nothing yet."""
        self._watch = watch
        self._records = records
        self._clock = clock
        self._monotonic = monotonic
        self._not_before = self._monotonic()

    async def count_due(self) -> dict[str, int] | None:
        """Count budgets if that is due; None if it is not.

        Raises:
            TransientError: They cannot be read; asking again is safe.
        """
        now = self._monotonic()
        if now < self._not_before:
            return None
        counts = await self.count()
        self._not_before = now + CENSUS_SECONDS
        return counts

    async def count(self) -> dict[str, int]:
        """Return how many budgets in force are in each state in their present period.

        Raises:
            TransientError: They cannot be read; asking again is safe.
        """
        names = await self._watch.in_force()
        now_ms = self._clock.now_ms()
        states: dict[str, State] = dict.fromkeys(names, "active")
        until_ms = now_ms + RECHECK_CALM_MS + CLOCKS_MS
        async with taken(self._records.due(QUEUE_MONITOR, until_ms)) as chunks:
            async for records in chunks:
                for status in _statuses(records):
                    if status.budget in names and _is_present(status, now_ms):
                        worse = max(status.state, states[status.budget], key=_STATES.index)
                        states[status.budget] = worse
        found = list(states.values())
        return {state: found.count(state) for state in _STATES}


def _statuses(records: Iterable[Record]) -> Iterator[BudgetStatus]:
    """Yield the statuses among what waits for the monitor."""
    for record in records:
        if not (is_look(record) or is_member(record)):
            try:
                yield status_of(record)
            except LedgerCorruptError:
                continue  # the monitor complains of it, each time that it is due


def _is_present(status: BudgetStatus, now_ms: int) -> bool:
    """Whether a status is that of a period that goes on."""
    return not status.is_closed and (not status.first_day or now_ms < status.end_ms)
