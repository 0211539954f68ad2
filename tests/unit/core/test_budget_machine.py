"""The state machine of a budget's enforcement: every state, every input."""

import itertools
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core import budget as budget_module
from worker.core.budget import (
    RECHECK_CALM_MS,
    RECHECK_MS,
    TRANSITIONS,
    Input,
    advance,
    announce,
    drop,
    due_of,
    first_status,
    grace_id,
)
from worker.core.budget_terms import Budget, BudgetPeriod, Scope
from worker.core.enforcement import BudgetStatus, Lift, State

NOW = 1_790_856_000_000
"""2026-10-01T12:00:00Z."""
LIMITED = Budget(
    "b", Scope("principal", "user/1/a"), 100, unit="requests", action="suspend", grace_seconds=60
)
MONTH = BudgetPeriod(20_727, 20_757, 1_790_812_800_000, 1_793_491_200_000)
SPENT = {"below": 69, "warning": 70, "critical": 90, "exceeded": 100}
CALM: tuple[State, ...] = ("active", "warning", "critical")


def status(state: State, **more: Any) -> BudgetStatus:
    """Return a stored status in some state, as it comes to be."""
    fields: dict[str, Any] = {"checked_at_ms": NOW, "changed_at_ms": NOW}
    if state in {"grace_period", "suspended"}:
        fields |= {"grace_id": grace_id(LIMITED, 20_727), "deadline_ms": NOW + 60_000}
        fields |= {"crossed_at_ms": NOW}
    made = msgspec.structs.replace(first_status(LIMITED, MONTH), state=state, version=3)
    return msgspec.structs.replace(made, **(fields | more))


def moved(before: BudgetStatus, budget: Budget, spent: int, now: int, **more: Any) -> str:
    """Return the state and effects that a spend leads to; `.` for no change."""
    found = advance(before, budget, MONTH, spent, now, **more)
    if found is None:
        return "."
    assert found.status.version == before.version + 1
    closed = " closed" if found.status.is_closed else ""
    return " ".join([f"{found.status.state}{closed}", *sorted(found.effects)])


@pytest.mark.parametrize("state", CALM)
@pytest.mark.parametrize(
    "level,after", [("below", "active"), ("warning", "warning"), ("critical", "critical")]
)
def test_below_the_limit_the_state_is_the_level(state: State, level: str, after: str) -> None:
    expected = "." if after == state else after
    assert moved(status(state), LIMITED, SPENT[level], NOW) == expected
    assert moved(status(state), LIMITED, SPENT[level], NOW, acts=True) == expected


@pytest.mark.parametrize("state", CALM)
def test_at_the_limit_a_grace_period_starts(state: State) -> None:
    found = advance(status(state), LIMITED, MONTH, 100, NOW)
    assert found is not None
    assert found.status.state == "grace_period"
    assert found.effects == {"start_grace"}
    assert (found.status.deadline_ms, found.status.crossed_at_ms) == (0, NOW)
    assert found.status.grace_id == grace_id(LIMITED, 20_727)


@pytest.mark.parametrize("level", ["below", "warning", "critical"])
def test_below_the_limit_grace_ends_and_suspensions_are_lifted(level: str) -> None:
    state = {"below": "active"}.get(level, level)
    assert moved(status("grace_period"), LIMITED, SPENT[level], NOW) == state
    assert moved(status("suspended"), LIMITED, SPENT[level], NOW) == f"{state} lift"
    after = advance(status("suspended"), LIMITED, MONTH, SPENT[level], NOW)
    assert after is not None
    assert after.status.lifts == (Lift("principal/user/1/a"),)


@pytest.mark.parametrize("acts", [False, True])
def test_what_only_notifies_is_critical_at_most(acts: bool) -> None:
    budget = msgspec.structs.replace(LIMITED, action="notify", revision=2)
    for state in (*CALM, "grace_period"):
        assert moved(status(state), budget, 100, NOW, acts=acts) == "critical"
    assert moved(status("suspended"), budget, 100, NOW, acts=acts) == "critical lift"


def test_nothing_is_suspended_before_the_deadline_nor_by_those_who_only_look() -> None:
    grace = status("grace_period")
    assert moved(grace, LIMITED, 500, NOW + 59_999, acts=True) == "."
    assert moved(grace, LIMITED, 500, NOW + 60_000) == "."
    assert moved(grace, LIMITED, 500, NOW + 60_000, acts=True) == "suspended hold"
    unannounced = status("grace_period", deadline_ms=0)
    assert moved(unannounced, LIMITED, 500, NOW + 10**9, acts=True) == "."
    assert moved(status("suspended"), LIMITED, 500, NOW + 60_000, acts=True) == "."


