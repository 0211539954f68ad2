"""Workers that learn who is who, over one ledger and one set of records, at a set time."""

from collections.abc import Collection, Sequence
from typing import Any

from tests.calls import ACCOUNT, NOON, poster, snapshot
from tests.events import checked_all
from tests.lifecycle import OWN_ROLE
from tests.records import line, log
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryBudgets, MemoryOutbox
from worker.adapters.memory_tagging import MemoryTagging
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.adapters.tiers_file import FixedTiers
from worker.core.budget_terms import Budget
from worker.core.decoders import Decoder
from worker.core.registry import EMPTY_REGISTRY, Registry
from worker.core.results import DeliveryResult
from worker.core.tiers import TierBudget, Tiers
from worker.pipeline import Pipeline
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.directory import DirectoryWatch
from worker.pipeline.found_keys import KeyWatch
from worker.pipeline.giving import TierGiver
from worker.ports import Delivery, Processed

USD = 10**12
COST = 1_000 * 800_000 + 500 * 3_200_000
"""Pico-USD of a log of 1,000 tokens in and 500 out: 0.8 and 3.2 USD a million."""
TIERS = Tiers(
    tiers={
        "standard": (TierBudget("monthly", 50 * USD),),
        "agents": (
            TierBudget("daily", 5 * USD, period="daily", grace_seconds=600),
            TierBudget("monthly", 100 * USD),
        ),
        "gold": (TierBudget("monthly", 500 * USD, forecast=True),),
        "locked": (TierBudget("daily", USD, period="daily", grace_seconds=0),),
    },
    defaults={
        "user": "standard",
        "role": "standard",
        "agent": "agents",
        "unprovisioned_key": "locked",
    },
)


class World:
    """What outlives a worker."""

    def __init__(
        self,
        tiers: Tiers | None = TIERS,
        *,
        registry: Registry = EMPTY_REGISTRY,
        subjects: Sequence[str] = (),
    ) -> None:
        self.at_ms = NOON + 3_600_000
        self.seconds = 0.0
        self.registry = registry
        self.ledger, self.records = MemoryLedger(), MemoryRecords()
        self.budgets, self.outbox = MemoryBudgets(), MemoryOutbox()
        self.source = None if tiers is None else FixedTiers(tiers)
        self.tagging = MemoryTagging(subjects)
        self.quarantine = MemoryQuarantine(self)
        self.deliveries = 0

    def now_ms(self) -> int:
        return self.at_ms

    def wait(self, seconds: float) -> None:
        self.seconds += seconds
        self.at_ms += round(seconds * 1_000)

    def worker(self, **more: Any) -> Pipeline:
        """A process of its own."""
        made = Pipeline(
            ledger=self.ledger,
            quarantine=self.quarantine,
            decoder=Decoder(),
            poster=poster(registry=self.registry),
        )
        watch = BudgetWatch(
            ledger=self.ledger,
            budgets=self.budgets,
            outbox=self.outbox,
            records=self.records,
            clock=self,
            registry=lambda: made.poster.registry,
            monotonic=lambda: self.seconds,
        )
        made.budgets = watch
        giver = None
        if self.source is not None:
            giver = TierGiver(
                source=self.source,
                records=self.records,
                budgets=self.budgets,
                looks=watch.looks,
                outbox=self.outbox,
                clock=self,
                registry=lambda: made.poster.registry,
                is_covered=watch.covers,
                monotonic=lambda: self.seconds,
            )
        parts: dict[str, Any] = {
            "look_later": watch.look_later,
            "outbox": self.outbox,
            "giver": giver,
            "found_keys": KeyWatch(
                records=self.records,
                outbox=self.outbox,
                clock=self,
                own_roles=[OWN_ROLE],
                tagging=self.tagging,
            ),
        }
        made.directory = DirectoryWatch(
            ledger=self.ledger,
            records=self.records,
            clock=self,
            monotonic=lambda: self.seconds,
            **{**parts, **more},
        )
        return made

    def delivery(self, *records: dict[str, Any]) -> Delivery:
        """One message that holds some records."""
        self.deliveries += 1
        return Delivery(b"\n".join(map(line, records)), f"d{self.deliveries}")

    async def send(self, worker: Pipeline, *records: dict[str, Any]) -> Processed:
        [done] = await worker.process([self.delivery(*records)])
        assert done.result is DeliveryResult.ACKNOWLEDGED, done
        return done

    async def costs(self, by: str = "principal") -> dict[str, int]:
        """Charges by payer, proven against the entries."""
        sums: dict[str, int] = {}
        for leaf, amounts in (await snapshot(self.ledger)).items():
            if amounts.calls:
                key = getattr(leaf, by)
                sums[key] = sums.get(key, 0) + amounts.cost_pico_usd
        assert not (await self.ledger.verify()).differences
        return sums

    async def given(self) -> dict[str, Budget]:
        """Budgets in force, by name."""
        return {one.name: one for one in await self.budgets.budgets() if not one.is_removed}

    async def limits(self, scope_id: str) -> dict[str, int]:
        """Limits in force on a scope, in whole USD, by period."""
        budgets = (await self.given()).values()
        return {one.period: one.limit_amount // USD for one in budgets if one.scope.id == scope_id}

    def told(self, *detail_types: str) -> list[dict[str, Any]]:
        """What was written down to be announced, each checked against its schema."""
        notices = [one for one in self.outbox._notices.values() if one.detail_type in detail_types]
        return checked_all(notices)


def role_log(number: int, role: str = "scout-role", **more: Any) -> dict[str, Any]:
    """A log of a call that a role made: 0.0024 USD."""
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/session-{number}"
    return log(number, **{"identity": {"arn": arn}, **more})


def ids(found: Collection[Budget]) -> set[str]:
    return {one.scope.id for one in found}
