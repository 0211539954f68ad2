"""The crossing of budgets' thresholds, and the state machine of their enforcement. Pure.

**Crossings** are levels: what a spend has reached, each threshold under an id of its own, once in
each revision and period.

**The machine** says what follows. A budget has one `BudgetStatus` in each period (a rolling window
has one altogether), which goes

    active → warning → critical → grace_period (deadline) → suspended → active

Its inputs, worked out by `advance`, `announce` and `drop`:

    below, warning, critical   the level of the spend that was read, below the limit
    reached                    the limit is reached, and the budget only notifies
    exceeded                   the limit is reached, and the budget suspends
    announced                  people were told of the grace period: its deadline is fixed
    expired                    the deadline has passed, and the limit is still exceeded
    over                       the period is over
    dropped                    the budget was removed, or has another scope or other periods now

What each does in each state (`·` nothing; the status stays as it is and nothing is written):

    input      active        warning       critical      grace_period   suspended
    below      ·             active        active        active         active, lift
    warning    warning       ·             warning       warning        warning, lift
    critical   critical      critical      ·             critical       critical, lift
    reached    critical      critical      ·             critical       critical, lift
    exceeded   grace_period  grace_period  grace_period  ·              ·
    announced  ·             ·             ·             deadline       ·
    expired    ·             ·             ·             suspended,     ·
                                                         hold
    over       closed,       closed,       closed,       closed,        closed, lift,
               refresh       refresh       refresh       refresh        refresh
    dropped    closed        closed        closed        closed         closed, lift

The effects: `start_grace` (announce the grace period; with each first step to `grace_period` of a
revision and period, and never again), `hold` (put a hold on the principal, or on each member that
spent while the budget was exhausted), `lift` (lift those), `refresh` (say that a new period has
begun).

A **new revision** is not an input of its own: the next level is read under its terms, and moves
the state by the table. Only what is remembered differs. The grace period that was announced, and
its deadline, belong to a revision and a period: a spend that falls below the limit and reaches it
again goes back to `grace_period` with the deadline that people were told of, which may have
passed by then. A new revision that is still exceeded carries a grace period, or a suspension, on;
one that is not forgets it, so that exceeding it starts a grace period of its own. Closed periods
stay closed: usage that comes late moves nothing. A period that was only dropped is open again if
a later revision has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from datetime import date
from typing import Final, Literal, TypeAlias

import msgspec

from worker.core.budget_terms import Budget, BudgetPeriod, is_rolling
from worker.core.enforcement import BudgetStatus, Lift, State
from worker.core.enforcement_names import QUEUE_MONITOR
from worker.core.events import event_id_of

LIMIT_PER_CENT: Final = 100

RECHECK_MS: Final = 300_000
"""How often a status is looked at again in the grace period and while suspended: a correction that
nobody saw still moves it down."""
RECHECK_CALM_MS: Final = 1_800_000
"""How often in `warning` and `critical`, from which nothing follows."""
LIFT_AGAIN_MS: Final = 120_000
"""How long after holds were lifted they are lifted once more. Somebody who read the status before
it changed may have put one there meanwhile, and died before noticing."""

Level = Literal["warning", "critical", "exceeded"]

Input = Literal[
    "below", "warning", "critical", "reached", "exceeded", "announced", "expired", "over", "dropped"
]
Effect = Literal["start_grace", "hold", "lift", "refresh"]

_Row: TypeAlias = Mapping[Input, tuple[State, tuple[Effect, ...]]]

_CALM: Final[_Row] = {
    "below": ("active", ()),
    "warning": ("warning", ()),
    "critical": ("critical", ()),
    "reached": ("critical", ()),
    "exceeded": ("grace_period", ("start_grace",)),
    "over": ("active", ("refresh",)),
    "dropped": ("active", ()),
}
TRANSITIONS: Final[Mapping[State, _Row]] = {
    "active": _CALM,
    "warning": _CALM,
    "critical": _CALM,
    "grace_period": {
        "below": ("active", ()),
        "warning": ("warning", ()),
        "critical": ("critical", ()),
        "reached": ("critical", ()),
        "announced": ("grace_period", ()),
        "expired": ("suspended", ("hold",)),
        "over": ("active", ("refresh",)),
        "dropped": ("active", ()),
    },
    "suspended": {
        "below": ("active", ("lift",)),
        "warning": ("warning", ("lift",)),
        "critical": ("critical", ("lift",)),
        "reached": ("critical", ("lift",)),
        "over": ("active", ("lift", "refresh")),
        "dropped": ("active", ("lift",)),
    },
}
"""The table above. What is not in it changes nothing."""

EXHAUSTED: Final[frozenset[State]] = frozenset({"grace_period", "suspended"})
"""The limit is reached and something follows: who spends of a group's budget now is noted."""

