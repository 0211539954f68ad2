"""The workflows' definitions: their shape, and every way through them, without Step Functions."""

import pytest

from infra import workflows
from infra.workflows import PASSING_ERRORS, restoration_definition, suspension_definition
from tests.infra import asl
from tests.infra.asl import Ended, Json, TaskError
from worker.core import events

ARN = "arn:aws:lambda:us-east-1:111122223333:function:ledgerock-enforcement"
SUSPENSION = suspension_definition(ARN)
RESTORATION = restoration_definition(ARN)
BOTH = pytest.mark.parametrize(
    "definition, end, kind",
    [
        (SUSPENSION, "Suspended", events.SUSPENSION_REQUIRED),
        (RESTORATION, "Restored", events.RESTORATION_REQUIRED),
    ],
    ids=["suspension", "restoration"],
)
DEADLINE = "2026-11-22T12:00:00Z"
ACTING = ["Apply", "Verify", "Is It Verified", "Record", "Announce"]

Answer = str | Exception


def event(kind: str, detail: Json | None = None) -> Json:
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": kind,
        "source": "ledgerock",
        "account": "111122223333",
        "time": "2026-11-22T11:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": detail or {"event_id": "e"},
    }


class Scripted:
    """Answers steps as it is told, in order; the last answer of a step stays."""

    def __init__(self, **answers: list[Answer]) -> None:
        self.answers = answers
        self.given: list[Json] = []

    def __call__(self, payload: Json) -> Json:
        self.given.append(payload)
        listed = self.answers.get(payload["step"], [""])
        answer = listed.pop(0) if len(listed) > 1 else listed[0]
        if isinstance(answer, Exception):
            raise answer
        return {"decision": answer, "deadline": DEADLINE, "work": {"step": payload["step"]}}

    @property
    def steps(self) -> list[str]:
        return [one["step"] for one in self.given]


def ways(definition: Json) -> dict[str, set[str]]:
    """Return which states follow each."""
    found: dict[str, set[str]] = {}
    for name, state in definition["States"].items():
        following = {state[key] for key in ("Next", "Default") if key in state}
        following |= {one["Next"] for key in ("Choices", "Catch") for one in state.get(key, ())}
        found[name] = following
    return found


def reached(definition: Json, *, without: str = "") -> set[str]:
    found, waiting = set[str](), [definition["StartAt"]]
    following = ways(definition)
    while waiting:
        name = waiting.pop()
        if name not in found and name != without:
            found.add(name)
            waiting += following[name]
    return found


# --- Shape ------------------------------------------------------------------------------------


@BOTH
def test_every_state_is_reached_and_every_way_leads_to_a_state(
    definition: Json, end: str, kind: str
) -> None:
    assert reached(definition) == definition["States"].keys()


@BOTH
@pytest.mark.parametrize("step", ["Apply", "Verify", "Is It Verified", "Record"])
def test_nothing_ends_as_done_without_acting_verifying_and_recording(
    definition: Json, end: str, kind: str, step: str
) -> None:
    assert end not in reached(definition, without=step)


@BOTH
def test_every_task_is_retried_and_caught_and_every_choice_has_a_default(
    definition: Json, end: str, kind: str
) -> None:
    for name, state in definition["States"].items():
        if state["Type"] == "Task":
            [retry] = state["Retry"]
            assert set(retry["ErrorEquals"]) == set(PASSING_ERRORS), name
            assert retry["BackoffRate"] > 1
            assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"], name
            assert state["TimeoutSeconds"] > 0
            assert state["Parameters"]["FunctionName"] == ARN
        if state["Type"] == "Choice":
            assert definition["States"][state["Default"]]["Type"] in {"Fail", "Task"}, name


