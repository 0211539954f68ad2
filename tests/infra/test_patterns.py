"""Rules match the events that the decoders know, and no others."""

from typing import Any, Final

import msgspec
import pytest
from moto.events.models import EventPattern

from infra import patterns
from infra.config import StageConfig
from infra.patterns import Feed, feeds, from_accounts, objects
from tests.infra.shapes import configured
from worker.core.decoders import agent_events, batch_jobs, cloudtrail, iam_events, profiles
from worker.core.decoders.cloudtrail import CloudTrailDecoder
from worker.core.decoders.objects import ignored_object
from worker.core.job_outputs import CREATE_JOB, MANIFEST, parse_output_name
from worker.core.results import Ignored

Json = dict[str, Any]

EVERYTHING: Final = configured({"cross_check": True, "batch_buckets": ["arn:aws:s3:::results"]})
READ_ONLY: Final = {"Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream"}
SOURCES: Final = {
    "iam.amazonaws.com": "aws.iam",
    "bedrock.amazonaws.com": "aws.bedrock",
    "bedrock-agentcore.amazonaws.com": "aws.bedrock-agentcore",
    "bedrock-mantle.amazonaws.com": "aws.bedrock-mantle",
}
KNOWN: Final = {
    "runtime": {
        *((cloudtrail.RUNTIME_SOURCE, name) for name in cloudtrail.RUNTIME_EVENTS),
        (cloudtrail.MANTLE_SOURCE, cloudtrail.MANTLE_EVENT),
    },
    "control": {
        (cloudtrail.RUNTIME_SOURCE, CREATE_JOB),
        (cloudtrail.RUNTIME_SOURCE, profiles.CREATE_PROFILE),
    },
    "agents": {
        *((agent_events.AGENTS_SOURCE, name) for name in agent_events.AGENT_EVENTS),
        *((agent_events.AGENTCORE_SOURCE, name) for name in agent_events.RUNTIME_EVENTS),
    },
    "iam": {(iam_events.IAM_SOURCE, name) for name in iam_events.IAM_EVENTS},
}
"""What the decoders know, by the feed that brings it."""
UNKNOWN: Final = (
    ("iam.amazonaws.com", "GetRole"),
    ("bedrock.amazonaws.com", "ListFoundationModels"),
    ("bedrock.amazonaws.com", "GetInferenceProfile"),
    ("bedrock-agentcore.amazonaws.com", "InvokeAgentRuntime"),
    ("s3.amazonaws.com", "CreateUser"),
)


def call(source: str, name: str, kind: str = patterns.API_CALL, **more: Any) -> Json:
    return {
        "source": SOURCES.get(source, "aws.other"),
        "detail-type": kind,
        "account": "111122223333",
        "detail": {"eventSource": source, "eventName": name, "eventType": "AwsApiCall"},
        **more,
    }


def matching(event: Json, config: StageConfig = EVERYTHING) -> list[str]:
    wanted = feeds(config, with_iam=True)
    return [one.key for one in wanted if matches(one.pattern, event)]


def matches(pattern: Json, event: Any) -> bool:
    return bool(EventPattern(None, pattern).matches_event(event))


@pytest.mark.parametrize(
    "key, source, name",
    [(key, *event) for key, events in KNOWN.items() for event in sorted(events)],
)
def test_what_a_decoder_knows_comes_once(key: str, source: str, name: str) -> None:
    assert matching(call(source, name)) == [key]


@pytest.mark.parametrize("source, name", UNKNOWN)
def test_nothing_else_comes(source: str, name: str) -> None:
    event = call(source, name)
    assert matching(event) == []
    raw = msgspec.json.encode(event["detail"])
    assert isinstance(CloudTrailDecoder().decode(raw), Ignored)


def test_names_in_the_patterns_are_those_of_the_decoders() -> None:
    assert {*patterns.IAM_EVENTS} == iam_events.IAM_EVENTS
    assert {*patterns.RUNTIME_EVENTS} == cloudtrail.RUNTIME_EVENTS
    assert {*patterns.MANTLE_EVENTS} == {cloudtrail.MANTLE_EVENT}
    assert {*patterns.CONTROL_EVENTS} == {CREATE_JOB, profiles.CREATE_PROFILE}
    assert {*patterns.AGENT_EVENTS} == {*agent_events.AGENT_EVENTS}
    assert {*patterns.AGENTCORE_EVENTS} == {*agent_events.RUNTIME_EVENTS}
    assert batch_jobs.STATE_CHANGE == patterns.JOB_CHANGED