_EPOCH: Final = date(1970, 1, 1)
_DIGEST_LENGTH: Final = 12


# --- Crossings --------------------------------------------------------------------------------


class Crossing(msgspec.Struct, frozen=True, gc=False):
    """A budget's spend of one period reached a threshold.

    Attributes:
        event_id: Deterministic: from budget name, revision, first day of the period, threshold.
        budget: The budget as it was evaluated.
        period: Which period.
        threshold: Per cent of the limit.
        spent_amount: The spend that was read, in the budget's unit.
        is_late: The period was over when it was found; nobody acts on it.
        is_highest: It is the highest of those found together; people are told only of it.
    """

    event_id: str
    budget: Budget
    period: BudgetPeriod
    threshold: int
    spent_amount: int
    is_late: bool
    is_highest: bool


def is_reached(budget: Budget, threshold: int, spent_amount: int) -> bool:
    """Whether the spend is that many per cent of the limit, to the last unit."""
    return spent_amount * 100 >= budget.limit_amount * threshold


def level_of(threshold: int, thresholds: tuple[int, ...]) -> Level:
    """Say how serious it is that a threshold is crossed.

    `exceeded`: the limit itself or more is spent. `critical`: the last threshold before the
    limit, where there is an earlier one. `warning`: all others.
    """
    if threshold >= LIMIT_PER_CENT:
        return "exceeded"
    below = [one for one in thresholds if one < LIMIT_PER_CENT]
    return "critical" if len(below) > 1 and threshold == max(below) else "warning"


def reached_of(budget: Budget, spent_amount: int) -> int:
    """Return the highest threshold that a spend has reached; 0 for none."""
    reached = (one for one in budget.thresholds if is_reached(budget, one, spent_amount))
    return max(reached, default=0)


def standing_level(budget: Budget, spent_amount: int) -> Level | None:
    """Return `exceeded` from the limit on, else the level of the highest threshold reached."""
    if is_reached(budget, LIMIT_PER_CENT, spent_amount):
        return "exceeded"
    threshold = reached_of(budget, spent_amount)
    return level_of(threshold, budget.thresholds) if threshold else None


def crossing_id(budget: Budget, first_day: int, threshold: int) -> str:
    """Return the id of a crossing: of this revision, in the period from that day on.

    It can be read, and ends in a digest of what it is made of. Nobody but this budget's revision
    ever makes the same one: revisions of a name only ever go up, removed budgets' included.
    """
    day = _EPOCH.toordinal() + first_day
    parts = (budget.name, f"r{budget.revision}", date.fromordinal(day).isoformat(), str(threshold))
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_DIGEST_LENGTH]
    return "-".join(("crossing", *parts, digest))


def crossings_of(
    budget: Budget,
    period: BudgetPeriod,
    spent_amount: int,
    now_ms: int,
    known_ids: Container[str] = frozenset(),
    *,
    above: int = 0,
) -> list[Crossing]:
    """Return the thresholds that a spend has reached, lowest first.

    Args:
        budget: Whose thresholds; one that was removed has none.
        period: Which period.
        spent_amount: The spend that was read for it.
        now_ms: Says whether the period is over, epoch milliseconds UTC.
        known_ids: Ids of crossings that are written down already, and left out.
        above: Only thresholds above this one: a rolling window tells of what is newly reached,
            not every day of what is reached still.
    """
    if budget.is_removed:
        return []
    found = [
        (threshold, event_id)
        for threshold in budget.thresholds
        if threshold > above
        and is_reached(budget, threshold, spent_amount)
        and (event_id := crossing_id(budget, period.first_day, threshold)) not in known_ids
    ]
    return [
        Crossing(
            event_id=event_id,
            budget=budget,
            period=period,
            threshold=threshold,
            spent_amount=spent_amount,
            is_late=period.end_ms <= now_ms,
            is_highest=threshold == found[-1][0],
        )
        for threshold, event_id in found
    ]


# --- The machine ------------------------------------------------------------------------------


class Moved(msgspec.Struct, frozen=True):
    """A step of the machine.

    Attributes:
        status: The status to be written, with its next version.
        effects: What follows once it is written; `refresh` is said before.
    """

    status: BudgetStatus
    effects: frozenset[Effect] = frozenset()


def grace_id(budget: Budget, first_day: int) -> str:
    """Return the id of the notice of a grace period: of this revision, in that period."""
    return event_id_of("grace", budget.name, str(budget.revision), str(first_day))