@BOTH
def test_only_what_is_done_or_needs_nothing_succeeds(definition: Json, end: str, kind: str) -> None:
    kinds = {name: state["Type"] for name, state in definition["States"].items()}
    assert {name for name, its in kinds.items() if its == "Succeed"} == {end, "Stood Down"}
    ends = {name for name, following in ways(definition).items() if not following}
    assert ends == {name for name, its in kinds.items() if its in {"Succeed", "Fail"}}


def test_patterns_and_definitions_name_our_events_as_they_are() -> None:
    assert workflows.suspension_pattern() == {
        "source": [events.SOURCE],
        "detail-type": [events.BUDGET_GRACE_STARTED, events.SUSPENSION_REQUIRED],
    }
    assert workflows.restoration_pattern() == {
        "source": [events.SOURCE],
        "detail-type": [events.RESTORATION_REQUIRED],
    }
    for definition, pattern in (
        (SUSPENSION, workflows.suspension_pattern()),
        (RESTORATION, workflows.restoration_pattern()),
    ):
        choices = definition["States"]["What Happened"]["Choices"]
        assert [one["StringEquals"] for one in choices] == pattern["detail-type"]


def test_other_partitions_have_arns_of_their_own() -> None:
    task = suspension_definition(ARN, partition="aws-us-gov")["States"]["Apply"]
    assert task["Resource"] == "arn:aws-us-gov:states:::lambda:invoke"


# --- Ways through -----------------------------------------------------------------------------


def went(definition: Json, kind: str, **answers: list[Answer]) -> Ended:
    return asl.run(definition, event(kind), Scripted(**answers))


def grace(**answers: list[Answer]) -> Ended:
    return went(SUSPENSION, events.BUDGET_GRACE_STARTED, **answers)


def test_a_grace_period_is_waited_out_before_anything_is_done() -> None:
    ended = grace(check=["act"], verify=["verified"])
    begin = ["Read Event", "What Happened", "Notify", "Wait Until Deadline"]
    assert ended.path == [*begin, "Check Again", "Decide", *ACTING, "Suspended"]
    assert (ended.status, ended.waited) == ("SUCCEEDED", [DEADLINE])


def test_a_deadline_that_moved_is_waited_for_again() -> None:
    ended = grace(check=["wait", "wait", "act"], verify=["verified"])
    assert (ended.state, len(ended.waited)) == ("Suspended", 3)


def test_who_cannot_be_told_is_told_later_and_the_check_says_how_long_to_wait() -> None:
    error = TaskError("ConfigurationError")
    ended = grace(notify=[error], check=["wait", "act"], verify=["verified"])
    assert ended.path[2:6] == ["Notify", "Check Again", "Decide", "Wait Until Deadline"]
    assert ended.state == "Suspended"


def test_a_limit_that_was_raised_ends_the_grace_without_a_trace() -> None:
    ended = grace(check=["stand_down"])
    assert (ended.state, ended.status) == ("Stood Down", "SUCCEEDED")
    assert "Apply" not in ended.path


@BOTH
def test_a_required_act_begins_with_the_check(definition: Json, end: str, kind: str) -> None:
    ended = went(definition, kind, check=["act"], verify=["verified"])
    begin = ["Read Event", "What Happened", "Check Again", "Decide"]
    assert ended.path == [*begin, *ACTING, end]
    assert ended.waited == []


@BOTH
def test_passing_errors_are_tried_again(definition: Json, end: str, kind: str) -> None:
    slow: list[Answer] = [TaskError("TransientError"), TaskError("Lambda.Unknown"), ""]
    ended = went(definition, kind, check=["act"], apply=slow, verify=["verified"])
    assert (ended.path.count("Apply"), ended.state) == (3, end)


