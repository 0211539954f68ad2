"""What rebooking changed and nobody has followed up yet, by leaf."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from worker.core.ledger import Amounts, Leaf, amounts_of
from worker.ports import Ledger, Rebooking

LookLater = Callable[[Iterable[Leaf]], Awaitable[None]]
"""See `worker.pipeline.budgets.BudgetWatch.look_later`."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """What rebooking added to a leaf since somebody followed it up.

    Attributes:
        amounts: Never changed in place; none where rebooking failed and may have been half made.
        since: The number of the first change in it.
        number: The number of the last one.
    """

    amounts: Amounts
    since: int
    number: int


class Changes:
    """Rebooks calls, and keeps what that changed until it is followed up.

    The delivery that comes again after a fault moves nothing any more, and yet what it moved
    the first time is due for a look.

    Args:
        ledger: Where the calls are booked.
        look_later: Has the budgets of some leaves looked at in a while, whatever becomes of this
            process; None for no budgets.
    """

    def __init__(self, ledger: Ledger, look_later: LookLater | None = None) -> None:
        """Start with nothing changed."""
        self.look_later = look_later
        self._ledger = ledger
        self._numbers = itertools.count()
        self._changes: dict[Leaf, Change] = {}
        self._cost_pico_usd = 0

    def now(self) -> dict[Leaf, Change]:
        """Return what nobody has followed up yet."""
        return dict(self._changes)

    def take_cost(self) -> int:
        """Return what rebooking added to the spend since the last time, pico-USD, net."""
        cost, self._cost_pico_usd = self._cost_pico_usd, 0
        return cost

    def followed_up(self, changes: Mapping[Leaf, Change]) -> None:
        """Take note that all that follows from some changes was looked at and written down."""
        for leaf, done in changes.items():
            now = self._changes.get(leaf)
            if now is None or now.since != done.since:
                continue  # Somebody else followed up at least as much of it.
            if now.number == done.number:
                del self._changes[leaf]
                continue
            left = Amounts()
            left.add(now.amounts)
            left.subtract(done.amounts)
            self._changes[leaf] = Change(left, now.number, now.number)

    async def rebook(self, wanted: Sequence[Rebooking]) -> None:
        """Rebook calls; whatever comes of it, their leaves are due for a look.

        Raises:
            TransientError: Some may have moved or not; rebooking what is left is safe.
        """
        sums: dict[Leaf, Amounts] = {}
        for item in wanted:
            for leaf, amounts in change_of(item):
                sums.setdefault(leaf, Amounts()).add(amounts)
        # Now, in case that this ends here; and again afterwards, since somebody may have looked
        # before anything had moved. Looking at what did not move does no harm.
        for leaf in sums:
            self._note(leaf, Amounts())
        if self.look_later is not None:
            await self.look_later(sums)
        made = False
        try:
            moved = await self._ledger.rebook(wanted)
            made = True
            # Of what somebody else moved first, that one counts the cost.
            if moved == len(wanted):
                self._cost_pico_usd += sum(amounts.cost_pico_usd for amounts in sums.values())
        finally:
            for leaf, amounts in sums.items():
                self._note(leaf, amounts if made else Amounts())

    def _note(self, leaf: Leaf, amounts: Amounts) -> None:
        """Keep that rebooking changed a leaf, until it is followed up."""
        number = next(self._numbers)
        before = self._changes.get(leaf)
        total = Amounts()
        total.add(amounts)
        if before is not None:
            total.add(before.amounts)
        since = number if before is None else before.since
        self._changes[leaf] = Change(total, since, number)


def change_of(item: Rebooking) -> list[tuple[Leaf, Amounts]]:
    """Return what a rebooking takes from one leaf and adds to another."""
    before, after, evidence = item.before.posting, item.after, item.before.evidence
    taken = Amounts()
    taken.subtract(amounts_of(evidence, before.cost_pico_usd, before.status))
    added = amounts_of(evidence, after.cost_pico_usd, after.status)
    return [(before.leaf, taken), (after.route.leaf_value, added)]
