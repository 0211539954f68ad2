from typing import Any

import pytest

from tests.records import event, line
from worker.core.decoders import Decoder
from worker.core.results import Ignored, Malformed, Outcome, ProfileSeen

ARN = "arn:aws:bedrock:eu-west-1:111122223333:application-inference-profile/a1b2c3"
COPIED = "arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.amazon.nova-pro-v1:0"


def created(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "eventName": "CreateInferenceProfile",
        "requestParameters": {
            "inferenceProfileName": "checkout",
            "modelSource": {"copyFrom": COPIED},
            "tags": [{"key": "team", "value": "shop"}],
        },
        "responseElements": {"inferenceProfileArn": ARN, "status": "ACTIVE"},
    }
    return event(1, **{**made, **changes})


def decoded(record: dict[str, Any]) -> Outcome:
    [outcome] = Decoder().decode(line(record), source="s")
    return outcome


def test_the_creation_of_a_profile_says_what_it_stands_for() -> None:
    outcome = decoded(created())
    assert isinstance(outcome, ProfileSeen)
    profile = outcome.profile
    assert (profile.arn, profile.model, profile.application) == (ARN, COPIED, "checkout")
    assert profile.tags == (("team", "shop"),)
    assert outcome.position.source == "s"


@pytest.mark.parametrize(
    "tags,application",
    [
        ([{"key": "App", "value": "a"}, {"key": "APPLICATION", "value": "b"}], "b"),
        ([{"key": "ledgerock:application", "value": "c"}, {"key": "app", "value": "a"}], "c"),
        ([{"key": "application", "value": ""}, {"key": "app", "value": "a"}, None], "a"),
        (None, "checkout"),
    ],
)
def test_tags_name_the_application_before_the_name_does(tags: Any, application: str) -> None:
    request = {**created()["requestParameters"], "tags": tags}
    outcome = decoded(created(requestParameters=request))
    assert isinstance(outcome, ProfileSeen)
    assert outcome.profile.application == application


def test_a_creation_that_failed_says_nothing() -> None:
    failed = decoded(created(errorCode="AccessDenied", responseElements=None))
    assert isinstance(failed, Ignored)
    assert failed.reason == "CreateInferenceProfile that failed: AccessDenied"


@pytest.mark.parametrize(
    "changes,path",
    [
        ({"responseElements": None}, "$.responseElements.inferenceProfileArn"),
        (
            {"responseElements": {"inferenceProfileArn": COPIED}},
            "$.responseElements.inferenceProfileArn",
        ),
        ({"requestParameters": None}, "$.requestParameters.modelSource.copyFrom"),
        (
            {"requestParameters": {"modelSource": {"copyFrom": 7}}},
            "$.requestParameters.modelSource.copyFrom",
        ),
        ({"requestParameters": {"tags": "all"}}, "$.requestParameters.tags"),
    ],
)
def test_what_cannot_be_understood_is_quarantined_with_its_place(
    changes: dict[str, Any], path: str
) -> None:
    outcome = decoded(created(**changes))
    assert isinstance(outcome, Malformed)
    assert outcome.path == path