@BOTH
@pytest.mark.parametrize("step", ["check", "apply", "verify", "record"])
@pytest.mark.parametrize("error", ["MissingPrincipalError", "FailedError", "TransientError"])
def test_what_goes_on_failing_is_recorded_and_fails(
    definition: Json, end: str, kind: str, step: str, error: str
) -> None:
    answers: dict[str, list[Answer]] = {"check": ["act"], "verify": ["verified"]}
    answers[step] = [TaskError(error, "why")]
    task = Scripted(**answers)
    ended = asl.run(definition, event(kind), task)
    assert (ended.state, ended.status) == ("Failed", "FAILED")
    failure = task.given[-1]
    assert (failure["step"], failure["error"]) == ("fail", {"Error": error, "Cause": "why"})
    assert task.steps.count(step) == (7 if error == "TransientError" else 1)


@BOTH
def test_a_failure_may_be_tried_again_later(definition: Json, end: str, kind: str) -> None:
    apply: list[Answer] = [TaskError("EnforcementError"), ""]
    ended = went(definition, kind, check=["act"], apply=apply, fail=["wait"], verify=["verified"])
    assert (ended.state, ended.waited) == (end, [DEADLINE])
    assert ended.path.count("Check Again") == 2


@BOTH
def test_what_is_not_verified_is_not_recorded(definition: Json, end: str, kind: str) -> None:
    ended = went(definition, kind, check=["act"], verify=["missing"])
    assert (ended.state, ended.status) == ("Failed", "FAILED")
    assert "Record" not in ended.path


@BOTH
def test_what_needs_a_person_ends_so(definition: Json, end: str, kind: str) -> None:
    failing: list[Answer] = [TaskError("NeedsPersonError")]
    ended = went(definition, kind, check=["act"], apply=failing, fail=["needs_person"])
    assert (ended.state, ended.status, ended.error) == ("Needs Person", "FAILED", "NeedsPerson")
    assert went(definition, kind, check=["needs_person"]).state == "Needs Person"


@BOTH
def test_a_failure_that_nobody_could_write_down_fails(
    definition: Json, end: str, kind: str
) -> None:
    broken: list[Answer] = [TaskError("FailedError")]
    ended = went(definition, kind, check=broken, fail=broken)
    assert (ended.state, ended.status) == ("Not Recorded", "FAILED")
    ended = went(definition, kind, check=["stand_down"], stand_down=broken)
    assert (ended.state, ended.status) == ("Not Recorded", "FAILED")


@BOTH
def test_what_is_recorded_is_done_though_it_cannot_be_announced_yet(
    definition: Json, end: str, kind: str
) -> None:
    failing: list[Answer] = [TaskError("FailedError")]
    ended = went(definition, kind, check=["act"], verify=["verified"], announce=failing)
    assert (ended.state, ended.status) == (end, "SUCCEEDED")


@BOTH
def test_a_failure_that_was_overtaken_stands_down(definition: Json, end: str, kind: str) -> None:
    failing: list[Answer] = [TaskError("MissingPrincipalError")]
    ended = went(definition, kind, check=["act"], apply=failing, fail=["stand_down"])
    assert (ended.state, ended.status) == ("Stood Down", "SUCCEEDED")


@BOTH
def test_what_nobody_expects_fails(definition: Json, end: str, kind: str) -> None:
    assert went(definition, "Budget Refreshed").state == "Not Understood"
    ended = went(definition, kind, check=["whatever"])
    assert (ended.state, ended.status) == ("Not Understood", "FAILED")


@BOTH
def test_each_step_is_given_the_event_and_what_the_one_before_left(
    definition: Json, end: str, kind: str
) -> None:
    task = Scripted(check=["act"], verify=["verified"])
    asl.run(definition, event(kind, {"event_id": "e7"}), task, execution="x:1")
    assert task.steps == ["check", "apply", "verify", "record", "announce"]
    befores = [one["work"] for one in task.given]
    assert befores == [{}, *({"step": step} for step in task.steps[:-1])]
    for one in task.given:
        assert (one["kind"], one["detail"]) == (kind, {"event_id": "e7"})
        assert (one["execution"], one["error"]) == ("x:1", {"Error": "", "Cause": ""})
