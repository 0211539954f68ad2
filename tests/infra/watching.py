"""Alarms and dashboards as templates have them, with every reference made a text of its own."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from infra.node import use_packaged_node
from tests.infra.shapes import Json, configured

use_packaged_node()

import aws_cdk as cdk  # noqa: E402 - starts Node, which has to be named first
from aws_cdk import aws_ec2 as ec2  # noqa: E402 - as above
from aws_cdk import aws_ecs as ecs  # noqa: E402 - as above
from aws_cdk import aws_lambda as lambda_  # noqa: E402 - as above
from aws_cdk import aws_stepfunctions as sfn  # noqa: E402 - as above
from aws_cdk.assertions import Template  # noqa: E402 - as above

from infra.announcing import Announcing  # noqa: E402 - as above
from infra.config import StageConfig  # noqa: E402 - as above
from infra.encryption import Encryption  # noqa: E402 - as above
from infra.ingest import Ingest  # noqa: E402 - as above
from infra.tables import LedgerTables  # noqa: E402 - as above
from infra.watched import Watched  # noqa: E402 - as above
from infra.watching import Watching  # noqa: E402 - as above

ACCOUNT: Final = "111122223333"
PSEUDO: Final = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
}
FUNCTIONS: Final = {"functions": ("queue", "monitor"), "container": ("enforcement",)}

SEEN: Final[Mapping[str, Json]] = {
    "functions": {
        "enforcement": {"by": "worker"},
        "people": {"emails": ["people@example.com"], "webhook": True},
        "watching": {"page": ["page@example.com"], "ticket": ["ticket@example.com"]},
    },
    "functions-s3": {"logs": {"via": "s3"}, "cross_check": True},
    "container": {
        "shape": "container",
        "enforcement": {"by": "workflows"},
        "data": {"customer_key": True},
    },
}
"""Configurations that have every alarm and widget between them."""


@dataclass(frozen=True)
class Metric:
    """A metric as an alarm or a widget names it."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str
    seconds: int


@dataclass(frozen=True)
class Seen:
    """What a configuration shows.

    Attributes:
        config: The configuration.
        template: With its references.
        alarms: Properties by name without the stage's, references made texts.
        dashboard: Its body.
    """

    config: StageConfig
    template: Json
    alarms: dict[str, Json]
    dashboard: Json

    def of_type(self, kind: str) -> list[Json]:
        """Return the properties of all resources of a type."""
        found = self.template["Resources"].values()
        return [resolved(one["Properties"]) for one in found if one["Type"] == kind]


class _Stack(cdk.Stack):
    """A stage's parts as they are, and what runs in them known by its names alone."""

    def __init__(self, app: cdk.App, config: StageConfig) -> None:
        super().__init__(app, "Seen", env=cdk.Environment(region=config.region))
        encryption = Encryption(self, "Encryption", config)
        is_container = config.shape == "container"
        purposes = ("suspension", "restoration")
        Watching(
            self,
            "Watching",
            Watched(
                config=config,
                encryption=encryption,
                tables=LedgerTables(self, "Tables", config, encryption),
                ingest=Ingest(self, "Ingest", config, encryption),
                announcing=Announcing(self, "Announcing", config, encryption),
                functions={one: self._function(one) for one in FUNCTIONS[config.shape]},
                service=self._service() if is_container else None,
                workflows={one: self._machine(one) for one in purposes}
                if config.enforcement.by == "workflows"
                else {},
            ),
        )

    def _function(self, name: str) -> lambda_.IFunction:
        return lambda_.Function.from_function_name(self, name, f"function-{name}")

    def _service(self) -> ecs.IBaseService:
        network = ec2.Vpc.from_vpc_attributes(
            self, "Vpc", vpc_id="vpc-1", availability_zones=["us-east-1a"]
        )
        cluster = ecs.Cluster.from_cluster_attributes(
            self, "Cluster", cluster_name="the-cluster", vpc=network
        )
        return ecs.FargateService.from_fargate_service_attributes(
            self, "Service", cluster=cluster, service_name="the-service"
        )

    def _machine(self, purpose: str) -> sfn.IStateMachine:
        arn = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:{purpose}"
        return sfn.StateMachine.from_state_machine_arn(self, purpose, arn)