def following_grace_id(status: BudgetStatus) -> str:
    """Return the id of the notice that takes the place of one that was never announced."""
    parts = (status.budget, str(status.revision), str(status.first_day), str(status.crossed_at_ms))
    return event_id_of("grace", *parts)


def is_untold(before: BudgetStatus, after: BudgetStatus) -> bool:
    """Whether a grace period ended before people were told of it, as far as the status knows."""
    was_untold = before.state == "grace_period" and not before.is_closed and not before.deadline_ms
    is_same = after.state == "grace_period" and after.grace_id == before.grace_id
    return was_untold and (after.is_closed or not is_same)


def status_day(budget: Budget, period: BudgetPeriod) -> int:
    """Return the day that a period's status is kept under: its first; 0 for a rolling window."""
    return 0 if is_rolling(budget.period) else period.first_day


def first_status(budget: Budget, period: BudgetPeriod) -> BudgetStatus:
    """Return the status of a period in which nothing has happened yet; it is not stored."""
    return BudgetStatus(
        budget=budget.name,
        revision=budget.revision,
        first_day=status_day(budget, period),
        end_ms=period.end_ms,
        scope=str(budget.scope),
    )


def belongs(status: BudgetStatus, budget: Budget, period: BudgetPeriod) -> bool:
    """Whether a status speaks of this period of the budget as it is now.

    A calendar may move the end of a period under the same revision. A new revision with another
    end has other periods, and one with another scope is about somebody else.
    """
    if status.scope != str(budget.scope) or status.first_day != status_day(budget, period):
        return False
    is_same_end = status.end_ms == period.end_ms or is_rolling(budget.period)
    return is_same_end or status.revision == budget.revision


def advance(
    status: BudgetStatus,
    budget: Budget,
    period: BudgetPeriod,
    spent_amount: int,
    now_ms: int,
    *,
    acts: bool = False,
) -> Moved | None:
    """Return what follows from a spend that was read; None for no change.

    Args:
        status: As it was read, or `first_status`.
        budget: The budget, in force.
        period: The period of the status, or the one that took its place.
        spent_amount: What was read for it, in the budget's unit.
        now_ms: Epoch milliseconds UTC.
        acts: Whether deadlines and the ends of periods are acted on: by the monitor, which reads
            budgets strongly. Others only look at levels.
    """
    if status.revision > budget.revision:
        return None  # Somebody knows a later revision.
    if budget.is_removed:
        return drop(status, budget.revision, now_ms)
    is_over = period.end_ms <= now_ms and not is_rolling(budget.period)
    if is_over and (status.is_closed or not acts or not status.version):
        return None
    if is_over and not belongs(status, budget, period):
        return drop(status, budget.revision, now_ms)
    base, effects = _current(status, budget, period, now_ms)
    if base.is_closed:
        return None
    given = "over" if is_over else _input_of(base, budget, spent_amount, now_ms, acts=acts)
    moved = _moved(base, budget, given, now_ms)
    after = moved.status
    if status.revision < budget.revision and after.state not in EXHAUSTED:
        after = _forgotten(after)
    if is_rolling(budget.period):
        after = msgspec.structs.replace(after, reached=reached_of(budget, spent_amount))
    is_nothing = not (status.version or after.reached) and after.state == "active"
    if after == status or is_nothing:
        return None
    following = msgspec.structs.replace(
        after, version=status.version + 1, spent_amount=spent_amount, checked_at_ms=now_ms
    )
    return Moved(following, moved.effects | effects)


def announce(status: BudgetStatus, deadline_ms: int, now_ms: int) -> Moved | None:
    """Return what follows from the announcement of the grace period; None for no change."""
    if "announced" not in TRANSITIONS[status.state] or status.is_closed or status.deadline_ms:
        return None
    return Moved(
        msgspec.structs.replace(
            status, deadline_ms=deadline_ms, checked_at_ms=now_ms, version=status.version + 1
        )
    )


def drop(status: BudgetStatus, revision: int, now_ms: int) -> Moved | None:
    """Return what follows from a budget's removal, or its change to another scope or period.

    Args:
        status: As it was read.
        revision: The budget's, which removed or changed it.
        now_ms: Epoch milliseconds UTC.

    Returns:
        None if it was closed already, or if a later revision of the budget has it.
    """
    if status.is_closed or not status.version or status.revision > revision:
        return None
    state, effects = TRANSITIONS[status.state]["dropped"]
    return Moved(
        msgspec.structs.replace(
            _left(status, state, effects, now_ms),
            grace_id="",
            deadline_ms=0,
            is_closed=True,
            checked_at_ms=now_ms,
            version=status.version + 1,
        ),
        frozenset(effects),
    )


