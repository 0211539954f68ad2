"""The workflows' definitions and the real steps together: IAM in memory, at a test's own time."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec
import pytest

from infra.workflows import restoration_definition, suspension_definition
from tests.calls import DAY, NOON
from tests.infra import asl
from tests.infra.asl import Ended, Json, TaskError
from tests.infra.test_workflows import event
from tests.suspension_world import ALICE, TODAY, USD, World, ambiguous
from worker.adapters.memory_state import MemoryBudgets
from worker.core.budget_events import grace_started
from worker.core.budget_terms import Budget, BudgetPeriod, Scope
from worker.core.enforcement import BudgetStatus
from worker.core.enforcement_names import day_name, status_partition
from worker.core.errors import ConfigurationError, LedgerockError, TransientError
from worker.core.events import (
    BUDGET_GRACE_STARTED,
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SUSPENSION_FAILED,
    SUSPENSION_REQUIRED,
)
from worker.enforcer.workflow import WorkflowSteps
from worker.ports import Record

GRACE_MS = 300_000
SUSPENSION = suspension_definition("arn:aws:lambda:us-east-1:111122223333:function:f")
RESTORATION = restoration_definition("arn:aws:lambda:us-east-1:111122223333:function:f")
PERIOD = BudgetPeriod(TODAY, TODAY, TODAY * DAY, (TODAY + 1) * DAY)
BUDGET = Budget(
    name="monthly",
    scope=Scope("principal", ALICE),
    limit_amount=USD,
    period="daily",
    action="suspend",
    grace_seconds=GRACE_MS // 1000,
)


class Company:
    """A world with one budget, its grace, and workflows.

    Attributes:
        world: Who is held, suspended and restored.
        on_wait: Called for each wait, after the time has passed.
        on_task: Called before each task with its payload; may raise.
    """

    def __init__(self, runner: asyncio.Runner, scope: Scope = BUDGET.scope) -> None:
        self.world = World()
        self.run = runner.run
        self.budgets = MemoryBudgets()
        self.budget = msgspec.structs.replace(BUDGET, scope=scope)
        self.run(self.budgets.put(self.budget))
        self.on_wait: Callable[[], object] = lambda: None
        self.on_task: Callable[[Json], object] = lambda _payload: None
        self.notified = 0

    # --- The budget ---------------------------------------------------------------------------

    def stand(self, state: Any, deadline_ms: int = 0) -> None:
        """Have the budget stand so."""
        records = self.world.records
        key = status_partition("monthly"), day_name(TODAY)
        before = self.run(records.get(*key))
        status = BudgetStatus("monthly", 1, TODAY, PERIOD.end_ms, state, deadline_ms=deadline_ms)
        version = 1 if before is None else before.version + 1
        record = Record(*key, msgspec.json.encode(status), version)
        assert self.run(records.write([record]))

    async def look(self, budget: str, first_day: int) -> None:
        """Do what the monitor does at the deadline of a budget that is still exceeded."""
        assert (budget, first_day) == ("monthly", TODAY)
        if self.budget.scope.kind == "principal":
            await self.world.hold(ALICE)
        records = self.world.records
        [record] = await records.partition(status_partition("monthly"))
        status = msgspec.json.decode(record.body, type=BudgetStatus)
        status = msgspec.structs.replace(status, state="suspended")
        after = msgspec.structs.replace(
            record, body=msgspec.json.encode(status), version=record.version + 1
        )
        assert await records.write([after])

    # --- Executions ---------------------------------------------------------------------------

    def workflow(self, **changes: Any) -> WorkflowSteps:
        parts: dict[str, Any] = {
            "steps": self.world.steps(),
            "budgets": self.budgets,
            "records": self.world.records,
            "clock": self.world,
            "look": self.look,
            "notify": self.notify,
        }
        return WorkflowSteps(**parts | changes)

    async def notify(self) -> None:
        self.notified += 1

    def grace(self) -> Json:
        made = grace_started(self.budget, PERIOD, 5 * USD, self.world.now)
        return event(BUDGET_GRACE_STARTED, json.loads(made.detail))

    def required(self, detail_type: str) -> Json:
        """Return the event that Ledgerock announces by now."""
        return event(detail_type, self.run(self.world.details(detail_type))[-1])

    def execute(self, given: Json, name: str = "one", **changes: Any) -> Ended:
        """Run the workflow that an event starts."""
        is_restoration = given["detail-type"] == RESTORATION_REQUIRED
        workflow = self.workflow(**changes)

        def task(payload: Json) -> Any:
            self.on_task(payload)
            sent = json.loads(json.dumps(payload))
            try:
                answer = self.run(workflow.answer(sent))
            except LedgerockError as error:
                raised = {"errorType": type(error).__name__, "errorMessage": str(error)}
                raise TaskError(type(error).__name__, json.dumps(raised)) from error
            assert answer.keys() == {"decision", "deadline", "work"}
            return json.loads(json.dumps(answer))

        def wait(timestamp: str) -> None:
            at_ms = int(datetime.fromisoformat(timestamp).timestamp() * 1000)
            self.world.now = max(self.world.now, at_ms)
            self.on_wait()

        return asl.run(
            RESTORATION if is_restoration else SUSPENSION,
            given,
            task,
            execution=f"arn:aws:states:us-east-1:111122223333:execution:{name}",
            wait=wait,
        )

    def held(self) -> Json:
        """Hold alice; return the event that this causes."""
        self.run(self.world.hold(ALICE))
        return self.required(SUSPENSION_REQUIRED)

    def told(self) -> list[str]:
        return self.run(self.world.told(ALICE))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture
def company(runner: asyncio.Runner) -> Company:
    return Company(runner)


# --- The grace period ---------------------------------------------------------------------------


def test_grace_is_waited_out_and_then_the_principal_is_suspended(company: Company) -> None:
    company.stand("grace_period", NOON + GRACE_MS)
    company.on_wait = lambda: company.world.is_denied() and pytest.fail("denied too early")
    ended = company.execute(company.grace())
    assert (ended.state, ended.waited) == ("Suspended", ["2026-10-01T12:05:00.000Z"])
    assert company.world.is_denied()
    suspension = company.run(company.world.get())
    assert (suspension.phase, suspension.claim, company.notified) == ("suspended", "", 1)
    assert company.told() == [PRINCIPAL_SUSPENDED, SUSPENSION_REQUIRED]


def test_a_deadline_that_was_not_fixed_or_moved_is_waited_for_again(company: Company) -> None:
    company.stand("grace_period")
    deadlines = iter([NOON + GRACE_MS, NOON + 2 * GRACE_MS])
    company.on_wait = lambda: company.stand("grace_period", next(deadlines, NOON + 2 * GRACE_MS))
    ended = company.execute(company.grace())
    assert ended.state == "Suspended"
    assert ended.waited == [
        "2026-10-01T12:00:00.000Z",
        "2026-10-01T12:05:00.000Z",
        "2026-10-01T12:10:00.000Z",
    ]


@pytest.mark.parametrize("state", ["active", "warning", "critical"])
def test_a_limit_that_was_raised_ends_the_grace(company: Company, state: str) -> None:
    company.stand("grace_period", NOON + GRACE_MS)
    company.on_wait = lambda: company.stand(state)
    ended = company.execute(company.grace())
    assert (ended.state, company.told()) == ("Stood Down", [])
    assert company.world.policies() == company.world.start


def test_a_period_that_is_over_ends_the_grace(company: Company) -> None:
    assert company.execute(company.grace()).state == "Stood Down"


def test_members_of_a_team_have_executions_of_their_own(runner: asyncio.Runner) -> None:
    company = Company(runner, Scope("team", "research"))
    company.stand("grace_period", NOON + GRACE_MS)
    ended = company.execute(company.grace())
    assert (ended.state, ended.waited) == ("Stood Down", ["2026-10-01T12:05:00.000Z"])
    assert company.execute(company.held()).state == "Suspended"


def test_without_a_monitor_at_hand_the_hold_is_waited_for(company: Company) -> None:
    company.stand("grace_period", NOON)
    waits: list[int] = []

    def wait() -> None:
        waits.append(company.world.now)
        if len(waits) == 2:
            company.run(company.look("monthly", TODAY))

    company.on_wait = wait
    ended = company.execute(company.grace(), look=None)
    assert (ended.state, len(ended.waited)) == ("Suspended", 2)


def test_who_cannot_be_told_now_is_suspended_at_the_deadline_all_the_same(
    company: Company,
) -> None:
    async def fail() -> None:
        raise ConfigurationError("no such bus")

    company.stand("grace_period", NOON + GRACE_MS)
    ended = company.execute(company.grace(), notify=fail)
    assert (ended.state, ended.waited) == ("Suspended", ["2026-10-01T12:05:00.000Z"])


# --- Two executions for one principal -------------------------------------------------------------


def test_the_second_execution_finds_it_done(company: Company) -> None:
    company.stand("grace_period", NOON + GRACE_MS)
    assert company.execute(company.grace()).state == "Suspended"
    before = company.world.iam.calls.copy()
    ended = company.execute(company.required(SUSPENSION_REQUIRED), "two")
    assert ended.state == "Stood Down"
    assert company.world.iam.calls == before
    assert company.told().count(PRINCIPAL_SUSPENDED) == 1


@pytest.mark.parametrize("step", ["apply", "verify", "record", "announce"])
def test_an_execution_that_was_stopped_is_finished_by_the_other(
    company: Company, step: str
) -> None:
    class StoppedError(Exception):
        pass

    def stop(payload: Json) -> None:
        if payload["step"] == step and payload["execution"].endswith("one"):
            raise StoppedError

    given = company.held()
    company.on_task = stop
    with pytest.raises(StoppedError):
        company.execute(given)
    ended = company.execute(given, "two")
    assert ended.state == ("Stood Down" if step == "announce" else "Suspended")
    assert company.world.is_denied()
    assert company.told().count(PRINCIPAL_SUSPENDED) == 1


# --- Failures -------------------------------------------------------------------------------------


def test_a_passing_fault_of_iam_is_tried_again_at_once(company: Company) -> None:
    given = company.held()
    faults = iter([TransientError("throttled"), TransientError("throttled")])

    def hook(moment: str, _number: int, _name: str) -> None:
        error = next(faults, None) if moment == "before" else None
        if error is not None:
            raise error

    company.world.iam.hook = hook
    ended = company.execute(given)
    assert (ended.state, ended.failures, ended.waited) == ("Suspended", 2, [])
    assert SUSPENSION_FAILED not in company.told()


def test_who_is_missing_is_told_of_and_tried_again_later(company: Company) -> None:
    given = company.held()
    entities = company.world.iam.entities
    alice = entities.pop(next(key for key in entities if key[2] == "alice"))
    company.on_wait = lambda: company.world.iam.put(alice)
    ended = company.execute(given)
    assert (ended.state, len(ended.waited)) == ("Suspended", 1)
    assert company.world.is_denied()
    [failed] = company.run(company.world.details(SUSPENSION_FAILED))
    assert "alice" in failed["message"]
    assert "errorMessage" not in json.dumps(failed)


def test_what_iam_loses_again_is_never_recorded_as_done(company: Company) -> None:
    given = company.held()
    iam = company.world.iam
    lost: list[int] = []

    def lose(payload: Json) -> None:
        if payload["step"] == "verify" and len(lost) < 3:
            lost.append(1)
            [alice] = [one for one in iam.entities.values() if one.name == "alice"]
            alice.inline = {n: d for n, d in alice.inline.items() if "ledgerock" not in n}
            assert company.run(company.world.get()).phase == "required"

    company.on_task = lose
    ended = company.execute(given)
    assert (ended.state, len(ended.waited)) == ("Suspended", 3)
    assert ended.entered.count("Record Failure") == 3
    assert company.told().count(PRINCIPAL_SUSPENDED) == 1


def test_what_iam_cannot_do_needs_a_person(company: Company) -> None:
    company.world.targets = ambiguous  # type: ignore[assignment, method-assign]
    ended = company.execute(company.held())
    assert (ended.state, ended.error) == ("Needs Person", "NeedsPerson")
    suspension = company.run(company.world.get())
    assert (suspension.phase, suspension.needs_person) == ("required", True)
    [failed] = company.run(company.world.details(SUSPENSION_FAILED))
    assert "its role also serves another" in failed["message"]
    assert company.execute(company.required(SUSPENSION_REQUIRED), "two").state == "Needs Person"


# --- Restoration ----------------------------------------------------------------------------------


def test_a_restoration_leaves_everything_as_it_was(company: Company) -> None:
    company.execute(company.held())
    company.run(company.world.lift())
    ended = company.execute(company.required(RESTORATION_REQUIRED), "two")
    assert ended.state == "Restored"
    assert company.world.policies() == company.world.start
    assert company.told().count(PRINCIPAL_RESTORED) == 1
    again = company.execute(company.required(RESTORATION_REQUIRED), "three")
    assert again.state == "Stood Down"


def test_a_hold_that_is_put_while_restoring_stops_the_restoration(company: Company) -> None:
    company.execute(company.held())
    company.run(company.world.lift())

    def hold(payload: Json) -> None:
        if payload["step"] == "verify":
            company.run(company.world.hold(ALICE, "daily"))

    company.on_task = hold
    ended = company.execute(company.required(RESTORATION_REQUIRED), "two")
    assert ended.state == "Stood Down"
    company.on_task = lambda _payload: None
    assert company.execute(company.required(SUSPENSION_REQUIRED), "three").state == "Suspended"
    assert company.world.is_denied()


# --- What is asked --------------------------------------------------------------------------------


@pytest.mark.parametrize("acts", ["off", "worker"])
def test_workflows_stand_down_where_others_act(company: Company, acts: Any) -> None:
    given = company.held()
    ended = company.execute(given, steps=company.world.steps(acts))
    assert (ended.state, ended.status) == ("Stood Down", "SUCCEEDED")
    assert company.world.policies() == company.world.start


@pytest.mark.parametrize(
    "payload",
    [None, [], {}, {"workflow": "suspension", "step": "dance", "execution": "e", "kind": "k"}],
)
def test_what_is_no_task_is_refused(company: Company, payload: Any) -> None:
    with pytest.raises(ConfigurationError, match="no task of the workflows"):
        company.run(company.workflow().answer(payload))


def test_a_budget_that_is_not_there_is_refused(company: Company) -> None:
    given = company.grace()
    given["detail"]["budget"]["name"] = "another"
    assert company.execute(given).state == "Not Recorded"
