"""Which events of AWS bring something that is booked, as EventBridge patterns.

The names of events are those that the worker's decoders know; a test compares the two. Sources
begin with `aws.`, which nobody but AWS may put on a bus (API reference: PutEvents), so that no
event can be forged.

AWS documentation: "AWS service events delivered via AWS CloudTrail"; "Receiving read-only
management events from AWS services"; "Monitor changes to batch inference jobs with Amazon
EventBridge"; "Using EventBridge" (Amazon S3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from infra.config import StageConfig

Json = dict[str, Any]

BEDROCK: Final = "bedrock.amazonaws.com"
MANTLE: Final = "bedrock-mantle.amazonaws.com"
AGENTCORE: Final = "bedrock-agentcore.amazonaws.com"
IAM: Final = "iam.amazonaws.com"

RUNTIME_EVENTS: Final = (
    "Converse",
    "ConverseStream",
    "InvokeModel",
    "InvokeModelWithBidirectionalStream",
    "InvokeModelWithResponseStream",
    "StartAsyncInvoke",
)
MANTLE_EVENTS: Final = ("CreateInference",)
CONTROL_EVENTS: Final = ("CreateInferenceProfile", "CreateModelInvocationJob")
AGENT_EVENTS: Final = ("CreateAgent", "DeleteAgent", "UpdateAgent")
AGENTCORE_EVENTS: Final = ("CreateAgentRuntime", "DeleteAgentRuntime", "UpdateAgentRuntime")
IAM_EVENTS: Final = (
    *("CreateUser", "DeleteUser", "TagUser", "UntagUser"),
    *("AttachUserPolicy", "DetachUserPolicy", "PutUserPolicy", "DeleteUserPolicy"),
    *("CreateRole", "DeleteRole", "TagRole", "UntagRole"),
    *("AttachRolePolicy", "DetachRolePolicy", "PutRolePolicy", "DeleteRolePolicy"),
    *("CreateServiceSpecificCredential", "UpdateServiceSpecificCredential"),
    *("ResetServiceSpecificCredential", "DeleteServiceSpecificCredential"),
    *("CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey"),
)

API_CALL: Final = "AWS API Call via CloudTrail"
SERVICE_EVENT: Final = "AWS Service Event via CloudTrail"
JOB_CHANGED: Final = "Batch Inference Job State Change"
OBJECT_CREATED: Final = "Object Created"
MANIFEST: Final = "/manifest.json.out"
LOG_OBJECT: Final = ".json.gz"
_FROM_AWS: Final = [{"prefix": "aws."}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Events of one kind.

    Attributes:
        key: Names it, in names of rules too.
        why: What it brings, for people.
        pattern: Matches them.
        all_events: Read-only management events are among them, which a rule gets only if asked to.
    """

    key: str
    why: str
    pattern: Json
    all_events: bool = False

    @property
    def state(self) -> str:
        """The state of a rule that brings them."""
        return "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS" if self.all_events else "ENABLED"

    @property
    def title(self) -> str:
        """The key, as constructs are named."""
        return self.key.title()


def feeds(config: StageConfig, *, with_iam: bool, with_region: bool = True) -> list[Feed]:
    """Return what a Region is asked for.

    Args:
        config: Which features are on.
        with_iam: It is the Region in which IAM's events are recorded.
        with_region: It has calls of its own; False for one that is asked for IAM's events alone.
    """
    wanted = _of_region(config) if with_region else []
    if with_iam and config.keys:
        why = "users, roles and their keys: they are recorded in this Region alone"
        wanted.append(Feed(key="iam", why=why, pattern=_calls({IAM: IAM_EVENTS})))
    return wanted


def _of_region(config: StageConfig) -> list[Feed]:
    wanted = [
        Feed(
            key="jobs",
            why="batch inference jobs that change state",
            pattern={"source": ["aws.bedrock"], "detail-type": [JOB_CHANGED]},
        ),
        Feed(
            key="control",
            why="who created batch inference jobs, and what application profiles stand for",
            pattern=_calls({BEDROCK: CONTROL_EVENTS}),
        ),
    ]
    if config.batch_buckets:
        buckets = [arn.rpartition(":")[2] for arn in config.batch_buckets]
        why = "manifests of batch inference jobs: the buckets have to send events to EventBridge"
        wanted.append(Feed(key="manifests", why=why, pattern=objects(buckets, MANIFEST)))
    if config.agents:
        pattern = _calls({BEDROCK: AGENT_EVENTS, AGENTCORE: AGENTCORE_EVENTS})
        wanted.append(Feed(key="agents", why="agents that come, change and go", pattern=pattern))
    if config.cross_check:
        runtime = Feed(
            key="runtime",
            why="every call a second time, and how streams ended",
            pattern=_calls(
                {BEDROCK: RUNTIME_EVENTS, MANTLE: MANTLE_EVENTS}, API_CALL, SERVICE_EVENT
            ),
            all_events=True,
        )
        wanted.append(runtime)
    return wanted


def log_objects(*buckets: str) -> Feed:
    """Return what brings invocation logs that come through S3; of any bucket, if none is named."""
    pattern = objects(buckets, LOG_OBJECT)
    return Feed(key="logs", why="invocation logs, an object at a time", pattern=pattern)


def objects(buckets: Iterable[str], ending: str) -> Json:
    """Return the pattern of new objects whose keys end so, in these buckets; in any, if none."""
    named = list(buckets)
    in_buckets: Json = {"bucket": {"name": named}} if named else {}
    return {
        "source": ["aws.s3"],
        "detail-type": [OBJECT_CREATED],
        "detail": {**in_buckets, "object": {"key": [{"suffix": ending}]}},
    }


def from_accounts(pattern: Json, accounts: Iterable[str]) -> Json:
    """Return a pattern that takes the events of these accounts alone."""
    return {**pattern, "account": list(accounts)}


def _calls(events: dict[str, tuple[str, ...]], *kinds: str) -> Json:
    """Return the pattern of CloudTrail's events with these names, by the service that has them.

    Several services stand side by side: no event of the one has a name of the other's.
    """
    return {
        "source": _FROM_AWS,
        "detail-type": list(kinds or (API_CALL,)),
        "detail": {
            "eventSource": list(events),
            "eventName": [name for names in events.values() for name in names],
        },
    }
