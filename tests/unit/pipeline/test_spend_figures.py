"""What is measured as spend adds up to what the ledger holds, rebookings included."""

from collections.abc import Sequence

from tests.calls import ACCOUNT, NOON, PRO, asynchronous, poster
from tests.lifecycle import AGENT, create_runtime
from tests.records import event, line, log, poison
from tests.unit.pipeline.directory_world import COST, World, role_log
from tests.unit.runtime.made import Hand
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_state import MemoryProfiles
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.core.decoders import Decoder
from worker.core.registry import ApplicationProfile
from worker.pipeline import Pipeline
from worker.pipeline.profiles import ASK_AGAIN_SECONDS, ProfileWatch
from worker.ports import Delivery

ARN = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/a1"
CALL_PICO_USD = 1_000 * 800_000 + 500 * 3_200_000
"""Of a log line: 1,000 tokens in and 500 out, at 0.8 and 3.2 USD a million."""


class Told:
    """AWS, as soon as it knows the profile."""

    def __init__(self) -> None:
        self.answer: ApplicationProfile | None = None

    async def profile(self, arn: str) -> ApplicationProfile | None:
        return self.answer if arn == ARN else None

    async def close(self) -> None:
        pass


class Books:
    """A pipeline, and the spend that it measured."""

    def __init__(self) -> None:
        self.ledger, self.source, self.at = MemoryLedger(), Told(), 0.0
        self.pipeline = Pipeline(
            ledger=self.ledger,
            quarantine=MemoryQuarantine(Hand()),
            decoder=Decoder(),
            poster=poster(),
            profiles=ProfileWatch(
                ledger=self.ledger,
                store=MemoryProfiles(),
                source=self.source,
                monotonic=lambda: self.at,
            ),
        )

    async def send(self, *bodies: bytes) -> list[int]:
        return await measured(self.pipeline, bodies)

    async def held(self) -> int:
        return sum(amounts.cost_pico_usd for _, amounts in await self.ledger.balances())


async def measured(pipeline: Pipeline, bodies: Sequence[bytes]) -> list[int]:
    """Book bodies; return what each step measured as spend, pico-USD."""
    deliveries = [Delivery(body, f"{number}") for number, body in enumerate(bodies)]
    return [step.figures.cost_pico_usd async for step in pipeline.steps(deliveries)]


@asynchronous
async def test_charges_are_counted_once() -> None:
    books = Books()
    assert await books.send(line(log(1)), line(log(2)), line(log(1)), line(poison(9))) == [
        2 * CALL_PICO_USD
    ]
    assert await books.send(line(log(2))) == [0]
    assert await books.held() == 2 * CALL_PICO_USD


@asynchronous
async def test_better_evidence_takes_back_what_was_too_much() -> None:
    books = Books()
    assert await books.send(line(event(1, (2_000, 500)))) == [CALL_PICO_USD + 1_000 * 800_000]
    assert await books.send(line(log(1))) == [-1_000 * 800_000]
    assert await books.held() == CALL_PICO_USD


@asynchronous
async def test_what_rebooking_priced_is_counted_with_the_commit_that_brought_it_about() -> None:
    books = Books()
    assert await books.send(line(log(1, modelId=ARN)), line(log(2, modelId=ARN))) == [0]
    assert await books.held() == 0
    books.source.answer = ApplicationProfile(arn=ARN, model=PRO, application="shop")
    books.at += ASK_AGAIN_SECONDS
    assert await books.send(line(log(3, modelId=ARN))) == [3 * CALL_PICO_USD]
    assert await books.send(line(log(3, modelId=ARN)), line(log(4))) == [CALL_PICO_USD]
    assert await books.held() == 4 * CALL_PICO_USD


@asynchronous
async def test_calls_that_move_to_an_agent_are_not_spent_again() -> None:
    world = World()
    worker = world.worker()
    found = await measured(worker, [world.delivery(role_log(1, at_ms=NOON)).body])
    found += await measured(worker, [world.delivery(create_runtime(0)).body])
    assert await world.costs() == {AGENT: COST}
    assert sum(found) == COST