def due_of(status: BudgetStatus) -> tuple[str, int]:
    """Return the queue that a status waits in, empty for none, and when it is due.

    Epoch milliseconds UTC: at once for what is not announced, held or lifted yet; at the
    deadline; at the period's end; and from time to time, in case that a correction went unseen.
    """
    due = [lift.again_at_ms for lift in status.lifts]
    if not status.is_closed:
        if status.state == "grace_period":
            due.append(status.deadline_ms or status.changed_at_ms)
        if status.state == "suspended" and not status.is_held:
            due.append(status.changed_at_ms)
        if status.state != "active":
            due.append(recheck_at_ms(status))
        if status.first_day:
            due.append(status.end_ms)
    return (QUEUE_MONITOR, min(due)) if due else ("", 0)


def recheck_at_ms(status: BudgetStatus) -> int:
    """Return when the spend is read again though nobody touched it."""
    every = RECHECK_MS if status.state in EXHAUSTED else RECHECK_CALM_MS
    return status.checked_at_ms + every


def _input_of(
    status: BudgetStatus, budget: Budget, spent_amount: int, now_ms: int, *, acts: bool
) -> Input:
    level = standing_level(budget, spent_amount)
    if level is None:
        return "below"
    if level != "exceeded":
        return level
    if budget.action == "notify":
        return "reached"
    is_expired = status.state == "grace_period" and 0 < status.deadline_ms <= now_ms
    return "expired" if acts and is_expired else "exceeded"


def _current(
    status: BudgetStatus, budget: Budget, period: BudgetPeriod, now_ms: int
) -> tuple[BudgetStatus, frozenset[Effect]]:
    """Return a status under the budget's present terms, and what follows from their change."""
    is_new = status.revision < budget.revision
    if not belongs(status, budget, period) or (is_new and status.is_closed):
        state, effects = TRANSITIONS[status.state]["dropped"]
        left = status if status.is_closed else _left(status, state, effects, now_ms)
        fresh = msgspec.structs.replace(
            first_status(budget, period),
            version=status.version,
            lifts=left.lifts,
            crossed_at_ms=status.crossed_at_ms,
            changed_at_ms=now_ms,
        )
        return fresh, frozenset() if status.is_closed else frozenset(effects)
    end_ms = status.end_ms if is_rolling(budget.period) else period.end_ms
    kept = _forgotten(status) if is_new and status.state not in EXHAUSTED else status
    # A person may have waived the holds of the earlier revision, but not those of this one.
    is_held = kept.is_held and not is_new
    following = msgspec.structs.replace(
        kept, revision=budget.revision, end_ms=end_ms, is_held=is_held
    )
    return following, frozenset()


def _moved(base: BudgetStatus, budget: Budget, given: Input, now_ms: int) -> Moved:
    """Apply the table to a status under present terms."""
    found = TRANSITIONS[base.state].get(given)
    if found is None or (found[0] == base.state and given != "over"):
        return Moved(base)
    state, effects = found
    after = _left(base, state, effects, now_ms)
    if given == "over":
        after = msgspec.structs.replace(after, is_closed=True)
    elif state == "grace_period":
        # Never the same twice: members are noted under it.
        crossed_at_ms = max(now_ms, base.crossed_at_ms + 1)
        after = msgspec.structs.replace(after, crossed_at_ms=crossed_at_ms)
        if base.grace_id:
            return Moved(after)  # It was started before, and is never served twice.
        after = msgspec.structs.replace(after, grace_id=grace_id(budget, base.first_day))
    return Moved(after, frozenset(effects))


def _forgotten(status: BudgetStatus) -> BudgetStatus:
    """Return a status without the grace period of an earlier revision."""
    return msgspec.structs.replace(status, grace_id="", deadline_ms=0)


def _left(
    status: BudgetStatus, state: State, effects: tuple[Effect, ...], now_ms: int
) -> BudgetStatus:
    """Return a status in its next state, with what is to be lifted because of that."""
    lifts = status.lifts
    if "lift" in effects:
        others = [one for one in lifts if one.scope != status.scope]
        lifts = (*others, Lift(status.scope))
    elif state == "suspended" and not is_group(status.scope):
        # What is held anew must not be lifted for what was before.
        lifts = tuple(one for one in lifts if one.scope != status.scope)
    return msgspec.structs.replace(
        status, state=state, lifts=lifts, is_held=False, changed_at_ms=now_ms
    )


def is_group(scope: str) -> bool:
    """Whether a scope, as text, is a team or a pool: each member is held for itself."""
    return scope.partition("/")[0] in {"team", "pool"}
