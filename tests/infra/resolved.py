"""What a template's references stand for once it is deployed; made up, each of its own kind."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from tests.infra.shapes import ACCOUNT, Json

REGION: Final = "us-east-1"
PSEUDO: Final = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "the-stack",
}
_FIELD: Final = re.compile(r"\$\{([^}]+)\}")


class Resolver:
    """Resolves references of one template.

    Args:
        template: With `Resources`.
        region: Where it is deployed.
    """

    def __init__(self, template: Json, region: str = REGION) -> None:
        self.resources: dict[str, Json] = template["Resources"]
        self._pseudo = PSEUDO | {"AWS::Region": region}
        self._region = region

    def __call__(self, value: Any) -> Any:  # noqa: PLR0911 - one for each function
        """Return a value with every reference in it resolved."""
        if isinstance(value, list):
            return [self(one) for one in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(key, inner)] = value.items()
            if key == "Ref":
                return self._ref(inner)
            if key == "Fn::GetAtt":
                return self._attribute(*inner)
            if key == "Fn::Join":
                separator, parts = inner
                return separator.join(str(self(one)) for one in parts)
            if key == "Fn::Sub":
                return _FIELD.sub(lambda match: str(self._ref(match[1])), inner)
            if key == "Fn::GetAZs":
                return [f"{self._region}{zone}" for zone in "ab"]
            if key == "Fn::Select":
                number, parts = inner
                return self(parts)[int(number)]
            if key == "Fn::Split":
                separator, text = inner
                return self(text).split(separator)
        return {key: self(inner) for key, inner in value.items()}

    def of_type(self, kind: str) -> Iterator[tuple[str, Json]]:
        """Yield the resources of a type: logical id and resolved properties."""
        for name, resource in self.resources.items():
            if resource["Type"] == kind:
                yield name, self(resource.get("Properties", {}))

    def _ref(self, name: str) -> str:
        if name in self._pseudo:
            return self._pseudo[name]
        kind = self.resources[name]["Type"]
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{self._region}.amazonaws.com/{ACCOUNT}/{self._named(name)}"
        if kind in {"AWS::SNS::Topic", "AWS::StepFunctions::StateMachine"}:
            return self._attribute(name, "Arn")
        return self._named(name)

    def _attribute(self, name: str, attribute: str) -> str:
        kind = self.resources[name]["Type"]
        service = kind.split("::")[1].lower()
        named = self._named(name)
        if attribute == "StreamArn":
            return f"{self._attribute(name, 'Arn')}/stream/2026-11-22T00:00:00.000"
        if not attribute.endswith("Arn"):
            return named
        if kind == "AWS::IAM::Role":
            path = self.resources[name]["Properties"].get("Path", "/")
            return f"arn:aws:iam::{ACCOUNT}:role{self(path)}{named}"
        if kind == "AWS::S3::Bucket":
            return f"arn:aws:s3:::{named}"
        kinds = {
            "AWS::DynamoDB::Table": "table/",
            "AWS::Events::EventBus": "event-bus/",
            "AWS::Kinesis::Stream": "stream/",
            "AWS::Lambda::Function": "function:",
            "AWS::Logs::LogGroup": "log-group:",
            "AWS::StepFunctions::StateMachine": "stateMachine:",
            "AWS::KMS::Key": "key/",
        }
        end = ":*" if kind == "AWS::Logs::LogGroup" else ""
        return f"arn:aws:{service}:{self._region}:{ACCOUNT}:{kinds.get(kind, '')}{named}{end}"

    def _named(self, name: str) -> str:
        """Return a resource's name: its own, or one that nothing else has."""
        resource = self.resources[name]
        key = _NAME_KEYS.get(resource["Type"])
        given = resource.get("Properties", {}).get(key) if key else None
        return str(self(given)) if given else name.lower()


_NAME_KEYS: Final = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::ECS::Cluster": "ClusterName",
    "AWS::Events::EventBus": "Name",
    "AWS::Events::Rule": "Name",
    "AWS::IAM::Role": "RoleName",
    "AWS::Kinesis::Stream": "Name",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::StepFunctions::StateMachine": "StateMachineName",
}


def statements_of(resolve: Resolver, role: str) -> list[Json]:
    """Return all statements of a role, given its logical id: inline ones and policies'."""
    properties = resolve.resources[role]["Properties"]
    assert not properties.get("ManagedPolicyArns"), f"{role} has managed policies"
    documents = [one["PolicyDocument"] for one in properties.get("Policies", ())]
    for resource in resolve.resources.values():
        if resource["Type"] in {"AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"}:
            held = resource["Properties"].get("Roles", ())
            if {"Ref": role} in held:
                documents.append(resource["Properties"]["PolicyDocument"])
    return [resolve(one) for document in documents for one in document["Statement"]]


def actions_of(statement: Json) -> list[str]:
    """Return a statement's actions."""
    actions = statement["Action"]
    return [actions] if isinstance(actions, str) else actions


def resources_of(statement: Json) -> list[str]:
    """Return a statement's resources."""
    resources = statement["Resource"]
    return [resources] if isinstance(resources, str) else resources


def role_of(properties: Json, key: str = "Role") -> str:
    """Return the logical id of the role that a property refers to."""
    found = properties[key]
    assert set(found) == {"Fn::GetAtt"}, json.dumps(found)
    return str(found["Fn::GetAtt"][0])
