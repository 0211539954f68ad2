"""Tags of users and roles, and where tiers come from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from worker.core.tiers import Tiers


class Tagging(Protocol):
    """Reads and changes the tags of users and roles. A subject is `user/A/NAME`, `role/A/NAME`.

    All may raise `TransientError` (try again) and `EnforcementError` (no permission, or an account
    that cannot be reached).
    """

    async def tags(self, subject: str) -> dict[str, str] | None:
        """Return all tags of a user or role; None if there is none of that name."""

    async def tag(self, subject: str, tags: Mapping[str, str]) -> bool:
        """Set some tags; return False if there is no such user or role."""

    async def untag(self, subject: str, keys: Collection[str]) -> bool:
        """Take some tags away; return False if there is no such user or role."""

    async def close(self) -> None:
        """Close connections."""


class TierSource(Protocol):
    """Where the operator keeps the tiers."""

    async def tiers(self) -> Tiers:
        """Return them as they are now.

        Raises:
            TransientError: They cannot be read now.
            ConfigurationError: They are wrong; says where, what is expected and what was found.
        """
