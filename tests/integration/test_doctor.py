"""`ledgerock doctor` on LocalStack: a stage made through the API, and faults planted into it.

Where a command mends a fault on its own, it is run as it was printed, and the stage is well again.
"""

import asyncio
import json
import re
import shlex
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import pytest
from typer.testing import CliRunner

from tests.aws_command import parse, run
from tests.dynamodb import ENVIRONMENT, localstack_endpoint
from tests.integration.doctor_stage import PATTERN, REGION, Stage
from worker.adapters.account_aws import AwsAccount
from worker.adapters.dynamodb_state import state_table_definition
from worker.bootstrap import open_state
from worker.bootstrap.doctor import open_patient
from worker.cli.main import app
from worker.core.doctor import Finding
from worker.core.enforcement_names import QUEUE_MONITOR
from worker.core.errors import ConfigurationError
from worker.core.results import Malformed, Position
from worker.doctor import Patient, examine
from worker.ports import Notice, Record
from worker.settings import Settings, WorkerSettings

pytestmark = pytest.mark.integration

LACKING: Final = {
    ("invocation-logging", "invocation logging in us-east-1: "),  # it has no API of Bedrock
    ("log-filter", "its distribution is ByLogStream, not Random"),  # it forgets what was asked for
}
"""What LocalStack has not: the check, and what it says."""
LONG_AGO_MS: Final = 1_700_000_000_000


@dataclass
class Open:
    """A stage, and the patient that it is."""

    stage: Stage
    patient: Patient
    runner: asyncio.Runner

    def do(self, work: Awaitable[Any]) -> Any:
        async def done() -> Any:
            return await work

        return self.runner.run(done())

    def found(self) -> list[Finding]:
        """Return what is not well, but for what LocalStack lacks."""
        diagnosis = self.do(examine(self.patient))
        ill = [one for one in diagnosis.findings if one.verdict != "ok"]
        return [one for one in ill if not is_lacking(one)]


def is_lacking(finding: Finding) -> bool:
    return any(finding.check == check and finding.what.startswith(says) for check, says in LACKING)


@pytest.fixture(scope="module")
def opened() -> Iterator[Open]:
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "LEDGEROCK_SSM_PATH"):
            patch.delenv(name, raising=False)
        for name, text in ENVIRONMENT.items():
            patch.setenv(name, text)
        patch.setenv("AWS_ENDPOINT_URL", localstack_endpoint())
        stage = Stage(localstack_endpoint())
        stage.make()
        stack = AsyncExitStack()
        patient = runner.run(
            stack.enter_async_context(
                open_patient(Settings(), dict(ENVIRONMENT), stage_path=stage.path)
            )
        )
        yield Open(stage, patient, runner)
        runner.run(stack.aclose())
        stage.remove()


def mend(stage: Stage, finding: Finding) -> None:
    """Run the command that a finding names."""
    for line in finding.mend.split(" && "):
        program, *words = shlex.split(line)
        assert program == "aws"
        run(parse(words), stage.client)


# --- Faults whose command mends them by itself ------------------------------------------------


def queue_without_dead_letters(stage: Stage) -> None:
    stage.client("sqs").set_queue_attributes(QueueUrl=stage.queue, Attributes={"RedrivePolicy": ""})


def plain_rule_disabled(stage: Stage) -> None:
    stage.client("events").disable_rule(Name=stage.own_rule, EventBusName=stage.bus)


def rule_without_reads(stage: Stage) -> None:
    stage.make_rule(stage.rule, "default", "ENABLED")


def rule_disabled(stage: Stage) -> None:
    stage.client("events").disable_rule(Name=stage.rule)


def log_group_for_ever(stage: Stage) -> None:
    stage.client("logs").delete_retention_policy(logGroupName=stage.group)


def key_disabled(stage: Stage) -> None:
    stage.client("kms").disable_key(KeyId=stage.key)


def key_about_to_go(stage: Stage) -> None:
    stage.client("kms").schedule_key_deletion(KeyId=stage.key, PendingWindowInDays=7)


def no_recovery(stage: Stage) -> None:
    stage.client("dynamodb").update_continuous_backups(
        TableName=f"{stage.name}-entries",
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False},
    )


def no_protection(stage: Stage) -> None:
    stage.client("dynamodb").update_table(
        TableName=f"{stage.name}-balances", DeletionProtectionEnabled=False
    )


