"""Application inference profiles in the state table: one partition, an item for each ARN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from worker.adapters.dynamodb_state import RANGE_BYTES_MAX, StateTable, bounded
from worker.adapters.state_values import better_profile, decoded_profile, encoded
from worker.core.errors import TransientError
from worker.core.registry import ApplicationProfile

ROUNDS_MAX: Final = 20
"""How often others may change a profile between our reading and our writing it."""


class DynamoProfiles:
    """A `worker.ports.ProfileStore` in DynamoDB: `b` is the profile as JSON."""

    def __init__(self, table: StateTable) -> None:
        """Keep the table."""
        self._table = table

    async def profiles(self) -> list[ApplicationProfile]:
        """Return all profiles: one query, strongly read."""
        found = [decoded_profile(item["b"]["S"]) for item in await self._table.partition("f")]
        return sorted(found, key=lambda profile: profile.arn)

    async def learn(self, profiles: Sequence[ApplicationProfile]) -> int:
        """Keep profiles that are new or better known; see the port."""
        learnt = 0
        for profile in profiles:
            learnt += await self._learn(profile)
        return learnt

    async def _learn(self, profile: ApplicationProfile) -> bool:
        found = await self._table.put_if(_item(profile), "attribute_not_exists(pk)")
        for _ in range(ROUNDS_MAX):
            if found is None:
                return True
            if not found:
                found = await self._table.put_if(_item(profile), "attribute_not_exists(pk)")
                continue
            better = better_profile(decoded_profile(found["b"]["S"]), profile)
            if better is None:
                return False
            found = await self._table.put_if(_item(better), "b = :b", {":b": found["b"]})
        message = f"{profile.arn}: what is known of it kept being changed by others"
        raise TransientError(message)


def _item(profile: ApplicationProfile) -> dict[str, Any]:
    return {
        "pk": {"S": "f"},
        "sk": {"S": bounded(profile.arn, RANGE_BYTES_MAX)},
        "b": {"S": encoded(profile)},
    }
