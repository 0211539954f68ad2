"""Reading an AWS account: one request at a time, and what its faults mean."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from worker.adapters.aws_client import FAULTS, AwsClient
from worker.adapters.aws_errors import DENIED_CODES, error_code, explained
from worker.core.doctor import CannotReadError
from worker.core.errors import LedgerockError

READ_SECONDS: Final = 8.0
ATTEMPTS_MAX: Final = 2
CONNECTIONS: Final = 8

Answer = dict[str, Any]
"""Of a service, as the SDK has it."""


class AccountReads:
    """Makes requests that read, with a client for each service and Region."""

    def __init__(self) -> None:
        """Connect to nothing yet."""
        self._clients: dict[tuple[str, str], AwsClient] = {}

    async def ask(
        self,
        service: str,
        operation: str,
        *,
        subject: str,
        action: str,
        region: str = "",
        missing: Collection[str] = (),
        **arguments: Any,  # noqa: ANN401 - of the operation
    ) -> Answer | None:
        """Make one request.

        Args:
            service: As the SDK calls it.
            operation: Name of the client's method.
            subject: What is asked for, in errors.
            action: The permission that it takes.
            region: Empty for that of the environment.
            missing: Codes that say that there is no such thing.
            **arguments: Of the operation.

        Returns:
            The answer; None if there is no such thing.

        Raises:
            CannotReadError: It is not allowed, or there is no answer.
        """
        try:
            answer: Answer = await self._client(service, region).request(operation, **arguments)
        except FAULTS as error:
            if error_code(error) in missing:
                return None
            meaning = explained(error, subject=subject, action=action)
            is_denied = error_code(error) in DENIED_CODES
            raise CannotReadError(str(meaning), action if is_denied else "") from error
        except LedgerockError as error:
            raise CannotReadError(str(error)) from error
        return answer

    def _client(self, service: str, region: str) -> AwsClient:
        key = service, region
        if key not in self._clients:
            self._clients[key] = AwsClient(
                service,
                read_seconds=READ_SECONDS,
                attempts_max=ATTEMPTS_MAX,
                connections=CONNECTIONS,
                region=region or None,
            )
        return self._clients[key]

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()
