from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.calls import asynchronous
from worker.adapters.bedrock_profiles import BedrockProfiles, model_of
from worker.core.errors import TransientError

ARN = "arn:aws:bedrock:eu-west-1:111122223333:application-inference-profile/a1"
NOVA = "foundation-model/amazon.nova-pro-v1:0"


class Bedrock:
    """The two operations that are used, answering as the API reference says."""

    def __init__(self, models: list[str], fault: Exception | None = None) -> None:
        self.models, self.fault = models, fault
        self.tags: list[dict[str, str]] | Exception = [{"key": "app", "value": "shop"}]

    async def get_inference_profile(self, **arguments: Any) -> dict[str, Any]:
        assert arguments == {"inferenceProfileIdentifier": ARN}
        if self.fault is not None:
            raise self.fault
        return {
            "inferenceProfileName": "named",
            "inferenceProfileArn": ARN,
            "models": [{"modelArn": arn} for arn in self.models],
            "status": "ACTIVE",
            "type": "APPLICATION",
        }

    async def list_tags_for_resource(self, **arguments: Any) -> dict[str, Any]:
        assert arguments == {"resourceARN": ARN}
        if isinstance(self.tags, Exception):
            raise self.tags
        return {"tags": self.tags}


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetInferenceProfile")


@asynchronous
async def test_a_profile_comes_with_its_model_and_tags() -> None:
    models = [f"arn:aws:bedrock:{region}::{NOVA}" for region in ("eu-west-1", "eu-west-3")]
    profile = await BedrockProfiles(Bedrock(models)).profile(ARN)
    assert profile is not None
    assert (profile.arn, profile.model, profile.application) == (ARN, models[0], "shop")
    assert profile.tags == (("app", "shop"),)


@asynchronous
async def test_tags_that_may_not_be_seen_do_not_hide_the_price() -> None:
    bedrock = Bedrock([f"arn:aws:bedrock:eu-west-1::{NOVA}"])
    bedrock.tags = refusal("AccessDeniedException")
    profile = await BedrockProfiles(bedrock).profile(ARN)
    assert profile is not None
    assert (profile.application, profile.tags) == ("named", ())


def test_a_model_without_a_region_is_the_global_profiles() -> None:
    regional, anywhere = f"arn:aws:bedrock:us-east-1::{NOVA}", f"arn:aws:bedrock:::{NOVA}"
    assert model_of([regional, anywhere]) == "global.amazon.nova-pro-v1:0"
    assert model_of([regional]) == regional
    assert model_of([]) == ""


@pytest.mark.parametrize(
    "code", ["ResourceNotFoundException", "AccessDeniedException", "ValidationException"]
)
def test_a_profile_that_is_gone_or_somebody_elses_is_none(code: str) -> None:
    @asynchronous
    async def test() -> None:
        assert await BedrockProfiles(Bedrock([], refusal(code))).profile(ARN) is None

    test()


@pytest.mark.parametrize(
    "fault",
    [refusal("ThrottlingException"), EndpointConnectionError(endpoint_url="bedrock")],
    ids=["throttled", "unreachable"],
)
def test_passing_faults_are_told_apart(fault: Exception) -> None:
    @asynchronous
    async def test() -> None:
        with pytest.raises(TransientError, match="application-inference-profile/a1"):
            await BedrockProfiles(Bedrock([], fault)).profile(ARN)

    test()


@asynchronous
async def test_regions_without_a_name_are_not_asked() -> None:
    arn = "arn:aws:bedrock::111122223333:application-inference-profile/a1"
    assert await BedrockProfiles(Bedrock([])).profile(arn) is None
