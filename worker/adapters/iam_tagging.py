"""Tags of users and roles in IAM.

API reference of IAM: ListUserTags, TagUser, UntagUser, and the same of roles. Setting a tag that
is set, or taking away one that is not there, changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import unquote

from worker.adapters.aws_client import FAULTS
from worker.adapters.aws_errors import error_code
from worker.adapters.iam_clients import refusal
from worker.adapters.iam_requests import Clients
from worker.core.errors import ConfigurationError, EnforcementError

MISSING: Final = "NoSuchEntity"
_NAMES: Final = {"user": "UserName", "role": "RoleName"}
_SEGMENTS: Final = 3


class IamTagging:
    """A `worker.ports.Tagging` in AWS.

    Args:
        clients: Clients of IAM, account by account.
    """

    def __init__(self, clients: Clients) -> None:
        """Ask for nothing yet."""
        self._clients = clients

    async def tags(self, subject: str) -> dict[str, str] | None:
        """Return all tags of a user or role; see the port."""
        found: dict[str, str] = {}
        more: dict[str, str] = {}
        while True:
            answer = await self._ask(subject, "list_{}_tags", **more)
            if answer is None:
                return None
            found |= {tag["Key"]: tag["Value"] for tag in answer["Tags"]}
            if not answer.get("IsTruncated"):
                return found
            more = {"Marker": answer["Marker"]}

    async def tag(self, subject: str, tags: Mapping[str, str]) -> bool:
        """Set some tags; see the port."""
        listed = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
        return not listed or await self._ask(subject, "tag_{}", Tags=listed) is not None

    async def untag(self, subject: str, keys: Collection[str]) -> bool:
        """Take some tags away; see the port."""
        return not keys or await self._ask(subject, "untag_{}", TagKeys=sorted(keys)) is not None

    async def close(self) -> None:
        """Close connections."""
        await self._clients.close()

    async def _ask(self, subject: str, operation: str, **values: Any) -> Any:  # noqa: ANN401
        """Make one request; return None if there is no such user or role."""
        segments = subject.split("/")
        kind = segments[0]
        if kind not in _NAMES or len(segments) != _SEGMENTS:
            raise EnforcementError(f"{subject}: IAM keeps tags of users and roles alone")
        method = operation.format(kind)
        client = await self._clients.of(segments[1])
        named = {_NAMES[kind]: unquote(segments[2])}
        try:
            return await client.request(method, **named, **values)
        except (*FAULTS, ConfigurationError) as error:
            if error_code(error) == MISSING:
                return None
            action = f"iam:{method.replace('_', ' ').title().replace(' ', '')}"
            raise refusal(error, subject=subject, action=action) from error
