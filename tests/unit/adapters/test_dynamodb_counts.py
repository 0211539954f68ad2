"""What the client of DynamoDB counts of its requests."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.calls import asynchronous
from tests.faults import error
from worker.adapters import dynamodb_requests
from worker.adapters.dynamodb_requests import Dynamo
from worker.core.errors import TransientError


class Failing:
    """Fails with given errors, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)

    async def transact_write_items(self, **_arguments: Any) -> dict[str, Any]:
        return await self.query()

    async def query(self, **_arguments: Any) -> dict[str, Any]:
        if self.failures:
            raise self.failures.pop(0)
        return {"Items": []}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb_requests, "BACKOFF_LAST_SECONDS", 0.0)


def cancelled(*codes: str) -> ClientError:
    failed = error("TransactionCanceledException", "TransactWriteItems")
    failed.response["CancellationReasons"] = [{"Code": code} for code in codes]
    return failed


def counts(dynamo: Dynamo) -> tuple[int, int, int]:
    return dynamo.retries, dynamo.conflicts, dynamo.throttles


@asynchronous
async def test_throttles_and_retries_are_counted() -> None:
    dynamo = Dynamo(Failing(error("ThrottlingException", "Query"), OSError("reset")))
    await dynamo.call("query")
    assert counts(dynamo) == (2, 0, 1)


@asynchronous
async def test_conflicts_are_counted_by_transaction_not_by_item() -> None:
    conflict = cancelled("TransactionConflict", "None", "TransactionConflict")
    dynamo = Dynamo(Failing(conflict, cancelled("ConditionalCheckFailed", "ThrottlingError")))
    await dynamo.transact([{}])  # handed back to be put together anew
    assert counts(dynamo) == (0, 1, 0)
    await dynamo.transact([{}])
    assert counts(dynamo) == (0, 1, 1)


@asynchronous
async def test_the_last_attempt_is_followed_by_none() -> None:
    failures = [OSError("reset") for _ in range(dynamodb_requests.ATTEMPTS_MAX)]
    dynamo = Dynamo(Failing(*failures))
    with pytest.raises(TransientError):
        await dynamo.call("query")
    assert counts(dynamo) == (dynamodb_requests.ATTEMPTS_MAX - 1, 0, 0)
