"""An account in memory: what a test, or somebody trying things out, says that there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from worker.core.doctor import CannotReadError
from worker.ports.account import (
    BucketState,
    Caller,
    FunctionState,
    InvocationLogging,
    LogFilter,
    LogGroup,
    QueueState,
    RuleState,
    ServiceState,
    Statistic,
    StreamState,
    TableState,
    TopicState,
    Trail,
)

SOMEBODY: Final = Caller("111122223333", "arn:aws:iam::111122223333:user/ops", 0)


@dataclass(slots=True, kw_only=True)
class MemoryAccount:
    """A `worker.ports.account.Account` that knows what it is given.

    Attributes:
        identity: Who looks.
        parameters: The Parameter Store, by name.
        logging: Invocation logging, by Region.
        roles: The role that lets Bedrock write logs, by Region.
        groups: Log groups, by Region and name.
        filters: Subscription filters, by Region and log group.
        buckets: By name.
        rules: By Region, bus and name.
        trail_lists: Trails, by Region.
        buses: Names or ARNs.
        queues: By URL.
        streams: By name or ARN.
        tables: By name.
        functions: By name.
        services: By cluster and name.
        machines: Status of state machines, by ARN.
        topics: By ARN.
        keys: State of KMS keys, by ARN.
        metrics: By name and value of the one dimension.
        forbidden: Actions that the principals whose policies are simulated are not allowed.
        denied: Permissions that whoever looks has not.
    """

    identity: Caller = SOMEBODY
    parameters: dict[str, str] = field(default_factory=dict)
    logging: dict[str, InvocationLogging] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    groups: dict[tuple[str, str], LogGroup] = field(default_factory=dict)
    filters: dict[tuple[str, str], list[LogFilter]] = field(default_factory=dict)
    buckets: dict[str, BucketState] = field(default_factory=dict)
    rules: dict[tuple[str, str, str], RuleState] = field(default_factory=dict)
    trail_lists: dict[str, list[Trail]] = field(default_factory=dict)
    buses: set[str] = field(default_factory=set)
    queues: dict[str, QueueState] = field(default_factory=dict)
    streams: dict[str, StreamState] = field(default_factory=dict)
    tables: dict[str, TableState] = field(default_factory=dict)
    functions: dict[str, FunctionState] = field(default_factory=dict)
    services: dict[tuple[str, str], ServiceState] = field(default_factory=dict)
    machines: dict[str, str] = field(default_factory=dict)
    topics: dict[str, TopicState] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    metrics: dict[tuple[str, str], int] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)

    def _ask(self, action: str) -> None:
        if action in self.denied:
            message = f"AWS denies {action}; allow it"
            raise CannotReadError(message, action)

    async def caller(self) -> Caller:
        """Return who looks."""
        self._ask("sts:GetCallerIdentity")
        return self.identity

    async def parameter(self, name: str) -> str | None:
        """Return a parameter."""
        self._ask("ssm:GetParameter")
        return self.parameters.get(name)

    async def invocation_logging(self, region: str) -> InvocationLogging | None:
        """Return where invocation logs of a Region go."""
        self._ask("bedrock:GetModelInvocationLoggingConfiguration")
        return self.logging.get(region)

    async def logging_role(self, path: str, region: str) -> str | None:
        """Return the role that lets Bedrock write a Region's logs, if it is under the path."""
        self._ask("iam:ListRoles")
        role = self.roles.get(region)
        return role if role and path in role else None

    async def log_group(self, region: str, name: str) -> LogGroup | None:
        """Return a log group."""
        self._ask("logs:DescribeLogGroups")
        return self.groups.get((region, name))

    async def log_filters(self, region: str, group: str) -> Sequence[LogFilter]:
        """Return the subscription filters of a log group."""
        self._ask("logs:DescribeSubscriptionFilters")
        return self.filters.get((region, group), ())

    async def bucket(self, name: str) -> BucketState | None:
        """Return a bucket."""
        self._ask("s3:GetBucketPolicy")
        return self.buckets.get(name)

    async def rule(self, region: str, bus: str, name: str) -> RuleState | None:
        """Return a rule."""
        self._ask("events:DescribeRule")
        return self.rules.get((region, bus, name))

    async def trails(self, region: str) -> Sequence[Trail]:
        """Return the trails of a Region."""
        self._ask("cloudtrail:DescribeTrails")
        return self.trail_lists.get(region, ())

    async def bus(self, name: str) -> bool:
        """Return whether there is such a bus."""
        self._ask("events:DescribeEventBus")
        return name in self.buses

    async def queue(self, url: str) -> QueueState | None:
        """Return a queue."""
        self._ask("sqs:GetQueueAttributes")
        return self.queues.get(url)

    async def stream(self, name: str) -> StreamState | None:
        """Return a stream."""
        self._ask("kinesis:DescribeStreamSummary")
        return self.streams.get(name)

    async def table(self, name: str) -> TableState | None:
        """Return a table."""
        self._ask("dynamodb:DescribeTable")
        return self.tables.get(name)

    async def function(self, name: str) -> FunctionState | None:
        """Return a function."""
        self._ask("lambda:GetFunctionConfiguration")
        return self.functions.get(name)

    async def service(self, cluster: str, name: str) -> ServiceState | None:
        """Return a service."""
        self._ask("ecs:DescribeServices")
        return self.services.get((cluster, name))

    async def state_machine(self, arn: str) -> str | None:
        """Return the status of a state machine."""
        self._ask("states:DescribeStateMachine")
        return self.machines.get(arn)

    async def topic(self, arn: str) -> TopicState | None:
        """Return a topic."""
        self._ask("sns:ListSubscriptionsByTopic")
        return self.topics.get(arn)

    async def key(self, arn: str) -> str | None:
        """Return the state of a key."""
        self._ask("kms:DescribeKey")
        return self.keys.get(arn)

    async def metric(
        self,
        namespace: str,  # noqa: ARG002 - of the port
        name: str,
        dimensions: Mapping[str, str],
        statistic: Statistic,  # noqa: ARG002 - of the port
    ) -> int | None:
        """Return a metric."""
        self._ask("cloudwatch:GetMetricStatistics")
        [value] = dimensions.values()
        return self.metrics.get((name, value))

    async def not_allowed(
        self,
        principal: str,  # noqa: ARG002 - of the port
        actions: Sequence[str],
        resource: str,  # noqa: ARG002 - of the port
    ) -> Sequence[str]:
        """Return those of some actions that are not allowed."""
        self._ask("iam:SimulatePrincipalPolicy")
        return [one for one in actions if one in self.forbidden]

    async def close(self) -> None:
        """Do nothing: nothing is open."""
