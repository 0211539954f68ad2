"""A client of DynamoDB that misbehaves as the real service may and the emulators never do."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

WRITES: Final = frozenset({"transact_write_items", "batch_write_item", "put_item", "delete_item"})
ENDPOINT: Final = "https://dynamodb.invalid"

Method = Callable[..., Awaitable[Any]]


class FaultyClient:
    """Wraps a client; some of its requests fail, by a seeded choice.

    Args:
        client: The real one.
        seed: Decides which requests fail, and how.
        share: How many of all requests fail.

    Attributes:
        requests: `(operation, arguments)` of everything that was asked for, in order.
        faults: How often each fault was injected.
        lost: Request tokens of transactions that were made though their answer was lost.
    """

    def __init__(self, client: Any, seed: int = 0, share: float = 0.2) -> None:
        self._client = client
        self._random = random.Random(seed)
        self._share = share
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.faults: Counter[str] = Counter()
        self.lost: list[str] = []

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._client, operation)
        if operation in {"get_waiter", "describe_table", "create_table"}:
            return method

        async def request(**arguments: Any) -> Any:
            self.requests.append((operation, arguments))
            if self._random.random() >= self._share:
                return await method(**arguments)
            return await self._fail(operation, method, arguments)

        return request

    async def _fail(self, operation: str, method: Method, arguments: dict[str, Any]) -> Any:
        ways: list[Callable[..., Awaitable[Any]]] = [
            self._throttle,
            self._server_error,
            self._timeout_before,
            self._lost_answer,
            self._no_connection,
        ]
        if operation == "transact_write_items":
            ways += [self._conflict, self._conflict, self._throttled_item, self._lost_answer]
        if operation.startswith("batch_"):
            ways += [self._half, self._half]
        way = self._random.choice(ways)
        self.faults[way.__name__.strip("_")] += 1
        return await way(operation, method, arguments)

    async def _throttle(self, operation: str, _method: Method, _arguments: Any) -> Any:
        codes = ["ThrottlingException", "ProvisionedThroughputExceededException"]
        raise error(self._random.choice(codes), operation)

    async def _server_error(self, operation: str, _method: Method, _arguments: Any) -> Any:
        raise error("InternalServerError", operation)

    async def _timeout_before(self, _operation: str, _method: Method, _arguments: Any) -> Any:
        await asyncio.sleep(0)
        raise ReadTimeoutError(endpoint_url=ENDPOINT)

    async def _lost_answer(self, operation: str, method: Method, arguments: dict[str, Any]) -> Any:
        await method(**arguments)
        if operation == "transact_write_items":
            self.lost.append(arguments["ClientRequestToken"])
        fault = self._random.choice([ReadTimeoutError, ConnectionClosedError])
        raise fault(endpoint_url=ENDPOINT)

    async def _no_connection(self, _operation: str, _method: Method, _arguments: Any) -> Any:
        raise EndpointConnectionError(endpoint_url=ENDPOINT)

    async def _conflict(self, operation: str, _method: Method, arguments: dict[str, Any]) -> Any:
        """Some items of a transaction are being written by somebody else."""
        raise self._cancelled("TransactionConflict", operation, arguments)

    async def _throttled_item(
        self, operation: str, _method: Method, arguments: dict[str, Any]
    ) -> Any:
        raise self._cancelled("ThrottlingError", operation, arguments)

    def _cancelled(self, code: str, operation: str, arguments: dict[str, Any]) -> ClientError:
        reasons: list[dict[str, Any]] = [{"Code": "None"} for _ in arguments["TransactItems"]]
        for _ in range(self._random.randint(1, 3)):
            reasons[self._random.randrange(len(reasons))] = {"Code": code, "Message": "injected"}
        failed = error("TransactionCanceledException", operation)
        failed.response["CancellationReasons"] = reasons
        return failed

    async def _half(self, operation: str, method: Method, arguments: dict[str, Any]) -> Any:
        """Only a part of a batch is done, the rest is handed back; perhaps all of it."""
        [(table, wanted)] = arguments["RequestItems"].items()
        if operation == "batch_write_item":
            cut = self._random.randint(0, len(wanted) - 1)
            answer: dict[str, Any] = {"UnprocessedItems": {table: wanted[cut:]}}
            done: Any = wanted[:cut]
        else:
            keys = wanted["Keys"]
            cut = self._random.randint(0, len(keys) - 1)
            answer = {
                "Responses": {},
                "UnprocessedKeys": {table: {**wanted, "Keys": keys[cut:]}},
            }
            done = {**wanted, "Keys": keys[:cut]} if cut else None
        return (
            {**(await method(RequestItems={table: done})), **_without(answer)} if done else answer
        )


def _without(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "Responses"}


def error(code: str, operation: str) -> ClientError:
    """Return an error of the service."""
    return ClientError({"Error": {"Code": code, "Message": "injected"}}, operation)
