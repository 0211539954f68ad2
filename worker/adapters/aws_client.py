"""A client of an AWS service, opened on first use: bounded times, retries and connections.

Credentials, Region and endpoint come from where the AWS command-line tool takes them
(`AWS_PROFILE`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_SQS`, ...). DynamoDB has a
client of its own (`dynamodb_requests`), because its retries must look into transactions.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from worker.adapters.aws_errors import explained

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 20.0
ATTEMPTS_MAX: Final = 4
CONNECTIONS: Final = 32

FAULTS: Final = (
    ClientError,
    BotoCoreError,
    ResponseParserError,  # of a proxy, say, which is busy and answers in words of its own
    aiohttp.ClientError,
    OSError,
    TimeoutError,
)
"""Whatever a request, or reading what it returned, may raise; for `except`."""


class AwsClient:
    """A client of one service.

    Requests that fail on the way, are throttled or meet a fault of the server are made again
    a few times by the SDK (its `standard` mode, jittered) before anything is raised.

    Args:
        service: As the SDK calls it: `sqs`, `s3`, `kinesis`, `events`, `bedrock`.
        client: An open client of aiobotocore, for tests; it is not closed here.
        read_seconds: How long an answer may take; more than a long poll, where there is one.
        attempts_max: How often a request is made, the first time included.
        connections: How many requests can be under way at once.
        region: Another Region than the environment's.
    """

    def __init__(
        self,
        service: str,
        *,
        client: Any = None,  # noqa: ANN401 - botocore clients are untyped
        read_seconds: float = READ_SECONDS,
        attempts_max: int = ATTEMPTS_MAX,
        connections: int = CONNECTIONS,
        region: str | None = None,
    ) -> None:
        """Connect to nothing yet."""
        self.service = service
        self._given = client
        self._client = client
        # The SDK for Python itself knows AWS_DEFAULT_REGION alone.
        self._region = region or os.environ.get("AWS_REGION") or None
        self._config = _config(service, read_seconds, attempts_max, connections)
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()

    async def open(self) -> Any:  # noqa: ANN401
        """Return the open client, for what `call` cannot do.

        Raises:
            ConfigurationError: Region, credentials or endpoint are missing or wrong.
        """
        async with self._opening:
            if self._client is None:
                try:
                    context = self.session().create_client(
                        self.service, region_name=self._region, config=self._config
                    )
                    self._client = await self._stack.enter_async_context(context)
                except (BotoCoreError, ValueError) as error:
                    raise explained(error, subject=self.service, action="it") from error
        return self._client

    def session(self) -> AioSession:
        """Return a session of the SDK, which says where credentials come from."""
        return get_session()

    async def request(self, operation: str, **arguments: Any) -> Any:  # noqa: ANN401
        """Make one request and return its answer.

        Raises:
            ConfigurationError: The client cannot be opened.
            Exception: Any of `FAULTS`, for callers that look at codes first.
        """
        client = await self.open()
        return await getattr(client, operation)(**arguments)

    async def call(
        self,
        operation: str,
        /,
        *,
        subject: str,
        action: str,
        advice: str = "",
        **arguments: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Make one request and return its answer; faults are explained.

        Args:
            operation: Name of the client's method, such as `receive_message`.
            subject: What is asked for, in errors: a queue's URL, a stream's name.
            action: The permission it takes, in errors (`sqs:ReceiveMessage`).
            advice: What to do where the subject is missing or the action denied.
            **arguments: Of the operation.

        Raises:
            TransientError: It kept failing; try again later.
            ConfigurationError: No such thing, no permission, no credentials, a refused request.
        """
        try:
            return await self.request(operation, **arguments)
        except FAULTS as error:
            raise explained(error, subject=subject, action=action, advice=advice) from error

    async def close(self) -> None:
        """Close the connections, unless the client was given. It may be used again."""
        await self._stack.aclose()
        self._client = self._given


def _config(service: str, read_seconds: float, attempts_max: int, connections: int) -> AioConfig:
    # An endpoint of one's own (an emulator, a gateway) rarely has a name for every bucket.
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return AioConfig(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_seconds,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": attempts_max},
        s3={"addressing_style": "path"} if service == "s3" and own else None,
        # Connections are encrypted, and a body is read in ranges, which have no checksums.
        response_checksum_validation="when_required",
    )
