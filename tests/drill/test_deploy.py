"""Stages deployed from the application's own templates into LocalStack, and driven there.

What LocalStack has is created by its CloudFormation; the container's worker runs beside it as a
process, with the environment that the template gives its task.
"""

import gzip
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.calls import ACCOUNT
from tests.drill import stages
from tests.drill.stacks import ACCOUNT as LOCAL
from tests.drill.stacks import Emulator, create, delete, deployed
from tests.drill.stages import Stage, tell
from tests.drill.test_workflows import mocks
from tests.infra.branches import BRANCHES
from tests.infra.shapes import SHAPES, Json, configured, merged, synthesise
from tests.infra.test_workflows import event as workflow_event
from tests.lifecycle import create_user
from tests.records import event, log, poison
from tests.workers import wait_for
from worker.core.events import BUDGET_GRACE_STARTED, BUDGET_THRESHOLD_CROSSED

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

CALL_USD = Decimal("0.0024")
"""1,000 tokens in at 0.8 and 500 out at 3.2 USD per million: 0.0008 + 0.0016."""
DRIVEN = "container-workflows"


@pytest.fixture(scope="module")
def local() -> Iterator[tuple[Emulator, Any]]:
    with stages.emulator() as running:
        yield running


@pytest.fixture(scope="module")
def pair(
    local: tuple[Emulator, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stage, Stage]]:
    """Two stages of one shape, side by side in one account and Region."""
    emulator, _ = local
    made = []
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        synthesised = synthesise(configured(SHAPES[DRIVEN], name), folder / "synth")
        made.append(Stage(emulator, create(emulator, synthesised), folder))
    yield made[0], made[1]
    for stage in made:
        stage.end()
        delete(emulator, stage.name)


def calls(*numbers: int, user: str = "alice") -> list[Json]:
    at_ms = int(time.time() * 1000)
    return [log(number, user=user, at_ms=at_ms) for number in numbers]


def put_events(emulator: Emulator, detail_type: str, *details: Json) -> None:
    """Put CloudTrail's events on the default bus, as AWS does."""
    entries = [
        {"Source": "aws.bedrock", "DetailType": detail_type, "Detail": json.dumps(one)}
        for one in details
    ]
    answer = emulator.client("events").put_events(Entries=entries)
    assert answer["FailedEntryCount"] == 0


def total(stage: Stage, principal: str) -> tuple[int, Decimal]:
    """Return a principal's calls and cost as the ledger reports them; `verify` finds it sound."""
    stage.ledgerock("verify")
    rows = json.loads(stage.ledgerock("report", "--format", "json"))["rows"]
    [row] = [one for one in rows if one["key"] == principal]
    return row["calls"], Decimal(row["cost_usd"])


def test_what_comes_in_is_booked_announced_and_acted_upon(pair: tuple[Stage, Stage]) -> None:
    stage, _ = pair
    limit = ["--limit", "0.005", "--action", "suspend", "--grace", "1h"]
    scope = f"principal/user/{ACCOUNT}/alice"
    stage.ledgerock("budgets", "set", "alice", "--scope", scope, *limit)
    with stage.worker():
        stage.until_booked()
        before = stage.booked()
        # Log group -> subscription filter -> stream -> worker.
        stage.write_log(calls(1, 2, 3))
        stage.until_booked(before + 3)
        # Default bus -> rule -> queue -> worker: one call is known already, two are not.
        at_ms = int(time.time() * 1000)
        seen = [event(number, (1_000, 500), at_ms=at_ms) for number in (3, 4, 5)]
        put_events(stage.emulator, "AWS API Call via CloudTrail", *seen)
        stage.until_booked(before + 5)
        # Crossings are announced on the bus of the stage ...
        crossed = stage.until_announced(BUDGET_THRESHOLD_CROSSED)
        assert crossed["budget"]["name"] == "alice"
        started = stage.until_announced(BUDGET_GRACE_STARTED)
        # ... whose rule starts the workflow; the function that is not there fails it.
        wait_for(lambda: stage.executions("suspension", started), "a suspension")
        # What nobody can read is put aside, in the bucket of the stage.
        stage.write_log([poison(7)])
        bucket = stage.stack.named("AWS::S3::Bucket")
        wait_for(lambda: stage.s3.list_objects_v2(Bucket=bucket)["KeyCount"], "the quarantine")
    assert total(stage, f"user/{ACCOUNT}/alice") == (5, 5 * CALL_USD)
    [execution] = stage.executions("suspension", started)
    assert execution["entered"][2:] == ["Notify", "Check Again", "Record Failure", "Not Recorded"]
    assert execution["status"] == "FAILED"


def test_stages_side_by_side_do_not_meet(pair: tuple[Stage, Stage]) -> None:
    one, other = pair
    with one.worker(), other.worker():
        # Events of AWS itself are of the account: both take them. All else is each one's own.
        for stage in pair:
            stage.until_booked()
        before, announced = (one.booked(), other.booked()), len(one.announced())
        other.ledgerock("budgets", "set", "all", "--scope", "everything", "--limit", "0.002")
        other.write_log(calls(11, 12, user="bob"))
        body = json.dumps(calls(13, user="bob")[0])
        other.sqs.send_message(QueueUrl=other.queue, MessageBody=body)
        other.until_booked(before[1] + 3)
        other.until_announced(BUDGET_THRESHOLD_CROSSED)
        one.write_log(calls(14, user="carol"))
        one.until_booked(before[0] + 1)
    assert other.booked() == before[1] + 3
    assert len(one.announced()) == announced
    for stage, user, stranger in ((one, "carol", "bob"), (other, "bob", "carol")):
        rows = json.loads(stage.ledgerock("report", "--format", "json"))["rows"]
        people = {row["key"] for row in rows}
        assert f"user/{ACCOUNT}/{user}" in people
        assert f"user/{ACCOUNT}/{stranger}" not in people