@pytest.mark.parametrize("state", [*CALM, "grace_period", "suspended"])
def test_a_period_that_is_over_is_closed_by_the_monitor_alone(state: State) -> None:
    late = MONTH.end_ms
    effects = "lift refresh" if state == "suspended" else "refresh"
    assert moved(status(state), LIMITED, 500, late) == "."
    assert moved(status(state), LIMITED, 500, late - 1, acts=True) != f"active closed {effects}"
    assert moved(status(state), LIMITED, 500, late, acts=True) == f"active closed {effects}"
    closed = status("active", is_closed=True)
    assert moved(closed, LIMITED, 500, late, acts=True) == "."
    assert moved(first_status(LIMITED, MONTH), LIMITED, 500, late, acts=True) == "."


@pytest.mark.parametrize("state", [*CALM, "grace_period", "suspended"])
def test_what_is_removed_is_closed_and_open_again_under_a_later_revision(state: State) -> None:
    removed = msgspec.structs.replace(LIMITED, revision=2, is_removed=True)
    effects = " lift" if state == "suspended" else ""
    assert moved(status(state), removed, 500, NOW) == f"active closed{effects}"
    assert drop(status(state, revision=3), 2, NOW) is None, "a later revision has it"
    gone = drop(status(state), 2, NOW)
    assert gone is not None
    assert drop(gone.status, 2, NOW) is None
    assert moved(gone.status, LIMITED, 500, NOW) == "."
    again = msgspec.structs.replace(LIMITED, revision=3)
    assert moved(gone.status, again, 500, NOW) == "grace_period start_grace"


def test_announcing_fixes_the_deadline_once() -> None:
    waiting = status("grace_period", deadline_ms=0)
    told = announce(waiting, NOW + 60_000, NOW)
    assert told is not None
    assert (told.status.deadline_ms, told.status.version) == (NOW + 60_000, 4)
    assert announce(told.status, NOW + 99_000, NOW) is None
    for state in (*CALM, "suspended"):
        assert announce(status(state, deadline_ms=0), NOW, NOW) is None


def test_a_spend_that_falls_and_rises_keeps_the_one_grace_period() -> None:
    fallen = advance(status("grace_period"), LIMITED, MONTH, 50, NOW)
    assert fallen is not None
    risen = advance(fallen.status, LIMITED, MONTH, 150, NOW + 1)
    assert risen is not None
    assert (risen.status.state, risen.effects) == ("grace_period", frozenset())
    assert risen.status.deadline_ms == NOW + 60_000
    assert risen.status.crossed_at_ms == NOW + 1


def test_a_new_revision_carries_on_what_it_exceeds_and_forgets_what_it_does_not() -> None:
    higher = msgspec.structs.replace(LIMITED, limit_amount=200, revision=2)
    for state in ("grace_period", "suspended"):
        carried = advance(status(state), higher, MONTH, 200, NOW)
        assert carried is not None
        assert (carried.status.state, carried.effects) == (state, frozenset())
        assert (carried.status.revision, carried.status.deadline_ms) == (2, NOW + 60_000)
        raised = advance(status(state), higher, MONTH, 199, NOW)
        assert raised is not None
        assert (raised.status.state, raised.status.grace_id) == ("critical", "")
        again = advance(raised.status, higher, MONTH, 200, NOW)
        assert again is not None
        assert again.effects == {"start_grace"}
        assert again.status.grace_id == grace_id(higher, 20_727)
    # Fallen under the first revision, and reached anew under the second: that is another limit.
    fallen = status("active", grace_id=grace_id(LIMITED, 20_727), deadline_ms=NOW + 60_000)
    anew = advance(fallen, higher, MONTH, 200, NOW)
    assert anew is not None
    assert anew.effects == {"start_grace"}
    assert anew.status.deadline_ms == 0


def test_who_knows_an_earlier_revision_changes_nothing() -> None:
    later = status("suspended", revision=2)
    assert moved(later, LIMITED, 0, NOW, acts=True) == "."


@pytest.mark.parametrize("level,after", [("below", "active"), ("exceeded", "grace_period")])
def test_another_scope_begins_anew_and_lifts_what_was(level: str, after: str) -> None:
    other = msgspec.structs.replace(LIMITED, scope=Scope("principal", "user/1/b"), revision=2)
    found = advance(status("suspended"), other, MONTH, SPENT[level], NOW)
    assert found is not None
    assert (found.status.state, found.status.scope) == (after, "principal/user/1/b")
    assert "lift" in found.effects
    assert found.status.lifts == (Lift("principal/user/1/a"),)
    assert found.status.version == 4


