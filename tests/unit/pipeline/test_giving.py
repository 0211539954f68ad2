"""Budgets by tier: given once, changed at once, closed with their owner, never a person's."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from tests.calls import ACCOUNT, NOON, asynchronous
from tests.lifecycle import (
    AGENT,
    KEY,
    ROLE,
    USER,
    api_event,
    create_key,
    create_runtime,
    create_user,
    delete_user,
    tag_user,
)
from tests.records import log
from tests.unit.pipeline.directory_world import TIERS, USD, World, role_log
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryBudgets
from worker.adapters.tiers_file import FixedTiers
from worker.core.budget_terms import Budget, Scope
from worker.core.enforcement_names import GIVEN
from worker.core.errors import ConfigurationError, TransientError
from worker.core.results import DeliveryResult
from worker.core.tiers import TierBudget, Tiers, budget_name
from worker.pipeline import giving
from worker.pipeline.giving import TierGiver
from worker.pipeline.known_tiers import TIERS_SECONDS
from worker.ports import Record

SECOND = 1_000
ATTACH = {"userName": "alice", "policyArn": "arn:aws:iam::aws:policy/AmazonBedrockFullAccess"}


def with_on(*on: str) -> Tiers:
    return msgspec.structs.replace(TIERS, on=frozenset(on))


def giver_of(world: World) -> TierGiver:
    directory = world.worker().directory
    assert directory is not None
    assert directory._giver is not None
    return directory._giver


@pytest.mark.parametrize(
    "on,record,principal,limits",
    [
        (("every_user",), create_user(1), USER, {"monthly": 50}),
        (("tag",), tag_user(1, {"ledgerock:tier": "gold"}), USER, {"monthly": 500}),
        (("tag",), tag_user(1, {"ledgerock:tier": "unheard-of"}), USER, {"monthly": 50}),
        (("tag",), tag_user(1, {"stage": "prod"}), USER, {}),
        (("policy",), api_event("AttachUserPolicy", 1, ATTACH), USER, {"monthly": 50}),
        (("credential",), create_key(1), USER, {"daily": 1}),
        (("policy", "tag"), create_user(1), USER, {}),
        (("tag",), create_runtime(1), AGENT, {}),
        (("agent",), create_runtime(1), AGENT, {"daily": 5, "monthly": 100}),
        (
            ("access_key",),
            api_event(
                "CreateAccessKey", 1, None, {"accessKey": {"accessKeyId": "A", "userName": "alice"}}
            ),
            USER,
            {"monthly": 50},
        ),
        (
            ("credential",),
            api_event(
                "CreateAccessKey", 1, None, {"accessKey": {"accessKeyId": "A", "userName": "alice"}}
            ),
            USER,
            {},
        ),
    ],
)
@asynchronous
async def test_what_makes_a_principal_matter(
    on: tuple[str, ...], record: dict[str, object], principal: str, limits: dict[str, int]
) -> None:
    world = World(with_on(*on))
    await world.send(world.worker(), record)
    assert await world.limits(principal) == limits
    assert len(world.told("Budget Initialized")) == len(limits)


@asynchronous
async def test_another_tier_is_another_revision_at_once_in_both_directions() -> None:
    world = World()
    worker = world.worker()
    await world.send(worker, tag_user(1, {"ledgerock:tier": "gold"}))
    name = budget_name(USER, "monthly")
    tagged = tag_user(2, {"ledgerock:tier": "locked"}, at_ms=NOON + SECOND)
    await world.send(worker, tagged)
    # The tier has a daily budget in place of the monthly one.
    assert await world.limits(USER) == {"daily": 1}
    await world.send(worker, tag_user(3, {"ledgerock:tier": "gold"}, at_ms=NOON + 2 * SECOND))
    budget = await world.budgets.find(name)
    assert budget is not None
    assert (budget.limit_amount, budget.revision, budget.origin) == (500 * USD, 3, "tier/gold")
    gone = api_event(
        "UntagUser",
        4,
        {"userName": "alice", "tagKeys": ["ledgerock:tier"]},
        at_ms=NOON + 3 * SECOND,
    )
    await world.send(worker, gone)
    budget = await world.budgets.find(name)
    assert budget is not None
    assert (budget.limit_amount, budget.revision, budget.origin) == (50 * USD, 4, "tier/standard")
    await world.send(worker, tag_user(5, {"ledgerock:tier": "none"}, at_ms=NOON + 4 * SECOND))
    assert await world.limits(USER) == {}


@asynchronous
async def test_an_older_tag_that_comes_late_changes_nothing() -> None:
    world = World()
    await world.send(
        world.worker(), tag_user(2, {"ledgerock:tier": "gold"}, at_ms=NOON + 5 * SECOND)
    )
    await world.send(world.worker(), tag_user(1, {"ledgerock:tier": "locked"}))
    assert await world.limits(USER) == {"monthly": 500}
    assert {one.revision for one in await world.budgets.budgets()} == {1}


@asynchronous
async def test_a_user_made_anew_gets_budgets_of_its_own_and_the_old_ones_are_closed() -> None:
    world = World()
    worker = world.worker()
    tag = [{"key": "ledgerock:tier", "value": "gold"}]
    await world.send(worker, create_user(1, tags=tag))
    await world.send(worker, delete_user(2, at_ms=NOON + SECOND))
    assert await world.given() == {}
    anew = create_user(3, unique_id="AIDATWO", tags=tag, at_ms=NOON + 2 * SECOND)
    await world.send(worker, anew)
    assert await world.limits(USER) == {}
    assert await world.limits(f"{USER}/AIDATWO") == {"monthly": 500}
    assert len(await world.budgets.budgets()) == 2


@asynchronous
async def test_budgets_follow_when_an_earlier_life_is_heard_of_late() -> None:
    world = World()
    tag = [{"key": "ledgerock:tier", "value": "gold"}]
    anew = create_user(3, unique_id="AIDATWO", tags=tag, at_ms=NOON + 60 * SECOND)
    await world.send(world.worker(), anew, log(1, at_ms=NOON + 61 * SECOND))
    assert await world.limits(USER) == {"monthly": 500}
    await world.send(world.worker(), delete_user(2, at_ms=NOON + 59 * SECOND))
    assert await world.limits(USER) == {}
    assert await world.limits(f"{USER}/AIDATWO") == {"monthly": 500}
    assert set(await world.costs()) == {f"{USER}/AIDATWO"}


@asynchronous
async def test_a_budget_that_a_person_changed_is_left_alone() -> None:
    world = World()
    worker = world.worker()
    await world.send(worker, tag_user(1, {"ledgerock:tier": "gold"}))
    [budget] = (await world.given()).values()
    by_hand = msgspec.structs.replace(budget, limit_amount=7 * USD, origin="", revision=2)
    assert await world.budgets.put(by_hand)
    await world.send(worker, tag_user(2, {"ledgerock:tier": "standard"}, at_ms=NOON + SECOND))
    assert await world.limits(USER) == {"monthly": 7}
    await world.send(worker, delete_user(3, at_ms=NOON + 2 * SECOND))
    assert await world.limits(USER) == {"monthly": 7}


@asynchronous
async def test_a_budget_that_a_person_removed_is_not_given_again() -> None:
    world = World()
    worker = world.worker()
    await world.send(worker, tag_user(1, {"ledgerock:tier": "gold"}))
    [budget] = (await world.given()).values()
    removed = msgspec.structs.replace(budget, is_removed=True, origin="", revision=2)
    assert await world.budgets.put(removed)
    await world.send(worker, tag_user(2, {"ledgerock:tier": "standard"}, at_ms=NOON + SECOND))
    assert await world.limits(USER) == {}


@asynchronous
async def test_those_who_spend_and_have_no_budget_get_one_where_that_is_wanted() -> None:
    world = World(with_on("first_use"))
    worker = world.worker()
    by_hand = Budget(name="bobs", scope=Scope("principal", f"user/{ACCOUNT}/bob"), limit_amount=USD)
    await world.budgets.put(by_hand)
    await world.send(worker, log(1), log(2, user="bob"), role_log(3))
    assert await world.limits(USER) == {"monthly": 50}
    assert await world.limits(ROLE) == {"monthly": 50}
    assert await world.limits(f"user/{ACCOUNT}/bob") == {"monthly": 1}  # by hand alone
    # It stays given, whatever is heard of them otherwise, until they are gone.
    await world.send(worker, tag_user(4, {"stage": "x"}))
    assert await world.limits(USER) == {"monthly": 50}
    await world.send(worker, delete_user(5, at_ms=NOON + SECOND), log(6))
    assert await world.limits(USER) == {}
    other = World()
    await other.send(other.worker(), log(1))
    assert await other.given() == {}


class CountingRecords(MemoryRecords):
    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def get(self, partition: str, name: str) -> Record | None:
        self.reads += 1
        return await super().get(partition, name)


@asynchronous
async def test_who_spends_again_costs_nothing() -> None:
    world = World(with_on("first_use"))
    world.records = records = CountingRecords()
    worker = world.worker()
    await world.send(worker, log(1))
    reads = records.reads
    await world.send(worker, log(2))
    assert records.reads - reads <= 2  # of the looks at budgets


class Breaking(MemoryBudgets):
    """Breaks off at the given write, before or after it."""

    def __init__(self, at: int, *, after: bool) -> None:
        super().__init__()
        self.at, self.after = at, after

    async def put(self, budget: Budget) -> bool:
        self.at -= 1
        if self.at == 0 and not self.after:
            raise TransientError("throttled")
        done = await super().put(budget)
        if self.at == 0 and self.after:
            raise TransientError("connection reset")
        return done


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("after", [False, True])
@asynchronous
async def test_a_half_made_agentcore_budget_heals_when_the_event_comes_again(
    at: int, after: bool
) -> None:
    world = World()
    world.budgets = Breaking(at, after=after)
    delivery = world.delivery(create_runtime(1))
    [done] = await world.worker().process([delivery])
    assert done.result is DeliveryResult.DEFERRED
    [done] = await world.worker().process([delivery])
    assert done.result is DeliveryResult.ACKNOWLEDGED
    assert await world.limits(AGENT) == {"daily": 5, "monthly": 100}
    assert {one.revision for one in await world.budgets.budgets()} == {1}
    assert len(world.told("Budget Initialized")) == 2


@asynchronous
async def test_a_budget_that_is_given_again_is_announced_though_its_worker_died() -> None:
    world = World()
    await world.send(world.worker(), tag_user(1, {"ledgerock:tier": "gold"}))
    await world.send(world.worker(), tag_user(2, {"ledgerock:tier": "none"}, at_ms=NOON + SECOND))
    given = world.budgets
    world.budgets = Breaking(1, after=True)
    world.budgets._budgets = given._budgets
    again = world.delivery(tag_user(3, {"ledgerock:tier": "gold"}, at_ms=NOON + 2 * SECOND))
    [done] = await world.worker().process([again])
    assert done.result is DeliveryResult.DEFERRED
    [done] = await world.worker().process([again])
    assert done.result is DeliveryResult.ACKNOWLEDGED
    assert [one.revision for one in (await world.given()).values()] == [3]
    assert len(world.told("Budget Initialized")) == 2


@asynchronous
async def test_many_workers_at_once_give_each_budget_once() -> None:
    world = World()
    jobs = [world.send(world.worker(), create_runtime(1)) for _ in range(8)]
    await asyncio.gather(*jobs)
    assert {one.revision for one in await world.budgets.budgets()} == {1}
    assert len(await world.given()) == 2
    assert len(world.told("Agent Registered")) == 1


class Slow(MemoryBudgets):
    """Holds up the first write until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.may = asyncio.Event(), asyncio.Event()

    async def put(self, budget: Budget) -> bool:
        if not self.is_asked.is_set():
            self.is_asked.set()
            await self.may.wait()
        return await super().put(budget)


