"""Whatever holds are put and lifted, whoever is killed or slow: in the end, all agree (promise 10).

Random histories of holds, lifts, workers that run at once, are killed or stop for longer than their
claim, and passing time. Once it is quiet: nobody is suspended without a hold, or free with one, IAM
is what the records say, and policies are exactly as they began where nobody is held.
"""

import asyncio
import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calls import ACCOUNT, asynchronous
from tests.suspension_world import AGENT, ALICE, TODAY, KilledError, World
from worker.core.errors import TransientError
from worker.core.events import (
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SUSPENSION_REQUIRED,
)
from worker.core.suspension import CLAIM_MS, RECHECK_MS
from worker.enforcer import Snapshots
from worker.ports import Order

PRINCIPALS = [ALICE, AGENT]
BUDGETS = ["daily", "monthly", "manual"]
WHOM = st.sampled_from([ALICE, ALICE, AGENT, ""])
MOMENTS = st.integers(1, 30)

STEPS: Any = st.one_of(
    st.tuples(st.just("hold"), st.sampled_from(PRINCIPALS), st.sampled_from(BUDGETS)),
    st.tuples(st.just("lift"), st.sampled_from(PRINCIPALS), st.sampled_from(BUDGETS)),
    st.tuples(st.just("run"), st.integers(1, 4), st.just(None)),
    st.tuples(st.just("killed"), WHOM, MOMENTS),
    st.tuples(st.just("lost"), WHOM, MOMENTS),
    st.tuples(st.just("slow"), WHOM, MOMENTS),
    st.tuples(st.just("pass"), st.integers(0, CLAIM_MS), st.just(None)),
)


def _stories(name: str) -> Any:
    """Return histories in which a worker is killed, or slow, while the wind changes around it."""
    one, other = st.sampled_from([("daily", "monthly"), ("monthly", "manual")]), st.booleans()

    def story(budgets: tuple[str, str], number: int, late: bool, again: bool, ran: bool) -> Any:
        hold, lift = ("hold", ALICE, budgets[0]), ("lift", ALICE, budgets[0])
        run, free = ("run", 1, None), ("free", None, None)
        faulty = (name, ALICE, number)
        passed = ("pass", CLAIM_MS, None)
        begun = [hold, run, lift, faulty, passed, run] if late else [hold, faulty, passed, run]
        turned = [] if late else [lift, run]
        back = [("hold", ALICE, budgets[1])] if again else []
        return [*begun, *turned, *back, *([run] if ran else []), free]

    return st.builds(story, one, MOMENTS, other, other, other)


HISTORIES = st.lists(
    st.one_of(STEPS.map(lambda step: [step]), _stories("slow"), _stories("killed")),
    min_size=2,
    max_size=8,
).map(lambda parts: [step for part in parts for step in part])


