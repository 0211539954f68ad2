"""The check-up as a whole: what cannot be looked at, what takes too long, what is done by hand."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tests.calls import DAY, NOON, asynchronous
from tests.unit.doctor.faults import FAULTS
from tests.unit.doctor.world import (
    AWAY,
    DEPLOYMENT,
    GROUP,
    HOME,
    NAME,
    QUEUE,
    QUEUE_ARN,
    STREAM,
    World,
)
from worker.adapters.memory_account import MemoryAccount
from worker.bootstrap.doctor import deployment_of
from worker.core.doctor import Finding
from worker.core.ledger import Amounts
from worker.doctor import accounts, transport
from worker.doctor.patient import checking
from worker.ports import Notice
from worker.ports.account import LogFilter, QueueState, StreamState
from worker.settings import EnforcementSettings, Settings, WorkerSettings
from worker.settings.deployment import Subscription

REGION = {"AWS_REGION": HOME}
PERMISSIONS = {
    "sts:GetCallerIdentity": "credentials",
    "bedrock:GetModelInvocationLoggingConfiguration": "invocation-logging",
    "logs:DescribeLogGroups": "log-group",
    "logs:DescribeSubscriptionFilters": "log-filter",
    "s3:GetBucketPolicy": "log-bucket",
    "events:DescribeRule": "rule",
    "cloudtrail:DescribeTrails": "trail",
    "events:DescribeEventBus": "bus",
    "sqs:GetQueueAttributes": "queue",
    "cloudwatch:GetMetricStatistics": "queue-lag",
    "kinesis:DescribeStreamSummary": "stream",
    "dynamodb:DescribeTable": "table",
    "lambda:GetFunctionConfiguration": "function",
    "ecs:DescribeServices": "service",
    "states:DescribeStateMachine": "state-machine",
    "sns:ListSubscriptionsByTopic": "topic",
    "kms:DescribeKey": "key",
    "iam:SimulatePrincipalPolicy": "permissions",
}


def by_check(findings: Sequence[Finding]) -> dict[str, Finding]:
    return {one.check: one for one in findings}


# --- What cannot be looked at -----------------------------------------------------------------


@pytest.mark.parametrize("permission", PERMISSIONS)
@asynchronous
async def test_what_may_not_be_looked_at_is_unknown_and_names_the_permission(
    permission: str,
) -> None:
    world = World()
    world.account.denied = {permission}
    diagnosis = await world.examined()
    ill = [one for one in diagnosis.findings if one.verdict != "ok"]
    assert {one.verdict for one in ill} == {"unknown"}
    found = by_check(ill)[PERMISSIONS[permission]]
    assert f"allow {permission} to " in found.mend
    assert not diagnosis.is_well


@asynchronous
async def test_who_may_do_nothing_is_told_all_of_it_and_the_books_are_still_examined() -> None:
    world = World()
    world.account.denied = {*PERMISSIONS}
    world.totals.models["new"] = Amounts(calls=1, unpriced_calls=1)
    found = by_check(await world.found())
    assert {name for name, one in found.items() if one.verdict == "unknown"} >= {
        *PERMISSIONS.values()
    }
    assert {name for name, one in found.items() if one.verdict != "unknown"} == {"prices"}


@asynchronous
async def test_what_takes_too_long_is_unknown_and_holds_up_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def never(_self: MemoryAccount, _name: str) -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(MemoryAccount, "bus", never)
    monkeypatch.setattr(
        "worker.doctor.events.checking",
        lambda *arguments: checking(*arguments, seconds=0.05),
    )
    [found] = await world.found()
    assert (found.check, found.verdict) == ("bus", "unknown")
    assert "no answer within" in found.what


@asynchronous
async def test_what_is_damaged_is_unknown_and_nothing_crashes() -> None:
    world = World()
    world.account.tables[f"{NAME}-state"] = None  # type: ignore[assignment]  # no table at all
    world.account.queues[QUEUE] = "not a queue"  # type: ignore[assignment]  # nor a queue
    found = by_check(await world.found())
    assert found["queue"].verdict == "unknown"
    assert "AttributeError" in found["queue"].what
    assert found["table"].verdict == "wrong"


@asynchronous
async def test_several_faults_are_all_found_the_worst_first() -> None:
    world = World()
    wanted = [
        fault
        for fault in FAULTS
        if fault.name in {"rule disabled", "no recovery", "dead letters", "unpriced"}
    ]
    for fault in wanted:
        await fault.plant(world)
    world.account.denied = {"states:DescribeStateMachine"}
    diagnosis = await world.examined()
    assert [(one.verdict, one.check) for one in diagnosis.findings if one.verdict != "ok"] == [
        ("wrong", "rule"),
        ("wrong", "dead-letters"),
        ("wrong", "prices"),
        ("unknown", "state-machine"),
        ("warning", "table"),
    ]
    assert diagnosis.count("wrong") == 3
    assert diagnosis.summary.startswith(
        "/ledgerock/dev is not well: 3 wrong, 1 could not be looked at, 1 to think about, "
    )


@asynchronous
async def test_other_accounts_are_named_as_what_is_not_looked_at() -> None:
    diagnosis = await World().examined()
    [one] = diagnosis.unchecked
    assert "444455556666 (us-west-2)" in one.what
    assert diagnosis.is_well


# --- The details of single checks -------------------------------------------------------------


@asynchronous
async def test_logged_bodies_are_told_and_are_no_fault() -> None:
    world = World()
    world.account.logging[AWAY] = msgspec.structs.replace(
        world.account.logging[AWAY], bodies=("text", "image")
    )
    diagnosis = await world.examined()
    assert diagnosis.is_well
    [told] = [one for one in diagnosis.findings if "bodies" in one.what]
    assert told.what == "invocation logging is on; bodies are logged as well: text, image"


@asynchronous
async def test_logs_in_a_bucket_may_be_in_another_bucket_in_another_region() -> None:
    world = World(deployment=msgspec.structs.replace(DEPLOYMENT, logs="s3"))
    for region, bucket in ((HOME, DEPLOYMENT.log_bucket), (AWAY, "another-bucket")):
        world.account.logging[region] = msgspec.structs.replace(
            world.account.logging[region], log_group="", bucket=bucket
        )
    assert await world.found() == []
    world.account.logging[HOME] = world.account.logging[AWAY]
    [found] = await world.found()
    assert "invocation logs go to another-bucket" in found.what
    assert '"s3Config":{"bucketName":"ledgerock-dev-invocations"}' in found.mend


@asynchronous
async def test_a_trail_is_needed_only_by_rules_on_events_of_cloudtrail() -> None:
    world = World()
    world.account.trail_lists.clear()
    world.account.rules = {
        key: msgspec.structs.replace(rule, pattern="") for key, rule in world.account.rules.items()
    }
    assert await world.found() == []


@asynchronous
async def test_a_stage_in_a_container_does_not_need_the_stream_of_its_state() -> None:
    world = World(deployment=msgspec.structs.replace(DEPLOYMENT, shape="container"))
    name = f"{NAME}-state"
    world.account.tables[name] = msgspec.structs.replace(world.account.tables[name], stream="")
    [found] = await world.found()
    assert (found.check, found.verdict) == ("table", "warning")


@asynchronous
async def test_what_is_just_due_is_no_fault() -> None:
    world = World()
    just = Notice("n", "x", "budget/x", msgspec.Raw(b"{}"), "pending", NOON - 59_000)
    later = Notice("m", "x", "budget/x", msgspec.Raw(b"{}"), "pending", NOON - DAY, NOON + 1)
    await world.outbox.put([just, later])
    assert await world.found() == []


@asynchronous
async def test_few_models_are_named_and_the_rest_is_counted() -> None:
    world = World()
    world.totals.models = {
        f"m{number:02d}": Amounts(calls=100, unpriced_calls=100 - number) for number in range(13)
    }
    found = [one.what for one in await world.found()]
    assert len(found) == 11
    assert "100 calls of m00 have no price" in found
    assert "267 calls of 3 more models have no price" in found  # 90 + 89 + 88
    first, last = world.totals.asked[0][1:]
    assert (last, first) == (NOON // DAY, NOON // DAY - 29)


@pytest.mark.parametrize(
    "calls, unmetered, is_said", [(1_000, 10, False), (1_000, 11, True), (0, 0, False)]
)
@asynchronous
async def test_a_small_share_without_counts_is_no_fault(
    calls: int, unmetered: int, is_said: bool
) -> None:
    world = World()
    world.totals.models = {"m": Amounts(calls=calls, unmetered_calls=unmetered)}
    assert bool(await world.found()) == is_said


@asynchronous
async def test_a_ledger_that_does_not_open_is_wrong() -> None:
    [found] = await World().found(books=None, books_problem="there is no such file")
    assert (found.check, found.what) == ("ledger", "there is no such file")


# --- By hand ----------------------------------------------------------------------------------


def by_hand(settings: Settings, account: MemoryAccount) -> World:
    deployment = deployment_of(settings, REGION)
    return World(account=account, deployment=deployment, settings=settings, stage_path="")


def settings_by_hand(**worker: Any) -> Settings:
    return Settings(ledger=f"dynamodb:{NAME}", worker=WorkerSettings(**worker))


@asynchronous
async def test_what_the_environment_names_is_examined_without_a_stage() -> None:
    world = by_hand(settings_by_hand(queues=(QUEUE,), streams=(STREAM,), bus=NAME), MemoryAccount())
    found = by_check(await world.found())
    assert {name: one.verdict for name, one in found.items()} == {
        "invocation-logging": "warning",
        "queue": "wrong",
        "stream": "wrong",
        "bus": "wrong",
        "table": "wrong",
    }
    assert found["queue"].mend == f"aws sqs create-queue --queue-name {NAME}-events --region {HOME}"
    assert found["stream"].mend == (
        f"aws kinesis create-stream --stream-name {STREAM} --stream-mode-details "
        f'\'{{"StreamMode":"ON_DEMAND"}}\' --region {HOME}'
    )
    assert found["bus"].mend == f"aws events create-event-bus --name {NAME} --region {HOME}"
    assert found["table"].mend.startswith("LEDGEROCK_CREATE_TABLES=1 ledgerock ")
    assert "REVERT_DRIFT" not in "".join(one.mend for one in found.values())


@asynchronous
async def test_who_works_by_hand_must_be_allowed_to() -> None:
    world = by_hand(settings_by_hand(queues=(QUEUE,), streams=(STREAM,)), World().account)
    world.account.forbidden = {"dynamodb:UpdateItem", "kinesis:GetRecords"}
    lacking = [one for one in await world.found() if one.check == "permissions"]
    assert [one.what.partition(" may not do ")[2] for one in lacking] == [
        f"dynamodb:UpdateItem on arn:aws:dynamodb:{HOME}:111122223333:table/{NAME}-balances",
        f"dynamodb:UpdateItem on arn:aws:dynamodb:{HOME}:111122223333:table/{NAME}-entries",
        f"dynamodb:UpdateItem on arn:aws:dynamodb:{HOME}:111122223333:table/{NAME}-state",
        f"kinesis:GetRecords on arn:aws:kinesis:{HOME}:111122223333:stream/{STREAM}",
    ]


@asynchronous
async def test_a_queue_by_hand_may_do_without_dead_letters() -> None:
    account = World().account
    account.queues[QUEUE] = QueueState(QUEUE_ARN)
    [found] = await by_hand(settings_by_hand(queues=(QUEUE,)), account).found()
    assert (found.check, found.verdict) == ("queue", "warning")
    assert f"create-queue --queue-name {NAME}-events-dead-letters" in found.mend
    assert f"{QUEUE_ARN}-dead-letters" in found.mend


@asynchronous
async def test_nobody_announces_on_a_laptop_is_a_warning_and_tells_where_to() -> None:
    world = by_hand(Settings(ledger="sqlite:ledgerock.db"), MemoryAccount())
    notice = Notice("n", "x", "budget/x", msgspec.Raw(b"{}"), "pending", NOON - DAY)
    await world.outbox.put([notice])
    found = await world.found(account=None, tables=())
    assert [(one.check, one.verdict) for one in found] == [("announcer", "warning")]
    assert found[0].mend == (
        "LEDGEROCK_BUS=file:events.jsonl ledgerock worker --ledger sqlite:ledgerock.db"
    )


@asynchronous
async def test_without_aws_and_without_a_stage_it_says_what_was_not_looked_at() -> None:
    world = by_hand(Settings(), MemoryAccount())
    diagnosis = await world.examined(account=None, tables=())
    assert diagnosis.is_well
    assert [one.what.partition(":")[0] for one in diagnosis.unchecked] == [
        "what was deployed",
        "AWS",
    ]


@pytest.mark.parametrize(
    "enforcement, verdict, says",
    [
        (EnforcementSettings(acts="worker"), "wrong", "enforcement is on (worker), and nobody"),
        (EnforcementSettings(acts="worker", sns_topic="arn:x"), "ok", "who is never acted on"),
        (EnforcementSettings(own_roles=("LedgerockWorker",)), "wrong", "LEDGEROCK_OWN_ROLES: "),
        (EnforcementSettings(own_roles=("arn:aws:iam::1:user/x",)), "wrong", "user/x"),
        (EnforcementSettings(protected=("*",)), "warning", "* protects everybody"),
        (EnforcementSettings(protected=("arn:aws:iam::1:role/x",)), "wrong", "the id of nobody"),
        (EnforcementSettings(protected=("role/*/Admin", "*/ops")), "ok", "who is never acted on"),
    ],
)
@asynchronous
async def test_settings_that_cannot_be_meant_are_found(
    enforcement: EnforcementSettings, verdict: str, says: str
) -> None:
    settings = Settings(enforcement=enforcement)
    diagnosis = await by_hand(settings, MemoryAccount()).examined(account=None, tables=())
    [found] = [one for one in diagnosis.findings if one.check == "enforcement-settings"]
    assert found.verdict == verdict
    assert says in found.what


@asynchronous
async def test_a_clock_that_is_a_little_off_is_well() -> None:
    world = World()
    world.account.identity = msgspec.structs.replace(
        world.account.identity, skew_ms=accounts.SKEW_MS
    )
    assert await world.found() == []


@asynchronous
async def test_a_stream_by_its_arn_is_asked_for_by_its_name() -> None:
    arn = f"arn:aws:kinesis:{HOME}:1:stream/{STREAM}"
    world = by_hand(settings_by_hand(streams=(arn,)), World().account)
    world.account.streams[arn] = StreamState(STREAM)
    world.account.metrics["GetRecords.IteratorAgeMilliseconds", STREAM] = 901_000
    [found] = await world.found()
    assert (found.check, found.subject) == ("stream-lag", arn)
    assert found.area == transport.AREA


@pytest.mark.parametrize(
    "distribution, says", [("Random", set()), ("ByLogStream", {"its distribution is ByLogStream"})]
)
@asynchronous
async def test_a_filter_elsewhere_may_go_to_a_destination_which_spreads_records_as_well(
    distribution: str, says: set[str]
) -> None:
    far = Subscription(AWAY, GROUP, "far")
    world = World(deployment=msgspec.structs.replace(DEPLOYMENT, subscriptions=(far,)))
    destination = f"arn:aws:logs:{AWAY}:111122223333:destination:{NAME}-invocations"
    world.account.filters = {(AWAY, GROUP): [LogFilter("far", destination, distribution)]}
    found = await world.found()
    assert {one.what.partition(", ")[0] for one in found} == says
    assert all("--role-arn" not in one.mend for one in found)
