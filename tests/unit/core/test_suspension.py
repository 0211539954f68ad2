"""The machine of one principal's suspension, input by input."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.enforcement import MANUAL, Hold, Phase, Suspension, Waiver
from worker.core.suspension import (
    BACKOFF_FIRST_MS,
    BACKOFF_LAST_MS,
    CLAIM_MS,
    DAILY_MS,
    RECHECK_MS,
    Action,
    Claimed,
    Failed,
    Gone,
    HoldLifted,
    HoldPut,
    Input,
    LookAgain,
    Postponed,
    Released,
    Verified,
    action_of,
    backoff_ms,
    suspension_id_of,
    turned,
)

NOW = 1_790_856_000_000
ALICE = "user/111122223333/alice"
AGENT = "agent/111122223333/us-east-1/helper-a1b2c3d4e5"


def hold(budget: str = "monthly", first_day: int = 20_700, **more: Any) -> Hold:
    fields: dict[str, Any] = {"revision": 1, "since_ms": NOW, "reason": f"{budget} is spent"}
    return Hold(budget, first_day, **{**fields, **more})


def after(suspension: Suspension, *inputs: Input, now_ms: int = NOW) -> Suspension:
    """Return the suspension after inputs each of which changes something."""
    for one in inputs:
        changed = turned(suspension, one, now_ms)
        assert changed is not None, one
        suspension = changed
    return suspension


CLEAR = Suspension(ALICE)
CLAIM = Claimed("one", NOW + CLAIM_MS)
REQUIRED = after(CLEAR, HoldPut(hold(), "detach"))
SUSPENDED = after(REQUIRED, CLAIM, Verified("one", "suspend"))
RESTORING = after(SUSPENDED, HoldLifted("monthly", 20_700))
RESTORED = after(RESTORING, CLAIM, Verified("one", "restore"))
CONTENDED = msgspec.structs.replace(RESTORED, contended_until_ms=NOW + 5, due_at_ms=NOW + 5)
PHASES: dict[Phase, Suspension] = {
    "clear": CONTENDED,
    "required": REQUIRED,
    "suspended": SUSPENDED,
    "restoring": RESTORING,
}


def test_a_whole_suspension() -> None:
    assert (REQUIRED.phase, REQUIRED.number, REQUIRED.mode) == ("required", 1, "detach")
    assert (REQUIRED.why, REQUIRED.by, REQUIRED.due_at_ms) == ("monthly is spent", "ledgerock", NOW)
    assert REQUIRED.suspension_id == suspension_id_of(ALICE, 1)
    assert re.fullmatch(r"[A-Za-z0-9-]{1,40}", REQUIRED.suspension_id)
    assert (SUSPENDED.phase, SUSPENDED.claim, SUSPENDED.was_suspended) == ("suspended", "", True)
    assert SUSPENDED.due_at_ms == NOW + DAILY_MS
    assert (RESTORING.phase, RESTORING.holds, RESTORING.due_at_ms) == ("restoring", (), NOW)
    assert RESTORING.suspension_id == REQUIRED.suspension_id
    assert (RESTORED.phase, RESTORED.due_at_ms, RESTORED.number) == ("clear", 0, 1)


def test_a_new_suspension_has_a_new_number_and_a_new_id() -> None:
    again = after(RESTORED, HoldPut(hold(first_day=20_730)))
    assert (again.number, again.suspension_id) == (2, suspension_id_of(ALICE, 2))
    assert (again.mode, again.was_suspended) == ("deny", False)
    assert len({suspension_id_of(who, n) for who in (ALICE, AGENT) for n in (1, 2)}) == 4


def test_a_hold_that_is_put_while_it_is_restored_goes_on_with_the_same_snapshots() -> None:
    again = after(RESTORING, HoldPut(hold("daily"), "deny"))
    assert (again.phase, again.number) == ("required", 2)
    assert (again.suspension_id, again.mode) == (REQUIRED.suspension_id, "detach")


def test_an_agentcore_agent_is_suspended_as_anybody_is() -> None:
    assert after(Suspension(AGENT), HoldPut(hold())).suspension_id == suspension_id_of(AGENT, 1)


def test_a_hold_is_put_once_for_each_budget_and_period() -> None:
    both = after(SUSPENDED, HoldPut(hold("daily")))
    assert (both.phase, both.number, len(both.holds)) == ("suspended", 1, 2)
    assert turned(both, HoldPut(hold("daily", revision=2, reason="more")), NOW) is None
    assert len(after(both, HoldPut(hold("daily", 20_701))).holds) == 3


@pytest.mark.parametrize("start", [REQUIRED, SUSPENDED])
def test_there_is_no_restoration_as_long_as_any_hold_remains(start: Suspension) -> None:
    both = after(start, HoldPut(hold("daily")))
    one = after(both, HoldLifted("daily", 20_700))
    assert (one.phase, one.holds) == (start.phase, start.holds)
    assert turned(one, HoldLifted("daily", 20_700), NOW) is None
    assert turned(one, HoldLifted("monthly", 20_699), NOW) is None
    assert after(one, HoldLifted("monthly", 20_700)).phase == "restoring"


def test_lifting_says_who_and_why() -> None:
    lifted = after(SUSPENDED, HoldLifted("monthly", 20_700, "a mistake", "carol"))
    assert (lifted.why, lifted.by) == ("a mistake", "carol")
    assert RESTORING.why == "budget monthly has room again, or is no more"
    ended = after(after(CLEAR, HoldPut(hold(end_ms=NOW))), HoldLifted("monthly", 20_700))
    assert ended.why == "the period of budget monthly is over"


def test_what_a_person_waived_is_not_held_again_in_this_revision_and_period() -> None:
    end_ms = NOW + 1_000
    start = after(CLEAR, HoldPut(hold(end_ms=end_ms)))
    waived = after(start, HoldLifted("monthly", 20_700, waive=True))
    assert waived.waived == (Waiver("monthly", 20_700, 1, end_ms),)
    assert turned(waived, HoldPut(hold()), NOW) is None
    for other in (hold(revision=2), hold(first_day=20_730), hold("daily"), hold(MANUAL, 0)):
        assert after(waived, HoldPut(other)).phase == "required"
    later = after(waived, HoldPut(hold("daily")), now_ms=end_ms)
    assert later.waived == (), "the period is over"


# --- Claims -----------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_one_claims_and_the_others_wait_until_it_runs_out(phase: Phase) -> None:
    claimed = after(PHASES[phase], CLAIM)
    assert (claimed.phase, claimed.claim) == (phase, "one")
    assert claimed.due_at_ms == NOW + CLAIM_MS
    other = Claimed("two", NOW + 9 * CLAIM_MS)
    assert turned(claimed, other, NOW + CLAIM_MS - 1) is None
    taken = after(claimed, other, now_ms=NOW + CLAIM_MS)
    assert (taken.claim, taken.contended_until_ms) == ("two", NOW + CLAIM_MS + RECHECK_MS)
    assert claimed.contended_until_ms == PHASES[phase].contended_until_ms
    action = action_of(taken)
    for late in (Verified("one", action), Failed("one", action, "x"), Gone("one", action, "x")):
        assert turned(taken, late, NOW + CLAIM_MS) is None, "its claim was lost"
    assert turned(taken, Released("one"), NOW + CLAIM_MS) is None


def test_where_nothing_is_to_be_done_nothing_can_be_claimed() -> None:
    assert turned(CLEAR, CLAIM, NOW) is None
    assert turned(RESTORED, CLAIM, NOW) is None


def test_a_claim_is_given_back() -> None:
    claimed = after(REQUIRED, CLAIM)
    free = after(claimed, Released("one", NOW + 7))
    assert (free.claim, free.claimed_until_ms, free.due_at_ms) == ("", 0, NOW + 7)
    assert after(claimed, Released("one")).due_at_ms == NOW
    assert not after(free, Claimed("two", NOW + 9)).contended_until_ms
    assert turned(free, Released(""), NOW) is None
    assert turned(free, Claimed("", NOW + 9), NOW) is None


@pytest.mark.parametrize("claim", ["suspend", "restore"])
def test_what_was_done_counts_only_if_it_is_still_wanted(claim: Any) -> None:
    changes: dict[str, tuple[Suspension, Input]] = {
        "suspend": (REQUIRED, HoldLifted("monthly", 20_700)),
        "restore": (RESTORING, HoldPut(hold("daily"))),
    }
    start, change = changes[claim]
    changed = after(start, CLAIM, change)
    assert changed.claim == "one", "whoever is at it goes on in the new direction"
    assert changed.due_at_ms == NOW + CLAIM_MS
    for report in (Verified("one", claim), Failed("one", claim, "x"), Gone("one", claim, "x")):
        assert turned(changed, report, NOW) is None
    other: Action = "restore" if claim == "suspend" else "suspend"
    done = after(changed, Verified("one", other))
    assert done.phase == ("clear" if claim == "suspend" else "suspended")


def test_a_hold_that_is_put_meanwhile_is_suspended_with_the_others() -> None:
    done = after(REQUIRED, CLAIM, HoldPut(hold("daily")), Verified("one", "suspend"))
    assert (done.phase, len(done.holds)) == ("suspended", 2)


# --- Failures ---------------------------------------------------------------------------------


def test_failures_are_tried_again_ever_later() -> None:
    assert [backoff_ms(n) // 1_000 for n in range(1, 9)] == [15, 30, 60, 120, 240, 480, 600, 600]
    assert backoff_ms(0) == BACKOFF_FIRST_MS
    assert backoff_ms(10**6) == BACKOFF_LAST_MS
    failed = after(REQUIRED, CLAIM, Failed("one", "suspend", "throttled"))
    assert (failed.phase, failed.attempts, failed.failure) == ("required", 1, "throttled")
    assert (failed.claim, failed.due_at_ms) == ("", NOW + 15_000)
    again = after(failed, CLAIM, Failed("one", "suspend", "throttled"))
    assert (again.attempts, again.due_at_ms) == (2, NOW + 30_000)
    done = after(again, CLAIM, Verified("one", "suspend"))
    assert (done.attempts, done.failure) == (0, "")


def test_a_change_of_direction_begins_anew() -> None:
    failed = after(REQUIRED, CLAIM, Failed("one", "suspend", "no such user", True))
    assert (failed.needs_person, failed.due_at_ms) == (True, NOW + DAILY_MS)
    lifted = after(failed, HoldLifted("monthly", 20_700))
    assert (lifted.attempts, lifted.failure, lifted.needs_person) == (0, "", False)
    assert lifted.due_at_ms == NOW


@pytest.mark.parametrize("phase, to", [("suspended", "required"), ("clear", "restoring")])
def test_what_a_re_check_cannot_mend_is_to_be_done_again(phase: Phase, to: Phase) -> None:
    start = PHASES[phase]
    failed = after(start, CLAIM, Failed("one", action_of(start), "it was taken away"))
    assert (failed.phase, failed.number) == (to, start.number)
    assert failed.due_at_ms == NOW + BACKOFF_FIRST_MS


@pytest.mark.parametrize(
    "phase, to, due_ms",
    [
        ("required", "required", NOW + DAILY_MS),
        ("suspended", "required", NOW + DAILY_MS),
        ("restoring", "clear", 0),
        ("clear", "clear", 0),
    ],
)
def test_who_is_gone_is_never_called_restored_or_suspended(
    phase: Phase, to: Phase, due_ms: int
) -> None:
    start = PHASES[phase]
    gone = after(start, CLAIM, Gone("one", action_of(start), "it was deleted"))
    assert (gone.phase, gone.due_at_ms, gone.failure) == (to, due_ms, "it was deleted")
    assert bool(gone.holds) == (to == "required")


# --- Slow workers -----------------------------------------------------------------------------


def contended(start: Suspension) -> Suspension:
    """Return a suspension whose claim ran out and was taken over."""
    return after(after(start, CLAIM), Claimed("two", NOW + 9**9), now_ms=NOW + CLAIM_MS)


@pytest.mark.parametrize("start, action", [(REQUIRED, "suspend"), (RESTORING, "restore")])
def test_after_a_lost_claim_it_is_looked_at_once_more(start: Suspension, action: Any) -> None:
    now_ms = NOW + CLAIM_MS
    done = after(contended(start), Verified("two", action), now_ms=now_ms)
    assert done.phase == ("suspended" if action == "suspend" else "clear")
    assert done.due_at_ms == done.contended_until_ms == now_ms + RECHECK_MS
    early = after(done, Claimed("one", NOW + 9**9), Verified("one", action), now_ms=now_ms + 9)
    assert early.due_at_ms == now_ms + RECHECK_MS, "the slow one may not be done yet"
    due_ms = done.due_at_ms
    looked = after(done, Claimed("one", NOW + 9**9), Verified("one", action), now_ms=due_ms)
    assert looked.contended_until_ms == 0
    assert looked.due_at_ms == (due_ms + DAILY_MS if action == "suspend" else 0)


def test_what_is_verified_that_late_needs_no_other_look() -> None:
    late_ms = NOW + CLAIM_MS + RECHECK_MS
    done = after(contended(RESTORING), Verified("two", "restore"), now_ms=late_ms)
    assert (done.due_at_ms, done.contended_until_ms) == (0, 0)


def test_until_then_a_new_hold_goes_on_with_the_old_snapshots() -> None:
    now_ms = NOW + CLAIM_MS
    restored = after(contended(RESTORING), Verified("two", "restore"), now_ms=now_ms)
    again = after(restored, HoldPut(hold("daily")))
    assert (again.suspension_id, again.number) == (REQUIRED.suspension_id, 2)
    due_ms = restored.due_at_ms
    settled = after(restored, CLAIM, Verified("one", "restore"), now_ms=due_ms)
    assert after(settled, HoldPut(hold("daily"))).suspension_id == suspension_id_of(ALICE, 2)


def test_where_nobody_looked_once_more_a_later_hold_begins_a_new_suspension() -> None:
    now_ms = NOW + CLAIM_MS
    restored = after(contended(RESTORING), Verified("two", "restore"), now_ms=now_ms)
    until_ms = now_ms + 2 * RECHECK_MS
    lately = after(restored, HoldPut(hold("daily")), now_ms=until_ms - 1)
    assert (lately.suspension_id, lately.left_id) == (REQUIRED.suspension_id, "")
    late = after(restored, HoldPut(hold("daily")), now_ms=until_ms)
    assert late.suspension_id == suspension_id_of(ALICE, 2)
    assert (late.left_id, late.contended_until_ms) == (REQUIRED.suspension_id, 0)
    turned_back = after(late, HoldLifted("daily", 20_700), HoldPut(hold()), now_ms=until_ms)
    assert turned_back.left_id == REQUIRED.suspension_id
    assert after(turned_back, CLAIM, Verified("one", "suspend"), now_ms=until_ms).left_id == ""


def test_a_suspended_one_can_be_looked_at_early() -> None:
    sooner = after(SUSPENDED, LookAgain(NOW + 5))
    assert sooner.due_at_ms == NOW + 5
    assert turned(sooner, LookAgain(NOW + 6), NOW) is None, "it is looked at before"
    for other in (RESTORED, REQUIRED, RESTORING, after(SUSPENDED, CLAIM)):
        assert turned(other, LookAgain(NOW), NOW) is None


def test_what_is_due_is_postponed_unless_it_changed_meanwhile() -> None:
    assert after(REQUIRED, Postponed(NOW, NOW + 9)).due_at_ms == NOW + 9
    assert turned(REQUIRED, Postponed(NOW - 1, NOW + 9), NOW) is None
    claimed = after(REQUIRED, CLAIM)
    assert turned(claimed, Postponed(claimed.due_at_ms, NOW + 9**9), NOW) is None


# --- Whatever comes ---------------------------------------------------------------------------

BUDGETS = st.sampled_from(["daily", "monthly", MANUAL])
CLAIMS = st.sampled_from(["one", "two", ""])
ACTIONS: Any = st.sampled_from(["suspend", "restore"])
INPUTS = st.one_of(
    st.builds(lambda name, revision: HoldPut(hold(name, revision=revision)), BUDGETS, st.just(1)),
    st.builds(HoldLifted, BUDGETS, st.just(20_700), waive=st.booleans()),
    st.builds(Claimed, CLAIMS, st.integers(NOW, NOW + 10**7)),
    st.builds(Released, CLAIMS),
    st.builds(Verified, CLAIMS, ACTIONS),
    st.builds(Failed, CLAIMS, ACTIONS, st.just("x"), st.booleans()),
    st.builds(Gone, CLAIMS, ACTIONS, st.just("gone")),
    st.builds(LookAgain, st.integers(NOW, NOW + 10**7)),
    st.builds(Postponed, st.just(NOW), st.integers(NOW, NOW + 10**7)),
)


@given(st.lists(st.tuples(INPUTS, st.integers(0, 10**6)), max_size=40))
def test_whatever_comes_phases_and_holds_agree(inputs: list[tuple[Input, int]]) -> None:
    one, now_ms = CLEAR, NOW
    for given_one, passed_ms in inputs:
        now_ms += passed_ms
        changed = turned(one, given_one, now_ms)
        if changed is None:
            continue
        assert changed != one or isinstance(given_one, Claimed | Postponed)
        assert bool(changed.holds) == (changed.phase in {"required", "suspended"})
        assert bool(changed.claim) == bool(changed.claimed_until_ms)
        if changed.phase != "clear":
            assert changed.due_at_ms, "somebody looks at it again"
            assert changed.suspension_id
        assert changed.number - one.number == (
            isinstance(given_one, HoldPut) and one.phase in {"clear", "restoring"}
        )
        is_new = changed.suspension_id != one.suspension_id
        contended_ms = one.contended_until_ms and one.contended_until_ms + RECHECK_MS
        assert not is_new or (one.phase == "clear" and now_ms >= contended_ms)
        if changed.phase in {"suspended", "clear"} and changed.phase != one.phase:
            assert isinstance(given_one, Verified | Gone), "only what was verified is recorded"
        assert changed.principal == ALICE
        assert changed.version == one.version
        assert msgspec.json.decode(msgspec.json.encode(changed), type=Suspension) == changed
        one = changed
