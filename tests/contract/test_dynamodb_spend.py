"""What it takes the shared ledger to say what scopes spent."""

from collections import Counter
from typing import Any

import pytest

from tests.calls import ACCOUNT, DAY, NOON, PRO, asynchronous, book, call, poster
from tests.dynamodb import client, local_endpoint, new_prefix
from tests.faults import FaultyClient
from worker.adapters import dynamodb_requests
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.core.budget_terms import Scope, ScopeDays
from worker.core.evidence import Counts
from worker.core.registry import PrincipalFact, Registry
from worker.core.spend import Spend

TODAY = NOON // DAY
PLENTY = Counts(1_000, 500)
PICO = 2_400_000_000
USERS = 100
POSTER = poster(
    registry=Registry(
        principals=[PrincipalFact(f"user/*/u{n}", f"team{n}") for n in range(USERS)],
    )
)
CALLS = [call(n, PLENTY, user=f"u{n % USERS}", at_ms=NOON + n // USERS * DAY) for n in range(300)]


def _principal(number: int, first_day: int, last_day: int) -> ScopeDays:
    return ScopeDays(Scope("principal", f"user/{ACCOUNT}/u{number}"), first_day, last_day)


def _spent(calls: int) -> Spend:
    return Spend(calls, calls * PICO, calls * 1_500)


@asynchronous
async def test_overlapping_ranges_share_a_query_and_wide_scopes_one() -> None:
    async with client(local_endpoint()) as real:
        watched = FaultyClient(real, share=0)
        ledger = DynamoLedger(new_prefix(), dynamo=Dynamo(watched), create_tables=True)
        await book(ledger, POSTER, *CALLS)
        watched.requests.clear()
        wide = [Scope("everything"), Scope("model", PRO), Scope("account", ACCOUNT)]
        ranges = [
            _principal(1, TODAY, TODAY),
            _principal(1, TODAY, TODAY + 30),
            _principal(2, TODAY + 1, TODAY + 2),
            *(ScopeDays(scope, TODAY + 1, TODAY + 1) for scope in wide),
            *(ScopeDays(scope, TODAY, TODAY + 30) for scope in wide),
        ]
        calls = [1, 3, 2, 100, 100, 100, 300, 300, 300]
        assert await ledger.spend(ranges) == [_spent(count) for count in calls]
        made = Counter(
            _partition(request) for operation, request in watched.requests if operation == "query"
        )
        payers = [f"p#user/{ACCOUNT}/u{number}" for number in (1, 2)]
        assert made == {payers[0]: 1, payers[1]: 1, "w": 1}


def _partition(request: dict[str, Any]) -> str:
    assert request["ConsistentRead"] is True
    values = request["ExpressionAttributeValues"]
    found: str = next(value["S"] for name, value in values.items() if name in {":p", ":w"})
    return found


@asynchronous
async def test_more_wide_scopes_than_an_expression_can_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Few scopes are projected, many are not; also when every few requests fail."""
    monkeypatch.setattr(dynamodb_requests, "BACKOFF_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(dynamodb_requests, "BACKOFF_LAST_SECONDS", 0.01)
    prefix = new_prefix()
    async with client(local_endpoint()) as real:
        sound = DynamoLedger(prefix, dynamo=Dynamo(real), create_tables=True)
        await book(sound, POSTER, *CALLS)
        watched = FaultyClient(real, share=0.1)
        ledger = DynamoLedger(prefix, dynamo=Dynamo(watched))
        for count, is_projected in ((1, True), (USERS, False)):
            watched.requests.clear()
            ranges = [
                ScopeDays(Scope("team", f"team{number}"), TODAY, TODAY + 9)
                for number in range(count)
            ]
            assert await ledger.spend(ranges) == [_spent(3)] * count
            asked = [request for _, request in watched.requests]
            assert asked
            assert all(("ProjectionExpression" in one) is is_projected for one in asked)
