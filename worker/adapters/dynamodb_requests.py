"""Requests to DynamoDB: bounded, jittered retries; nothing partial is ever overlooked.

botocore's own retries are off: it does not look into a cancelled transaction, and a retry must
reuse the request token, so that a transaction whose answer was lost is not made twice.
"""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
)

from worker.adapters import aws_errors
from worker.adapters.aws_errors import error_code, passes
from worker.core.errors import ConfigurationError, LedgerockError, TransientError

ATTEMPTS_MAX: Final = 10
BACKOFF_FIRST_SECONDS: Final = 0.02
BACKOFF_LAST_SECONDS: Final = 2.0
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 10.0
CREATE_SECONDS: Final = 60
READS_AT_ONCE: Final = 8
WRITES_AT_ONCE: Final = 8
KEYS_PER_READ: Final = 100
PUTS_PER_WRITE: Final = 25

TRANSIENT_CODES: Final = (
    aws_errors.TRANSIENT_CODES | {"TransactionConflictException", "TransactionInProgressException"}
) - {"ResourceInUseException"}
"""Errors that pass (AWS documentation: "Error handling with DynamoDB").

A resource that is in use is a table that is there already.
"""

REFUSED_CODES: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "TransactionCanceledException",
    }
)
"""Errors that say for sure that nothing was done; after any other a request may have been made."""

TRANSIENT_REASONS: Final = frozenset(
    {"TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"}
)
"""Reasons for cancelling a transaction that pass (API reference: TransactWriteItems)."""

CONFLICT_CODES: Final = frozenset({"TransactionConflict", "TransactionConflictException"})
"""Codes of errors and of reasons that speak of a transaction of somebody else."""

