"""What rule packs say of the templates and is so on purpose, with the reason, finding by finding.

A test runs cdk-nag's pack `AwsSolutions` over every shape: each of its findings must match a
suppression, and each suppression a finding. They stand here, and not as acknowledgements in the
constructs, because cdk-nag takes acknowledgements of whole findings alone, word by word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Suppression:
    """A finding that is meant to be.

    Attributes:
        rule: Of the pack, with the finding in square brackets where it reports several.
        resource: Path of the construct, below its stack; `%` stands for any text.
        reason: Why it is right as it is.
    """

    rule: str
    resource: str
    reason: str

    def matches(self, rule: str, path: str) -> bool:
        """Tell if this is about what a rule says of the construct at a path."""
        resource = path.partition("/")[2]
        return _is_like(rule, self.rule) and _is_like(resource, self.resource)


def _is_like(text: str, pattern: str) -> bool:
    """Compare with a pattern; asterisks stand for themselves, as findings have them."""
    parts = map(re.escape, pattern.split("%"))
    return re.fullmatch(".*".join(parts), text) is not None


_ANY: Final = "AwsSolutions-IAM5[Resource::*]"
_ARN: Final = "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>"
_POLICY: Final = "DefaultPolicy/Resource"
_TRACES: Final = "traces of X-Ray have no ARN that a right could be limited to"
_DATA_EVENTS: Final = (
    "whoever must know who read an object has CloudTrail's data events, which access logs are a "
    "lesser copy of, in one more bucket to guard"
)

SUPPRESSIONS: Final[tuple[Suppression, ...]] = (
    # --- Rights on everything: actions that take no resource ----------------------------------
    Suppression(
        _ANY,
        "%Invocations/Switch/FunctionRole/Resource",
        "the configuration of invocation logging has no ARN: there is one in each Region, and the "
        "Region is a condition",
    ),
    Suppression(
        _ANY,
        f"Workers/Functions/%Role/{_POLICY}",
        f"{_TRACES}, and neither has the list of streams that Lambda's mappings ask for",
    ),
    Suppression(_ANY, f"Workers/Enforcement/EnforcementRole/{_POLICY}", _TRACES),
    Suppression(
        _ANY,
        f"Workers/Enforcement/SuspensionRole/{_POLICY}",
        f"{_TRACES}, and neither has the delivery of a workflow's logs",
    ),
    Suppression(
        _ANY,
        f"Workers/Enforcement/RestorationRole/{_POLICY}",
        f"{_TRACES}, and neither has the delivery of a workflow's logs",
    ),
    Suppression(
        _ANY,
        f"Workers/Container/ExecutionRole/{_POLICY}",
        "the token of a registry is for all that its holder may do there, and has no ARN",
    ),
    # --- Rights on all of something of ours ---------------------------------------------------
    Suppression(
        "AwsSolutions-IAM5[Resource::<Tables%.Arn>/index/*]",
        f"Workers/%Role/{_POLICY}",
        "indexes are parts of a table that is ours: whoever may read it may read each of them",
    ),
    Suppression(
        "AwsSolutions-IAM5[Resource::<IngestQuarantine%.Arn>/quarantine/*]",
        f"Workers/%Role/{_POLICY}",
        "each record that is put aside is an object of its own, under this prefix alone",
    ),
    Suppression(
        "AwsSolutions-IAM5[Resource::<IngestInvocationsBucket%.Arn>/*]",
        f"Workers/%Role/{_POLICY}",
        "logs are objects whose keys Bedrock chooses; the right is to read",
    ),
    Suppression(
        "AwsSolutions-IAM5[Resource::arn:aws:s3:::results/*]",
        f"Workers/%Role/{_POLICY}",
        "results of batch jobs are objects whose keys Bedrock chooses; the right is to read, in "
        "the buckets that the configuration names",
    ),
    Suppression(
        f"{_ARN}:ssm:<AWS::Region>:<AWS::AccountId>:parameter/%/tiers/*]",
        f"Workers/%Role/{_POLICY}",
        "each budget by tier is a parameter of its own under the stage's path; the right is to "
        "read",
    ),
    Suppression(
        f"{_ARN}:ssm:<AWS::Region>:<AWS::AccountId>:parameter/%/settings/*]",
        f"Workers/%Role/{_POLICY}",
        "settings that must not stand in a template are parameters under this path of the stage's; "
        "the right is to read",
    ),
    Suppression(
        f"{_ARN}:bedrock:%:<AWS::AccountId>:application-inference-profile/*]",
        f"Workers/%Role/{_POLICY}",
        "profiles are resolved as calls name them, and are made by others; the right is to read",
    ),
    Suppression(
        f"{_ARN}:s3:::ledgerock-%]",
        f"Workers/%Role/{_POLICY}",
        "buckets of logs in other accounts, whose own policies let these roles read; their names "
        "begin with the stage's",
    ),
    Suppression(
        f"{_ARN}:kms:%:key/*]",
        "Role/Resource",
        "a receiver in another Region writes to the ledger's stream under the ledger's key, whose "
        "id its stack cannot know; a condition names the key's alias",
    ),
    Suppression(
        f"{_ARN}:kms:%:key/*]",
        f"Workers/%Role/{_POLICY}",
        "logs of other accounts are read under keys of theirs, whose ids the ledger's stack cannot "
        "know; a condition names their alias",
    ),
    # --- Rights on those who may be suspended -------------------------------------------------
    Suppression(
        f"{_ARN}:iam::<AWS::AccountId>:user/%*]",
        f"%/{_POLICY}",
        "whom a budget suspends is known when it does; the paths are those that the configuration "
        "names, and Ledgerock's own roles are denied",
    ),
    Suppression(
        f"{_ARN}:iam::<AWS::AccountId>:role/%*]",
        f"%/{_POLICY}",
        "as with users: the paths that the configuration names, Ledgerock's own roles denied",
    ),
    Suppression(
        f"{_ARN}:iam::<AWS::AccountId>:policy/ledgerock/ledgerock-deny-*]",
        f"%/{_POLICY}",
        "the managed policies that deny are made as they are needed; no others are touched",
    ),
    # --- Services -----------------------------------------------------------------------------
    Suppression(
        "AwsSolutions-ECS2",
        "Workers/Container/Task/Resource",
        "what stands in the environment is no secret; those come from the Parameter Store",
    ),
    Suppression(
        "AwsSolutions-ECS4",
        "Workers/Container/Cluster/Resource",
        "the worker's own metrics say more of it than Container Insights, which cost extra",
    ),
    Suppression(
        "AwsSolutions-KDS3",
        "Ingest/Stream/Resource",
        "a key of the stage's own is what data.customer_key asks for",
    ),
    Suppression(
        "AwsSolutions-L1",
        "%Invocations/Switch/Function/Resource",
        "the version of Python that the images have, so that one version is tested",
    ),
    Suppression("AwsSolutions-S1", "Ingest/Quarantine/Resource", _DATA_EVENTS),
    Suppression("AwsSolutions-S1", "%Invocations/Bucket/Resource", _DATA_EVENTS),
    Suppression(
        "AwsSolutions-SQS3",
        "%Undelivered/Resource",
        "it is itself a queue of dead letters, of rules and topics, which the rule does not see",
    ),
)
