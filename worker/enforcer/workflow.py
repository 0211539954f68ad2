"""What a workflow's tasks ask for, as plain JSON, and what they are answered.

An execution begins with one of two kinds of events. `Principal Suspension Required` and
`Principal Restoration Required` name a principal: `Steps` do the rest. `Budget Grace Period
Started` names a budget: until the deadline there is nothing to do, and then the monitor's look at
that budget puts the hold, or finds that there is no reason any more. From then on a principal's own
budget goes on as above. The members of a team or pool get holds of their own, each with an event
of its own, so that the budget's execution stands down.

step      of a grace period                                               else
notify    tells people of what is due; `wait` until the deadline          -
check     `wait` as long as the grace lasts; `stand_down` if it is over   as `Steps.check`
others    as of its principal                                             as `Steps`
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any, Final, Literal

import msgspec

from worker.core.budget_terms import GROUP_KINDS, Budget
from worker.core.enforcement import BudgetStatus
from worker.core.enforcement_names import day_name, status_partition
from worker.core.errors import ConfigurationError
from worker.core.events import BUDGET_GRACE_STARTED, iso
from worker.enforcer.figures import Enforced
from worker.enforcer.steps import StepAnswer, Steps, StepTask, Workflow
from worker.ports import BudgetStore, Clock, Records

StepName = Literal["notify", "check", "apply", "verify", "record", "announce", "stand_down", "fail"]

WAIT_MS: Final = 15_000
"""How long to wait for whoever is about to do something: fix the deadline, put the hold."""
_EPOCH: Final = date(1970, 1, 1)
_decode_status: Final = msgspec.json.Decoder(BudgetStatus).decode


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Period(msgspec.Struct, frozen=True):
    first_day: date = _EPOCH


class _Detail(msgspec.Struct, frozen=True):
    """What is read of the detail of the event that started an execution."""

    principal: str = ""
    reminder: bool = False
    budget: _Named = _Named()
    period: _Period = _Period()


class _Error(msgspec.Struct, frozen=True):
    """An error's output (AWS documentation: "Handling errors in Step Functions workflows")."""

    name: str = msgspec.field(name="Error", default="")
    cause: str = msgspec.field(name="Cause", default="")


class _Raised(msgspec.Struct, frozen=True):
    """What Lambda says of an error that a function raised, which is JSON in `Cause`."""

    message: str = msgspec.field(name="errorMessage")


class Request(msgspec.Struct, frozen=True):
    """What a task is given; see `infra.workflows`.

    Attributes:
        workflow: Which one asks.
        step: What is to be done.
        execution: ARN of the execution: its claim.
        kind: Detail type of the event that started it.
        detail: That event's detail.
        error: The last error that was caught.
    """

    workflow: Workflow
    step: StepName
    execution: str
    kind: str
    detail: _Detail
    error: _Error = _Error()


