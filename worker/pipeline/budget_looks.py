"""Looks at budgets that are written down, so that no crash and no restart loses one.

After a commit the budgets that it touched are looked at. What a commit cannot know is put down as
a record that is due at some time, and the monitor looks then: a budget was set, though nobody
spends of it just now; calls are about to be rebooked, and whoever does it may die.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, TypeVar

import msgspec

from worker.core.budget_periods import period_at
from worker.core.budget_terms import Budget
from worker.core.enforcement_names import LOOK, QUEUE_MONITOR, day_name, status_partition
from worker.core.errors import LedgerCorruptError, TransientError
from worker.core.registry import Registry
from worker.ports import BudgetStore, Clock, Record, Records

KNOWN_MS: Final = 60_000
"""After so long every worker knows a budget that was set: they read what changed every few
seconds."""
LATER_MS: Final = 60_000
LATER_AGAIN_MS: Final = 300_000
"""When something risky is looked after: it takes seconds, unless the process died."""
ATTEMPTS: Final = 5

_Value = TypeVar("_Value", bound=msgspec.Struct)

Wanted = tuple[str, int]
"""Name of a budget, and the first day of one of its periods."""


class DueLook(msgspec.Struct, frozen=True, omit_defaults=True):
    """A look that is due.

    Attributes:
        budget: Name of the budget.
        first_day: A day in the period to look at, besides that of now.
        again_at_ms: When to look once more, epoch milliseconds UTC; 0 for never.
    """

    budget: str
    first_day: int
    again_at_ms: int = 0


class BudgetLooks:
    """Writes down that budgets must be looked at.

    Args:
        records: Keep the looks.
        clock: Ledger time.
    """

    def __init__(self, records: Records, clock: Clock) -> None:
        """Ask for nothing yet."""
        self._records = records
        self._clock = clock

    async def now(self, wanted: Collection[Wanted]) -> None:
        """Have periods of budgets looked at now, and again when every worker knows the budgets.

        Raises:
            TransientError: Asking again is safe.
        """
        now_ms = self._clock.now_ms()
        await self._ask(wanted, now_ms, now_ms + KNOWN_MS, enough_ms=now_ms + KNOWN_MS)

    async def later(self, wanted: Collection[Wanted]) -> None:
        """Have periods looked at in a while, in case that whoever touches them dies over it.

        Raises:
            TransientError: Asking again is safe.
        """
        due_ms = self._clock.now_ms() + LATER_MS
        await self._ask(wanted, due_ms, due_ms + LATER_AGAIN_MS - LATER_MS, enough_ms=due_ms)

    async def done(self, record: Record, look: DueLook) -> None:
        """Take note that a look was had: it is due again, or it is no more.

        If somebody asked for another meanwhile, that one stays.
        """
        if look.again_at_ms:
            following = msgspec.structs.replace(look, again_at_ms=0)
            await self._records.write([_record(following, record.version + 1, look.again_at_ms)])
        else:
            await self._records.remove(record)

    async def _ask(
        self, wanted: Collection[Wanted], due_ms: int, again_ms: int, *, enough_ms: int
    ) -> None:
        left = set(wanted)
        for _ in range(ATTEMPTS):
            if not left:
                return
            keys = {
                (status_partition(name), LOOK + day_name(day)): (name, day) for name, day in left
            }
            found = await self._records.get_many(keys)
            for key, (name, day) in keys.items():
                record = found.get(key)
                before = None if record is None else due_look(record)
                first_ms, last_ms, version = due_ms, again_ms, 1
                if record is not None and before is not None:
                    latest = max(record.due_at_ms, before.again_at_ms)
                    if record.due_at_ms <= due_ms and latest >= enough_ms:
                        left.discard((name, day))
                        continue
                    first_ms, version = min(due_ms, record.due_at_ms), record.version + 1
                    last_ms = max(again_ms, latest)
                made = _record(DueLook(name, day, last_ms), version, first_ms)
                if await self._records.write([made]):
                    left.discard((name, day))
        if left:
            names = ", ".join(sorted({name for name, _ in left})[:3])
            message = f"budgets {names}: others ask for looks at the same time; try again"
            raise TransientError(message)


def due_look(record: Record) -> DueLook:
    """Return what a record of a look says.

    Raises:
        LedgerCorruptError: It is none.
    """
    return decoded(record, DueLook)


def decoded(record: Record, type_: type[_Value]) -> _Value:
    """Return what a record holds.

    Raises:
        LedgerCorruptError: It holds something else, or what a later version wrote.
    """
    try:
        return msgspec.json.decode(record.body, type=type_)
    except msgspec.MsgspecError as error:
        where = f"record {record.name} of {record.partition}"
        message = f"{where}: this is no {type_.__name__}: {error}"
        raise LedgerCorruptError(message) from error


def is_look(record: Record) -> bool:
    """Whether a record that waits for the monitor is a look."""
    return record.name.startswith(LOOK)


def _record(look: DueLook, version: int, due_at_ms: int) -> Record:
    return Record(
        partition=status_partition(look.budget),
        name=LOOK + day_name(look.first_day),
        body=msgspec.json.encode(look),
        version=version,
        queue=QUEUE_MONITOR,
        due_at_ms=due_at_ms,
    )


async def keep_budget(
    budgets: BudgetStore, looks: BudgetLooks, budget: Budget, registry: Registry
) -> bool:
    """Keep the next revision of a budget, and have it looked at, whatever becomes of this process.

    Everybody who sets or removes a budget does it by this.

    Args:
        budgets: Where it is kept.
        looks: Writes down that it must be looked at; before it is kept.
        budget: The revision, complete; `created_at_ms` is the time of now.
        registry: Says which period it is in.

    Returns:
        False if somebody else was first; nothing was changed then.

    Raises:
        TransientError: It may have been kept or not; read the budget before trying again.
    """
    period = period_at(budget, budget.created_at_ms, registry)
    await looks.now({(budget.name, max(period.first_day, 0))})
    return await budgets.put(budget)
