"""Where budgets stand, as records: read with the spend, moved by the machine, one write each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from worker.core.budget import EXHAUSTED, Moved, advance, first_status, is_untold, status_day
from worker.core.budget import due_of as status_due
from worker.core.budget_events import budget_refreshed, grace_day_of, grace_started
from worker.core.budget_periods import period_at
from worker.core.budget_terms import Budget, BudgetPeriod, ScopeDays
from worker.core.enforcement import BudgetStatus, Member, State
from worker.core.enforcement_names import LOOK, QUEUE_MONITOR, day_name, status_partition
from worker.core.errors import LedgerockError, TransientError
from worker.core.events import budget_subject
from worker.core.registry import Registry
from worker.core.spend import Spend
from worker.pipeline.budget_looks import decoded
from worker.pipeline.notices import notice_of
from worker.ports import Clock, Ledger, Notice, Outbox, Record, Records

ATTEMPTS: Final = 8
MEMBERS_PER_WRITE: Final = 50
NOTED_MAX: Final = 50_000
"""Members remembered as noted; beyond it they are read once more."""
MEMBER_WAIT_MS: Final = 30_000
"""How long members of a group wait whose grace period has no deadline yet."""
PRINCIPAL_BYTES_MAX: Final = 800
"""A longer principal is named by its digest; AWS has none."""

StatusKey = tuple[str, int]
"""Name of the budget and first day of the period; 0 for a rolling window."""

_RANKS: Final[Mapping[State, int]] = {
    "active": 0,
    "warning": 1,
    "critical": 2,
    "grace_period": 3,
    "suspended": 4,
}


class Evaluated(msgspec.Struct, frozen=True):
    """What is known of one budget and period.

    Attributes:
        budget: Which.
        period: Of which period.
        spent_amount: In the budget's unit.
        status: As it was read; one that is not stored has version 0.
        is_fresh: The status was read before the spend: it can be moved in every direction.
    """

    budget: Budget
    period: BudgetPeriod
    spent_amount: int
    status: BudgetStatus
    is_fresh: bool


class BudgetStates:
    """Reads and moves the states of budgets.

    Args:
        ledger: Says again what was spent, where a race was lost.
        records: Keep the states.
        outbox: Keeps what is to be told.
        clock: Ledger time.
        registry: Returns the registry in force.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        records: Records,
        outbox: Outbox,
        clock: Clock,
        registry: Callable[[], Registry],
    ) -> None:
        """Know no member yet."""
        self.records = records
        self._ledger = ledger
        self._outbox = outbox
        self._clock = clock
        self._registry = registry
        self._noted: set[tuple[str, int, int, str]] = set()

    # --- Statuses -----------------------------------------------------------------------------

    async def read(
        self, wanted: Iterable[tuple[Budget, BudgetPeriod]]
    ) -> dict[StatusKey, BudgetStatus]:
        """Return the statuses of some budgets and periods, those that are not stored included."""
        firsts = {status_key(*one): first_status(*one) for one in wanted}
        return firsts | await _stored(self.records, firsts)

    async def find(self, name: str, first_day: int) -> BudgetStatus | None:
        """Return one status; None if it is not stored."""
        record = await self.records.get(status_partition(name), day_name(first_day))
        return None if record is None else status_of(record)

    async def write(self, status: BudgetStatus) -> bool:
        """Write a status on condition that its version is the next one."""
        return await self.records.write([record_of(status)])

    async def move(self, seen: Evaluated, *, acts: bool = False) -> BudgetStatus:
        """Have the machine take its step, and see to what is told of it; return the status.

        A status that was read beside the spend may be newer than it. It is believed when it
        moves up; before it moves down, both are read again, in order.

        Raises:
            TransientError: Nothing is lost: what is written and not told, the monitor makes good.
        """
        for _ in range(ATTEMPTS):
            now_ms = self._clock.now_ms()
            moved = advance(
                seen.status, seen.budget, seen.period, seen.spent_amount, now_ms, acts=acts
            )
            if moved is None:
                return seen.status
            if not seen.is_fresh and _is_down(seen.status, moved):
                seen = await self._again(seen)
                continue
            if "refresh" in moved.effects:
                await self._tell_refreshed(seen, now_ms)
            if await self.write(moved.status):
                await self.lapse_grace(seen.status, moved.status)
                if "start_grace" in moved.effects:
                    await self.tell_grace(seen.budget, seen.period, moved.status)
                return moved.status
            seen = await self._again(seen)
        message = f"budget {seen.budget.name}: others change its state at the same time; try again"
        raise TransientError(message)

    async def _again(self, seen: Evaluated) -> Evaluated:
        """Read the status, and then the spend."""
        statuses = await self.read([(seen.budget, seen.period)])
        [spend] = await self._ledger.spend([days_of(seen.budget, seen.period)])
        return Evaluated(
            seen.budget,
            seen.period,
            spent_of(seen.budget, spend),
            statuses[status_key(seen.budget, seen.period)],
            is_fresh=True,
        )

    async def tell_grace(self, budget: Budget, period: BudgetPeriod, status: BudgetStatus) -> None:
        """Write down that a grace period has started, to be announced."""
        now_ms = self._clock.now_ms()
        event = grace_started(
            budget,
            period,
            status.spent_amount,
            now_ms,
            event_id=status.grace_id,
            time_zone=zone_name(budget, self._registry()),
        )
        await self._outbox.put([notice_of(event, now_ms)])

    async def lapse_grace(self, before: BudgetStatus, after: BudgetStatus) -> None:
        """Have nobody told of a grace period that ended before anybody was.

        Whoever dies before this leaves it to the announcer, which asks `is_in_grace`.
        """
        if not is_untold(before, after):
            return
        notice = await self._outbox.find(budget_subject(before.budget), before.grace_id)
        if notice is not None and notice.state == "pending":
            await self._outbox.settle(notice, "lapsed", self._clock.now_ms())

    async def _tell_refreshed(self, seen: Evaluated, now_ms: int) -> None:
        registry = self._registry()
        event = budget_refreshed(
            seen.budget,
            seen.period,
            period_at(seen.budget, now_ms, registry),
            seen.spent_amount,
            seen.status.state,
            now_ms,
            time_zone=zone_name(seen.budget, registry),
        )
        await self._outbox.put([notice_of(event, now_ms)])

    # --- Members ------------------------------------------------------------------------------

    async def note(self, status: BudgetStatus, principals: Collection[str]) -> None:
        """Note who spends of a group's budget while it is exhausted.

        Raises:
            TransientError: Noting them again is safe.
        """
        if status.state not in EXHAUSTED or status.is_closed:
            return
        marks = {
            (status.budget, status.first_day, status.crossed_at_ms, one): one for one in principals
        }
        new = {mark: one for mark, one in marks.items() if mark not in self._noted}
        left = list(new.values())
        for attempt in range(ATTEMPTS):
            if not left:
                break
            left = await self._note(status, left, at_once=1 if attempt else MEMBERS_PER_WRITE)
        if left:
            message = f"budget {status.budget}: others note its members at the same time; try again"
            raise TransientError(message)
        if len(self._noted) >= NOTED_MAX:
            self._noted.clear()
        self._noted.update(new)

    async def _note(
        self, status: BudgetStatus, principals: Sequence[str], *, at_once: int
    ) -> list[str]:
        """Note those who are not noted yet; return who was lost to somebody else.

        Whoever won may have noted them as well, or may only have moved what was noted under an
        earlier status: only reading again tells.
        """
        keys = {member_key(status.budget, status.first_day, one): one for one in principals}
        found = await self.records.get_many(keys)
        now_ms = self._clock.now_ms()
        members: list[Member] = []
        for key, principal in keys.items():
            record = found.get(key)
            if record is not None and member_of(record).crossed_at_ms >= status.crossed_at_ms:
                continue
            member = Member(
                status.budget,
                status.first_day,
                principal,
                now_ms,
                crossed_at_ms=status.crossed_at_ms,
                version=1 if record is None else record.version + 1,
            )
            members.append(member)
        lost: list[str] = []
        for start in range(0, len(members), at_once):
            some = members[start : start + at_once]
            if not await self.records.write([member_record(one, status, now_ms) for one in some]):
                lost += [one.principal for one in some]
        return lost

    async def members(
        self, status: BudgetStatus, *, faults: list[LedgerockError] | None = None
    ) -> list[Member]:
        """Return everybody who was noted in a period.

        Args:
            status: Of the group's budget in it.
            faults: Takes what is wrong with members that cannot be read; None to raise that.
        """
        beginning = f"{day_name(status.first_day)}#"
        found: list[Member] = []
        for record in await self.records.partition(status_partition(status.budget), beginning):
            try:
                found.append(member_of(record))
            except LedgerockError as error:
                if faults is None:
                    raise
                faults.append(error)
        return found