class WorkflowSteps:
    """Answers the tasks of workflows.

    Args:
        steps: Act on one principal.
        budgets: Say on whom a budget is.
        records: Say how a budget stands.
        clock: Ledger time.
        look: Has the monitor look at a budget and a first day at once; None leaves that to it.
        notify: Tells people of what is due; None leaves that to whoever announces.
    """

    def __init__(
        self,
        *,
        steps: Steps,
        budgets: BudgetStore,
        records: Records,
        clock: Clock,
        look: Callable[[str, int], Awaitable[object]] | None = None,
        notify: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Do nothing yet."""
        self._steps = steps
        self._budgets = budgets
        self._records = records
        self._clock = clock
        self._look = look
        self._notify = notify

    def take_figures(self) -> Enforced:
        """Return what was recorded since the last time."""
        return self._steps.take_figures()

    async def answer(self, payload: object) -> dict[str, Any]:
        """Do what a task asks for.

        Returns:
            `decision`; `deadline`, until when a `wait` lasts, else empty; `work`, for people who
            look at the execution.

        Raises:
            ConfigurationError: The payload is none of a workflow's.
            LedgerockError: As `Steps` raise; the workflow tells errors apart by their names.
        """
        try:
            request = msgspec.convert(payload, Request)
        except msgspec.ValidationError as error:
            message = f"this is no task of the workflows of `infra.workflows`: {error}"
            raise ConfigurationError(message) from error
        budget = None
        if request.kind == BUDGET_GRACE_STARTED:
            budget = await self._budget(request)
        answer = await self._answer(request, budget)
        return {
            "decision": answer.decision,
            "deadline": iso(answer.deadline_ms) if answer.decision == "wait" else "",
            "work": {
                "principal": _principal(request, budget),
                "suspension": answer.suspension_id,
                "phase": answer.phase,
                "reason": answer.reason,
            },
        }

    async def _answer(self, request: Request, budget: Budget | None) -> StepAnswer:
        if request.step in {"notify", "check"} and budget is not None:
            waits = await self._grace(request, budget)
            if waits is not None:
                return waits
        task = StepTask(
            workflow=request.workflow,
            principal=_principal(request, budget),
            claim=request.execution,
            error=request.error.name,
            cause=_cause(request.error.cause),
            is_reminder=request.detail.reminder,
        )
        match request.step:
            case "notify" | "check":
                return await self._steps.check(task)
            case "apply":
                return await self._steps.apply(task)
            case "verify":
                return await self._steps.verify(task)
            case "record":
                return await self._steps.record(task)
            case "announce":
                return await self._steps.announce(task)
            case "fail":
                return await self._steps.fail(task)
            case "stand_down":
                return await self._steps.stand_down(task)

    # --- The grace period ---------------------------------------------------------------------

    async def _grace(self, request: Request, budget: Budget) -> StepAnswer | None:
        """Say whether to wait or to stand down; None once the principal is to be suspended."""
        if request.step == "notify" and self._notify is not None:
            await self._notify()
        first_day = (request.detail.period.first_day - _EPOCH).days
        status = await self._status(budget, first_day)
        now_ms = self._clock.now_ms()
        if request.step == "notify":
            deadline_ms = now_ms if status is None else max(status.deadline_ms, now_ms)
            return StepAnswer("wait", deadline_ms=deadline_ms)
        if _is_due(status, now_ms) and self._look is not None:
            await self._look(budget.name, first_day)
            status = await self._status(budget, first_day)
        if status is None or status.is_closed:
            return StepAnswer("stand_down", reason=f"budget {budget.name}: the period is over")
        if status.state == "grace_period":
            # A deadline that is not fixed yet, or that the monitor is just about to act on.
            lasts = status.deadline_ms > now_ms
            deadline_ms = status.deadline_ms if lasts else now_ms + WAIT_MS
            return StepAnswer("wait", deadline_ms=deadline_ms, reason="the grace period lasts")
        if status.state != "suspended":
            reason = f"budget {budget.name} is {status.state}: its limit is not reached any more"
            return StepAnswer("stand_down", reason=reason)
        if budget.scope.kind in GROUP_KINDS:
            reason = f"each member of {budget.scope} has an event of its own"
            return StepAnswer("stand_down", reason=reason)
        return None

    async def _budget(self, request: Request) -> Budget:
        budget = await self._budgets.find(request.detail.budget.name)
        if budget is None:
            message = f"budget {request.detail.budget.name!r}: there is none in this ledger"
            raise ConfigurationError(message)
        return budget

    async def _status(self, budget: Budget, first_day: int) -> BudgetStatus | None:
        record = await self._records.get(status_partition(budget.name), day_name(first_day))
        return None if record is None else _decode_status(record.body)


def _is_due(status: BudgetStatus | None, now_ms: int) -> bool:
    """Whether the monitor has something to do: fix the deadline, or look at it again."""
    in_grace = status is not None and status.state == "grace_period"
    return in_grace and status is not None and status.deadline_ms <= now_ms


def _principal(request: Request, budget: Budget | None) -> str:
    return request.detail.principal if budget is None else budget.scope.id


def _cause(cause: str) -> str:
    """Return the message of an error, without the stack trace that Lambda adds."""
    try:
        return msgspec.json.decode(cause, type=_Raised).message
    except msgspec.DecodeError:
        return cause
