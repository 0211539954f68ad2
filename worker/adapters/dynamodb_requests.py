"""Requests to DynamoDB: bounded, jittered retries; nothing partial is ever overlooked.

botocore's own retries are off: it does not look into a cancelled transaction, and a retry must
reuse the request token, so that a transaction whose answer was lost is not made twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from worker.core.errors import ConfigurationError, LedgerockError, TransientError

ATTEMPTS_MAX: Final = 10
BACKOFF_FIRST_SECONDS: Final = 0.02
BACKOFF_LAST_SECONDS: Final = 2.0
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 10.0
READS_AT_ONCE: Final = 8
WRITES_AT_ONCE: Final = 8
KEYS_PER_READ: Final = 100
PUTS_PER_WRITE: Final = 25

TRANSIENT_CODES: Final = frozenset(
    {
        "InternalServerError",
        "InternalFailure",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Errors that pass (AWS documentation: "Error handling with DynamoDB")."""

TRANSIENT_REASONS: Final = frozenset(
    {"TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"}
)
"""Reasons for cancelling a transaction that pass (API reference: TransactWriteItems)."""

CONDITION_FAILED: Final = "ConditionalCheckFailed"

Request = Callable[[], Awaitable[Any]]


class Dynamo:
    """A DynamoDB client that is opened on first use.

    Args:
        client: An open client of aiobotocore, for tests; by default one is made from the
            environment (`AWS_REGION`, `AWS_ENDPOINT_URL`, credentials).
    """

    def __init__(self, client: Any = None) -> None:  # noqa: ANN401 - botocore clients are untyped
        """Keep the client, if there is one already."""
        self._given = client
        self._client = client
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._reading = asyncio.Semaphore(READS_AT_ONCE)
        self._writing = asyncio.Semaphore(WRITES_AT_ONCE)
        self.requests: dict[str, int] = {}

    async def client(self) -> Any:  # noqa: ANN401
        """Return the open client."""
        async with self._opening:
            if self._client is None:
                config = AioConfig(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS,
                    max_pool_connections=64,
                    retries={"total_max_attempts": 1},
                )
                try:
                    context = get_session().create_client("dynamodb", config=config)
                    self._client = await self._stack.enter_async_context(context)
                except (NoRegionError, NoCredentialsError) as error:
                    message = f"DynamoDB: {error} Set AWS_REGION and credentials."
                    raise ConfigurationError(message) from error
        return self._client

    async def close(self) -> None:
        """Close the client, unless it was given."""
        await self._stack.aclose()
        self._client = self._given

    async def call(self, operation: str, **arguments: Any) -> Any:  # noqa: ANN401
        """Make one request, again after passing faults.

        Raises:
            TransientError: It kept failing.
            ConfigurationError: A table is missing, or access is denied.
            ClientError: Anything else, a cancelled transaction included.
        """
        client = await self.client()
        method = getattr(client, operation)
        fault: Exception | None = None
        for attempt in range(ATTEMPTS_MAX):
            self.requests[operation] = self.requests.get(operation, 0) + 1
            try:
                return await method(**arguments)
            except ClientError as error:
                if _code(error) not in TRANSIENT_CODES:
                    raise _explained(error, arguments) from error
                fault = error
            except (TimeoutError, BotoCoreError, OSError) as error:
                if isinstance(error, NoCredentialsError):
                    message = "DynamoDB: no AWS credentials found; set them in the environment"
                    raise ConfigurationError(message) from error
                fault = error
            await backoff(attempt)
        message = f"DynamoDB {operation} failed {ATTEMPTS_MAX} times, the last time: {fault}"
        raise TransientError(message, retry_after_seconds=BACKOFF_LAST_SECONDS)

    async def get_many(self, table: str, keys: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Read items by key, strongly consistent; missing ones are left out."""
        found: list[dict[str, Any]] = []
        chunks = [keys[at : at + KEYS_PER_READ] for at in range(0, len(keys), KEYS_PER_READ)]
        for items in await asyncio.gather(*(self._get_chunk(table, chunk) for chunk in chunks)):
            found += items
        return found

    async def _get_chunk(self, table: str, keys: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        wanted: Any = {table: {"Keys": list(keys), "ConsistentRead": True}}
        async with self._reading:
            for attempt in range(ATTEMPTS_MAX):
                answer = await self.call("batch_get_item", RequestItems=wanted)
                found += answer["Responses"].get(table, [])
                wanted = answer.get("UnprocessedKeys")
                if not wanted:
                    return found
                await backoff(attempt)
        message = f"DynamoDB left keys of {table} unprocessed {ATTEMPTS_MAX} times"
        raise TransientError(message, retry_after_seconds=BACKOFF_LAST_SECONDS)

    async def put_many(self, table: str, items: Sequence[dict[str, Any]]) -> None:
        """Write items unconditionally; for what never changes once it is written."""
        chunks = [items[at : at + PUTS_PER_WRITE] for at in range(0, len(items), PUTS_PER_WRITE)]
        await asyncio.gather(*(self._put_chunk(table, chunk) for chunk in chunks))

    async def _put_chunk(self, table: str, items: Sequence[dict[str, Any]]) -> None:
        wanted: Any = {table: [{"PutRequest": {"Item": item}} for item in items]}
        async with self._writing:
            for attempt in range(ATTEMPTS_MAX):
                answer = await self.call("batch_write_item", RequestItems=wanted)
                wanted = answer.get("UnprocessedItems")
                if not wanted:
                    return
                await backoff(attempt)
        message = f"DynamoDB left items of {table} unprocessed {ATTEMPTS_MAX} times"
        raise TransientError(message, retry_after_seconds=BACKOFF_LAST_SECONDS)

    async def pages(self, operation: str, **arguments: Any) -> AsyncIterator[list[dict[str, Any]]]:  # noqa: ANN401
        """Yield the pages of a query or scan."""
        while True:
            answer = await self.call(operation, **arguments)
            yield answer["Items"]
            last = answer.get("LastEvaluatedKey")
            if not last:
                return
            arguments["ExclusiveStartKey"] = last


async def backoff(attempt: int) -> None:
    """Wait a random time of at most an exponentially growing bound."""
    bound = min(BACKOFF_LAST_SECONDS, BACKOFF_FIRST_SECONDS * 2**attempt)
    await asyncio.sleep(random.uniform(0, bound))  # noqa: S311 - jitter, not a secret


def cancellation_reasons(error: ClientError) -> list[Mapping[str, Any]]:
    """Return why each item of a cancelled transaction failed; empty for any other error."""
    if _code(error) != "TransactionCanceledException":
        return []
    reasons: list[Mapping[str, Any]] = error.response.get("CancellationReasons", [])
    return reasons


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _explained(error: ClientError, arguments: Mapping[str, Any]) -> LedgerockError | ClientError:
    code = _code(error)
    table = arguments.get("TableName") or ", ".join(arguments.get("RequestItems", {}))
    if code == "ResourceNotFoundException":
        message = (
            f"DynamoDB: there is no table {table}; deploy the tables, or set "
            "LEDGEROCK_CREATE_TABLES=1 to have them made on a local endpoint"
        )
        return ConfigurationError(message)
    if code in {
        "AccessDeniedException",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "UnrecognizedClientException",
    }:
        message = f"DynamoDB refused access to {table}: {error.response['Error'].get('Message')}"
        return ConfigurationError(message)
    return error
