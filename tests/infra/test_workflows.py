"""The workflows' definitions: their shape, and every branch of them, without Step Functions."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from infra import workflows
from infra.workflows import PASSING_ERRORS, Retries, restoration_definition, suspension_definition
from tests.infra import asl
from tests.infra.asl import Json
from tests.infra.branches import BRANCHES, Branch, answer_of
from tests.tidy.sources import read_text
from worker.core import events

ARN = "arn:aws:lambda:us-east-1:111122223333:function:ledgerock-enforcement"
RETRIES = Retries(attempts=2)
SUSPENSION = suspension_definition(ARN, retries=RETRIES)
RESTORATION = restoration_definition(ARN, retries=RETRIES)
BOTH = pytest.mark.parametrize(
    "definition, end",
    [(SUSPENSION, "Suspended"), (RESTORATION, "Restored")],
    ids=["suspension", "restoration"],
)
STARTS = (events.BUDGET_GRACE_STARTED, events.SUSPENSION_REQUIRED, events.RESTORATION_REQUIRED)
EACH = pytest.mark.parametrize("branch", BRANCHES, ids=lambda branch: branch.name)


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
    """Answers steps as a branch says."""

    def __init__(self, branch: Branch) -> None:
        self._answers = {step: list(listed) for step, listed in branch.answers.items()}
        self.given: list[Json] = []

    def __call__(self, payload: Json) -> Any:
        self.given.append(payload)
        listed = self._answers.get(payload["step"], [""])
        answer = listed.pop(0) if len(listed) > 1 else listed[0]
        if isinstance(answer, asl.TaskError):
            raise answer
        return answer_of(answer)


def definition_of(branch: Branch) -> Json:
    return RESTORATION if branch.is_restoration else SUSPENSION


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
def test_every_state_is_reached_and_every_way_leads_to_a_state(definition: Json, end: str) -> None:
    assert reached(definition) == definition["States"].keys()


@BOTH
@pytest.mark.parametrize("state", ["Check Again", "Apply", "Verify", "Is It Verified", "Record"])
def test_nothing_ends_as_done_without_acting_verifying_and_recording(
    definition: Json, end: str, state: str
) -> None:
    assert end not in reached(definition, without=state)


@BOTH
def test_every_task_is_retried_and_caught(definition: Json, end: str) -> None:
    tasks = [one for one in definition["States"].values() if one["Type"] == "Task"]
    assert tasks
    for state in tasks:
        [retry] = state["Retry"]
        assert set(retry["ErrorEquals"]) == set(PASSING_ERRORS)
        assert (retry["MaxAttempts"], retry["BackoffRate"], retry["JitterStrategy"]) == (
            2,
            2,
            "FULL",
        )
        assert [one["ErrorEquals"] for one in state["Catch"]] == [["States.ALL"]]
        assert state["TimeoutSeconds"] > 0
        assert state["Parameters"]["FunctionName"] == ARN


@BOTH
def test_every_choice_has_a_default_that_takes_nothing_for_granted(
    definition: Json, end: str
) -> None:
    states = definition["States"]
    defaults = {one["Default"] for one in states.values() if one["Type"] == "Choice"}
    assert defaults == {"Not Understood", "Record Failure", "Failed"}


@BOTH
def test_only_what_is_done_or_needs_nothing_succeeds(definition: Json, end: str) -> None:
    kinds = {name: state["Type"] for name, state in definition["States"].items()}
    assert {name for name, its in kinds.items() if its == "Succeed"} == {end, "Stood Down"}
    ends = {name for name, following in ways(definition).items() if not following}
    assert ends == {name for name, its in kinds.items() if its in {"Succeed", "Fail"}}


@BOTH
def test_the_branches_that_are_tested_take_every_way_that_there_is(
    definition: Json, end: str
) -> None:
    taken = {
        pair
        for branch in BRANCHES
        if definition_of(branch) is definition
        for path in [["Read Event", "What Happened", *branch.path]]
        for pair in pairwise(path)
    }
    every = {(name, one) for name, following in ways(definition).items() for one in following}
    assert taken == every


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


def test_the_page_on_the_workflows_names_every_end() -> None:
    page = read_text(Path("docs/workflows.md"))
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    described = {name: row[1].strip() for row in rows for name in re.findall(r"`([^`]+)`", row[0])}
    ends = {
        name: "succeeded" if state["Type"] == "Succeed" else "failed"
        for definition in (SUSPENSION, RESTORATION)
        for name, state in definition["States"].items()
        if state["Type"] in {"Succeed", "Fail"}
    }
    assert ends.items() <= described.items()
    assert {*STARTS} <= described.keys()


# --- Branches ---------------------------------------------------------------------------------


@EACH
def test_branch(branch: Branch) -> None:
    ended = asl.run(definition_of(branch), event(branch.kind), Scripted(branch))
    assert ended.entered == ["Read Event", "What Happened", *branch.path]
    assert (ended.status, ended.failures) == (branch.status, branch.failures)


@pytest.mark.parametrize("name", ["SuspensionDone", "RestorationDone"])
def test_each_step_is_given_the_event_and_what_the_one_before_left(name: str) -> None:
    [branch] = [one for one in BRANCHES if one.name == name]
    task = Scripted(branch)
    asl.run(definition_of(branch), event(branch.kind, {"event_id": "e7"}), task, execution="x:1")
    steps = [one["step"] for one in task.given]
    assert steps == ["check", "apply", "verify", "record", "announce"]
    assert [one["work"] for one in task.given] == [{}, *([{"claim": "c1"}] * 4)]
    for one in task.given:
        assert (one["kind"], one["detail"]) == (branch.kind, {"event_id": "e7"})
        assert (one["execution"], one["error"]) == ("x:1", {"Error": "", "Cause": ""})
        assert one["workflow"] == ("restoration" if branch.is_restoration else "suspension")


@pytest.mark.parametrize("name", ["SuspensionApplyFails", "RestorationNeedsPerson"])
def test_a_failure_is_recorded_with_its_error(name: str) -> None:
    [branch] = [one for one in BRANCHES if one.name == name]
    task = Scripted(branch)
    asl.run(definition_of(branch), event(branch.kind), task)
    [error] = branch.answers["apply"]
    assert isinstance(error, asl.TaskError)
    assert task.given[-1]["step"] == "fail"
    assert task.given[-1]["error"] == {"Error": error.name, "Cause": error.cause}