@cache
def seen(name: str, stage: str = "try") -> Seen:
    """Return what one of `SEEN` shows."""
    config = configured(SEEN[name], stage)
    stack = _Stack(cdk.App(analytics_reporting=False), config)
    template: Json = dict(Template.from_stack(stack).to_json())
    alarms = [
        resolved(one["Properties"])
        for one in template["Resources"].values()
        if one["Type"] == "AWS::CloudWatch::Alarm"
    ]
    [dashboard] = [
        resolved(one["Properties"])
        for one in template["Resources"].values()
        if one["Type"] == "AWS::CloudWatch::Dashboard"
    ]
    by_name = {one["AlarmName"].removeprefix(f"{config.name}-"): one for one in alarms}
    return Seen(config, template, by_name, json.loads(dashboard["DashboardBody"]))


def resolved(value: Any) -> Any:
    """Return a value with every reference made a text: what it refers to, and which attribute."""
    if isinstance(value, list):
        return [resolved(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "Ref" in value:
        return PSEUDO.get(value["Ref"], value["Ref"])
    if "Fn::GetAtt" in value:
        return ".".join(value["Fn::GetAtt"])
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return separator.join(resolved(one) for one in parts)
    if len(value) == 1 and next(iter(value)).startswith("Fn::"):
        return json.dumps(value, sort_keys=True).replace('"', "'")  # it stands in JSON, too
    return {key: resolved(inner) for key, inner in value.items()}


def alarm_metrics(alarm: Json) -> Iterator[Metric]:
    """Yield what an alarm watches."""
    if "MetricName" in alarm:
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        yield _metric(alarm, statistic, alarm["Period"])
    for one in alarm.get("Metrics", ()):
        if "MetricStat" in one:
            stat = one["MetricStat"]
            yield _metric(stat["Metric"], stat["Stat"], stat["Period"])


def _metric(named: Json, statistic: str, seconds: int) -> Metric:
    dimensions = {one["Name"]: one["Value"] for one in named.get("Dimensions", ())}
    return Metric(
        named["Namespace"],
        named["MetricName"],
        tuple(sorted(dimensions.items())),
        statistic,
        seconds,
    )


def widget_metrics(dashboard: Json) -> Iterator[Metric]:
    """Yield what a dashboard's graphs show."""
    for widget in dashboard["widgets"]:
        for row in widget["properties"].get("metrics", ()):
            *names, options = row if isinstance(row[-1], dict) else [*row, {}]
            namespace, name, *pairs = names
            yield Metric(
                namespace,
                name,
                tuple(sorted(zip(pairs[::2], pairs[1::2], strict=True))),
                options.get("stat", "Average"),
                options.get("period", 300),
            )


def state_of(alarm: Json, values: Mapping[str, list[float | None]]) -> str:
    """Return the state of an alarm on an expression, given the latest values of its metrics.

    As CloudWatch documents it (AWS documentation: "Using metric math", "Configuring how CloudWatch
    alarms treat missing data"), as far as our expressions need it: an alarm goes off if all of the
    latest periods are beyond its threshold; what comes of missing data is missing, unless it is
    filled.
    """
    [expression] = [one["Expression"] for one in alarm["Metrics"] if "Expression" in one]
    text = re.sub(r"\bIF\(", "_if(", expression).replace(" AND ", " and ")
    periods = alarm["EvaluationPeriods"]
    breaching = []
    for place in range(-periods, 0):
        names: dict[str, Any] = {one: values[one][place] for one in values}
        try:
            value = eval(text, {"_if": _if, "FILL": _fill}, names)  # of our own making
        except TypeError:
            value = None  # it would count with what is missing
        if value is None:
            breaching.append(alarm["TreatMissingData"] == "breaching")
        else:
            breaching.append(value > alarm["Threshold"])
    return "ALARM" if all(breaching) else "OK"


def _if(condition: bool, one: float, other: float) -> float:
    return one if condition else other


def _fill(value: float | None, other: float) -> float:
    return other if value is None else value
