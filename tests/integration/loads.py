"""Loads for the worker: what is delivered, and what must come of it."""

import gzip
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from tests.integration.emulator import Place, settings_of
from tests.records import line, log
from tests.unit.core.decoders.payloads import payload, subscription
from tests.workers import traffic
from worker.core.budget_terms import Budget, Scope
from worker.core.ledger import Amounts
from worker.settings import Settings
from worker.traffic.sums import Total, TrafficSums

CALL_PICO_USD: Final = 2_400_000_000
"""What a call of `logged` costs."""
FIRST_DAY: Final = date(2026, 9, 20)
ANCHOR_DAY: Final = 20_700
"""A little earlier, for budgets of one long period."""


@dataclass(frozen=True, slots=True)
class Load:
    """Traffic in messages of some log lines each, what it adds up to, and its registry."""

    bodies: list[bytes]
    sums: TrafficSums
    registry: Path
    seed: int

    def shuffled(self, copies: int) -> list[bytes]:
        bodies = self.bodies * copies
        random.Random(self.seed).shuffle(bodies)
        return bodies

    def budget(self, name: str, percent: int) -> Budget:
        """Return a budget of which so many per cent will be spent."""
        limit = self.sums.cost_pico_usd * 100 // percent
        return Budget(name, Scope("everything"), limit, period="366-day", anchor_day=ANCHOR_DAY)


def load(calls: int, folder: Path) -> Load:
    seed = random.randrange(10**6)
    print(f"{seed=}")  # noqa: T201 - to make it happen again
    bodies, sums, registry = traffic(calls, seed, folder, FIRST_DAY)
    return Load([body.encode() for body in bodies], sums, registry, seed)


def logged(numbers: Sequence[int]) -> list[bytes]:
    return [line(log(number)) for number in numbers]


def subscribed(bodies: Sequence[bytes]) -> list[bytes]:
    """Return lines as CloudWatch Logs puts them into a stream."""
    batches = (body.decode().splitlines() for body in bodies)
    return [gzip.compress(payload(subscription(*messages)), 1) for messages in batches]


def settings_for(place: Place, given: Load, **worker: object) -> Settings:
    made = settings_of(place, **worker)
    return Settings(
        ledger=made.ledger,
        create_tables=True,
        registry=given.registry,
        quarantine=made.quarantine,
        worker=made.worker,
    )


async def check(place: Place, sums: TrafficSums) -> None:
    """Compare the books with the generator's own sums, to the last pico-dollar."""
    assert figures(await place.verified()) == figures(sums.total)
    for field, wanted in (("principal", sums.by_principal), ("model", sums.by_model)):
        found = await place.ledger.totals(field)
        assert {key: figures(one) for key, one in found.items()} == {
            key: figures(one) for key, one in wanted.items()
        }


def figures(total: Amounts | Total) -> tuple[int, ...]:
    cached = total.cache_read_tokens, total.cache_write_5m_tokens, total.cache_write_1h_tokens
    tokens = total.input_tokens, total.output_tokens, *cached
    return total.calls, total.cost_pico_usd, *tokens, total.unpriced_calls
