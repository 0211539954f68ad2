"""Templates with their references resolved, as if they were deployed."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.infra.shapes import ACCOUNT, configured, synthesise

Json = dict[str, Any]

NAME_KEYS: Final = {
    "AWS::DynamoDB::Table": ("dynamodb", "table/", "TableName"),
    "AWS::Events::EventBus": ("events", "event-bus/", "Name"),
    "AWS::Kinesis::Stream": ("kinesis", "stream/", "Name"),
    "AWS::Lambda::Function": ("lambda", "function:", "FunctionName"),
    "AWS::Logs::LogGroup": ("logs", "log-group:", "LogGroupName"),
    "AWS::SNS::Topic": ("sns", "", "TopicName"),
    "AWS::SQS::Queue": ("sqs", "", "QueueName"),
    "AWS::StepFunctions::StateMachine": ("states", "stateMachine:", "StateMachineName"),
}
"""Service, beginning of the resource, and the property that is its name."""
REF_IS_ARN: Final = {"AWS::SNS::Topic", "AWS::StepFunctions::StateMachine"}


@dataclass(frozen=True, slots=True)
class Template:
    """A stack's template.

    Attributes:
        body: As synthesised.
        region: Where it is deployed.
        account: Where it is deployed.
    """

    body: Json
    region: str
    account: str

    def all(self, kind: str) -> list[Json]:
        """Return the resolved properties of all resources of a type."""
        return [
            self.resolve(resource.get("Properties", {}))
            for resource in self.body["Resources"].values()
            if resource["Type"] == kind
        ]

    def only(self, kind: str, **wanted: object) -> Json:
        """Return the resolved properties of the only resource of a type that has these."""
        [found] = [
            one
            for one in self.all(kind)
            if all(one.get(key) == value for key, value in wanted.items())
        ]
        return found

    def whole(self, kind: str) -> list[Json]:
        """Return the resources of a type as they are."""
        return [one for one in self.body["Resources"].values() if one["Type"] == kind]

    def statements(self, kind: str = "AWS::IAM::Role") -> list[Json]:
        """Return the statements of policies: those in roles, or those of a type of policy."""
        if kind == "AWS::IAM::Role":
            documents = [
                policy["PolicyDocument"]
                for role in self.all(kind)
                for policy in role.get("Policies", ())
            ]
        elif kind == "AWS::KMS::Key":
            documents = [key["KeyPolicy"] for key in self.all(kind)]
        else:
            documents = [one["PolicyDocument"] for one in self.all(kind)]
        return [statement for document in documents for statement in document["Statement"]]

    def resolve(self, value: Any) -> Any:
        """Return a value without intrinsic functions."""
        if isinstance(value, list):
            return [self.resolve(one) for one in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(function, argument)] = value.items()
            known = self._functions().get(function)
            if known is not None:
                return known(argument)
        return {key: self.resolve(one) for key, one in value.items()}

    def _functions(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "Ref": self._ref,
            "Fn::GetAtt": lambda argument: self._attribute(*argument),
            "Fn::Join": lambda argument: argument[0].join(map(self.resolve, argument[1])),
            "Fn::Sub": lambda text: text.replace("${AWS::AccountId}", self.account),
        }

    def _ref(self, name: str) -> str:
        pseudo = {
            "AWS::Partition": "aws",
            "AWS::AccountId": self.account,
            "AWS::Region": self.region,
            "AWS::URLSuffix": "amazonaws.com",
        }
        if name in pseudo:
            return pseudo[name]
        resource = self.body["Resources"][name]
        kind = resource["Type"]
        if kind in REF_IS_ARN:
            return self._attribute(name, "Arn")
        key = NAME_KEYS.get(kind, ("", "", ""))[2]
        named = str(self.resolve(resource["Properties"].get(key, name.lower())))
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{self.region}.amazonaws.com/{self.account}/{named}"
        return named

    def _attribute(self, name: str, attribute: str) -> str:
        resource = self.body["Resources"][name]
        kind = resource["Type"]
        if attribute == "Arn" and kind == "AWS::S3::Bucket":
            return f"arn:aws:s3:::{self._ref(name)}"
        if attribute == "Arn" and kind in NAME_KEYS:
            service, beginning, key = NAME_KEYS[kind]
            named = self.resolve(resource["Properties"].get(key, name))
            ending = ":*" if service == "logs" else ""
            return f"arn:aws:{service}:{self.region}:{self.account}:{beginning}{named}{ending}"
        return f"{name}.{attribute}"


def made(**document: Any) -> dict[str, Template]:
    """Return the templates of a configuration by their construct, each made only once."""
    return _made(json.dumps(document, sort_keys=True))


@cache
def _made(text: str) -> dict[str, Template]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        done = synthesise(configured(json.loads(text)), Path(folder))
    for name, template in done.templates.items():
        _, account, region = done.stacks[name]["environment"].replace("://", "/").split("/")
        found[name] = Template(template, region, account if account.isdigit() else ACCOUNT)
    return found


def ledger(**document: Any) -> Template:
    """Return the template of the ledger's own stack."""
    return made(**document)["Ledger"]
