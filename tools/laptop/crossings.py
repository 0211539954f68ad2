"""Watches a budget of a load being crossed: from the call that does it to the event on the bus."""

import asyncio
import json
import time
from types import TracebackType
from typing import Any, Final, Self

from tools.laptop import names
from tools.laptop.host import SETTINGS
from worker.adapters.aws_client import AwsClient
from worker.bootstrap import State, open_state
from worker.core.budget_terms import Budget, Scope
from worker.core.events import BUDGET_THRESHOLD_CROSSED

THRESHOLDS: Final = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
PICO_USD_PER_CALL: Final = 11_000_000_000
"""About what a call of the generator costs."""
SHARE_OF_LIMIT: Final = 0.5
"""The limit is reached when about so much of the load is through."""
KNOWN_AFTER_SECONDS: Final = 6.0
"""A worker reads the list of budgets every few seconds."""
POLL_SECONDS: Final = 0.2
HIDDEN_SECONDS: Final = 5


class CrossingWatch:
    """Sets a budget, sees its thresholds crossed and announced, and removes it again.

    Attributes:
        latencies: Seconds from the call that reached a threshold to its event in the collecting
            queue, by threshold.
        events: How many events on the budget came, copies included.
        ids: Their ids.
    """

    def __init__(self, budget: Budget, state: State) -> None:
        """Set nothing yet."""
        self.latencies: dict[int, float] = {}
        self.events = 0
        self.ids: set[str] = set()
        self._messages: set[str] = set()
        self._budget = budget
        self._state = state
        self._reached: dict[int, float] = {}
        self._seen: dict[int, float] = {}
        self._news = asyncio.Event()
        self._sqs = AwsClient("sqs")
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, account: str, calls: float) -> Self:
        """Watch a budget on the account of a load of so many calls."""
        budget = Budget(
            name=f"load-{account}",
            scope=Scope("account", account),
            limit_amount=max(1, round(calls * SHARE_OF_LIMIT) * PICO_USD_PER_CALL),
            period="monthly",
            thresholds=THRESHOLDS,
            created_at_ms=time.time_ns() // 1_000_000,
        )
        return cls(budget, open_state(SETTINGS))

    async def __aenter__(self) -> Self:
        """Set the budget and wait until every worker knows it."""
        await self._state.budgets.put(self._budget)
        await asyncio.sleep(KNOWN_AFTER_SECONDS)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the budget."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        budget = self._budget
        removed = Budget(
            name=budget.name,
            scope=budget.scope,
            limit_amount=budget.limit_amount,
            period=budget.period,
            thresholds=budget.thresholds,
            revision=budget.revision + 1,
            created_at_ms=budget.created_at_ms,
            is_removed=True,
        )
        await self._state.budgets.put(removed)
        await self._sqs.close()
        await self._state.close()

    def spent(self, cost_pico_usd: int, now: float) -> None:
        """Say what the load has spent by now, on the monotonic clock."""
        for threshold in THRESHOLDS:
            if threshold not in self._reached and (
                cost_pico_usd * 100 >= threshold * self._budget.limit_amount
            ):
                self._reached[threshold] = now

    @property
    def reached(self) -> int:
        """How many thresholds the load reached."""
        return len(self._reached)

    async def finish(self, wait_seconds: float) -> None:
        """Wait until all that was reached has been announced, or for long enough."""
        try:
            async with asyncio.timeout(wait_seconds):
                while set(self._reached) - set(self._seen):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass  # the report says which are missing
        self.latencies = {
            threshold: self._seen[threshold] - at
            for threshold, at in self._reached.items()
            if threshold in self._seen
        }

    async def _read(self) -> None:
        """Look at the collecting queue, and leave in it what is there."""
        url = (await self._sqs.request("get_queue_url", QueueName=names.ANNOUNCED))["QueueUrl"]
        while True:
            answer = await self._sqs.request(
                "receive_message",
                QueueUrl=url,
                MaxNumberOfMessages=10,
                VisibilityTimeout=HIDDEN_SECONDS,
            )
            for message in answer.get("Messages", ()):
                if message["MessageId"] not in self._messages:
                    self._messages.add(message["MessageId"])
                    self._take(json.loads(message["Body"]))
            if not answer.get("Messages"):
                await asyncio.sleep(POLL_SECONDS)

    def _take(self, event: dict[str, Any]) -> None:
        detail = event["detail"]
        if event["detail-type"] != BUDGET_THRESHOLD_CROSSED:
            return
        if detail["budget"]["name"] == self._budget.name:
            self.events += 1
            self.ids.add(detail["event_id"])
            self._seen.setdefault(detail["threshold"], time.monotonic())
            self._news.set()