def test_what_is_suspended_anew_is_not_lifted_for_what_was_before() -> None:
    mine, others = Lift("principal/user/1/a", NOW), Lift("principal/user/1/b", NOW)
    before = status("grace_period", lifts=(mine, others))
    found = advance(before, LIMITED, MONTH, 100, NOW + 60_000, acts=True)
    assert found is not None
    assert (found.status.state, found.status.lifts) == ("suspended", (others,))
    team = msgspec.structs.replace(LIMITED, scope=Scope("team", "t"))
    before = status("grace_period", scope="team/t", lifts=(Lift("team/t", NOW),))
    found = advance(before, team, MONTH, 100, NOW + 60_000, acts=True)
    assert found is not None
    assert found.status.lifts == (Lift("team/t", NOW),)  # of members who did not go on


def test_the_table_of_the_docstring_is_the_table() -> None:
    """Every state, every input: what the docstring says is what `TRANSITIONS` holds."""
    lines = (budget_module.__doc__ or "").splitlines()
    start = next(at for at, line in enumerate(lines) if line.split()[:2] == ["input", "active"])
    states: list[State] = list(get_args(State))
    assert lines[start].split()[1:] == states
    begins = [lines[start].index(state) for state in states] + [200]
    rows: dict[str, list[str]] = {}
    name = ""
    for line in itertools.takewhile(bool, lines[start + 1 :]):
        name = line[: begins[0]].strip() or name
        cells = [line[left:right].strip() for left, right in itertools.pairwise(begins)]
        before = rows.get(name, [""] * len(states))
        rows[name] = [f"{old} {cell}".strip() for old, cell in zip(before, cells, strict=True)]
    inputs: list[Input] = list(get_args(Input))
    assert set(rows) == set(inputs)
    for one in inputs:
        for state, cell in zip(states, rows[one], strict=True):
            said = cell.replace("closed, lift", "active, lift").replace("closed", "active")
            said = said.replace("deadline", "grace_period")
            parts = [part.strip() for part in said.split(",") if part.strip() not in {"", "·"}]
            found = TRANSITIONS[state].get(one)
            real = [] if found is None else [found[0], *found[1]]
            is_loop = real == [state] and one not in {"announced", "over", "dropped"}
            if parts[:1] == ["grace_period"] and one == "exceeded":
                parts.append("start_grace")
            assert parts == ([] if is_loop else real), (one, state)


def test_what_is_due_when() -> None:
    def due(state: State, **more: Any) -> int:
        return due_of(status(state, **more))[1]

    assert due_of(status("active")) == ("monitor", MONTH.end_ms)
    assert due("warning") == NOW + RECHECK_CALM_MS
    assert due("critical", checked_at_ms=MONTH.end_ms - 1) == MONTH.end_ms
    assert due("grace_period", deadline_ms=0) == NOW
    assert due("grace_period") == NOW + 60_000
    assert due("grace_period", deadline_ms=NOW + 10**9) == NOW + RECHECK_MS
    assert due("suspended") == NOW
    assert due("suspended", is_held=True) == NOW + RECHECK_MS
    assert due_of(status("active", is_closed=True)) == ("", 0)
    assert due("active", is_closed=True, lifts=(Lift("team/t", NOW + 5),)) == NOW + 5
    # A rolling window has no end.
    assert due_of(status("active", first_day=0)) == ("", 0)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 300),
            st.sampled_from([0, 1, 2]),
            st.integers(0, 90_000),
            st.booleans(),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_no_path_suspends_before_a_deadline_that_was_told(
    steps: list[tuple[int, int, int, bool, bool]],
) -> None:
    """Whatever is read and whenever: a suspension has a grace period behind it, told and over."""
    now, told = NOW, dict[str, int]()
    current = first_status(LIMITED, MONTH)
    budget = LIMITED
    for spent, change, passed, acts, is_told in steps:
        now += passed
        if change:
            budget = msgspec.structs.replace(
                budget, revision=budget.revision + 1, limit_amount=100 * change
            )
        found = advance(current, budget, MONTH, spent, now, acts=acts)
        if found is not None:
            assert found.status.version == current.version + 1
            if "hold" in found.effects:
                assert acts
                assert spent >= budget.limit_amount
                assert told[found.status.grace_id] + 60_000 <= now
            if found.status.state != "suspended" and current.state == "suspended":
                assert "lift" in found.effects
            current = found.status
        if is_told and current.state == "grace_period":
            at = told.setdefault(current.grace_id, now)
            fixed = announce(current, at + 60_000, now)
            current = current if fixed is None else fixed.status
