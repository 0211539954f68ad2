"""The nouns of enforcement: how a budget stands, who is held for it, and what is done to whom.

    BudgetStatus    one budget in one period: its state and, in the grace period, its deadline
    Member          a principal that spent of a team's or pool's budget while it was exhausted
    Hold            one budget's reason for a principal's suspension
    Suspension      everything about one principal: its holds, and how far they were carried out

Each is stored as one record with a version; every change is a conditional write of the next one.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from worker.core.budget_terms import BudgetUnit

State = Literal["active", "warning", "critical", "grace_period", "suspended"]
Mode = Literal["deny", "detach"]
MANUAL: Final = "manual"
"""Name of the hold that a person puts on a principal; no budget has it (names are checked)."""


class Lift(msgspec.Struct, frozen=True, omit_defaults=True):
    """Holds of a budget and period that are to be lifted, from everybody of a scope.

    They are lifted at once and, in case that somebody was just putting one there, once more.

    Attributes:
        scope: Whose, such as `principal/user/111122223333/alice` or `team/research`.
        again_at_ms: When they are lifted for the second and last time; 0 before the first.
    """

    scope: str
    again_at_ms: int = 0


class BudgetStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a budget stands in one period. One record for each budget and period.

    Attributes:
        budget: Its name.
        revision: The revision that it was last looked at under.
        first_day: First local day of the period, days since 1970-01-01; 0 for a rolling window,
            whatever day it begins on.
        end_ms: End of the period, exclusive, epoch milliseconds UTC.
        state: A `State`.
        spent_amount: The spend at the last change, in the budget's unit.
        changed_at_ms: When the state last changed.
        grace_id: Id of the notice that announces the grace period; empty before there is one.
        deadline_ms: End of the grace period; 0 as long as it was not announced.
        crossed_at_ms: When the limit was found reached, for measuring how long enforcement takes.
        is_closed: The period is over and everything that followed from it is undone.
        scope: The budget's scope when it was last looked at, as text.
        is_held: Of a suspended one: the holds were put on its principals.
        lifts: What is still to be undone.
        checked_at_ms: When it was last looked at by the monitor, or changed.
        reached: Of a rolling window, the highest threshold reached at the last change.
        version: 0 as long as it is not stored; one more with each write.
    """

    budget: str
    revision: int
    first_day: int
    end_ms: int
    state: State = "active"
    spent_amount: int = 0
    changed_at_ms: int = 0
    grace_id: str = ""
    deadline_ms: int = 0
    crossed_at_ms: int = 0
    is_closed: bool = False
    scope: str = ""
    is_held: bool = False
    lifts: tuple[Lift, ...] = ()
    checked_at_ms: int = 0
    reached: int = 0
    version: int = 0


class Member(msgspec.Struct, frozen=True, omit_defaults=True):
    """A principal that spent of a group's budget while it was exhausted.

    Attributes:
        budget: Name of the budget, of a team or a pool.
        first_day: First local day of the period.
        principal: Who spent.
        noted_at_ms: When this was found.
        is_held: Whether its hold was made.
        crossed_at_ms: That of the status under which it was noted: it is held for no other.
        version: As of `BudgetStatus`.
    """

    budget: str
    first_day: int
    principal: str
    noted_at_ms: int
    is_held: bool = False
    crossed_at_ms: int = 0
    version: int = 0


class Hold(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reason for a principal's suspension. `(budget, first_day)` tells holds apart.

    Attributes:
        budget: Name of the budget, or `MANUAL`.
        first_day: First local day of its period; 0 for `MANUAL`.
        revision: Revision of the budget when the hold was made.
        since_ms: When it was made.
        reason: One line for people: what was spent of what; by hand, why.
        by: Who: `ledgerock`, or the person who asked.
        end_ms: End of the budget's period; 0 for open.
        spent_amount: In the budget's unit, when the hold was made.
        crossed_at_ms: When the limit was found reached; 0 if it was not.
        limit_amount: The budget's limit when the hold was made, in its unit; 0 for none.
        unit: What the amounts count.
    """

    budget: str
    first_day: int
    revision: int
    since_ms: int
    reason: str
    by: str = "ledgerock"
    end_ms: int = 0
    spent_amount: int = 0
    crossed_at_ms: int = 0
    limit_amount: int = 0
    unit: BudgetUnit = "usd"


class Waiver(msgspec.Struct, frozen=True, omit_defaults=True):
    """A budget's hold that a person lifted: this revision puts none again in this period.

    Attributes:
        budget: Name of the budget.
        first_day: First local day of the period.
        revision: Revision of the budget that the hold was made under.
        end_ms: End of the period; after it the waiver is forgotten. 0 for never.
    """

    budget: str
    first_day: int
    revision: int
    end_ms: int = 0


Phase = Literal["clear", "required", "suspended", "restoring"]
"""`required`: to be suspended (or being suspended); `restoring`: to be restored."""


class Suspension(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything about the suspension of one principal. One record for each principal.

    Attributes:
        principal: Whose.
        holds: Why; as long as there is any, it is suspended or about to be.
        phase: How far that was carried out. Only what was verified is `suspended` or `clear`.
        suspension_id: Names this suspension, its policy and its snapshots; a new one each time
            that the first hold is put on a clear principal. A hold that is put while the
            principal is being restored goes on with the same one, and so with its snapshots.
        mode: How it is suspended.
        number: Counts how often a first hold was put on this principal.
        claimed_until_ms: Until then one worker is at it; others leave it alone.
        claim: Which worker's.
        attempts: How often the present phase failed.
        failure: Why it failed last; empty if it did not.
        needs_person: AWS offers no way to do it, or not one that harms nobody else.
        due_at_ms: When somebody must look at it again; 0 for never.
        phase_at_ms: Since when it is in this phase.
        waived: Holds that a person lifted although their budgets are still exceeded.
        was_suspended: Under this `suspension_id` it was verified to be suspended.
        contended_until_ms: A claim ran out under this `suspension_id`: until then its worker may
            still be at it, and after that what was verified is looked at once more. 0 for none.
        left_id: The suspension before, if nobody looked once more at what a slow worker may have
            left of it; empty if there is nothing to take away.
        why: What brought about this phase, one line for people.
        by: Who did: `ledgerock`, or the person who asked.
        version: As of `BudgetStatus`.
    """

    principal: str
    holds: tuple[Hold, ...] = ()
    phase: Phase = "clear"
    suspension_id: str = ""
    mode: Mode = "deny"
    number: int = 0
    claimed_until_ms: int = 0
    claim: str = ""
    attempts: int = 0
    failure: str = ""
    needs_person: bool = False
    due_at_ms: int = 0
    phase_at_ms: int = 0
    waived: tuple[Waiver, ...] = ()
    was_suspended: bool = False
    contended_until_ms: int = 0
    left_id: str = ""
    why: str = ""
    by: str = "ledgerock"
    version: int = 0