def test_the_deployed_workflows_run(local: tuple[Emulator, Any], pair: tuple[Stage, Stage]) -> None:
    """To the end that is meant; every branch of them is gone through in `test_workflows`."""
    _, container = local
    stage, _ = pair
    ways = {"SuspensionDone": "suspension", "RestorationDone": "restoration"}
    branches = {one.name: one for one in BRANCHES if one.name in ways}
    told = mocks(list(branches.values()), "2026-11-01T12:00:00Z")
    cases = {
        f"{stage.name}-{machine}": told["StateMachines"][machine.title()]
        for machine in ways.values()
    }
    tell(container, {**told, "StateMachines": cases})
    for name, machine in ways.items():
        branch = branches[name]
        ended = stage.run(machine, name, workflow_event(branch.kind))
        assert ended["entered"] == ["Read Event", "What Happened", *branch.path]
        assert ended["status"] == branch.status == "SUCCEEDED"


def test_objects_are_booked_as_they_come(local: tuple[Emulator, Any], tmp_path: Path) -> None:
    """Bucket -> EventBridge -> rule -> queue -> worker."""
    emulator, _ = local
    document = {"shape": "container", "logs": {"via": "s3"}, "data": {"keep": False}}
    made = synthesise(configured(document, "objects"), tmp_path / "synth")
    with deployed(emulator, made) as stack:
        stage = Stage(emulator, stack, tmp_path)
        bucket = stack.named("AWS::S3::Bucket", bucket_of(stack.resources, "Invocations"))
        key = f"AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/us-east-1/2026/11/22/10/{{}}"
        lines = [json.dumps(one) for one in calls(21, 22, 23, 24)]
        with stage.worker():
            for name, some in (("a.json.gz", lines[:3]), ("b.json.gz", lines[2:])):
                body = gzip.compress("\n".join(some).encode())
                stage.s3.put_object(Bucket=bucket, Key=key.format(name), Body=body)
            # What is not a log is none of its business.
            stage.s3.put_object(Bucket=bucket, Key=key.format("data/x.json.gz"), Body=b"no log")
            stage.until_booked(4)
        assert total(stage, f"user/{ACCOUNT}/alice") == (4, 4 * CALL_USD)
        stage.end()


def bucket_of(resources: Any, part: str) -> str:
    [found] = [
        physical
        for logical, physical in resources.items()
        if part in logical and "Bucket" in logical and "Policy" not in logical
    ]
    return str(found)


@pytest.mark.parametrize("keep", [False, True])
def test_what_stays_when_a_stack_goes(
    local: tuple[Emulator, Any], tmp_path: Path, keep: bool
) -> None:
    emulator, _ = local
    document = merged(SHAPES[DRIVEN], {"data": {"keep": keep, "customer_key": True}})
    made = synthesise(configured(document, f"keep{int(keep)}"), tmp_path)
    before = stages.inventory(emulator)
    stack = create(emulator, made)
    there = stages.inventory(emulator)
    assert there > before
    assert delete(emulator, stack.name) == "DELETE_COMPLETE"
    left = stages.inventory(emulator) - before
    retained = {
        stack.resources[name]
        for name, one in made.ledger["Resources"].items()
        if one.get("DeletionPolicy") == "RetainExceptOnCreate"
    }
    assert bool(retained) is keep
    assert {name.rpartition("/")[2] for _, name in left} == {
        one.rpartition("/")[2] for one in retained
    }


def test_events_of_iam_come_from_us_east_1(local: tuple[Emulator, Any], tmp_path: Path) -> None:
    """Default bus there -> rule -> intake bus here -> rule -> queue; the event is as it was."""
    emulator, _ = local
    document = {"account": LOCAL, "region": "eu-central-1", "data": {"keep": False}}
    made = synthesise(configured(document, "far"), tmp_path)
    [source] = made.templates.keys() - {"Ledger"}
    sqs = emulator.client("sqs", "eu-central-1")
    with deployed(emulator, made) as ledger, deployed(emulator, made, source):
        queue = ledger.named("AWS::SQS::Queue", "-events")
        detail = create_user(1, "dora")
        entry = {"Source": "aws.iam", "DetailType": "AWS API Call via CloudTrail"}
        answer = emulator.client("events", "us-east-1").put_events(
            Entries=[{**entry, "Detail": json.dumps(detail)}]
        )
        assert answer["FailedEntryCount"] == 0
        received: list[Json] = []

        def has_come() -> bool:
            answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1)
            received.extend(answer.get("Messages", ()))
            return bool(received)

        wait_for(has_come, "the event in the ledger's queue")
        [message] = received
        forwarded = json.loads(message["Body"])
        assert forwarded["detail"] == detail
        assert (forwarded["source"], forwarded["region"]) == ("aws.iam", "us-east-1")
