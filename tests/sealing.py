"""What the tests of sealing share: days, records of calls on them, and entries that go."""

from typing import Any

import pytest

from tests.calls import DAY, NOON
from worker.adapters.clock import SystemClock
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.ports import Committed, Ledger

TODAY = NOON // DAY
"""2026-10-01, as a UTC day."""


@pytest.fixture(autouse=True)
def long_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it be a month later by the machine's clock, in modules that import this."""
    monkeypatch.setattr(SystemClock, "now_ms", lambda _self: NOON + 30 * DAY)


class FixedClock:
    """A clock that stands still until it is set."""

    def __init__(self, now_ms: int) -> None:
        self.at_ms = now_ms

    def now_ms(self) -> int:
        return self.at_ms


async def let_go(ledger: Ledger, client: Any, now_ms: int) -> int:
    """Remove what DynamoDB would have removed by now; embedded ledgers did so themselves."""
    if not isinstance(ledger, DynamoLedger):
        return 0
    table, gone = ledger._entries, 0
    async for page in Dynamo(client).pages("scan", TableName=table, ConsistentRead=True):
        for item in page:
            if "x" in item and int(item["x"]["N"]) <= now_ms // 1_000:
                key = {"r": item["r"], "o": item["o"]}
                await client.delete_item(TableName=table, Key=key)
                gone += 1
    return gone


def client_of(ledger: Ledger) -> Any:
    """Return the client of a shared ledger, None of any other."""
    return ledger._dynamo._given if isinstance(ledger, DynamoLedger) else None


def told(done: Committed) -> tuple[int, int, int, int]:
    """Return how many records were recorded, upgraded, duplicates and sealed."""
    return done.recorded, done.upgraded, done.duplicates, done.sealed
