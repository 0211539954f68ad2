"""Stacks of the application's own templates in an emulated AWS.

LocalStack has most types of resources, and CloudFormation to create them with. `for_emulator` is
the only place that changes a template: it leaves out the types of `LACKING`, puts literals where
what is left refers to them, and has the environment of the container's task among the outputs,
so that CloudFormation itself says what the task would have been told.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import boto3

from tests.dynamodb import LOCALSTACK_PORT
from tests.infra.invariants import NAMES, referred
from tests.infra.shapes import Json, Synthesised

ACCOUNT: Final = "000000000000"
REGION: Final = "us-east-1"
STACK_SECONDS: Final = 180
LACKING: Final = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::CloudWatch::Dashboard",
    "AWS::EC2::FlowLog",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::ECS::Cluster",
    "AWS::ECS::Service",
    "AWS::ECS::TaskDefinition",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Function",
    "AWS::Lambda::Permission",
    "AWS::Logs::Destination",
    "Custom::LedgerockInvocationLogging",
}
"""Types of resources that LocalStack's CloudFormation does not have, or cannot create: functions
have no runtime in it, and what belongs to functions wants a function."""
TEMPLATES: Final = "templates"
TASK_DEFINITION: Final = "AWS::ECS::TaskDefinition"
_ENVIRONMENT: Final = "TaskEnvironment"


@dataclass(frozen=True, slots=True)
class Emulator:
    """LocalStack, and clients of it."""

    endpoint: str

    def client(self, service: str, region: str = REGION) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


@dataclass(frozen=True, slots=True)
class Deployed:
    """A stack that was created.

    Attributes:
        name: Its name.
        region: Where it is.
        resources: Physical ids, by logical id.
        types: Types, by logical id.
        environment: What the container's task would be told.
    """

    name: str
    region: str
    resources: Mapping[str, str]
    types: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def named(self, kind: str, ending: str = "") -> str:
        """Return the physical id of the one resource of a type whose id ends like this."""
        [found] = [
            self.resources[name]
            for name, its in self.types.items()
            if its == kind and self.resources[name].endswith(ending)
        ]
        return found


def for_emulator(template: Json, name: str) -> tuple[Json, set[str]]:
    """Return a template that LocalStack can create, and which types it lacks.

    Args:
        template: As it was synthesised.
        name: What stands for names in the literals.
    """
    resources = template["Resources"]
    dropped = {key: one for key, one in resources.items() if _is_lacking(one["Type"])}
    literals = {key: _literals(key, one, name) for key, one in dropped.items()}
    kept = {
        key: {
            part: value if part == "DependsOn" else _resolved(value, literals)
            for part, value in one.items()
        }
        for key, one in resources.items()
        if key not in dropped
    }
    for one in kept.values():
        if one.get("DeletionPolicy") == "RetainExceptOnCreate":
            one["DeletionPolicy"] = "Retain"  # LocalStack does not know the other
        depends = one.pop("DependsOn", [])
        depends = [depends] if isinstance(depends, str) else depends
        if left := [key for key in depends if key not in dropped]:
            one["DependsOn"] = left
    # The version of the bootstrap stack is a parameter of an account that has one.
    parameters = {
        key: one for key, one in template.get("Parameters", {}).items() if key != "BootstrapVersion"
    }
    outputs = {
        f"{_ENVIRONMENT}{number}": {"Value": _resolved(value, literals)}
        for number, value in enumerate(task_environment(template).values())
    }
    made: Json = {"Resources": kept, "Outputs": outputs}
    made |= {part: template[part] for part in ("Mappings", "Conditions") if part in template}
    if parameters:
        made["Parameters"] = parameters
    return made, {one["Type"] for one in dropped.values()}


def task_environment(template: Json) -> dict[str, Any]:
    """Return the environment of the container's task, with references; empty without a task."""
    return {
        variable["Name"]: variable["Value"]
        for one in template["Resources"].values()
        if one["Type"] == TASK_DEFINITION
        for container in one["Properties"]["ContainerDefinitions"]
        for variable in container["Environment"]
    }


def _is_lacking(kind: str) -> bool:
    return kind in LACKING


def _literals(key: str, resource: Json, name: str) -> Mapping[str, str]:
    """Return what stands for a resource that is not there: its `Ref`, and its attributes."""
    properties = resource.get("Properties", {})
    own = properties.get(NAMES.get(resource["Type"], ""), "")
    text = own if isinstance(own, str) and own else f"{name}-{key}".lower()
    service, kind = resource["Type"].split("::")[-2:]
    arn = f"arn:aws:{service.lower()}:{REGION}:{ACCOUNT}:{kind.lower()}:{text}"
    return {"Ref": text, "Arn": arn}


