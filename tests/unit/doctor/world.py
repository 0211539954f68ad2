"""A healthy stage in memory, for planting faults into it."""

from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import msgspec

from tests.calls import NOON
from tests.unit.test_announcer import Clock
from worker.adapters.account_tables import wanted_tables
from worker.adapters.memory_account import SOMEBODY, MemoryAccount
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryBudgets, MemoryOutbox
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.core.doctor import Diagnosis, Finding
from worker.core.ledger import Amounts
from worker.doctor import Books, Patient, examine
from worker.ports import Ledger
from worker.ports.account import (
    BucketState,
    FunctionState,
    InvocationLogging,
    LogFilter,
    LogGroup,
    MappingState,
    QueueState,
    RuleState,
    ServiceState,
    StreamState,
    TableState,
    TopicState,
    Trail,
)
from worker.settings import Settings
from worker.settings.deployment import Deployment, Rule, Subscription

ACCOUNT: Final = "111122223333"
HOME: Final = "eu-west-1"
AWAY: Final = "us-east-1"
NAME: Final = "ledgerock-dev"
QUEUE: Final = f"https://sqs.{HOME}.amazonaws.com/{ACCOUNT}/{NAME}-events"
DEAD: Final = f"https://sqs.{HOME}.amazonaws.com/{ACCOUNT}/{NAME}-dead-letters"
QUEUE_ARN: Final = f"arn:aws:sqs:{HOME}:{ACCOUNT}:{NAME}-events"
DEAD_ARN: Final = f"arn:aws:sqs:{HOME}:{ACCOUNT}:{NAME}-dead-letters"
STREAM: Final = f"{NAME}-logs"
STREAM_ARN: Final = f"arn:aws:kinesis:{HOME}:{ACCOUNT}:stream/{STREAM}"
GROUP: Final = f"/{NAME}/invocations"
LOG_ROLE: Final = f"arn:aws:iam::{ACCOUNT}:role/ledgerock/dev/bedrock-logs"
FAR_LOG_ROLE: Final = f"{LOG_ROLE}-far"
TASK_ROLE: Final = f"arn:aws:iam::{ACCOUNT}:role/ledgerock/dev/task"
BUCKET: Final = f"{NAME}-invocations"
QUARANTINE: Final = f"{NAME}-quarantine"
TOPIC: Final = f"arn:aws:sns:{HOME}:{ACCOUNT}:{NAME}-people"
MACHINE: Final = f"arn:aws:states:{HOME}:{ACCOUNT}:stateMachine:{NAME}-suspend"
KEY: Final = f"arn:aws:kms:{HOME}:{ACCOUNT}:key/1234abcd"
ALL_EVENTS: Final = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
PATTERN: Final = '{"detail-type":["AWS API Call via CloudTrail"]}'
TRAIL: Final = f"arn:aws:cloudtrail:{HOME}:{ACCOUNT}:trail/all"

DEPLOYMENT: Final = Deployment(
    name=NAME,
    account=ACCOUNT,
    region=HOME,
    shape="functions",
    logs="kinesis",
    switched_on=True,
    regions=(HOME, AWAY),
    members={"444455556666": ("us-west-2",)},
    log_group=GROUP,
    log_bucket=BUCKET,
    subscriptions=(Subscription(HOME, GROUP, f"{NAME}-to-stream"),),
    rules=(
        Rule(HOME, "default", f"{NAME}-calls", all_events=True, why="calls of models"),
        Rule(AWAY, "default", f"{NAME}-iam", why="users and keys"),
        Rule(HOME, NAME, f"{NAME}-suspend", why="suspensions"),
    ),
    queues=(QUEUE,),
    dead_letters=(DEAD,),
    streams=(STREAM,),
    bus=NAME,
    quarantine=f"s3://{QUARANTINE}/records",
    functions={"queue": f"{NAME}-queue", "announcer": f"{NAME}-announcer"},
    cluster=NAME,
    service=f"{NAME}-worker",
    state_machines={"suspend": MACHINE},
    topics={"people": TOPIC},
    enforcement="workflows",
    agents=True,
    keys=True,
    customer_key=KEY,
)