def test_ends_of_streams_come_too() -> None:
    event = call(patterns.BEDROCK, "InvokeModelWithResponseStream", patterns.SERVICE_EVENT)
    assert matching(event) == ["runtime"]


def test_changes_of_batch_jobs_come() -> None:
    event = {"source": "aws.bedrock", "detail-type": batch_jobs.STATE_CHANGE, "detail": {}}
    assert matching(event) == ["jobs"]


@pytest.mark.parametrize(
    "event",
    [call(patterns.IAM, "CreateUser"), call(patterns.BEDROCK, "InvokeModel")],
    ids=["iam", "runtime"],
)
def test_nobody_but_aws_is_believed(event: Json) -> None:
    # Names of other sources may be put on a bus by anybody who may put events there.
    assert matching(event) != []
    assert matching({**event, "source": "my.bedrock"}) == []
    assert matching({**event, "source": "ledgerock"}) == []


@pytest.mark.parametrize("feed", feeds(EVERYTHING, with_iam=True), ids=lambda one: one.key)
def test_read_only_events_are_asked_for_where_there_are_any(feed: Feed) -> None:
    names = set(feed.pattern.get("detail", {}).get("eventName", ()))
    assert feed.all_events == bool(names & READ_ONLY)
    assert feed.state == (
        "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS" if names & READ_ONLY else "ENABLED"
    )


@pytest.mark.parametrize(
    "document, keys",
    [
        ({}, ["jobs", "control", "agents", "iam"]),
        ({"agents": False}, ["jobs", "control", "iam"]),
        ({"keys": False}, ["jobs", "control", "agents"]),
        ({"agents": False, "keys": False, "cross_check": True}, ["jobs", "control", "runtime"]),
        (
            {"keys": False, "agents": False, "batch_buckets": ["arn:aws:s3:::b"]},
            ["jobs", "control", "manifests"],
        ),
    ],
)
def test_only_what_a_feature_needs_is_asked_for(document: Json, keys: list[str]) -> None:
    config = configured(document)
    assert [one.key for one in feeds(config, with_iam=True)] == keys
    elsewhere = [one.key for one in feeds(config, with_iam=False)]
    assert elsewhere == [key for key in keys if key != "iam"]
    only_iam = [one.key for one in feeds(config, with_iam=True, with_region=False)]
    assert only_iam == [key for key in keys if key == "iam"]


def created(bucket: str, key: str) -> Json:
    return {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "account": "111122223333",
        "detail": {"bucket": {"name": bucket}, "object": {"key": key}},
    }


def test_manifests_of_the_named_buckets_come_and_no_other_object() -> None:
    manifest = f"out/abcdefghij01/{MANIFEST}"
    assert parse_output_name(f"s3://results/{manifest}") is not None
    assert matching(created("results", manifest)) == ["manifests"]
    assert matching(created("others", manifest)) == []
    assert matching(created("results", "out/abcdefghij01/lines.jsonl.out")) == []


def test_log_objects_come_and_markers_do_not() -> None:
    folder = "AWSLogs/111122223333/BedrockModelInvocationLogs"
    pattern = objects(["logs"], patterns.LOG_OBJECT)
    log = f"{folder}/us-east-1/2026/11/22/10/20261122T100000000Z_0123456789abcdef.json.gz"
    marker = f"{folder}/amazon-bedrock-logs-permission-check"
    assert ignored_object(log) is None
    assert ignored_object(marker) is not None
    assert matches(pattern, created("logs", log))
    assert not matches(pattern, created("others", log))
    assert not matches(pattern, created("logs", marker))
    assert matches(objects([], patterns.LOG_OBJECT), created("others", log))


def test_accounts_can_be_told_apart() -> None:
    pattern = from_accounts(objects([], ".gz"), ["444455556666"])
    event = created("logs", "a.gz")
    assert not matches(pattern, event)
    assert matches(pattern, {**event, "account": "444455556666"})


def test_patterns_have_the_length_that_eventbridge_takes() -> None:
    """4,096 characters (AWS documentation: "Amazon EventBridge quotas")."""
    accounts = [f"{number:012d}" for number in range(100)]
    for one in feeds(EVERYTHING, with_iam=True):
        assert len(msgspec.json.encode(from_accounts(one.pattern, accounts))) < 4_096
