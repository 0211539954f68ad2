"""Asking Bedrock what an application inference profile stands for.

Needs `bedrock:GetInferenceProfile` and `bedrock:ListTagsForResource`. A profile is asked for in
its own Region. Profiles of other accounts are not ours to see; the event of their creation tells
of them, where it is forwarded.
"""

from __future__ import annotations

from typing import Any, Final

from botocore.exceptions import ClientError

from worker.adapters.aws_client import FAULTS, AwsClient
from worker.adapters.aws_errors import explained
from worker.core.decoders.profiles import application_profile
from worker.core.registry import ApplicationProfile

GONE: Final = frozenset(
    {"AccessDeniedException", "ResourceNotFoundException", "ValidationException"}
)
"""Answers for profiles that were deleted, never were, or are somebody else's."""

REGIONS_MAX: Final = 64
"""Regions asked; their names come from ARNs that callers may make up."""


class BedrockProfiles:
    """A `worker.ports.ProfileSource`.

    Args:
        client: An open client of aiobotocore for every Region, for tests.
    """

    def __init__(self, client: Any = None) -> None:  # noqa: ANN401 - botocore clients are untyped
        """Connect to nothing yet."""
        self._given = client
        self._clients: dict[str, AwsClient] = {}

    async def profile(self, arn: str) -> ApplicationProfile | None:
        """Return a profile with its tags; None if it is gone, or not ours to see."""
        client = self._in_region(arn.split(":")[3])
        if client is None:
            return None
        try:
            found = await client.request("get_inference_profile", inferenceProfileIdentifier=arn)
        except FAULTS as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"] in GONE:
                return None
            raise _explained(error, arn) from error
        model = model_of([one.get("modelArn", "") for one in found.get("models", ())])
        if not model:
            return None
        tags = await self._tags(client, arn)
        return application_profile(arn, model, found.get("inferenceProfileName", ""), tags)

    async def _tags(self, client: AwsClient, arn: str) -> dict[str, str]:
        """Return a profile's tags; none where they may not be seen: the price needs no tags."""
        try:
            answer = await client.request("list_tags_for_resource", resourceARN=arn)
        except FAULTS as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"] in GONE:
                return {}
            raise _explained(error, arn) from error
        return {tag["key"]: tag["value"] for tag in answer.get("tags", ())}

    def _in_region(self, region: str) -> AwsClient | None:
        if region not in self._clients:
            if not region or len(self._clients) >= REGIONS_MAX:
                return None
            self._clients[region] = AwsClient("bedrock", client=self._given, region=region)
        return self._clients[region]

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()


def model_of(arns: list[str]) -> str:
    """Return what a profile was copied from, given the models that it routes to.

    A profile made from a system-defined one lists a foundation model in each Region of it; a
    global one lists the model without a Region too, and is billed at the global rate.
    """
    for arn in arns:
        _, separator, name = arn.partition(":::foundation-model/")
        if separator:
            return f"global.{name}"
    return arns[0] if arns else ""


def _explained(error: BaseException, arn: str) -> Exception:
    return explained(error, subject=arn, action="bedrock:GetInferenceProfile")