def healthy_account() -> MemoryAccount:
    """Return an account in which everything of the stage is as it should be."""
    return MemoryAccount(
        identity=SOMEBODY,
        logging={region: InvocationLogging(log_group=GROUP) for region in (HOME, AWAY)},
        roles={HOME: LOG_ROLE, AWAY: FAR_LOG_ROLE},
        groups={(region, GROUP): LogGroup(GROUP, 30) for region in (HOME, AWAY)},
        filters={
            (HOME, GROUP): [LogFilter(f"{NAME}-to-stream", STREAM_ARN, "Random", LOG_ROLE)],
        },
        buckets={
            BUCKET: BucketState(BUCKET, queues=(QUEUE_ARN,)),
            QUARANTINE: BucketState(QUARANTINE),
        },
        rules={
            (HOME, "default", f"{NAME}-calls"): RuleState(ALL_EVENTS, 1, PATTERN),
            (AWAY, "default", f"{NAME}-iam"): RuleState("ENABLED", 1, PATTERN),
            (HOME, NAME, f"{NAME}-suspend"): RuleState("ENABLED", 1, "{}"),
        },
        trail_lists={region: [Trail(TRAIL)] for region in (HOME, AWAY)},
        buses={NAME},
        queues={QUEUE: QueueState(QUEUE_ARN, 3, DEAD_ARN), DEAD: QueueState(DEAD_ARN)},
        streams={STREAM: StreamState(STREAM)},
        tables={table.name: _with_key(table) for table in wanted_tables(NAME)},
        functions={
            f"{NAME}-queue": FunctionState(mappings=(MappingState("1-2", QUEUE_ARN),)),
            f"{NAME}-announcer": FunctionState(),
        },
        services={(NAME, f"{NAME}-worker"): ServiceState(role=TASK_ROLE)},
        machines={MACHINE: "ACTIVE"},
        topics={TOPIC: TopicState(1)},
        keys={KEY: "Enabled"},
        metrics={
            ("ApproximateAgeOfOldestMessage", f"{NAME}-events"): 2,
            ("GetRecords.IteratorAgeMilliseconds", STREAM): 900,
            ("IncomingRecords", STREAM): 70,
        },
    )


def _with_key(table: TableState) -> TableState:
    return msgspec.structs.replace(table, key=KEY)


class Totals:
    """The part of a ledger that a check-up reads."""

    def __init__(self) -> None:
        self.models: dict[str, Amounts] = {"amazon.nova-pro-v1:0": Amounts(calls=1_000)}
        self.asked: list[tuple[str, int | None, int | None]] = []

    async def totals(
        self, field: str, first_day: int | None = None, last_day: int | None = None
    ) -> dict[str, Amounts]:
        self.asked.append((field, first_day, last_day))
        return self.models


@dataclass
class World:
    """A stage, and what is kept beside its ledger.

    Attributes:
        account: Its account.
        deployment: What there is to be.
        totals: What is booked, by model.
        outbox: What is to be announced.
        records: What is due, and who is who.
        budgets: Its budgets.
        quarantine: What was not understood.
        settings: Of the environment.
        stage_path: Of the stage; empty for one that was put together by hand.
        clock: Stands at noon.
    """

    account: MemoryAccount = field(default_factory=healthy_account)
    deployment: Deployment = DEPLOYMENT
    totals: Totals = field(default_factory=Totals)
    outbox: MemoryOutbox = field(default_factory=MemoryOutbox)
    records: MemoryRecords = field(default_factory=MemoryRecords)
    budgets: MemoryBudgets = field(default_factory=MemoryBudgets)
    settings: Settings = field(default_factory=lambda: Settings(ledger=f"dynamodb:{NAME}"))
    stage_path: str = "/ledgerock/dev"
    clock: Clock = field(default_factory=lambda: Clock(NOON))

    def __post_init__(self) -> None:
        self.quarantine = MemoryQuarantine(self.clock)

    def patient(self, **changes: Any) -> Patient:
        return replace(
            Patient(
                account=self.account,
                deployment=self.deployment,
                settings=self.settings,
                clock=self.clock,
                books=Books(
                    ledger=cast("Ledger", self.totals),
                    budgets=self.budgets,
                    outbox=self.outbox,
                    records=self.records,
                    quarantine=self.quarantine,
                ),
                tables=wanted_tables(NAME),
                stage_path=self.stage_path,
            ),
            **changes,
        )

    async def examined(self, **changes: Any) -> Diagnosis:
        return await examine(self.patient(**changes))

    async def found(self, **changes: Any) -> list[Finding]:
        """Return what is not well."""
        diagnosis = await self.examined(**changes)
        return [one for one in diagnosis.findings if one.verdict != "ok"]
