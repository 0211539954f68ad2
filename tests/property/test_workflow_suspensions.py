"""Whatever holds are put and lifted, wherever executions stop: in the end all agree (promise 10).

Random histories of holds, lifts, executions of workflows that are stopped after any step, steps
that are tried again, changes of an agent's roles, and passing time; the monitor does no more than
announce. Once it is quiet, IAM is what the records say, and nobody has anything left of it.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calls import ACCOUNT, asynchronous
from tests.suspension_world import AGENT, ALICE, TODAY, World
from worker.adapters.memory_enforcement import MemoryEntity
from worker.core.errors import TransientError
from worker.core.events import RESTORATION_REQUIRED, SUSPENSION_REQUIRED
from worker.core.suspension import CLAIM_MS, DAILY_MS
from worker.enforcer import ChangedError, StepTask, UnverifiedError
from worker.enforcer.reminders import REMIND_MS

PRINCIPALS = [ALICE, AGENT]
ROLES = ["Helper", "Other"]
STARTS: dict[str, Any] = {SUSPENSION_REQUIRED: "suspension", RESTORATION_REQUIRED: "restoration"}
TIMES = [0, CLAIM_MS, REMIND_MS, DAILY_MS]

STEPS: Any = st.one_of(
    st.tuples(st.just("hold"), st.sampled_from(PRINCIPALS), st.sampled_from(["a", "b"])),
    st.tuples(st.just("lift"), st.sampled_from(PRINCIPALS), st.sampled_from(["a", "b"])),
    st.tuples(st.just("run"), st.integers(0, 4), st.booleans()),
    st.tuples(st.just("pass"), st.sampled_from(TIMES), st.integers(0, 20_000)),
    st.tuples(st.just("role"), st.sampled_from(ROLES), st.just(None)),
    st.tuples(st.just("lose"), st.sampled_from(PRINCIPALS), st.just(None)),
)


class Model:
    """A world with workflows, and what is held in it."""

    def __init__(self, mode: Any) -> None:
        self.world = World(mode=mode)
        self.world.iam.put(MemoryEntity("role", ACCOUNT, "Other"))
        self.start = self.world.policies()
        self.held: dict[str, set[str]] = {one: set() for one in PRINCIPALS}
        self.role = "Helper"
        self.seen: set[str] = set()

    async def step(self, name: str, what: Any, more: Any) -> None:
        await getattr(self, f"do_{name}")(what, more)

    async def do_hold(self, principal: str, budget: str) -> None:
        await self.world.suspensions.hold(principal, self.world.hold_of(budget))
        self.held[principal].add(budget)

    async def do_lift(self, principal: str, budget: str) -> None:
        await self.world.suspensions.lift(principal, budget, TODAY)
        self.held[principal].discard(budget)

    async def do_pass(self, passed_ms: int, more_ms: int) -> None:
        self.world.now += passed_ms + more_ms

    async def do_role(self, role: str, _: Any) -> None:
        """Give the agent another role, which the directory notices."""
        self.role = role
        self.world.agent_roles[AGENT] = [f"arn:aws:iam::{ACCOUNT}:role/{role}"]
        await self.world.suspensions.look_again(AGENT)

    async def do_lose(self, principal: str, _: Any) -> None:
        """Have somebody take away what is ours on whom a principal acts through."""
        for kind, name in self.through(principal):
            inline = self.world.iam.entities[kind, ACCOUNT, name].inline
            for policy in [one for one in inline if one.startswith("ledgerock")]:
                del inline[policy]

    def through(self, principal: str) -> list[tuple[Any, str]]:
        return [("user", "alice")] if principal == ALICE else [("role", self.role)]

    async def do_run(self, length: int, again: bool) -> int:
        """Start whatever was announced; stop each execution after some steps."""
        await self.world.enforcer("workflows").run_due()
        started = 0
        for principal in PRINCIPALS:
            for kind, workflow in STARTS.items():
                for detail in await self.world.details(kind, principal):
                    name = detail["event_id"]
                    if name not in self.seen:
                        self.seen.add(name)
                        started += 1
                        reminder = detail["reminder"]
                        task = StepTask(workflow, principal, name, is_reminder=reminder)
                        await self.execute(task, length, again=again)
        return started

    async def execute(self, task: StepTask, length: int, *, again: bool) -> None:
        steps = self.world.steps()
        if (await steps.check(task)).decision != "act":
            return
        try:
            for step in [steps.apply, *[steps.apply] * again, steps.verify, steps.record][:length]:
                await step(task)
        except (ChangedError, TransientError, UnverifiedError) as error:
            failed = StepTask(
                task.workflow,
                task.principal,
                task.claim,
                type(error).__name__,
                str(error),
                task.is_reminder,
            )
            await steps.fail(failed)

    async def quiet(self) -> None:
        """Let days pass in which nothing else happens, and no execution is stopped."""
        for passed_ms in [CLAIM_MS, *[REMIND_MS] * 4, DAILY_MS, *[REMIND_MS] * 2]:
            self.world.now += passed_ms
            await self.do_run(5, again=False)

    async def check(self) -> None:
        for principal, budgets in self.held.items():
            suspension = await self.world.get(principal)
            assert {one.budget for one in suspension.holds} == budgets
            assert suspension.phase == ("suspended" if budgets else "clear")
            assert (suspension.claim, suspension.left_id) == ("", "")
            assert bool(suspension.due_at_ms) == bool(budgets)
            for kind, name in self.through(principal):
                assert self.world.is_denied(kind, name) == bool(budgets)
        [other] = {"Helper", "Other"} - {self.role}
        assert not self.world.is_denied("role", other)


async def _history(mode: Any, steps: list[tuple[str, Any, Any]]) -> None:
    model = Model(mode)
    for step in steps:
        await model.step(*step)
    await model.quiet()
    await model.check()
    for principal, budgets in model.held.items():
        for budget in sorted(budgets):
            await model.do_lift(principal, budget)
    await model.quiet()
    await model.check()
    assert model.world.policies() == model.start
    model.world.now += 30 * DAILY_MS
    assert await model.do_run(5, again=False) == 0, "nothing is looked at for ever"
    assert not (await model.world.audit.check()).problems


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["deny", "detach"]), st.lists(STEPS, min_size=2, max_size=14))
def test_once_it_is_quiet_holds_records_and_iam_agree_where_workflows_act(
    mode: Any, steps: list[tuple[str, Any, Any]]
) -> None:
    asynchronous(_history)(mode, steps)