def never_expires(stage: Stage) -> None:
    stage.client("dynamodb").update_time_to_live(
        TableName=f"{stage.name}-state",
        TimeToLiveSpecification={"Enabled": False, "AttributeName": "x"},
    )


def no_index(stage: Stage) -> None:
    stage.client("dynamodb").update_table(
        TableName=f"{stage.name}-entries",
        GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-leaf"}}],
        DeletionProtectionEnabled=True,
    )
    while (
        "GlobalSecondaryIndexes"
        in stage.client("dynamodb").describe_table(TableName=f"{stage.name}-entries")["Table"]
    ):
        pass


MENDED: Final[list[tuple[Callable[[Stage], None], str, str]]] = [
    (queue_without_dead_letters, "queue", "no dead-letter queue"),
    (plain_rule_disabled, "rule", "the rule is DISABLED"),
    (rule_without_reads, "rule", "the rule is ENABLED, not ENABLED_WITH_ALL"),
    (rule_disabled, "rule", "the rule is DISABLED"),
    (log_group_for_ever, "log-group", "never forgets"),
    (key_disabled, "key", "the key is Disabled"),
    (key_about_to_go, "key", "about to be deleted"),
    (no_recovery, "table", "no point-in-time recovery"),
    (no_protection, "table", "not protected"),
    (never_expires, "table", "time to live"),
    (no_index, "table", "the index by-leaf is missing"),
]


def test_a_healthy_stage_is_well_as_far_as_localstack_has_it(opened: Open) -> None:
    assert opened.found() == []


@pytest.mark.parametrize(
    "plant, check, says", MENDED, ids=[plant.__name__ for plant, _, _ in MENDED]
)
def test_the_command_that_is_named_mends_the_fault(
    opened: Open, plant: Callable[[Stage], None], check: str, says: str
) -> None:
    plant(opened.stage)
    [found] = opened.found()
    assert (found.check, says in found.what) == (check, True), found.what
    mend(opened.stage, found)
    left = settled(opened)
    if plant is no_index:
        # DynamoDB Local drops the protection with every change of a table that does not name it.
        [forgotten] = left
        assert forgotten.what == "it is not protected from deletion"
        mend(opened.stage, forgotten)
        left = opened.found()
    assert left == []


def settled(opened: Open) -> Sequence[Finding]:
    """Return what is not well once indexes that are being made are there."""
    found = opened.found()
    while any("is CREATING" in one.what for one in found):
        found = opened.found()
    return found


# --- Faults after which a part has to be made again -------------------------------------------


def queue_gone(stage: Stage) -> None:
    stage.client("sqs").delete_queue(QueueUrl=stage.queue)


def dead_letters_gone(stage: Stage) -> None:
    stage.client("sqs").delete_queue(QueueUrl=stage.dead)


def stream_gone(stage: Stage) -> None:
    stage.client("kinesis").delete_stream(StreamName=stage.stream)
    stage.client("kinesis").get_waiter("stream_not_exists").wait(
        StreamName=stage.stream, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )


def rule_gone(stage: Stage) -> None:
    stage.client("events").remove_targets(Rule=stage.rule, Ids=["queue"])
    stage.client("events").delete_rule(Name=stage.rule)


def rule_without_target(stage: Stage) -> None:
    stage.client("events").remove_targets(Rule=stage.rule, Ids=["queue"])


def make_rules(stage: Stage) -> None:
    stage.make_rule(stage.rule, "default", "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS")


def filter_gone(stage: Stage) -> None:
    stage.client("logs").delete_subscription_filter(
        logGroupName=stage.group, filterName=stage.log_filter
    )


def log_group_gone(stage: Stage) -> None:
    stage.client("logs").delete_log_group(logGroupName=stage.group)


def nobody_told_of_logs(stage: Stage) -> None:
    stage.client("s3").put_bucket_notification_configuration(
        Bucket=stage.bucket, NotificationConfiguration={}
    )


def plain_requests(stage: Stage) -> None:
    stage.client("s3").delete_bucket_policy(Bucket=stage.quarantine)


def make_policies(stage: Stage) -> None:
    stage.make_policy(stage.quarantine)


def topic_unheard(stage: Stage) -> None:
    sns = stage.client("sns")
    for one in sns.list_subscriptions_by_topic(TopicArn=stage.topic)["Subscriptions"]:
        sns.unsubscribe(SubscriptionArn=one["SubscriptionArn"])