@asynchronous
async def test_whoever_read_older_facts_does_not_have_the_last_word() -> None:
    world = World()
    world.budgets = slow = Slow()
    first = tag_user(1, {"ledgerock:tier": "standard"})
    late = asyncio.create_task(world.send(world.worker(), first))
    await slow.is_asked.wait()
    await world.send(world.worker(), tag_user(2, {"ledgerock:tier": "gold"}, at_ms=NOON + SECOND))
    slow.may.set()
    await late
    assert await world.limits(USER) == {"monthly": 500}


@asynchronous
async def test_changed_tiers_are_given_to_everybody_once() -> None:
    world = World()
    worker = world.worker()
    users = [tag_user(n, {"ledgerock:tier": "gold"}, f"user{n}") for n in range(30)]
    await world.send(worker, *users, create_runtime(100), create_user(101))
    assert worker.directory is not None
    await worker.directory.do_due()
    assert {one.revision for one in await world.budgets.budgets()} == {1}
    assert isinstance(world.source, FixedTiers)
    cap = (TierBudget("monthly", 9_000 * USD, action="notify", grace_seconds=0),)
    changed = {**TIERS.tiers, "gold": (TierBudget("monthly", 600 * USD),)}
    world.source._tiers = msgspec.structs.replace(TIERS, tiers=changed, cap=cap)
    await worker.directory.do_due()  # they are read again after a minute
    assert await world.limits(f"user/{ACCOUNT}/user7") == {"monthly": 500}
    world.wait(TIERS_SECONDS)
    await worker.directory.do_due()
    for number in range(30):
        assert await world.limits(f"user/{ACCOUNT}/user{number}") == {"monthly": 600}
    everything = await world.budgets.find("cap-monthly")
    assert everything is not None
    assert (everything.scope, everything.limit_amount) == (Scope("everything"), 9_000 * USD)
    revisions = {one.name: one.revision for one in await world.budgets.budgets()}
    await giver_of(world).keep_up()
    assert {one.name: one.revision for one in await world.budgets.budgets()} == revisions
    world.source._tiers = msgspec.structs.replace(TIERS, tiers=changed)
    await giver_of(world).keep_up()
    assert "cap-monthly" not in await world.given()


