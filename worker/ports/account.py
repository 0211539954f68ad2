"""What `ledgerock doctor` reads of an AWS account. Nothing here changes anything.

What does not exist is None. Every method raises `worker.core.doctor.CannotReadError` where it was
not allowed to look, or got no answer. A Region that is left empty is that of the environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

Statistic = Literal["Maximum", "Sum"]


class Caller(msgspec.Struct, frozen=True):
    """Who looks.

    Attributes:
        account: Their account.
        arn: Their ARN.
        skew_ms: How far this machine's clock is ahead of AWS's; None if AWS said no time.
    """

    account: str
    arn: str
    skew_ms: int | None = None


class InvocationLogging(msgspec.Struct, frozen=True):
    """Where a Region's model invocation logs go.

    Attributes:
        log_group: In CloudWatch Logs; empty for none.
        bucket: In S3; empty for none.
        bodies: What of requests and answers is logged: `text`, `image`, ...
    """

    log_group: str = ""
    bucket: str = ""
    bodies: tuple[str, ...] = ()


class LogFilter(msgspec.Struct, frozen=True):
    """A subscription filter; `distribution` is `Random` or `ByLogStream`."""

    name: str
    destination: str
    distribution: str = ""
    role: str = ""
    pattern: str = ""


class LogGroup(msgspec.Struct, frozen=True):
    """A log group; 0 days of retention are for ever."""

    name: str
    retention_days: int = 0


class BucketState(msgspec.Struct, frozen=True):
    """A bucket.

    Attributes:
        name: Its name.
        is_encrypted: It encrypts what is put there.
        is_tls_only: Its policy denies requests that are not encrypted on the way.
        queues: ARNs of queues that are told of new objects.
        tells_bus: EventBridge is told of new objects.
    """

    name: str
    is_encrypted: bool = True
    is_tls_only: bool = True
    queues: tuple[str, ...] = ()
    tells_bus: bool = False


class RuleState(msgspec.Struct, frozen=True):
    """A rule of EventBridge.

    Attributes:
        state: `ENABLED`, `DISABLED` or `ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS`.
        targets: How many it has.
        pattern: Of the events that it matches, JSON; empty for a schedule.
    """

    state: str
    targets: int = 1
    pattern: str = ""


class Trail(msgspec.Struct, frozen=True):
    """A trail of CloudTrail.

    Attributes:
        arn: Its ARN.
        is_logging: It is switched on.
        writes: It takes management events that write.
        reads: It takes management events that only read.
    """

    arn: str
    is_logging: bool = True
    writes: bool = True
    reads: bool = True


class IndexState(msgspec.Struct, frozen=True, order=True):
    """A global secondary index: keys as `(name, HASH or RANGE, type)`."""

    name: str
    keys: tuple[tuple[str, str, str], ...]
    projection: str
    status: str = "ACTIVE"


class TableState(msgspec.Struct, frozen=True):
    """A table of DynamoDB.

    Attributes:
        name: Its name.
        status: `ACTIVE`, `UPDATING`, ...
        keys: As `(name, HASH or RANGE, type)`.
        indexes: By name.
        stream: What its stream holds (`KEYS_ONLY`); empty for no stream.
        expires: Attribute of its time to live; empty for none.
        has_recovery: It can be restored to any point in time.
        is_protected: It cannot be deleted by mistake.
        key: ARN of the KMS key it is encrypted with; empty for DynamoDB's own.
    """

    name: str
    keys: tuple[tuple[str, str, str], ...]
    indexes: tuple[IndexState, ...] = ()
    stream: str = ""
    status: str = "ACTIVE"
    expires: str = ""
    has_recovery: bool = True
    is_protected: bool = True
    key: str = ""


class QueueState(msgspec.Struct, frozen=True):
    """A queue of SQS.

    Attributes:
        arn: Its ARN.
        messages: Waiting ones, about.
        dead_letters: ARN of its dead-letter queue; empty for none.
    """

    arn: str
    messages: int = 0
    dead_letters: str = ""


class StreamState(msgspec.Struct, frozen=True):
    """A stream of Kinesis; `status` is `ACTIVE`, `UPDATING`, ..."""

    name: str
    status: str = "ACTIVE"


class MappingState(msgspec.Struct, frozen=True):
    """An event source mapping of a function."""

    id: str
    source: str
    state: str = "Enabled"
    result: str = ""


class FunctionState(msgspec.Struct, frozen=True):
    """A function of Lambda.

    Attributes:
        state: `Active`, `Pending`, `Inactive` or `Failed`.
        update: `Successful`, `InProgress` or `Failed`.
        reason: Why, of either; empty if all is well.
        mappings: What it is called for.
    """

    state: str = "Active"
    update: str = "Successful"
    reason: str = ""
    mappings: tuple[MappingState, ...] = ()


class ServiceState(msgspec.Struct, frozen=True):
    """A service of ECS.

    Attributes:
        status: `ACTIVE`, ...
        desired: Tasks that are to run.
        running: Tasks that do.
        event: What was said of it last.
        role: ARN of the role that its tasks have; empty for none.
    """

    status: str = "ACTIVE"
    desired: int = 1
    running: int = 1
    event: str = ""
    role: str = ""


class TopicState(msgspec.Struct, frozen=True):
    """A topic of SNS: confirmed subscriptions, and those that nobody confirmed yet."""

    confirmed: int
    pending: int = 0


class Account(Protocol):
    """Reads of an AWS account."""

    async def caller(self) -> Caller:
        """Return who looks (`sts:GetCallerIdentity`)."""

    async def parameter(self, name: str) -> str | None:
        """Return a parameter of the Parameter Store."""

    async def invocation_logging(self, region: str) -> InvocationLogging | None:
        """Return where invocation logs of a Region go; None if logging is off."""

    async def logging_role(self, path: str, region: str) -> str | None:
        """Return the ARN of the role under a path that lets Bedrock write a Region's logs."""

    async def log_group(self, region: str, name: str) -> LogGroup | None:
        """Return a log group."""

    async def log_filters(self, region: str, group: str) -> Sequence[LogFilter]:
        """Return the subscription filters of a log group; none if there is no such group."""

    async def bucket(self, name: str) -> BucketState | None:
        """Return a bucket."""

    async def rule(self, region: str, bus: str, name: str) -> RuleState | None:
        """Return a rule of EventBridge."""

    async def trails(self, region: str) -> Sequence[Trail]:
        """Return the trails that take events of a Region."""

    async def bus(self, name: str) -> bool:
        """Return whether there is a bus of this name or ARN."""

    async def queue(self, url: str) -> QueueState | None:
        """Return a queue."""

    async def stream(self, name: str) -> StreamState | None:
        """Return a stream, by name or ARN."""

    async def table(self, name: str) -> TableState | None:
        """Return a table."""

    async def function(self, name: str) -> FunctionState | None:
        """Return a function with its event source mappings."""

    async def service(self, cluster: str, name: str) -> ServiceState | None:
        """Return a service of ECS."""

    async def state_machine(self, arn: str) -> str | None:
        """Return the status of a state machine."""

    async def topic(self, arn: str) -> TopicState | None:
        """Return a topic."""

    async def key(self, arn: str) -> str | None:
        """Return the state of a KMS key: `Enabled`, `Disabled`, `PendingDeletion`, ..."""

    async def metric(
        self, namespace: str, name: str, dimensions: Mapping[str, str], statistic: Statistic
    ) -> int | None:
        """Return a metric of the last quarter of an hour.

        Args:
            namespace: `AWS/SQS`, ...
            name: Its name.
            dimensions: Its dimensions.
            statistic: `Maximum` for the highest value, `Sum` for all of them together.

        Returns:
            The figure, cut to a whole number; None if CloudWatch has none.
        """

    async def not_allowed(
        self, principal: str, actions: Sequence[str], resource: str
    ) -> Sequence[str]:
        """Return those of some actions on a resource that a principal's policies do not allow.

        As IAM's policy simulator has it: policies of the resource, and of an organisation as far
        as it does not know them, are left out.
        """

    async def close(self) -> None:
        """Close connections."""
