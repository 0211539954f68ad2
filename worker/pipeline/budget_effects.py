"""What follows from budgets' states: holds are put and lifted, grace periods get their deadline.

The status comes first, and says what is to be done; then it is done; then the status says that it
was. Whoever finds it half done does it again, which changes nothing. Somebody slow may still put a
hold after others have lifted all, and die: so holds are lifted twice, `LIFT_AGAIN_MS` apart, and
holds of what is suspended are put again from time to time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from worker.core.budget import (
    EXHAUSTED,
    LIFT_AGAIN_MS,
    RECHECK_MS,
    announce,
    belongs,
    drop,
    following_grace_id,
    is_group,
)
from worker.core.budget_events import grace_seconds_of
from worker.core.budget_periods import has_period, period_at, period_of
from worker.core.budget_terms import Budget, BudgetPeriod, Scope, is_rolling
from worker.core.budget_texts import spent_text
from worker.core.enforcement import BudgetStatus, Hold, Lift, Member
from worker.core.errors import LedgerockError, TransientError
from worker.core.events import bounded, budget_subject
from worker.core.registry import Registry
from worker.pipeline.budget_states import (
    MEMBER_WAIT_MS,
    MEMBERS_PER_WRITE,
    BudgetStates,
    member_key,
    member_of,
    member_record,
)
from worker.pipeline.monitored import Monitored
from worker.pipeline.side_by_side import side_by_side
from worker.ports import BudgetStore, Clock, Holds, Outbox, Record

ATTEMPTS: Final = 8
AGAIN_AT_ONCE: Final = 250
"""Members of a group whose holds are put again with one recheck; each of more takes its turn."""


class BudgetEffects:
    """Does what statuses say is to be done.

    Args:
        budgets: Says which budgets there are; read strongly, one by one.
        states: Reads and writes statuses and members.
        holds: Puts and lifts holds.
        outbox: Says which grace periods were announced.
        clock: Ledger time.
        registry: Returns the registry in force.
    """

    def __init__(
        self,
        *,
        budgets: BudgetStore,
        states: BudgetStates,
        holds: Holds,
        outbox: Outbox,
        clock: Clock,
        registry: Callable[[], Registry],
    ) -> None:
        """Have nothing to do yet."""
        self._budgets = budgets
        self._states = states
        self._holds = holds
        self._outbox = outbox
        self._clock = clock
        self._registry = registry

    def period(self, status: BudgetStatus, budget: Budget) -> BudgetPeriod | None:
        """Return the period that a status is about; None if the budget has no such one now."""
        registry = self._registry()
        if is_rolling(budget.period):
            period = period_at(budget, self._clock.now_ms(), registry)
        elif has_period(status.first_day):
            zone = registry.zone(budget.scope.kind, budget.scope.id)
            period = period_of(budget, status.first_day, zone)
        else:
            return None
        return period if belongs(status, budget, period) else None

    async def work(
        self, status: BudgetStatus, done: Monitored, *, may_hold: bool = False
    ) -> BudgetStatus:
        """Do all that a status says is to be done now; return it as it is then.

        Args:
            status: As it was read or written just now.
            done: Counts what is done.
            may_hold: The spend was read just now: what is suspended is so rightly.

        Raises:
            TransientError: It stays due.
        """
        for _ in range(ATTEMPTS):
            now_ms = self._clock.now_ms()
            following: BudgetStatus | None
            if any(lift.again_at_ms <= now_ms for lift in status.lifts):
                following = await self._lift(status, done)
            elif status.is_closed:
                return status
            elif status.state == "grace_period" and not status.deadline_ms:
                following = await self._announced(status, done)
            elif status.state == "suspended" and not status.is_held and may_hold:
                following = await self.hold(status, done)
            else:
                return status
            if following is None or following == status:
                return status
            status = following
        raise _busy(status)

    async def drop(self, status: BudgetStatus, budget: Budget, done: Monitored) -> BudgetStatus:
        """Close the status of a period that its budget has no more; return it as it is then."""
        for _ in range(ATTEMPTS):
            if not budget.is_removed and self.period(status, budget) is not None:
                return status
            moved = drop(status, budget.revision, self._clock.now_ms())
            if moved is None:
                return status
            if await self._states.write(moved.status):
                done.lowered += 1
                await self._states.lapse_grace(status, moved.status)
                return moved.status
            status = await self._found(status)
        raise _busy(status)

    # --- Grace --------------------------------------------------------------------------------

    async def _announced(self, status: BudgetStatus, done: Monitored) -> BudgetStatus | None:
        """Fix the deadline if people were told; None if they were not yet."""
        notice = await self._outbox.find(budget_subject(status.budget), status.grace_id)
        if notice is None:
            # Whoever started the grace period died before writing this down.
            budget = await self._budgets.find(status.budget)
            period = None if budget is None else self.period(status, budget)
            if budget is not None and period is not None:
                await self._states.tell_grace(budget, period, status)
            return None
        if notice.state == "lapsed":
            return await self._grace_anew(status)
        if notice.state != "announced":
            return None
        seconds = grace_seconds_of(bytes(notice.detail)) or 0
        deadline_ms = notice.announced_at_ms + seconds * 1_000
        moved = announce(status, deadline_ms, self._clock.now_ms())
        if moved is None:
            return None
        if await self._states.write(moved.status):
            done.deadlines += 1
            return moved.status
        return await self._found(status)

    async def _grace_anew(self, status: BudgetStatus) -> BudgetStatus | None:
        """Have a grace period announced whose notice lapsed, untold, while it was over."""
        grace_id = following_grace_id(status)
        if status.grace_id == grace_id:
            return None  # It cannot be announced at all.
        following = _next(status, grace_id=grace_id)
        return following if await self._states.write(following) else await self._found(status)

    # --- Holding ------------------------------------------------------------------------------

    async def hold(
        self, status: BudgetStatus, done: Monitored, *, is_recheck: bool = False
    ) -> BudgetStatus | None:
        """Put a suspended budget's holds, those that are there already included.

        Args:
            status: As it was read or written just now.
            done: Counts what is done.
            is_recheck: They should be there: of many members, only some are looked at.
        """
        budget = await self._budgets.find(status.budget)
        period = None if budget is None else self.period(status, budget)
        if budget is None or budget.is_removed or period is None:
            return None  # It was dropped just now; a look at it is due.
        hold = self._hold_of(status, budget, period)
        held = [budget.scope.id]
        members: list[Member] = []
        if is_group(status.scope):
            # One that cannot be read is due by itself, and told of then.
            noted = await self._states.members(status, faults=[])
            members = [one for one in noted if _is_current(one, status)]
            if is_recheck:
                members = _in_turn(members, self._clock.now_ms())
            held = [one.principal for one in members]
        await side_by_side(held, lambda one: self._put(one, hold, done))
        await self._mark(members, status)
        following = _next(status, is_held=True, checked_at_ms=self._clock.now_ms())
        if await self._states.write(following):
            done.suspended += not status.is_held
            return following
        now = await self._found(status)
        if not _is_same_suspension(status, now):
            await side_by_side(held, lambda one: self._take(one, status, done))
        return now

    async def member(self, record: Record, done: Monitored) -> None:
        """Hold a member of a suspended group, or say when to look at it again."""
        member = member_of(record)
        status = await self._states.find(member.budget, member.first_day)
        now_ms = self._clock.now_ms()
        if status is None or not _is_current(member, status):
            if status is None or not status.lifts:
                await self._states.records.remove(record)
            else:
                # Whoever lifts its hold for the last time removes it.
                await self._later(member, now_ms + LIFT_AGAIN_MS)
            return
        if status.state == "grace_period":
            due_at_ms = status.deadline_ms
            await self._later(member, due_at_ms if due_at_ms > now_ms else now_ms + MEMBER_WAIT_MS)
            return
        budget = await self._budgets.find(status.budget)
        period = None if budget is None else self.period(status, budget)
        if budget is None or budget.is_removed or period is None:
            await self._later(member, now_ms + MEMBER_WAIT_MS)
            return
        await self._put(member.principal, self._hold_of(status, budget, period), done)
        now = await self._found(status)
        if _is_same_suspension(status, now):
            await self._mark([member], status)
        else:
            await self._take(member.principal, status, done)

    async def _mark(self, members: Iterable[Member], status: BudgetStatus) -> None:
        """Note that members are held; one that is lost to somebody else stays due."""
        now_ms = self._clock.now_ms()
        marked = [
            msgspec.structs.replace(one, is_held=True, version=one.version + 1)
            for one in members
            if not one.is_held
        ]
        records = [member_record(one, status, now_ms) for one in marked]
        for start in range(0, len(records), MEMBERS_PER_WRITE):
            some = records[start : start + MEMBERS_PER_WRITE]
            if len(some) > 1 and not await self._states.records.write(some):
                await side_by_side(some, lambda one: self._states.records.write([one]))
            elif len(some) == 1:
                await self._states.records.write(some)

    async def _later(self, member: Member, due_at_ms: int) -> None:
        following = msgspec.structs.replace(member, version=member.version + 1)
        await self._states.records.write([member_record(following, None, due_at_ms)])

    async def _put(self, principal: str, hold: Hold, done: Monitored) -> None:
        if await self._holds.hold(principal, hold):
            done.held += 1

    async def _take(self, principal: str, status: BudgetStatus, done: Monitored) -> None:
        if await self._holds.lift(principal, status.budget, status.first_day):
            done.lifted += 1

    def _hold_of(self, status: BudgetStatus, budget: Budget, period: BudgetPeriod) -> Hold:
        spent = spent_text(budget, period, status.spent_amount)
        return Hold(
            budget=status.budget,
            first_day=status.first_day,
            revision=status.revision,
            since_ms=self._clock.now_ms(),
            reason=f"budget {bounded(budget.name)}: {spent}",
            end_ms=status.end_ms,
            spent_amount=status.spent_amount,
            crossed_at_ms=status.crossed_at_ms,
            limit_amount=budget.limit_amount,
            unit=budget.unit,
        )

    # --- Lifting ------------------------------------------------------------------------------

    async def _lift(self, status: BudgetStatus, done: Monitored) -> BudgetStatus:
        """Lift what is to be lifted, for the first or the last time."""
        now_ms = self._clock.now_ms()
        left: list[Lift] = []
        for lift in status.lifts:
            if lift.again_at_ms > now_ms:
                left.append(lift)
                continue
            await self._lift_all(status, lift, done)
            if not lift.again_at_ms:
                left.append(Lift(lift.scope, now_ms + LIFT_AGAIN_MS))
        following = _next(status, lifts=tuple(left))
        if await self._states.write(following):
            return following
        now = await self._found(status)
        if now.state == "suspended" and not now.is_closed:
            # It was suspended again meanwhile: what was lifted may have been its new hold.
            return await self.hold(now, done) or now
        return now

    async def _lift_all(self, status: BudgetStatus, lift: Lift, done: Monitored) -> None:
        if not is_group(lift.scope):
            principal = Scope.parse(lift.scope).id
            if not await self._is_held_now(principal, status):
                await self._take(principal, status, done)
            return
        faults: list[LedgerockError] = []

        async def let_go(member: Member) -> None:
            if not _is_of(member.principal, status):
                await self._take(member.principal, status, done)
            if lift.again_at_ms:
                record = member_record(member, status, self._clock.now_ms())
                await self._states.records.remove(record)

        # One of a later crossing is the business of a later status than this.
        noted = await self._states.members(status, faults=faults)
        earlier = [one for one in noted if one.crossed_at_ms <= status.crossed_at_ms]
        await side_by_side((one for one in earlier if not _is_current(one, status)), let_go)
        if faults:
            raise faults[0]  # It stays due: somebody may be held by what cannot be read.

    async def _is_held_now(self, principal: str, status: BudgetStatus) -> bool:
        """Whether a suspended budget holds a principal, be it for itself or as a member."""
        if not is_group(status.scope):
            return _is_of(principal, status)
        key = member_key(status.budget, status.first_day, principal)
        record = await self._states.records.get(*key)
        return record is not None and _is_current(member_of(record), status)

    async def _found(self, status: BudgetStatus) -> BudgetStatus:
        """Return a status as it is by now."""
        now = await self._states.find(status.budget, status.first_day)
        if now is None:
            raise _busy(status)
        return now


def _next(status: BudgetStatus, **changes: object) -> BudgetStatus:
    return msgspec.structs.replace(status, version=status.version + 1, **changes)


def _is_current(member: Member, status: BudgetStatus) -> bool:
    """Whether a member spent of what is exhausted now, and not of what was before."""
    is_exhausted = status.state in EXHAUSTED and not status.is_closed
    return is_exhausted and member.crossed_at_ms == status.crossed_at_ms


def _in_turn(members: Sequence[Member], now_ms: int) -> list[Member]:
    """Return those that are not held, and some of the others: of many, each takes its turn."""
    turns = len(members) // AGAIN_AT_ONCE + 1
    turn = now_ms // RECHECK_MS % turns
    return [one for at, one in enumerate(members) if not one.is_held or at % turns == turn]


def _is_of(principal: str, status: BudgetStatus) -> bool:
    """Whether a suspended budget is a principal's own."""
    is_suspended = status.state == "suspended" and not status.is_closed
    own = None if is_group(status.scope) else Scope.parse(status.scope)
    return is_suspended and own is not None and own.id == principal


def _is_same_suspension(before: BudgetStatus, now: BudgetStatus) -> bool:
    is_suspended = now.state == "suspended" and not now.is_closed
    return is_suspended and now.scope == before.scope


def _busy(status: BudgetStatus) -> TransientError:
    message = f"budget {status.budget}: others change its state at the same time; try again"
    return TransientError(message)