def topic_gone(stage: Stage) -> None:
    stage.client("sns").delete_topic(TopicArn=stage.topic)


def machine_gone(stage: Stage) -> None:
    stage.client("stepfunctions").delete_state_machine(stateMachineArn=stage.machine)


def table_gone(stage: Stage) -> None:
    stage.remove_table(f"{stage.name}-entries")


def definition_of(stage: Stage, kind: str) -> dict[str, Any]:
    [definition] = [one for one in stage.definitions() if one["TableName"].endswith(kind)]
    return definition


def another_table(stage: Stage) -> None:
    table_gone(stage)
    text = json.dumps(definition_of(stage, "entries")).replace('"B"', '"S"')
    stage.make_table(json.loads(text))


def make_entries(stage: Stage) -> None:
    stage.make_table(definition_of(stage, "entries"))


def make_entries_anew(stage: Stage) -> None:
    table_gone(stage)
    make_entries(stage)


Repair = Callable[[Stage], None]
REPAIRED: Final[list[tuple[Repair, Repair, set[str], str]]] = [
    (queue_gone, Stage.make_queues, {"queue"}, "no such queue"),
    (dead_letters_gone, Stage.make_queues, {"dead-letters"}, "no such queue"),
    (stream_gone, Stage.make_stream, {"stream"}, "no such stream"),
    (rule_gone, make_rules, {"rule"}, "no such rule on the bus default"),
    (rule_without_target, make_rules, {"rule"}, "no target"),
    (
        filter_gone,
        lambda stage: stage.make_filter("Random"),
        {"log-filter"},
        "no such subscription filter",
    ),
    (log_group_gone, Stage.make_log_group, {"log-group", "log-filter"}, "no such log group"),
    (nobody_told_of_logs, Stage.make_notifications, {"log-bucket"}, "nobody is told"),
    (plain_requests, make_policies, {"quarantine-bucket"}, "without TLS"),
    (topic_unheard, Stage.make_topic, {"topic"}, "nobody is subscribed"),
    (topic_gone, Stage.make_topic, {"topic"}, "no such topic"),
    (machine_gone, Stage.make_machine, {"state-machine"}, "no such state machine"),
    (table_gone, make_entries, {"table"}, "no such table"),
    (another_table, make_entries_anew, {"table"}, "its keys are r (HASH, S)"),
]


@pytest.mark.parametrize(
    "plant, repair, checks, says", REPAIRED, ids=[plant.__name__ for plant, *_ in REPAIRED]
)
def test_what_is_gone_or_changed_is_found(
    opened: Open, plant: Repair, repair: Repair, checks: set[str], says: str
) -> None:
    plant(opened.stage)
    try:
        found = opened.found()
    finally:
        repair(opened.stage)
    assert {one.check for one in found} == checks
    assert any(says in one.what for one in found), found
    assert opened.found() == []


def test_a_state_table_without_a_stream_is_found(opened: Open) -> None:
    prefix = f"{opened.stage.name}-other"
    definition = state_table_definition(prefix)
    del definition["StreamSpecification"]
    opened.stage.make_table(definition)
    settings = Settings(ledger=f"dynamodb:{prefix}")

    async def examined() -> dict[str, str]:
        async with open_patient(settings, dict(ENVIRONMENT)) as patient:
            findings = (await examine(patient)).findings
        return {one.subject: one.what for one in findings if one.check == "table"}

    assert opened.do(examined()) == {
        f"{prefix}-balances": "there is no such table",
        f"{prefix}-entries": "there is no such table",
        f"{prefix}-state": "it has no stream",
    }
    opened.stage.remove_table(f"{prefix}-state")


# --- What waits, and what was put aside -------------------------------------------------------


def test_deliveries_that_were_given_up_are_found_and_moved_back(opened: Open) -> None:
    stage, sqs = opened.stage, opened.stage.client("sqs")
    sqs.send_message(QueueUrl=stage.dead, MessageBody="{}")
    [found] = opened.found()
    assert (found.check, found.what) == ("dead-letters", "about 1 deliveries were given up")
    mend(stage, found)
    while opened.found():  # The move is made in the background.
        pass
    sqs.purge_queue(QueueUrl=stage.queue)