THROTTLE_CODES: Final = frozenset(
    {
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Codes of errors and of reasons that speak of too many requests."""

CONDITION_FAILED: Final = "ConditionalCheckFailed"

Reasons = Sequence[Mapping[str, Any]]
"""Why each item of a cancelled transaction failed, in order."""

Request = Callable[[], Awaitable[Any]]


class Dynamo:
    """A DynamoDB client that is opened on first use.

    Args:
        client: An open client of aiobotocore, for tests; by default one is made from the
            environment (`AWS_REGION`, `AWS_ENDPOINT_URL`, credentials).

    Attributes:
        requests: How many requests were made of each operation.
        retries: How many of them repeated one that failed.
        conflicts: How many met a transaction of somebody else.
        throttles: How many were refused because there were too many.
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
        self.retries = 0
        self.conflicts = 0
        self.throttles = 0

    async def client(self) -> Any:  # noqa: ANN401
        """Return the open client."""
        async with self._opening:
            if self._client is None:
                try:
                    # The SDK for Python itself knows AWS_DEFAULT_REGION alone.
                    region = os.environ.get("AWS_REGION") or None
                    context = get_session().create_client(
                        "dynamodb", region_name=region, config=client_config()
                    )
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
        fault: Exception | None = None
        for attempt in range(ATTEMPTS_MAX):
            try:
                return await self._once(operation, arguments)
            except _FAULTS as error:
                fault = _passing(error, arguments)
                self._count(error)
            await self._pause(attempt)
        raise _gave_up(operation, fault)

    async def transact(self, items: Sequence[dict[str, Any]]) -> Reasons:
        """Write some items, all or none.

        While it is not known whether an attempt was made, only the very same request is sent
        again, with the same token: the service makes it once.

        Returns:
            Nothing if it was made. Otherwise it changed nothing, and this is why.

        Raises:
            TransientError: It kept failing; it may have been made or not.
            ConfigurationError: A table is missing, or access is denied.
            ClientError: The request is refused as such.
        """
        arguments = {"TransactItems": items, "ClientRequestToken": uuid.uuid4().hex}
        fault: Exception | None = None
        in_doubt = False
        for attempt in range(ATTEMPTS_MAX):
            try:
                await self._once("transact_write_items", arguments)
            except _FAULTS as error:
                reasons = cancellation_reasons(error)
                self._count(error)
                if reasons and not (in_doubt and is_transient(reasons)):
                    return reasons
                fault = error if reasons else _passing(error, arguments)
                in_doubt = in_doubt or error_code(error) not in REFUSED_CODES
            else:
                return ()
            await self._pause(attempt)
        raise _gave_up("transact_write_items", fault)

    async def transact_if(
        self, items: Sequence[dict[str, Any]], attempts_max: int = ATTEMPTS_MAX
    ) -> bool:
        """Write some items if their conditions hold; return whether they did.

        Conflicts and throttles say nothing of conditions: after them it is tried again.

        Raises:
            TransientError: There was no end to them; or as `transact`.
            ConfigurationError: As `transact`.
            ClientError: As `transact`; or cancelled for another reason.
        """
        for attempt in range(attempts_max):
            reasons = await self.transact(items)
            if not reasons:
                return True
            if CONDITION_FAILED in {str(reason.get("Code")) for reason in reasons}:
                return False
            if not is_transient(reasons):
                raise _cancelled(reasons)
            self.retries += 1
            await backoff(attempt)
        message = f"a transaction was cancelled {attempts_max} times by conflicts or throttles"
        raise TransientError(message, retry_after_seconds=BACKOFF_LAST_SECONDS)

    async def _once(self, operation: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
        client = await self.client()
        self.requests[operation] = self.requests.get(operation, 0) + 1
        return await getattr(client, operation)(**arguments)

    def _count(self, error: Exception) -> None:
        reasons = {str(reason.get("Code")) for reason in cancellation_reasons(error)}
        codes = {error_code(error), *reasons}
        self.conflicts += not codes.isdisjoint(CONFLICT_CODES)
        self.throttles += not codes.isdisjoint(THROTTLE_CODES)

    async def _pause(self, attempt: int) -> None:
        """Wait before the next attempt, if there is one."""
        self.retries += attempt + 1 < ATTEMPTS_MAX
        await backoff(attempt)

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
                await self._pause(attempt)
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
                await self._pause(attempt)
        message = f"DynamoDB left items of {table} unprocessed {ATTEMPTS_MAX} times"
        raise TransientError(message, retry_after_seconds=BACKOFF_LAST_SECONDS)

    async def create_table(self, definition: dict[str, Any]) -> None:
        """Make a table unless it is there, and wait until it can be used; for local use."""
        try:
            await self.call("create_table", **definition)
        except ClientError as error:
            if error_code(error) != "ResourceInUseException":
                raise
        name = definition["TableName"]
        problem = "it is still being made"
        for _ in range(CREATE_SECONDS):
            try:
                answer = await self.call("describe_table", TableName=name)
            except ConfigurationError as error:
                problem = str(error)  # Not heard of yet: tables are described as of a moment ago.
            else:
                if answer["Table"]["TableStatus"] == "ACTIVE":
                    return
            await asyncio.sleep(1)
        raise TransientError(f"DynamoDB: the table {name} cannot be used yet: {problem}")

    async def expire(self, table: str, attribute: str) -> None:
        """Let items of a table go once the time in an attribute (epoch seconds) has passed."""
        wanted = {"Enabled": True, "AttributeName": attribute}
        try:
            await self.call("update_time_to_live", TableName=table, TimeToLiveSpecification=wanted)
        except ClientError as error:
            # It is so already (API reference: UpdateTimeToLive), or nothing expires in an emulator.
            if error_code(error) not in {"ValidationException", "UnknownOperationException"}:
                raise

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


def client_config() -> AioConfig:
    """Return how every client is set up: no retries but ours, and no waiting for ever."""
    return AioConfig(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=64,
        # Requests are built here alone, and checking each attribute takes a third of our time.
        parameter_validation=False,
        retries={"total_max_attempts": 1},
    )


def cancellation_reasons(error: Exception) -> Reasons:
    """Return why each item of a cancelled transaction failed; empty for any other error."""
    if not isinstance(error, ClientError) or error_code(error) != "TransactionCanceledException":
        return ()
    reasons: Reasons = error.response.get("CancellationReasons", ())
    return reasons


def is_transient(reasons: Reasons) -> bool:
    """Whether a transaction was cancelled by conflicts and throttles alone."""
    return TRANSIENT_REASONS.issuperset({str(reason.get("Code")) for reason in reasons} - {"None"})


_FAULTS: Final = (ClientError, BotoCoreError, aiohttp.ClientError, OSError)


def _passing(error: Exception, arguments: Mapping[str, Any]) -> Exception:
    """Return a fault that may pass.

    Raises:
        ConfigurationError: Trying again is of no use until something is set up.
        ClientError: The request is refused as such.
    """
    if isinstance(error, NoCredentialsError):
        message = "DynamoDB: no AWS credentials found; set them in the environment"
        raise ConfigurationError(message) from error
    if isinstance(error, ParamValidationError):
        raise error
    if isinstance(error, ClientError) and not passes(error, TRANSIENT_CODES):
        raise _explained(error, arguments) from error
    return error


def _cancelled(reasons: Reasons) -> ClientError:
    told = next((reason for reason in reasons if reason.get("Code") != "None"), {})
    code, message = str(told.get("Code")), str(told.get("Message"))
    return ClientError({"Error": {"Code": code, "Message": message}}, "TransactWriteItems")


def _gave_up(operation: str, fault: Exception | None) -> TransientError:
    message = f"DynamoDB {operation} failed {ATTEMPTS_MAX} times, the last time: {fault}"
    return TransientError(message, retry_after_seconds=BACKOFF_LAST_SECONDS)


def _explained(error: ClientError, arguments: Mapping[str, Any]) -> LedgerockError | ClientError:
    code = error_code(error)
    table = arguments.get("TableName") or ", ".join(arguments.get("RequestItems", {}))
    if code == "ResourceNotFoundException":
        message = (
            f"DynamoDB: there is no table {table or 'of that name'}; deploy the tables, or set "
            "LEDGEROCK_CREATE_TABLES=1 to have them made on a local endpoint"
        )
        return ConfigurationError(message)
    if code in aws_errors.DENIED_CODES | aws_errors.UNKNOWN_CALLER_CODES:
        message = f"DynamoDB refused access to {table}: {error.response['Error'].get('Message')}"
        return ConfigurationError(message)
    return error