@asynchronous
async def test_changed_tiers_are_given_to_many_some_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(giving, "GIVEN_TOGETHER", 32)
    world = World(None)
    users = [tag_user(n, {"ledgerock:tier": "gold"}, f"user{n:03d}") for n in range(100)]
    await world.send(world.worker(), *users)
    world.source = FixedTiers(TIERS)
    first = giver_of(world)
    given = []
    for _ in range(2):
        assert await first.keep_up()
        given.append(len(await world.given()))
    assert given == [32, 64]
    second = giver_of(world)  # the first one died
    while await second.keep_up():
        pass
    assert len(await world.given()) == 100
    assert {one.revision for one in await world.budgets.budgets()} == {1}
    assert not await first.keep_up()


@asynchronous
async def test_tiers_known_to_a_new_worker_reach_those_who_were_there_before() -> None:
    world = World(None)
    await world.send(world.worker(), create_runtime(1), create_key(2))
    world.source = FixedTiers(TIERS)
    assert await giver_of(world).keep_up()
    assert await world.limits(AGENT) == {"daily": 5, "monthly": 100}
    assert await world.limits(USER) == {"daily": 1}
    assert not await giver_of(world).keep_up()


class Faulty:
    """Tiers that cannot always be read."""

    def __init__(self, answers: Sequence[Tiers | Exception]) -> None:
        self.answers = list(answers)

    async def tiers(self) -> Tiers:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynchronous
