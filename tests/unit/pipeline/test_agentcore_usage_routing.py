"""What an agent's role spends is the agent's, from when it had the role; else the role's."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import pytest

from tests.calls import ACCOUNT, NOON, asynchronous
from tests.lifecycle import (
    AGENT,
    OTHER_AGENT,
    OTHER_ROLE_ARN,
    ROLE,
    ROLE_ARN,
    USER,
    create_runtime,
    delete_runtime,
    update_runtime,
)
from tests.records import event, log
from tests.unit.pipeline.directory_world import COST, World, role_log
from worker.adapters.memory_ledger import MemoryLedger
from worker.core.errors import TransientError
from worker.core.ledger import Entry
from worker.core.registry import Agent, Registry, TrustRule
from worker.core.results import DeliveryResult
from worker.pipeline.directory import REFRESH_SECONDS
from worker.pipeline.rechecks import STALE_SECONDS
from worker.ports import Rebooking

OTHER_ROLE = f"role/{ACCOUNT}/scribe-role"
SCRIBE = "scribe-f6g7h8i9j0"
SECOND = 1_000
MINUTE = 60 * SECOND


@asynchronous
async def test_agentcore_usage_by_role_goes_to_the_agent_of_the_same_batch() -> None:
    world = World()
    await world.send(world.worker(), role_log(1, at_ms=NOON + SECOND), create_runtime(2))
    assert await world.costs() == {AGENT: COST}
    assert await world.costs("agent") == {AGENT: COST}
    assert await world.costs("identity") == {ROLE: COST}


@asynchronous
async def test_agentcore_role_is_read_from_cloudtrail_with_its_path() -> None:
    elsewhere = f"arn:aws:iam::{ACCOUNT}:role/other/scout-role"
    world = World()
    worker = world.worker()
    await world.send(worker, create_runtime(9))
    for number, arn in ((1, ROLE_ARN), (2, elsewhere)):
        issuer = {"type": "Role", "arn": arn, "principalId": "AROAONE"}
        who = {
            "type": "AssumedRole",
            "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/scout-role/s",
            "principalId": "AROAONE:s",
            "sessionContext": {"sessionIssuer": issuer},
        }
        await world.send(worker, event(number, (1_000, 500), userIdentity=who))
    assert await world.costs() == {AGENT: COST, ROLE: COST}


@asynchronous
async def test_agentcore_usage_without_an_agent_falls_back_to_the_identity() -> None:
    world = World()
    calls = [role_log(1, "somebody"), log(2), role_log(3, at_ms=NOON - SECOND)]
    await world.send(world.worker(), create_runtime(9), *calls)
    assert await world.costs() == {f"role/{ACCOUNT}/somebody": COST, USER: COST, ROLE: COST}


@asynchronous
async def test_agentcore_usage_before_registration_is_rebooked_to_the_last_cent() -> None:
    world = World()
    worker = world.worker()
    before = [role_log(number, at_ms=NOON - SECOND) for number in (1, 2)]
    after = [role_log(number, at_ms=NOON + number * SECOND) for number in (3, 4, 5)]
    await world.send(worker, *before, *after, log(6))
    assert await world.costs() == {ROLE: 5 * COST, USER: COST}
    await world.send(worker, create_runtime(9))
    # 2 calls before the agent was there, 3 since: 0.0048 and 0.0072 USD.
    assert COST == 2_400_000_000
    assert await world.costs() == {ROLE: 4_800_000_000, AGENT: 7_200_000_000, USER: 2_400_000_000}


EVENTS = [
    create_runtime(9),
    update_runtime(10, role=OTHER_ROLE_ARN, at_ms=NOON + 2 * MINUTE),
    delete_runtime(11, at_ms=NOON + 4 * MINUTE),
]
CALLS = [
    role_log(number, role, at_ms=NOON + number * MINUTE + SECOND)
    for number, role in enumerate(
        ["scout-role", "scout-role", "scout-role", "scribe-role", "scribe-role", "scribe-role"]
    )
]


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))], ids=str)
@pytest.mark.parametrize("usage_at", range(4))
@asynchronous
async def test_agentcore_usage_ends_up_the_same_in_any_order(
    order: tuple[int, ...], usage_at: int
) -> None:
    world = World()
    workers = itertools.cycle([world.worker(), world.worker()])
    told = [EVENTS[number] for number in order]
    for place in range(4):
        if place == usage_at:
            await world.send(next(workers), *CALLS)
        if place < 3:
            await world.send(next(workers), told[place])
            world.wait(REFRESH_SECONDS)
    for _ in range(4):
        world.wait(STALE_SECONDS)
        await next(workers).keep_up()
    # Minutes 0 and 1 under the first role, 3 under the second. The others are the roles' own:
    # 2 (the agent had left that role), 4 and 5 (it was gone).
    assert await world.costs() == {AGENT: 3 * COST, ROLE: COST, OTHER_ROLE: 2 * COST}


@asynchronous
async def test_agentcore_usage_of_a_shared_role_is_split_by_nobody() -> None:
    world = World()
    worker = world.worker()
    await world.send(worker, create_runtime(9), role_log(1, at_ms=NOON + SECOND))
    assert await world.costs() == {AGENT: COST}
    shared = create_runtime(10, SCRIBE, at_ms=NOON + MINUTE)
    await world.send(worker, role_log(2, at_ms=NOON + 2 * MINUTE), shared)
    assert await world.costs() == {AGENT: COST, ROLE: COST}
    [posting] = [
        one.posting
        async for chunk in world.ledger.scan()
        for one in chunk
        if one.posting.leaf.principal == ROLE
    ]
    assert posting.leaf.agent == ""
    [entry] = await world.ledger.find("00000002-0000-4000-8000-000000000002")
    reason = worker.poster.attribution(entry.evidence).reason
    assert reason == f"role scout-role is shared by agents {AGENT}, {OTHER_AGENT}"
    # Once the other one is gone, the role is the first one's again.
    await world.send(worker, delete_runtime(11, SCRIBE, at_ms=NOON + 3 * MINUTE))
    await world.send(worker, role_log(3, at_ms=NOON + 4 * MINUTE))
    assert await world.costs() == {AGENT: 2 * COST, ROLE: COST}


@asynchronous
async def test_multi_agentcore_concurrent_usage_is_kept_apart_to_the_last_digit() -> None:
    world = World()
    workers = [world.worker() for _ in range(4)]
    scribe = create_runtime(900, SCRIBE, OTHER_ROLE_ARN)
    await world.send(workers[0], create_runtime(901), scribe)
    world.wait(REFRESH_SECONDS)
    jobs = []
    for number in range(40):
        role = ("scout-role", "scribe-role")[number % 4 == 0]
        tokens = (1_000 + number, 500)
        record = role_log(number, role, tokens=tokens, at_ms=NOON + number * SECOND)
        jobs.append(world.send(workers[number % 3], record))
        jobs.append(world.send(workers[3], record))  # every call twice, through another worker
    await asyncio.gather(*jobs)
    # Scribe: numbers 0, 4, ..., 36: 10 calls, 10 x 1,000 + 180 tokens in. Scout: 30 calls,
    # 30,000 + (780 - 180) in. 0.8 USD a million in, 500 out at 3.2 each.
    scribes = 10_180 * 800_000 + 10 * 500 * 3_200_000
    scouts = 30_600 * 800_000 + 30 * 500 * 3_200_000
    assert (scribes, scouts) == (24_144_000_000, 72_480_000_000)
    assert await world.costs() == {OTHER_AGENT: scribes, AGENT: scouts}


@asynchronous
async def test_a_worker_that_has_not_heard_of_an_agentcore_agent_is_put_right() -> None:
    world = World()
    learned, stale = world.worker(), world.worker()
    await stale.keep_up()
    await world.send(learned, create_runtime(9))
    await world.send(stale, role_log(1, at_ms=NOON + SECOND))  # within its five seconds
    assert await world.costs() == {ROLE: COST}
    world.wait(REFRESH_SECONDS)
    await world.send(stale, role_log(2, at_ms=NOON + SECOND))
    assert await world.costs() == {AGENT: 2 * COST}


@asynchronous
async def test_what_a_worker_booked_before_it_died_is_put_right_by_another() -> None:
    world = World()
    learned, stale = world.worker(), world.worker()
    await stale.keep_up()
    await world.send(learned, create_runtime(9))
    await world.send(stale, role_log(1, at_ms=NOON + SECOND))  # and dies, never to ask again
    world.wait(REFRESH_SECONDS)
    await learned.keep_up()
    world.wait(STALE_SECONDS)
    await learned.keep_up()
    assert await world.costs() == {AGENT: COST}


@asynchronous
async def test_a_worker_that_starts_looks_at_what_changed_shortly_before() -> None:
    world = World()
    learned, stale = world.worker(), world.worker()
    await stale.keep_up()
    await world.send(learned, create_runtime(9))
    await world.send(stale, role_log(1, at_ms=NOON + SECOND))
    started = world.worker()  # both others are dead
    await started.keep_up()
    world.wait(STALE_SECONDS + REFRESH_SECONDS)
    await started.keep_up()
    assert await world.costs() == {AGENT: COST}


class Failing(MemoryLedger):
    """Fails to rebook as often as it is told to, before or after it did."""

    def __init__(self) -> None:
        super().__init__()
        self.before = self.after = 0
        self.looked = 0

    async def rebook(self, rebookings: Sequence[Rebooking]) -> int:
        if self.before:
            self.before -= 1
            raise TransientError("throttled")
        done = await super().rebook(rebookings)
        if self.after:
            self.after -= 1
            raise TransientError("connection reset")
        return done

    def booked(self, identities: Collection[str], from_ms: int) -> AsyncIterator[Sequence[Entry]]:
        self.looked += 1
        return super().booked(identities, from_ms)


@pytest.mark.parametrize("when", ["before", "after"])
@asynchronous
async def test_an_agentcore_rebooking_that_fails_is_finished_when_the_event_comes_again(
    when: str,
) -> None:
    world = World()
    world.ledger = ledger = Failing()
    await world.send(world.worker(), role_log(1, at_ms=NOON + SECOND))
    setattr(ledger, when, 1)
    delivery = world.delivery(create_runtime(9))
    [done] = await world.worker().process([delivery])
    assert done.result is DeliveryResult.DEFERRED
    [done] = await world.worker().process([delivery])  # by another worker
    assert done.result is DeliveryResult.ACKNOWLEDGED
    assert await world.costs() == {AGENT: COST}


@asynchronous
async def test_nothing_is_looked_for_where_nothing_changed() -> None:
    world = World()
    world.ledger = ledger = Failing()
    worker = world.worker()
    await world.send(worker, create_runtime(9))
    world.wait(STALE_SECONDS + REFRESH_SECONDS)
    await worker.keep_up()
    world.wait(STALE_SECONDS + REFRESH_SECONDS)
    await worker.keep_up()
    looked = ledger.looked
    for number in range(5):
        world.wait(REFRESH_SECONDS)
        await world.send(worker, role_log(number, at_ms=NOON + SECOND))
    assert ledger.looked == looked


@asynchronous
async def test_a_rebooked_agentcore_budget_is_crossed() -> None:
    world = World()
    worker = world.worker()
    # 5 USD a day: 1,250,000 tokens in and 1,250,000 out are 1 + 4 = 5 USD.
    await world.send(worker, role_log(1, tokens=(1_250_000, 1_250_000), at_ms=NOON + SECOND))
    assert world.told("Budget Threshold Crossed") == []
    await world.send(worker, create_runtime(9))
    assert (await world.costs())[AGENT] == 5 * 10**12
    world.wait(6)  # budgets are read every five seconds
    await world.send(worker, role_log(1, tokens=(1_250_000, 1_250_000), at_ms=NOON + SECOND))
    crossed = world.told("Budget Threshold Crossed")
    assert sorted(one["threshold"] for one in crossed if one["budget"]["period"] == "daily") == [
        70,
        90,
        100,
    ]


@asynchronous
async def test_the_operators_registry_counts_before_agentcore_events() -> None:
    mine = f"agent/{ACCOUNT}/us-east-1/mine"
    world = World(registry=Registry(agents=(Agent(mine, "mine", (ROLE_ARN,)),)))
    await world.send(world.worker(), create_runtime(9), role_log(1, at_ms=NOON + SECOND))
    assert await world.costs() == {mine: COST}


@asynchronous
async def test_an_exact_trust_rule_pays_before_the_agentcore_agent() -> None:
    rule = TrustRule(role_arn=ROLE_ARN, pay_by="session")
    world = World(registry=Registry(rules=(rule,)))
    await world.send(world.worker(), create_runtime(9), role_log(1, at_ms=NOON + SECOND))
    assert await world.costs() == {f"session/{ACCOUNT}/scout-role/session-1": COST}


def test_figures_of_these_tests() -> None:
    found: Any = (1_000 * 0.8 + 500 * 3.2) / 10**6
    assert abs(found - 0.0024) < 1e-12
