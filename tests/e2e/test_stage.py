"""What a deployed stage does, from the way in to the books, the bus and IAM."""

import json

import pytest

from tests.e2e.calls import Call
from tests.e2e.stage import WAIT_SECONDS, WAYS, Stage, assert_exact
from worker.core.events import (
    BUDGET_THRESHOLD_CROSSED,
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
)

pytestmark = [pytest.mark.aws_integration, pytest.mark.timeout(3 * WAIT_SECONDS)]


@pytest.mark.parametrize("way", WAYS)
def test_calls_are_booked_once_from_each_way_in(stage: Stage, way: str) -> None:
    if way not in stage.ways:
        pytest.skip(f"this stage has no {way}")
    user, principal = stage.user(way.replace(" ", "-"))
    calls = [Call(user), Call(user), Call(user)]

    def send() -> None:
        stage.send(way, [*calls, calls[0]], with_events=True)

    send()
    stage.until_booked(principal, len(calls), send)


def test_a_call_that_comes_in_every_way_is_one(stage: Stage) -> None:
    user, principal = stage.user("every-way")
    call = Call(user)

    def send() -> None:
        for way in stage.ways:
            stage.send(way, [call], with_events=True)

    send()
    stage.until_booked(principal, 1, send)


def test_a_crossed_budget_is_announced_on_the_bus(stage: Stage) -> None:
    stage.listen()
    user, principal = stage.user("budget")
    calls = [Call(user), Call(user)]
    budget = stage.set_budget(
        "budget", principal, "--limit", "2", "--unit", "requests", "--thresholds", "100"
    )

    def send() -> None:
        # A duplicate is looked at as well, by workers that know of the budget by then.
        stage.send(stage.ways[0], calls)

    send()
    stage.wait(lambda: stage.heard(BUDGET_THRESHOLD_CROSSED, budget), budget, send)
    crossings = stage.heard(BUDGET_THRESHOLD_CROSSED, budget)
    assert len({one["event_id"] for one in crossings}) == 1
    assert (crossings[0]["threshold"], crossings[0]["level"]) == (100, "exceeded")
    assert (crossings[0]["spent"], crossings[0]["limit"]) == ("2", "2")
    assert crossings[0]["scope"] == {"kind": "principal", "id": principal}
    stage.until_booked(principal, len(calls), send)


def test_who_is_over_the_limit_is_denied_and_let_go_again(stage: Stage) -> None:
    if stage.deployment.enforcement == "off":
        pytest.skip("this stage suspends nobody: enforcement.by is off")
    stage.listen()
    arn, name = stage.make_user("suspended")
    account = stage.deployment.account
    principal = f"user/{account}/{name}"
    call = Call(arn, account)
    budget = stage.set_budget(
        *("suspended", principal, "--limit", "1", "--unit", "requests"),
        *("--action", "suspend", "--grace", "0"),
    )

    def send() -> None:
        stage.send(stage.ways[0], [call])

    send()
    stage.wait(lambda: stage.heard(PRINCIPAL_SUSPENDED, principal), f"{name} suspended", send)
    [policy] = stage.inline_policies(name)
    assert policy.startswith("ledgerock-deny-")
    stage.remove_budget(budget)
    stage.wait(lambda: stage.heard(PRINCIPAL_RESTORED, principal), f"{name} restored")
    assert stage.inline_policies(name) == []
    stage.until_booked(principal, 1, send)


def test_doctor_finds_nothing_wrong(stage: Stage) -> None:
    path = stage.config.path.rstrip("/")
    found = json.loads(stage.ledgerock("doctor", "--stage-path", path, "--json"))
    wrong = [one for one in found["findings"] if one["verdict"] in {"wrong", "unknown"}]
    assert wrong == []
    assert found["well"]


def test_nothing_was_doubled_meanwhile(stage: Stage) -> None:
    if not stage.sent:
        pytest.skip("nothing was sent: the tests before this one were left out")
    for principal, calls in stage.sent.items():
        assert_exact(stage.row(principal), calls)