async def is_in_grace(records: Records, notice: Notice) -> bool:
    """Whether the grace period that a notice tells of is still to be announced.

    Raises:
        LedgerockError: The status cannot be read.
        msgspec.DecodeError: The notice tells of no grace period.
    """
    partition = status_partition(notice.subject.removeprefix(budget_subject("")))
    # A rolling window's status is kept under 0.
    days = {0, grace_day_of(bytes(notice.detail))}
    found = await records.get_many({(partition, day_name(day)) for day in days})
    statuses = (status_of(record) for record in found.values())
    return any(
        one.grace_id == notice.id and one.state == "grace_period" and not one.is_closed
        for one in statuses
    )


def _is_down(before: BudgetStatus, moved: Moved) -> bool:
    after = moved.status
    return _RANKS[after.state] < _RANKS[before.state] or after.reached < before.reached


def status_key(budget: Budget, period: BudgetPeriod) -> StatusKey:
    """Return what a budget's status in a period is kept under."""
    return budget.name, status_day(budget, period)


async def stored_statuses(
    records: Records, wanted: Iterable[tuple[Budget, BudgetPeriod]]
) -> dict[StatusKey, BudgetStatus]:
    """Return the statuses that are stored of some budgets and periods."""
    return await _stored(records, {status_key(*one) for one in wanted})


