"""The function of the workflows: plain JSON, errors by their names, nothing as if it were done."""

import asyncio
import json
from typing import Any

import pytest

from handlers import enforcement
from handlers.runtime import DeferredError
from infra.workflows import PASSING_ERRORS
from tests.cloudwatch import seen, series_of
from tests.handlers.conftest import Start
from tests.handlers.lambdas import ScriptedPipeline, context, opener, scripted
from tests.suspension_world import ALICE, World
from worker.adapters.memory_state import MemoryBudgets
from worker.bootstrap import Booking
from worker.core.errors import ConfigurationError, MissingPrincipalError, TransientError
from worker.core.events import SUSPENSION_REQUIRED
from worker.enforcer import ChangedError, Enforced
from worker.enforcer.workflow import WorkflowSteps


def task(step: str, **changes: Any) -> dict[str, Any]:
    return {
        "workflow": "suspension",
        "step": step,
        "execution": "arn:aws:states:us-east-1:111122223333:execution:suspension:one",
        "kind": SUSPENSION_REQUIRED,
        "detail": {"principal": ALICE},
        "work": {},
        "error": {"Error": "", "Cause": ""},
    } | changes


def function(workflow: Any) -> Booking:
    booking = scripted(ScriptedPipeline())
    object.__setattr__(booking, "workflow", workflow)
    return booking


def invoke(payload: Any, seconds: float = 30.0) -> dict[str, Any]:
    answer = enforcement.handler(payload, context(seconds))
    assert answer is not None
    copied: dict[str, Any] = json.loads(json.dumps(answer))
    return copied


class Script:
    """Answers, or raises."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def answer(self, _payload: object) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        await asyncio.sleep(0 if self._answer is not None else 60)
        return self._answer

    def take_figures(self) -> Enforced:
        return Enforced(failed=1)


def test_each_step_is_answered_in_plain_json_and_what_is_recorded_is_measured(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World()
    steps = WorkflowSteps(
        steps=world.steps(), budgets=MemoryBudgets(), records=world.records, clock=world
    )
    process = start(opener(function(steps)))
    process._runner.run(world.hold(ALICE))
    decisions = []
    capsys.readouterr()
    for step in ("check", "apply", "verify", "record", "announce", "record"):
        answer = invoke(task(step))
        assert answer.keys() == {"decision", "deadline", "work"}
        assert answer["work"]["principal"] == ALICE
        decisions.append(answer["decision"])
    assert decisions == ["act", "applied", "verified", "recorded", "announced", "recorded"]
    series = series_of(capsys.readouterr().out.splitlines())
    assert seen(series, "suspensions") == [1]
    # Of the world's hold: the limit was found reached two seconds before it was put.
    assert seen(series, "crossing_to_denied_seconds") == [2]
    assert seen(series, "hold_to_denied_seconds") == [0]
    assert seen(series, "suspensions_failed") is None
    assert world.is_denied()
    assert invoke(task("check"))["decision"] == "stand_down"


@pytest.mark.parametrize(
    "error",
    [
        TransientError("throttled"),
        MissingPrincipalError("there is no alice"),
        ChangedError("the opposite is wanted"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_keep_their_names_which_workflows_tell_them_by(
    start: Start, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    start(opener(function(Script(error))))
    with pytest.raises(type(error), match=str(error)):
        invoke(task("apply"))
    series = series_of(capsys.readouterr().out.splitlines())
    assert seen(series, "suspensions_failed") == [1]


def test_an_error_that_nobody_expected_quotes_nobody(start: Start) -> None:
    start(opener(function(Script(KeyError("secret")))))
    with pytest.raises(Exception, match="KeyError at") as raised:
        invoke(task("apply"))
    assert (type(raised.value).__name__, "secret" in str(raised.value)) == ("FailedError", False)


def test_a_step_that_takes_too_long_is_done_again(start: Start) -> None:
    start(opener(function(Script(None))))
    with pytest.raises(DeferredError):
        invoke(task("apply"), seconds=0.3)
    assert {TransientError.__name__, DeferredError.__name__} <= set(PASSING_ERRORS)


def test_what_is_no_task_is_refused(start: Start) -> None:
    world = World()
    steps = WorkflowSteps(
        steps=world.steps(), budgets=MemoryBudgets(), records=world.records, clock=world
    )
    start(opener(function(steps)))
    with pytest.raises(ConfigurationError, match="no task of the workflows"):
        invoke({"Records": []})


@pytest.mark.parametrize("step", ["notify", "check", "apply", "verify", "record", "fail"])
def test_where_others_act_every_step_stands_down(start: Start, step: str) -> None:
    start(opener(function(None)))
    answer = invoke(task(step))
    assert answer["decision"] == "stand_down"
    assert answer["deadline"] < "2000"
