"""Users with a Bedrock API key: made, listed and taken away."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec


class Home(msgspec.Struct, frozen=True):
    """Where users are made.

    Attributes:
        account: The account of whoever asks.
        partition: `aws`, `aws-us-gov`, `aws-cn`.
        caller: ARN of whoever asks.
    """

    account: str
    partition: str
    caller: str


class ApiKey(msgspec.Struct, frozen=True, order=True):
    """A long-term Bedrock API key, without its secret.

    Attributes:
        id: `ACCA…`.
        status: `Active`, `Inactive` or `Expired`.
        created_at_ms: When it was made, epoch milliseconds UTC.
        expires_at_ms: When it ends; 0 for never.
    """

    id: str
    status: str
    created_at_ms: int
    expires_at_ms: int = 0


class NewKey(msgspec.Struct, frozen=True):
    """A key that was just made; its secret is never seen again.

    Attributes:
        key: The key.
        secret: What callers send as bearer token. It is in no representation of this.
    """

    key: ApiKey
    secret: str

    def __repr__(self) -> str:
        """Say which key it is, without its secret."""
        return f"NewKey({self.key.id})"


class KeyUser(msgspec.Struct, frozen=True):
    """An IAM user, and its Bedrock API keys.

    Attributes:
        name: Its name.
        unique_id: `AIDA…`.
        path: Its path.
        tags: Its tags.
        keys: Its Bedrock API keys, by id.
    """

    name: str
    unique_id: str
    path: str
    tags: dict[str, str]
    keys: tuple[ApiKey, ...] = ()


class Provisioning(Protocol):
    """Makes users with Bedrock API keys, and takes them away.

    What is taken away may be gone already. All raise `TransientError` (it may have been done or
    not) and `ConfigurationError` (no permission, no credentials, a request that is refused).
    """

    async def home(self) -> Home:
        """Return where users are made, and by whom."""

    async def find(self, name: str) -> KeyUser | None:
        """Return a user with its keys; None if there is none of this name."""

    async def create_user(
        self, name: str, *, path: str, tags: Sequence[tuple[str, str]], boundary: str = ""
    ) -> KeyUser | None:
        """Make a user; None if there is one of this name already.

        Args:
            name: Its name.
            path: Its path, such as `/ledgerock/`.
            tags: Its tags; they are there as soon as the user is.
            boundary: ARN of its permissions boundary; empty for none.
        """

    async def attach(self, name: str, policy: str) -> None:
        """Attach a managed policy, by its ARN."""

    async def create_key(self, name: str, days: int | None = None) -> NewKey:
        """Make a Bedrock API key, once: no request is repeated.

        Args:
            name: Of the user, which may have been made just now.
            days: How long the key is good for; None for ever.
        """

    async def delete_key(self, name: str, key_id: str) -> None:
        """Delete a key."""

    async def strip(self, name: str, policies: Collection[str]) -> None:
        """Take away some attached policies, and every deny policy of Ledgerock's own."""

    async def delete_user(self, name: str) -> None:
        """Delete a user, which must have nothing any more.

        Raises:
            ConfigurationError: It has something that nobody told us of: an access key, a group.
        """

    async def close(self) -> None:
        """Close connections."""