async def test_tiers_that_are_wrong_by_now_are_as_they_were() -> None:
    world = World()
    wrong = ConfigurationError("tiers t.toml: tiers.gold: expected a table, found 'x'")
    world.source = Faulty([TIERS, wrong, TransientError("throttled"), with_on("tag")])  # type: ignore[assignment]
    giver = giver_of(world)
    for fault in ("", str(wrong), "throttled", ""):
        found = await giver.tiers()
        assert giver.fault == fault
        assert found.defaults == TIERS.defaults
        world.wait(TIERS_SECONDS)
    world.source = Faulty([wrong])  # type: ignore[assignment]
    with pytest.raises(ConfigurationError):
        await giver_of(world).tiers()


@asynchronous
async def test_what_was_given_is_written_down_with_every_label_ever() -> None:
    world = World()
    worker = world.worker()
    await world.send(worker, tag_user(1, {"ledgerock:tier": "gold"}), create_key(2, key_id=KEY))
    await world.send(worker, tag_user(3, {"ledgerock:tier": "locked"}, at_ms=NOON + SECOND))
    record = await world.records.get(GIVEN, USER)
    assert record is not None
    given = msgspec.json.decode(record.body)
    assert (given["tier"], given["labels"]) == ("locked", ["daily", "monthly"])
