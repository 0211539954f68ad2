"""What holds of every template, whatever is configured: each function yields what is wrong."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from infra.config import StageConfig
from tests.infra.shapes import Json, Synthesised

RESOURCES_MAX: Final = 500
"""AWS documentation: "CloudFormation quotas", resources in a template."""
PSEUDO_PARAMETERS: Final = {
    f"AWS::{name}"
    for name in (
        *("AccountId", "NotificationARNs", "NoValue", "Partition", "Region", "StackId"),
        *("StackName", "URLSuffix"),
    )
}
NAMES: Final[Mapping[str, str]] = {
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::CompositeAlarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::EC2::SecurityGroup": "GroupName",
    "AWS::ECS::Cluster": "ClusterName",
    "AWS::ECS::Service": "ServiceName",
    "AWS::ECS::TaskDefinition": "Family",
    "AWS::Events::EventBus": "Name",
    "AWS::Events::Rule": "Name",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Kinesis::Stream": "Name",
    "AWS::KMS::Alias": "AliasName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::Destination": "DestinationName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::Logs::SubscriptionFilter": "FilterName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SSM::Parameter": "Name",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
}
"""Where each type of resource has the name that is seen in its account."""
NAMELESS: Final = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::CloudFormation::CustomResource",
    "AWS::EC2::FlowLog",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCEndpoint",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::Events::EventBusPolicy",
    "AWS::KMS::Key",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Permission",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
}
"""Types that have no name of their own, or one that nobody can give twice."""
INNER_NAMES: Final = {"AWS::IAM::Policy", "AWS::ApplicationAutoScaling::ScalingPolicy"}
"""Their names are unique within a role or a service alone."""
KEPT: Final = {"AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::KMS::Key"}
"""What holds what cannot be had again."""

Features = Mapping[str, tuple[Callable[[StageConfig], bool], Callable[[str, Json], bool]]]


def _typed(*kinds: str) -> Callable[[str, Json], bool]:
    return lambda _name, resource: resource["Type"].startswith(kinds)


def _allows(*actions: str) -> Callable[[str, Json], bool]:
    return lambda _name, resource: any(
        action in statement.get("Action", ())
        for statement in statements(resource)
        if statement["Effect"] == "Allow"
        for action in actions
    )


def _says(*words: str) -> Callable[[str, Json], bool]:
    return lambda _name, resource: any(word in json.dumps(resource) for word in words)


FEATURES: Final[Features] = {
    "the stream": (lambda one: one.logs.via == "kinesis", _typed("AWS::Kinesis::")),
    "the subscription": (
        lambda one: one.logs.via in {"kinesis", "subscription"},
        _typed("AWS::Logs::SubscriptionFilter", "AWS::Logs::Destination"),
    ),
    "the switch of invocation logging": (
        lambda one: one.logs.switch_on,
        lambda _name, resource: (
            resource["Type"].startswith(("AWS::CloudFormation::CustomResource", "Custom::"))
            or "ModelInvocationLoggingConfiguration" in json.dumps(resource)
        ),
    ),
    "Bedrock's own right to write logs": (
        lambda one: one.logs.via != "none",
        _says('{"Service": "bedrock.amazonaws.com"}'),
    ),
    "event source mappings": (
        lambda one: one.shape == "functions",
        _typed("AWS::Lambda::EventSourceMapping"),
    ),
    "the container": (
        lambda one: one.shape == "container",
        _typed("AWS::ECS::", "AWS::EC2::", "AWS::ApplicationAutoScaling::"),
    ),
    "endpoints that cost": (lambda one: one.network.private, _says('"Interface"')),
    "addresses for everybody": (
        lambda one: one.shape == "container" and not one.network.private,
        _typed("AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::EIP"),
    ),
    "workflows": (
        lambda one: one.enforcement.by == "workflows",
        _typed("AWS::StepFunctions::"),
    ),
    "rights to suspend": (
        lambda one: one.enforcement.by != "off",
        _allows("iam:PutUserPolicy", "iam:PutRolePolicy", "iam:AttachRolePolicy"),
    ),
    "the right to switch keys off": (
        lambda one: one.enforcement.mode == "detach",
        _allows("iam:UpdateServiceSpecificCredential"),
    ),
    "the key": (lambda one: one.data.customer_key, _typed("AWS::KMS::")),
    "alarms and dashboard": (
        lambda one: one.watching.enabled,
        # Those that scale the container's tasks watch nothing.
        lambda name, resource: (
            resource["Type"].startswith("AWS::CloudWatch::") and "TaskCount" not in name
        ),
    ),
    "people": (
        lambda one: (
            bool(one.people.emails or one.watching.page or one.watching.ticket)
            or one.watching.enabled
        ),
        _typed("AWS::SNS::"),
    ),
    "tracing": (lambda one: one.watching.tracing, _says('"xray:')),
    "agents": (lambda one: one.agents, _says('"CreateAgent"', '"CreateAgentRuntime"')),
    "keys": (lambda one: one.keys, _says('"CreateAccessKey"')),
    "the cross-check": (lambda one: one.cross_check, _says('"InvokeModel"', '"Converse"')),
    "buckets of batch jobs": (
        lambda one: bool(one.batch_buckets),
        _says(*("arn:aws:s3:::results",)),
    ),
    "tiers": (lambda one: one.tiers == "ssm", _says('tiers/*"', "/tiers")),
    "the bus for others": (
        lambda one: bool(one.sources),
        _typed("AWS::Events::EventBusPolicy"),
    ),
}
"""What each feature alone makes: when it is to be there, and what it is known by."""


def wrong(made: Synthesised) -> list[str]:
    """Return everything that must not be so in any template."""
    checks = (*(_references, _sizes, _tags, _names, _features, _policies, _actions, _outsiders),)
    return [one for check in checks for one in check(made)]


def names_of(made: Synthesised) -> set[tuple[str, str, str]]:
    """Return stack's place, type and physical name of everything that has a fixed one."""
    found = set()
    for stack, artifact in made.stacks.items():
        place = artifact["environment"]
        found.add((place, "stack", artifact["properties"]["stackName"]))
        for resource in made.templates[stack]["Resources"].values():
            name = resource.get("Properties", {}).get(NAMES.get(resource["Type"], ""))
            if name is not None and resource["Type"] not in INNER_NAMES:
                found.add((place, resource["Type"], json.dumps(name, sort_keys=True)))
        for output in made.templates[stack].get("Outputs", {}).values():
            if "Export" in output:
                found.add((place, "export", json.dumps(output["Export"], sort_keys=True)))
    return found


