"""What is known of users, roles and agents, in every kind of state: kept, found, bounded."""

import asyncio

from tests.calls import ACCOUNT, asynchronous, poster
from tests.contract.conftest import OpenState
from tests.lifecycle import AGENT, OTHER_ROLE_ARN, ROLE_ARN, USER, fact
from worker.adapters.clock import SystemClock
from worker.adapters.memory_ledger import MemoryLedger
from worker.bootstrap import State
from worker.core.directory import LifecycleFact
from worker.core.enforcement_names import DIRECTORY
from worker.core.registry import EMPTY_REGISTRY, Agent
from worker.core.results import LifecycleSeen
from worker.pipeline.directory import REFRESH_SECONDS, DirectoryWatch
from worker.pipeline.knowledge import load_learned

CREATED = fact("created", 0, AGENT, role_arns=(ROLE_ARN,), name="scout")
UPDATED = fact("updated", 10, AGENT, role_arns=(OTHER_ROLE_ARN,))
MADE = fact("created", 0, unique_id="AIDAONE", tags=(("ledgerock:team", "research"),))
AT_MS = UPDATED.at_ms


def seen(*facts: LifecycleFact) -> list[LifecycleSeen]:
    return [LifecycleSeen(one) for one in facts]


class Process:
    """A worker's knowledge, at a time that a test sets."""

    def __init__(self, state: State) -> None:
        self.seconds = 0.0
        self.poster = poster()
        self.watch = DirectoryWatch(
            ledger=MemoryLedger(),
            records=state.records,
            clock=SystemClock(),
            monotonic=lambda: self.seconds,
        )

    async def learn(self, *facts: LifecycleFact) -> None:
        self.poster = await self.watch.learn(seen(*facts), self.poster)

    async def refresh(self) -> None:
        self.seconds += REFRESH_SECONDS
        self.poster = await self.watch.refresh(self.poster)

    def agent(self, role: str) -> str:
        found = self.poster.registry.agent_for_role(ACCOUNT, role, "", AT_MS)
        return found.agent_id if isinstance(found, Agent) else ""


@asynchronous
async def test_what_one_worker_learns_the_others_know_and_so_do_those_to_come(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        one, other = Process(state), Process(state)
        await other.refresh()
        await one.learn(CREATED, MADE)
        assert one.agent("scout-role") == AGENT
        assert other.agent("scout-role") == ""
        await other.refresh()
        assert other.agent("scout-role") == AGENT
        assert other.poster.registry.team_of(USER, USER, AT_MS) == "research"
        await other.learn(UPDATED)
        await one.refresh()
        for process in (one, other):
            assert (process.agent("scout-role"), process.agent("scribe-role")) == ("", AGENT)
        third = Process(state)
        third.poster = await third.watch.load(third.poster)
        assert third.agent("scribe-role") == AGENT
        known = third.poster.registry.learned
        assert await load_learned(state.records, EMPTY_REGISTRY, "ledgerock:team") == known


@asynchronous
async def test_facts_that_are_told_at_once_are_all_kept(open_state: OpenState) -> None:
    facts = [fact("tagged", number, tags=((f"tag-{number}", "x"),)) for number in range(12)]
    async with open_state() as state:
        await asyncio.gather(*(Process(state).learn(MADE, one) for one in facts))
        [record] = await state.records.partition(DIRECTORY)
        assert record.version <= len(facts)
        known = await load_learned(state.records, EMPTY_REGISTRY, "tag-7")
        teams = {one.team for one in known.principals}
        assert teams == {"x"}
        version = record.version
        await Process(state).learn(MADE, *facts)
        [record] = await state.records.partition(DIRECTORY)
        assert record.version == version


@asynchronous
async def test_a_record_stays_small_whatever_is_done_to_a_user(open_state: OpenState) -> None:
    async with open_state() as state:
        process = Process(state)
        for start in range(0, 3_000, 1_000):
            await process.learn(
                *(
                    fact(
                        "tagged",
                        number,
                        event_id=f"event-{number:032d}",
                        actor="arn:aws:sts::111122223333:assumed-role/Admin/" + "a" * 64,
                        tags=((f"{number:0128d}", "v" * 256),),
                    )
                    for number in range(start, start + 1_000)
                )
            )
        [record] = await state.records.partition(DIRECTORY)
        assert len(record.body) < 150_000