class Model:
    """A world, and what is held in it."""

    def __init__(self, mode: Any) -> None:
        self.world = World(mode=mode)
        self.held: dict[str, set[str]] = {one: set() for one in PRINCIPALS}
        self.slow: list[tuple[int, asyncio.Event, asyncio.Task[None]]] = []

    async def step(self, name: str, what: Any, more: Any) -> None:
        world = self.world
        if name == "hold":
            is_new = await world.suspensions.hold(what, world.hold_of(more))
            assert is_new == (more not in self.held[what])
            self.held[what].add(more)
        elif name == "lift":
            was_there = await world.suspensions.lift(what, more, TODAY)
            assert was_there == (more in self.held[what])
            self.held[what].discard(more)
        elif name == "run":
            await world.run(what)
        elif name == "pass":
            await self.wait(what)
        else:
            await getattr(self, name)(what, more)

    async def work(self, principal: str) -> None:
        enforcer = self.world.enforcer()
        await (enforcer.act_now(principal) if principal else enforcer.run_due())

    async def killed(self, principal: str, number: int) -> None:
        """Kill a worker at a moment; nobody knows that it is dead."""
        faults = self.world.faults
        faults.kill(faults.moments + number)
        with contextlib.suppress(KilledError, BaseExceptionGroup):
            await self.work(principal)
        faults.at.clear()

    async def lost(self, principal: str, number: int) -> None:
        """Let the answer of one call or write be lost."""

        def fail() -> None:
            raise TransientError("the connection was reset")

        faults = self.world.faults
        faults.at[faults.moments + number] = fail
        with contextlib.suppress(TransientError):
            await self.work(principal)
        faults.at.clear()

    async def slow_(self, principal: str, number: int) -> None:
        faults = self.world.faults
        gate = faults.stop(faults.moments + number)
        task = asyncio.create_task(self.work(principal))
        for _ in range(120):
            await asyncio.sleep(0)
        faults.at.clear()
        self.slow.append((self.world.now, gate, task))

    async def wait(self, passed_ms: int) -> None:
        """Let time pass; who is slow is not so slow that nobody reckons with it any more."""
        self.world.now += passed_ms
        for since, gate, task in self.slow:
            if self.world.now - since > RECHECK_MS - CLAIM_MS:
                gate.set()
                with contextlib.suppress(TransientError):
                    await task

    async def free(self, *_whom: Any) -> None:
        """Let whoever is slow go on."""
        for _, gate, task in self.slow:
            gate.set()
            with contextlib.suppress(TransientError):
                await task

    async def quiet(self) -> None:
        await self.free()
        self.world.now += CLAIM_MS
        await self.world.settle()

    async def check(self) -> None:
        world = self.world
        for principal in PRINCIPALS:
            suspension = await world.get(principal)
            assert {one.budget for one in suspension.holds} == self.held[principal]
            assert suspension.phase == ("suspended" if self.held[principal] else "clear")
            assert (suspension.claim, suspension.failure) == ("", "")
            kept = (await Snapshots(world.records).of(suspension)).values()
            order = Order(suspension.suspension_id, world.mode, principal)
            if self.held[principal]:
                [snapshot] = kept
                assert not await world.enforcement.unsuspended(order, snapshot)
            key = ("user", "alice") if principal == ALICE else ("role", "Helper")
            if not self.held[principal]:
                entity = key[0], ACCOUNT, key[1]
                assert world.policies()[entity] == world.start[entity]
            assert world.is_denied(*key) == bool(self.held[principal])
            await self.check_told(principal)

    async def check_told(self, principal: str) -> None:
        suspension = await self.world.get(principal)
        told = await self.world.told(principal)
        assert told.count(SUSPENSION_REQUIRED) == suspension.number
        lifted = suspension.number - bool(self.held[principal])
        assert told.count(RESTORATION_REQUIRED) == lifted
        assert lifted >= told.count(PRINCIPAL_RESTORED)
        assert suspension.number >= told.count(PRINCIPAL_SUSPENDED)
        if suspension.number:
            # Of what went to and fro before anybody acted, the end is told at least.
            details = await self.world.details(
                PRINCIPAL_SUSPENDED if self.held[principal] else PRINCIPAL_RESTORED, principal
            )
            assert suspension.number in {one["suspension"]["number"] for one in details}


async def _history(mode: Any, steps: list[tuple[str, Any, Any]]) -> None:
    model = Model(mode)
    for step in steps:
        name = "slow_" if step[0] == "slow" else step[0]
        await model.step(name, step[1], step[2])
    await model.quiet()
    await model.check()
    for principal, budgets in model.held.items():
        for budget in sorted(budgets):
            await model.step("lift", principal, budget)
    await model.quiet()
    await model.check()
    assert model.world.policies() == model.world.start
    assert not (await model.world.audit.check()).problems


@settings(max_examples=2 * settings().max_examples)
@given(st.sampled_from(["deny", "detach"]), HISTORIES)
def test_once_it_is_quiet_holds_records_and_iam_agree(
    mode: Any, steps: list[tuple[str, Any, Any]]
) -> None:
    asynchronous(_history)(mode, steps)