def test_what_nobody_announces_or_monitors_or_understands_is_found(opened: Open) -> None:
    state = open_state(opened.patient.settings)
    books = opened.patient.books
    assert books is not None
    assert books.quarantine is not None
    notice = Notice("n", "x", "budget/x", msgspec.Raw(b"{}"), "pending", LONG_AGO_MS, LONG_AGO_MS)
    record = Record("t#x", "look#0000000", b"{}", 1, QUEUE_MONITOR, LONG_AGO_MS)
    malformed = Malformed("$", "an object", "?", b"?", position=Position("a"))
    opened.do(state.outbox.put([notice]))
    assert opened.do(state.records.write([record]))
    [item] = opened.do(books.quarantine.put([malformed]))
    found = {one.check: one for one in opened.found()}
    assert found.keys() == {"announcer", "monitor", "quarantine"}
    assert found["announcer"].what.startswith("nobody announces: 1 events wait, the longest for ")
    assert found["monitor"].what.startswith("nobody monitors: 1 things are due, the longest for ")
    assert f"--quarantine s3://{opened.stage.quarantine}/records" in found["quarantine"].mend
    opened.do(state.outbox.settle(notice, "announced", LONG_AGO_MS))
    assert opened.do(state.records.remove(record))
    opened.do(books.quarantine.remove(item))
    opened.do(state.close())
    assert opened.found() == []


def test_a_queue_and_a_stream_that_are_behind_are_found_by_cloudwatch(opened: Open) -> None:
    queue, cloudwatch = f"{opened.stage.name}-slow", opened.stage.client("cloudwatch")
    url = opened.stage.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
    for namespace, name, dimension, value, figure in (
        ("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue, 3_600),
        ("AWS/Kinesis", "GetRecords.IteratorAgeMilliseconds", "StreamName", queue, 7_200_000),
    ):
        dimensions = [{"Name": dimension, "Value": value}]
        data = [{"MetricName": name, "Dimensions": dimensions, "Value": figure}]
        cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
    settings = Settings(worker=WorkerSettings(queues=(url,), streams=(queue,)))

    async def examined() -> list[Finding]:
        async with open_patient(settings, dict(ENVIRONMENT)) as patient:
            return list((await examine(patient)).findings)

    found = {one.check: one.what for one in opened.do(examined()) if one.verdict == "wrong"}
    assert found["queue-lag"] == "its oldest message is 60 minutes old; about 0 wait"
    assert found["stream-lag"].startswith("its readers are 2 hours behind")


# --- The command line ------------------------------------------------------------


def test_the_command_prints_one_document_and_exits_with_one(opened: Open) -> None:
    result = CliRunner().invoke(app, ["doctor", "--stage-path", opened.stage.path, "--json"])
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (document["patient"], document["well"]) == (opened.stage.path, False)
    ill = {(one["check"], one["verdict"]) for one in document["findings"] if one["why"]}
    assert ill == {("invocation-logging", "unknown"), ("log-filter", "wrong")}
    assert (document["counts"]["unknown"], document["counts"]["wrong"]) == (1, 1)


@pytest.mark.parametrize(
    "path, says",
    [
        ("/nobody/dev", "there is no parameter /nobody/dev/deployment"),
        ("{path}/broken", "does not say what was deployed"),
    ],
)
def test_a_stage_that_there_is_not_is_a_wrong_argument(opened: Open, path: str, says: str) -> None:
    stage = opened.stage
    ssm = stage.client("ssm")
    ssm.put_parameter(
        Name=f"{stage.path}/broken/deployment", Value="{}", Type="String", Overwrite=True
    )

    async def work() -> None:
        given = path.format(path=stage.path)
        async with open_patient(Settings(), dict(ENVIRONMENT), stage_path=given):
            pytest.fail("it opened")

    with pytest.raises(ConfigurationError, match=re.escape(says)):
        opened.do(work())


def test_reading_changes_nothing(opened: Open) -> None:
    rule = opened.stage.client("events").describe_rule(Name=opened.stage.rule)
    assert rule["EventPattern"] == PATTERN
    account = AwsAccount()
    try:
        assert opened.do(account.rule(REGION, "default", "nobody")) is None
    finally:
        opened.do(account.close())
    names = opened.stage.client("dynamodb").list_tables()["TableNames"]
    before = len(names)
    opened.found()
    assert len(opened.stage.client("dynamodb").list_tables()["TableNames"]) == before