def _resolved(value: Any, literals: Mapping[str, Mapping[str, str]]) -> Any:
    """Put literals for references to what was left out."""
    if isinstance(value, dict):
        if value.keys() == {"Ref"} and value["Ref"] in literals:
            return literals[value["Ref"]]["Ref"]
        if value.keys() == {"Fn::GetAtt"} and value["Fn::GetAtt"][0] in literals:
            target, attribute = value["Fn::GetAtt"]
            return literals[target].get(attribute, f"{literals[target]['Ref']}-{attribute}")
        return {key: _resolved(inner, literals) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(one, literals) for one in value]
    return value


# --- Creating and deleting --------------------------------------------------------------------


@contextmanager
def deployed(emulator: Emulator, made: Synthesised, stack: str = "Ledger") -> Iterator[Deployed]:
    """Create a stack of a synthesised stage; delete it in the end."""
    created = create(emulator, made, stack)
    try:
        yield created
    finally:
        delete(emulator, created.name, created.region)


def create(emulator: Emulator, made: Synthesised, stack: str = "Ledger") -> Deployed:
    """Create a stack of a synthesised stage.

    Raises:
        AssertionError: It was not created; says what each resource says of that.
    """
    artifact = made.stacks[stack]
    name = artifact["properties"]["stackName"]
    template, _ = for_emulator(made.templates[stack], name)
    region = artifact["environment"].rpartition("/")[2]
    formation = emulator.client("cloudformation", region)
    formation.create_stack(
        StackName=name,
        TemplateURL=_put(emulator, name, template),
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    status = _ended(formation, name)
    listed = formation.describe_stack_resources(StackName=name)["StackResources"]
    failed = [
        f"{one['LogicalResourceId']} ({one['ResourceType']}): {one.get('ResourceStatusReason')}"
        for one in listed
        if one["ResourceStatus"] != "CREATE_COMPLETE"
        # What it does not have is said to be made.
        or "fallback" in one.get("ResourceStatusReason", "")
    ]
    stack_of_it = formation.describe_stacks(StackName=name)["Stacks"][0]
    reason = stack_of_it.get("StackStatusReason", "")
    message = "\n".join([f"{name}: {status} {reason}", *failed])
    assert (status, failed) == ("CREATE_COMPLETE", []), message
    outputs = {one["OutputKey"]: one["OutputValue"] for one in stack_of_it.get("Outputs", [])}
    variables = task_environment(made.templates[stack])
    return Deployed(
        name=name,
        region=region,
        resources={one["LogicalResourceId"]: one["PhysicalResourceId"] for one in listed},
        types={one["LogicalResourceId"]: one["ResourceType"] for one in listed},
        environment={
            variable: outputs[f"{_ENVIRONMENT}{number}"]
            for number, variable in enumerate(variables)
        },
    )


def create_alone(emulator: Emulator, resource: Json) -> bool:
    """Tell if LocalStack creates a resource, with literals for all that it refers to."""
    name = f"alone-{resource['Type'].replace(':', '')}"
    everything = {target: {"Ref": target.lower()} for target in referred(resource)}
    alone = {"Type": resource["Type"], "Properties": _resolved(resource["Properties"], everything)}
    formation = emulator.client("cloudformation")
    template = json.dumps({"Resources": {"Alone": alone}})
    formation.create_stack(
        StackName=name, TemplateBody=template, Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    status = _ended(formation, name)
    listed = formation.describe_stack_resources(StackName=name)["StackResources"]
    reasons = [one.get("ResourceStatusReason", "") for one in listed]
    delete(emulator, name)
    return status == "CREATE_COMPLETE" and not any("fallback" in one for one in reasons)


def _put(emulator: Emulator, name: str, template: Json) -> str:
    """Put a template where CloudFormation reads large ones; return its address."""
    s3 = emulator.client("s3")
    s3.create_bucket(Bucket=TEMPLATES)
    s3.put_object(Bucket=TEMPLATES, Key=name, Body=json.dumps(template).encode())
    return f"http://localhost:{LOCALSTACK_PORT}/{TEMPLATES}/{name}"


def delete(emulator: Emulator, name: str, region: str = REGION) -> str:
    """Delete a stack; return how that ended."""
    formation = emulator.client("cloudformation", region)
    identifier = formation.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
    formation.delete_stack(StackName=name)
    return _ended(formation, identifier)


def _ended(formation: Any, name: str) -> str:
    """Wait until nothing is in progress any more; return the stack's status."""
    deadline = time.monotonic() + STACK_SECONDS
    while True:
        status = str(formation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
        if not status.endswith("IN_PROGRESS"):
            return status
        assert time.monotonic() < deadline, f"{name} is still {status}"
        time.sleep(0.2)
