"""The end-to-end suite itself: on a stage in LocalStack that is made by hand, with one worker.

What `make e2e` asks of a real stage is asked here of a small one with every way in, and it has to
leave nothing there. A worker that lies must not pass.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.drill.stacks import ACCOUNT, REGION, Emulator
from tests.drill.stages import emulator
from tests.dynamodb import ENVIRONMENT, START_SECONDS
from tests.e2e.running import TIMEOUT_SECONDS, run_suite
from tests.workers import WorkerProcess
from worker.adapters.dynamodb_items import table_definitions
from worker.adapters.dynamodb_state import state_table_definition
from worker.settings.deployment import PARAMETER, Deployment, Subscription, encode_deployment

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(START_SECONDS + 2 * TIMEOUT_SECONDS),
]

USERS: Final = "/people/"


class HandMade:
    """A stage in an emulator, without CloudFormation and without functions."""

    def __init__(self, emulated: Emulator, folder: Path, stage: str) -> None:
        self.emulated, self._folder, self.stage = emulated, folder, stage
        self.name = f"ledgerock-{stage}"
        self.client = emulated.client
        self.queue = self.client("sqs").create_queue(QueueName=f"{self.name}-events")["QueueUrl"]
        self._make_tables()
        self._make_logs()
        self._make_bucket()
        self.client("events").create_event_bus(Name=self.name)
        self.config = folder / "stages.yaml"
        self.config.write_text(
            yaml.safe_dump(
                {
                    "defaults": {"account": ACCOUNT, "region": REGION, "shape": "container"},
                    "stages": {stage: {"enforcement": {"by": "worker", "user_paths": [USERS]}}},
                }
            )
        )
        deployment = Deployment(
            name=self.name,
            account=ACCOUNT,
            region=REGION,
            shape="container",
            logs="kinesis",
            log_group=f"{self.name}-invocations",
            log_bucket=f"{self.name}-logs",
            subscriptions=(
                Subscription(REGION, f"{self.name}-invocations", f"{self.name}-invocations"),
            ),
            queues=(self.queue,),
            streams=(f"{self.name}-invocations",),
            bus=self.name,
            enforcement="worker",
        )
        self.client("ssm").put_parameter(
            Name=f"/ledgerock/{stage}/{PARAMETER}",
            Value=encode_deployment(deployment),
            Type="String",
        )

    def _make_tables(self) -> None:
        dynamodb = self.client("dynamodb")
        for definition in [*table_definitions(self.name), state_table_definition(self.name)]:
            dynamodb.create_table(**definition)

    def _make_logs(self) -> None:
        """Make a log group whose records go to a stream."""
        name = f"{self.name}-invocations"
        kinesis, logs = self.client("kinesis"), self.client("logs")
        kinesis.create_stream(StreamName=name, ShardCount=1)
        kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        logs.create_log_group(logGroupName=name)
        logs.put_subscription_filter(
            logGroupName=name,
            filterName=name,
            filterPattern="",
            destinationArn=f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}",
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/{name}",
            distribution="Random",
        )

    def _make_bucket(self) -> None:
        """Make a bucket whose new objects a rule tells the queue of."""
        s3, events = self.client("s3"), self.client("events")
        s3.create_bucket(Bucket=f"{self.name}-logs")
        s3.put_bucket_notification_configuration(
            Bucket=f"{self.name}-logs", NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
        pattern = {
            "source": ["aws.s3"],
            "detail-type": ["Object Created"],
            "detail": {"bucket": {"name": [f"{self.name}-logs"]}},
        }
        events.put_rule(Name=f"{self.name}-logs", EventPattern=json.dumps(pattern))
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.name}-events"
        events.put_targets(Rule=f"{self.name}-logs", Targets=[{"Id": "queue", "Arn": arn}])

    def worker(self, **more: str) -> WorkerProcess:
        settings = {
            "LEDGEROCK_QUEUES": self.queue,
            "LEDGEROCK_STREAMS": f"{self.name}-invocations",
            "LEDGEROCK_BUS": self.name,
            "LEDGEROCK_ENFORCEMENT": "worker",
            "LEDGEROCK_ACCOUNT": ACCOUNT,
            "LEDGEROCK_CREATE_TABLES": "0",
            **more,
        }
        log = self._folder / "worker.log"
        process = WorkerProcess(
            log, settings, "--ledger", f"dynamodb:{self.name}", endpoint=self.emulated.endpoint
        )
        try:
            process.until_ready()
        except BaseException:
            process.kill()
            raise
        return process

    def suite(self, which: str) -> subprocess.CompletedProcess[str]:
        environment = {**ENVIRONMENT, "AWS_ENDPOINT_URL": self.emulated.endpoint}
        return run_suite(self.stage, self.config, environment, "-k", which)

    def inventory(self) -> dict[str, Any]:
        """Return everything that the suite could have left, but what is booked."""
        client, group = self.client, f"{self.name}-invocations"
        objects = client("s3").list_objects_v2(Bucket=f"{self.name}-logs").get("Contents", [])
        streams = client("logs").describe_log_streams(logGroupName=group)["logStreams"]
        rules = [
            client("events").list_rules(EventBusName=bus)["Rules"] for bus in ("default", self.name)
        ]
        return {
            "queues": client("sqs").list_queues()["QueueUrls"],
            "rules": [rule["Name"] for found in rules for rule in found],
            "users": client("iam").list_users()["Users"],
            "objects": [one["Key"] for one in objects],
            "log streams": [one["logStreamName"] for one in streams],
        }


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulator]:
    with emulator() as (made, _container):
        yield made


def test_it_passes_on_a_stage_that_works_and_leaves_nothing_there(
    emulated: Emulator, tmp_path: Path
) -> None:
    hand_made = HandMade(emulated, tmp_path, "hand")
    before = hand_made.inventory()
    process = hand_made.worker()
    try:
        # LocalStack has no Bedrock, which the doctor would miss.
        ran = hand_made.suite("not doctor")
    finally:
        code = process.terminate()
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}\n{process.log_text()[-4000:]}"
    assert re.search(r"\b8 passed, 1 deselected\b", ran.stdout), ran.stdout
    assert code == 0
    assert hand_made.inventory() == before


def test_it_fails_where_calls_have_another_price_than_they_ought_to(
    emulated: Emulator, tmp_path: Path
) -> None:
    hand_made = HandMade(emulated, tmp_path, "dear")
    prices = tmp_path / "wrong.csv"
    prices.write_text(
        "model,unit,usd,effective_from\namazon.nova-micro-v1:0,input_tokens,1,2026-01-01\n"
    )
    before = hand_made.inventory()
    process = hand_made.worker(LEDGEROCK_PRICES=str(prices))
    try:
        ran = hand_made.suite("queue")
    finally:
        process.terminate()
    assert ran.returncode == 1, f"{ran.stdout}\n{ran.stderr}"
    assert "1 failed" in ran.stdout
    assert hand_made.inventory() == before
