"""What is announced of a suspension: to whom it happens, why, what comes next, what changes it."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tests.events import checked
from worker.core.enforcement import MANUAL, Hold, Suspension
from worker.core.events import (
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SUSPENSION_FAILED,
    SUSPENSION_REQUIRED,
    Event,
)
from worker.core.suspension import (
    Claimed,
    Failed,
    Gone,
    HoldLifted,
    HoldPut,
    Input,
    Verified,
    turned,
)
from worker.core.suspension_events import (
    HOLDS_SHOWN_MAX,
    crossing_to_deny_ms,
    events_of,
    principal_subject,
    required,
)

NOW = 1_790_856_000_000
"""2026-10-01T12:00:00Z."""
DAY = 86_400_000
TODAY = NOW // DAY
ALICE = "user/111122223333/alice"
ANY_TEXT = st.text(st.characters(codec=None), max_size=900)


def hold(budget: str = "monthly", **more: Any) -> Hold:
    fields: dict[str, Any] = {
        "revision": 3,
        "since_ms": NOW,
        "reason": "alice spent 50.000000000001 of 10 USD.",
        "end_ms": (TODAY + 31) * DAY,
        "spent_amount": 50 * 10**12 + 1,
        "limit_amount": 10 * 10**12,
        "crossed_at_ms": NOW - 400_000,
    }
    return Hold(budget, TODAY, **{**fields, **more})


def follow(before: Suspension, *inputs: Input) -> tuple[Suspension, list[Event]]:
    """Return what comes of inputs, and what is announced."""
    events = []
    for one in inputs:
        after = turned(before, one, NOW)
        assert after is not None
        events += events_of(before, after, one, NOW)
        before = after
    return before, events


def details(events: list[Event]) -> list[dict[str, Any]]:
    return [checked(event.detail_type, event.detail) for event in events]


CLEAR = Suspension(ALICE)
CLAIM = Claimed("w", NOW + 60_000)
SUSPENDED, BEGUN = follow(CLEAR, HoldPut(hold()), CLAIM, Verified("w", "suspend"))


def test_a_whole_suspension_is_announced_in_four_events() -> None:
    _, ended = follow(SUSPENDED, HoldLifted("monthly", TODAY), CLAIM, Verified("w", "restore"))
    events = [*BEGUN, *ended]
    assert [event.detail_type for event in events] == [
        SUSPENSION_REQUIRED,
        PRINCIPAL_SUSPENDED,
        RESTORATION_REQUIRED,
        PRINCIPAL_RESTORED,
    ]
    assert {event.subject for event in events} == {principal_subject(ALICE)}
    assert len({event.id for event in events}) == 4
    wanted, suspended, restoration, restored = details(events)
    assert wanted["principal"] == suspended["principal"] == ALICE
    assert wanted["suspension"] == restored["suspension"]
    assert wanted["holds"] == suspended["holds"] == restoration["holds"]
    assert (restored["holds"], restored["was_suspended"]) == ([], True)


def test_people_read_who_why_until_when_and_what_changes_it() -> None:
    detail = details(BEGUN)[1]
    assert detail["message"] == (
        f"{ALICE} is suspended and cannot call Bedrock any more: "
        "alice spent 50.000000000001 of 10 USD."
    )
    assert detail["next"] == (
        "It is restored at the end of the period, 2026-11-01T00:00:00.000Z, "
        "or once monthly has room again."
    )
    assert detail["command"] == "ledgerock budgets set monthly --limit AMOUNT"
    assert detail["crossing_to_deny_ms"] == 400_000
    [shown] = detail["holds"]
    assert shown == {
        "budget": "monthly",
        "revision": 3,
        "first_day": "2026-10-01",
        "ends_at": "2026-11-01T00:00:00.000Z",
        "since": "2026-10-01T12:00:00.000Z",
        "by": "ledgerock",
        "reason": "alice spent 50.000000000001 of 10 USD.",
        "spent": "50.000000000001",
        "limit": "10",
        "unit": "USD",
    }


def test_tokens_and_requests_are_not_called_money() -> None:
    for unit, text in (("tokens", "tokens"), ("requests", "requests")):
        _, events = follow(CLEAR, HoldPut(hold(unit=unit, spent_amount=7, limit_amount=5)))
        [shown] = details(events)[0]["holds"]
        assert (shown["spent"], shown["limit"], shown["unit"]) == ("7", "5", text)


def test_a_hold_by_hand_says_who_put_it_and_what_lifts_it() -> None:
    by_hand = Hold(MANUAL, 0, 0, NOW, "key leaked", by="carol@desk")
    _, events = follow(CLEAR, HoldPut(by_hand), CLAIM, Verified("w", "suspend"))
    detail = details(events)[1]
    assert (detail["by"], detail["crossing_to_deny_ms"]) == ("carol@desk", None)
    assert detail["command"] == f"ledgerock restore {ALICE} --reason TEXT"
    assert detail["next"].startswith("It is restored not before somebody lifts the hold")
    [shown] = detail["holds"]
    assert (shown["spent"], shown["limit"], shown["unit"], shown["first_day"]) == ("", "", "", "")


def test_a_failure_says_why_what_follows_and_when() -> None:
    start, _ = follow(CLEAR, HoldPut(hold()), CLAIM)
    _, events = follow(start, Failed("w", "suspend", "IAM says no"))
    [detail] = details(events)
    assert detail["message"] == f"{ALICE} could not be suspended: IAM says no."
    assert (detail["outcome"], detail["next_attempt_at"]) == ("retry", "2026-10-01T12:00:15.000Z")
    assert detail["command"] == f"ledgerock principals show {ALICE}"
    _, events = follow(start, Failed("w", "suspend", "a shared role", needs_person=True))
    [detail] = details(events)
    assert detail["needs_person"]
    assert detail["next"].startswith("A person has to suspend it")


def test_each_reason_is_one_event_and_so_are_all_passing_faults() -> None:
    start, _ = follow(CLEAR, HoldPut(hold()), CLAIM)

    def id_of(*given_one: Any, **more: Any) -> str:
        return follow(start, Failed("w", "suspend", *given_one, **more))[1][0].id

    assert id_of("no such user") == id_of("no such user")
    assert id_of("no such user") != id_of("no such role")
    assert id_of("request 1", is_passing=True) == id_of("request 2", is_passing=True)
    restoring, _ = follow(SUSPENDED, HoldLifted("monthly", TODAY), CLAIM)
    _, events = follow(restoring, Failed("w", "restore", "no such user"))
    assert events[0].id != id_of("no such user")
    assert details(events)[0]["action"] == "restore"


def test_what_a_re_check_found_and_mended_is_told_each_time() -> None:
    told: list[Event] = list(BEGUN)
    one, now_ms = SUSPENDED, NOW
    for _ in range(2):
        now_ms += DAY
        for given_one in (
            Claimed("w", now_ms + 60_000),
            Failed("w", "suspend", "AWS denies it"),
            Claimed("w", now_ms + 60_000),
            Failed("w", "suspend", "AWS denies it"),
            Claimed("w", now_ms + 60_000),
            Verified("w", "suspend"),
        ):
            after = turned(one, given_one, now_ms)
            assert after is not None
            told += events_of(one, after, given_one, now_ms)
            one = after
    kinds = {event.id: event.detail_type for event in told}
    assert list(kinds.values()) == [
        SUSPENSION_REQUIRED,
        PRINCIPAL_SUSPENDED,
        *[SUSPENSION_FAILED, PRINCIPAL_SUSPENDED] * 2,
    ]


def test_a_re_check_is_asked_for_by_a_reminder_that_says_so() -> None:
    restored, _ = follow(SUSPENDED, HoldLifted("monthly", TODAY), CLAIM, Verified("w", "restore"))
    events = [required(one, NOW, again="1") for one in (SUSPENDED, restored)]
    assert [one.detail_type for one in events] == [SUSPENSION_REQUIRED, RESTORATION_REQUIRED]
    assert [one["message"] for one in details(events)] == [
        f"{ALICE} is {how}, which is to be read back from IAM once more."
        for how in ("suspended", "not suspended")
    ]


def test_who_is_gone_is_announced_as_that() -> None:
    restoring, _ = follow(SUSPENDED, HoldLifted("monthly", TODAY), CLAIM)
    _, events = follow(restoring, Gone("w", "restore", "it was deleted"))
    [detail] = details(events)
    assert [event.detail_type for event in events] == [SUSPENSION_FAILED]
    assert (detail["action"], detail["outcome"]) == ("restore", "principal_gone")
    assert (detail["next_attempt_at"], detail["needs_person"]) == ("", False)


def test_nothing_is_announced_of_claims_and_of_what_changes_no_phase() -> None:
    _, events = follow(SUSPENDED, CLAIM, Verified("w", "suspend"), HoldPut(hold("daily")))
    assert events == []


def test_a_reminder_is_another_event_that_says_so() -> None:
    start, [first] = follow(CLEAR, HoldPut(hold()))
    again = required(start, NOW, again="1")
    assert again.id not in {first.id, required(start, NOW, again="2").id}
    assert [one["reminder"] for one in details([first, again])] == [False, True]


def test_of_many_holds_some_are_shown_and_all_are_counted() -> None:
    inputs = [HoldPut(hold(f"budget{number}")) for number in range(HOLDS_SHOWN_MAX + 5)]
    start, _ = follow(CLEAR, *inputs)
    [detail] = details([required(start, NOW)])
    assert (len(detail["holds"]), detail["holds_count"]) == (HOLDS_SHOWN_MAX, HOLDS_SHOWN_MAX + 5)


def test_the_time_to_the_deny_counts_from_the_first_crossing() -> None:
    two, _ = follow(CLEAR, HoldPut(hold()), HoldPut(hold("daily", crossed_at_ms=NOW - 9)))
    assert crossing_to_deny_ms(two, NOW + 1) == 400_001
    assert crossing_to_deny_ms(two, NOW - DAY) == 0
    assert crossing_to_deny_ms(CLEAR, NOW) is None


@given(ANY_TEXT.filter(bool), ANY_TEXT, ANY_TEXT.filter(bool))
def test_whatever_things_are_called_events_are_small_and_keep_to_their_schemas(
    principal: str, reason: str, failure: str
) -> None:
    start = Suspension(principal)
    held, events = follow(
        start, HoldPut(hold(reason=reason, by=reason)), CLAIM, Verified("w", "suspend")
    )
    _, failed = follow(held, CLAIM, Failed("w", "suspend", failure))
    for event, detail in zip([*events, *failed], details([*events, *failed]), strict=True):
        assert len(event.detail) < 40_000
        assert msgspec.json.decode(event.detail)["event_id"] == event.id
        assert "\n" not in detail["message"] + detail["command"]