async def _stored(records: Records, wanted: Iterable[StatusKey]) -> dict[StatusKey, BudgetStatus]:
    keys = {(status_partition(name), day_name(day)): (name, day) for name, day in wanted}
    found = await records.get_many(keys) if keys else {}
    return {keys[key]: status_of(record) for key, record in found.items()}


def days_of(budget: Budget, period: BudgetPeriod) -> ScopeDays:
    """Return what a ledger is asked for to know the spend of a period."""
    return ScopeDays(budget.scope, period.first_day, period.last_day)


def spent_of(budget: Budget, spend: Spend) -> int:
    """Return a spend in the unit of a budget."""
    if budget.unit == "usd":
        return spend.cost_pico_usd
    return spend.tokens if budget.unit == "tokens" else spend.calls


def zone_name(budget: Budget, registry: Registry) -> str:
    """Return the name of the time zone of a budget's scope."""
    zone = registry.zone(budget.scope.kind, budget.scope.id)
    return "UTC" if zone is None else str(zone)


# --- Records ----------------------------------------------------------------------------------


def record_of(status: BudgetStatus) -> Record:
    """Return a status as it is kept, waiting for what is due."""
    queue, due_at_ms = status_due(status)
    return Record(
        partition=status_partition(status.budget),
        name=day_name(status.first_day),
        body=msgspec.json.encode(status),
        version=status.version,
        queue=queue,
        due_at_ms=due_at_ms,
    )


def status_of(record: Record) -> BudgetStatus:
    """Return the status in a record.

    Raises:
        LedgerCorruptError: It holds none.
    """
    status = decoded(record, BudgetStatus)
    return msgspec.structs.replace(status, version=record.version)


def member_key(budget: str, first_day: int, principal: str) -> tuple[str, str]:
    """Return what a member is kept under."""
    name = principal
    if len(principal.encode("utf-8", "surrogatepass")) > PRINCIPAL_BYTES_MAX:
        name = blake2b(principal.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    return status_partition(budget), f"{day_name(first_day)}#{name}"


def member_record(member: Member, status: BudgetStatus | None, at_ms: int) -> Record:
    """Return a member as it is kept: waiting to be held, unless it is.

    Args:
        member: Who.
        status: Where the group's budget stands; None to wait until `at_ms`.
        at_ms: The time of now, else, epoch milliseconds UTC.
    """
    partition, name = member_key(member.budget, member.first_day, member.principal)
    due_at_ms = at_ms
    if status is not None and status.state == "grace_period":
        due_at_ms = status.deadline_ms or at_ms + MEMBER_WAIT_MS
    return Record(
        partition=partition,
        name=name,
        body=msgspec.json.encode(member),
        version=member.version,
        queue="" if member.is_held else QUEUE_MONITOR,
        due_at_ms=0 if member.is_held else due_at_ms,
    )


def member_of(record: Record) -> Member:
    """Return the member in a record.

    Raises:
        LedgerCorruptError: It holds none.
    """
    member = decoded(record, Member)
    return msgspec.structs.replace(member, version=record.version)


def is_member(record: Record) -> bool:
    """Whether a record that waits for the monitor is a member's."""
    return "#" in record.name and not record.name.startswith(LOOK)