# --- References -------------------------------------------------------------------------------


def _references(made: Synthesised) -> Iterator[str]:
    for stack, template in made.templates.items():
        text = json.dumps(template)
        if "${Token[" in text or "TOKEN" in text.replace("TOKENS", ""):
            yield f"{stack}: holds a token that nothing resolved"
        there = {
            *template["Resources"],
            *template.get("Parameters", {}),
            *PSEUDO_PARAMETERS,
        }
        for target in sorted(set(referred(template))):
            if target not in there:
                yield f"{stack}: refers to {target}, which is not there"
        for name, resource in template["Resources"].items():
            depends = resource.get("DependsOn", [])
            for target in [depends] if isinstance(depends, str) else depends:
                if target not in template["Resources"]:
                    yield f"{stack}/{name}: depends on {target}, which is not there"


def referred(value: Any) -> Iterator[str]:
    """Yield the names that `Ref`, `Fn::GetAtt` and `Fn::Sub` refer to."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "Ref":
                yield inner
            elif key == "Fn::GetAtt":
                yield inner[0] if isinstance(inner, list) else inner.partition(".")[0]
            elif key == "Fn::Sub":
                text, own = (inner, {}) if isinstance(inner, str) else inner
                for name in re.findall(r"\$\{([^!}][^}]*)\}", text):
                    if name not in own:
                        yield name.partition(".")[0]
                yield from referred(own)
            else:
                yield from referred(inner)
    elif isinstance(value, list):
        for one in value:
            yield from referred(one)


def _sizes(made: Synthesised) -> Iterator[str]:
    for stack, template in made.templates.items():
        count = len(template["Resources"])
        if not 0 < count < RESOURCES_MAX:
            yield f"{stack}: has {count} resources"
        size = len(json.dumps(template, separators=(",", ":")))
        if size > 1_000_000:
            yield f"{stack}: has {size} bytes; CloudFormation takes 1 MB"


# --- Tags and names ---------------------------------------------------------------------------


@cache
def tag_property(kind: str) -> str | None:
    """Return where resources of a type have their tags; None if they cannot have any."""
    if kind.startswith(("Custom::", "AWS::CloudFormation::CustomResource")):
        return None
    described = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    tagging = described.get("tagging") or {}
    if not tagging.get("taggable", described.get("taggable", True)):
        return None
    name = str(tagging.get("tagProperty", "/properties/Tags")).rpartition("/")[2]
    return name if name in described["properties"] else None


def _tags(made: Synthesised) -> Iterator[str]:
    config = made.config
    expected = {"ledgerock:stage": config.stage, "ledgerock:name": config.name, **config.tags}
    for stack, name, resource in made.resources():
        where = tag_property(resource["Type"])
        if where is None:
            continue
        given = resource.get("Properties", {}).get(where, {})
        if isinstance(given, list):
            given = {one["Key"]: one["Value"] for one in given}
        if not expected.items() <= given.items():
            yield f"{stack}/{name} ({resource['Type']}): lacks tags; it has {given}"


def _names(made: Synthesised) -> Iterator[str]:
    config = made.config
    for artifact in made.stacks.values():
        name = artifact["properties"]["stackName"]
        if name != config.name and not name.startswith(f"{config.name}-"):
            yield f"the stack {name}: does not begin with {config.name}"
    for stack, name, resource in made.resources():
        kind = resource["Type"]
        where = NAMES.get(kind)
        if where is None:
            if kind not in NAMELESS | INNER_NAMES and not kind.startswith("Custom::"):
                yield f"{stack}/{name}: is {kind} in NAMES, NAMELESS or INNER_NAMES?"
            continue
        given = resource.get("Properties", {}).get(where)
        if given is None:
            continue
        if kind == "AWS::S3::Bucket" and not _is_of_a_place(made, stack, given):
            yield f"{stack}/{name}: must not have the fixed name {given}"
        elif not _begins_as_it_must(beginning(given), config):
            yield f"{stack}/{name} ({kind}): the name {given} does not begin with {config.name}"


def _is_of_a_place(made: Synthesised, stack: str, name: Any) -> bool:
    """Tell if a bucket's name is that of one account and Region: names of all share one space.

    A bucket of another account has such a name, because the ledger's stack has to know it.
    """
    _, _, account, region = made.stacks[stack]["environment"].split("/")
    return stack != "Ledger" and str(name).endswith(f"-{account}-{region}")


def beginning(value: Any) -> str:
    """Return the text that a value begins with, as far as the template tells."""
    if isinstance(value, str):
        return value
    joined = value.get("Fn::Join") if isinstance(value, dict) else None
    if joined is None:
        return ""
    separator, parts = joined
    texts = list(_texts_before_references(parts))
    return str(separator.join(texts))


def _texts_before_references(parts: list[Any]) -> Iterator[str]:
    """Yield the texts before the first reference."""
    for part in parts:
        if not isinstance(part, str):
            return
        yield part


def _begins_as_it_must(text: str, config: StageConfig) -> bool:
    # Services choose the beginning of some log groups, after which the name follows.
    text = re.sub(r"^(alias/|/aws/([a-z]+/)+)(?=[^/]*$)", "", text)
    return text == config.name or text.startswith((f"{config.name}-", config.path))


# --- Features, retention, rights --------------------------------------------------------------


def _features(made: Synthesised) -> Iterator[str]:
    for feature, (is_on, is_its) in FEATURES.items():
        if is_on(made.config):
            continue
        for stack, name, resource in made.resources():
            if is_its(name, resource):
                yield f"{stack}/{name} ({resource['Type']}): is there without {feature}"


def _policies(made: Synthesised) -> Iterator[str]:
    kept = made.config.data.keep
    expected = {"Retain", "RetainExceptOnCreate"} if kept else {"Delete"}
    for stack, name, resource in made.resources():
        found = {resource.get(key, "Delete") for key in ("DeletionPolicy", "UpdateReplacePolicy")}
        if resource["Type"] in KEPT and found != expected:
            wanted = " and ".join(sorted(expected))
            yield f"{stack}/{name} ({resource['Type']}): {sorted(found)}; data.keep says {wanted}"
        if not made.config.data.keep and found != {"Delete"}:
            yield f"{stack}/{name} ({resource['Type']}): stays when the stack goes"
        if resource["Type"] == "AWS::DynamoDB::Table":
            is_protected = resource["Properties"].get("DeletionProtectionEnabled", False)
            if is_protected is not made.config.data.keep:
                yield f"{stack}/{name}: deletion protection is {is_protected}"


def _actions(made: Synthesised) -> Iterator[str]:
    """No action is allowed by a pattern; what is denied may be."""
    for stack, name, resource in made.resources():
        for statement in statements(resource):
            if statement["Effect"] != "Allow" or resource["Type"] == "AWS::KMS::Key":
                continue
            actions = statement.get("Action", "*")
            for action in [actions] if isinstance(actions, str) else actions:
                if "*" in action:
                    yield f"{stack}/{name}: allows {action}"


def statements(resource: Json) -> Iterator[Json]:
    """Yield all policy statements that stand in a resource."""

    def found(value: Any) -> Iterator[Json]:
        if isinstance(value, dict):
            if value.keys() >= {"Effect"} and value.keys() & {"Action", "NotAction"}:
                yield value
            else:
                for inner in value.values():
                    yield from found(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from found(inner)

    yield from found(resource.get("Properties", {}))


def _outsiders(made: Synthesised) -> Iterator[str]:
    """Nothing that the CDK would add for its own convenience."""
    for stack, name, resource in made.resources():
        kind = resource["Type"]
        if kind.startswith("Custom::") and not kind.startswith("Custom::Ledgerock"):
            yield f"{stack}/{name}: is a custom resource of the CDK: {kind}"
        runtime = str(resource.get("Properties", {}).get("Runtime", "python"))
        if kind == "AWS::Lambda::Function" and not runtime.startswith("python"):
            yield f"{stack}/{name}: is a function that is not ours: {runtime}"
