"""A deployed stage, driven as AWS and people drive it; everything that is made is taken away."""

import gzip
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from infra.config import StageConfig
from tests.dynamodb import ROOT
from tests.e2e.calls import ACCOUNT, COST_PICO_USD, Call
from tests.events import checked_event
from worker.core.money import format_pico_usd
from worker.settings.deployment import PARAMETER, Deployment, decode_deployment

WAIT_SECONDS: Final = 300
"""How long AWS and the stage may take for anything: logs are delivered in seconds to minutes."""
AGAIN_SECONDS: Final = 20
"""After so long what is waited for is caused again: nothing is counted twice for it."""
GONE: Final = {
    "404",
    "AWS.SimpleQueueService.NonExistentQueue",
    "NoSuchEntity",
    "NoSuchKey",
    "QueueDoesNotExist",
    "ResourceNotFoundException",
}
WAYS: Final = ("log group", "stream", "queue", "bucket")


class Stage:
    """A stage, and what a run makes there.

    Args:
        config: What it was deployed from.

    Attributes:
        deployment: What it says of itself.
        run: Tells this run from others; begins no name that anything else has.
        sent: How many calls were sent, by principal.
    """

    def __init__(self, config: StageConfig) -> None:
        self.config = config
        self._region = config.region
        where = f"{config.path}{PARAMETER}"
        found = self.client("ssm").get_parameter(Name=where)["Parameter"]["Value"]
        self.deployment: Deployment = decode_deployment(found, where)
        self.run = f"ledgerock-e2e-{datetime.now(UTC):%Y%m%dt%H%M%S}-{uuid.uuid4().hex[:4]}"
        self.sent: dict[str, int] = {}
        self._cleaning = ExitStack()
        self._gone: list[tuple[str, Callable[[], Any]]] = []
        self._collector = ""
        self._log_stream = ""
        self._heard: list[dict[str, Any]] = []

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=self._region)

    # --- What is made, and taken away ---------------------------------------------------------

    def clean_up(self) -> None:
        """Take away all that the run made; say what is left all the same."""
        self._cleaning.close()
        left = [what for what, look in self._gone if _is_there(look)]
        assert left == [], f"still there: {left}"

    def _made(self, what: str, remove: Callable[[], Any], look: Callable[[], Any]) -> None:
        """Have something taken away in the end, and looked for afterwards."""

        def removed() -> None:
            if _is_there(look):
                remove()

        self._cleaning.callback(removed)
        self._gone.append((what, look))

    # --- The command line ---------------------------------------------------------------------

    def ledgerock(self, *arguments: str, expected: int = 0) -> str:
        """Run a command in the stage's account and Region; return what it prints."""
        kept = {name: text for name, text in os.environ.items() if "LEDGEROCK" not in name}
        ran = subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            cwd=ROOT,
            env={**kept, "AWS_REGION": self._region, "AWS_DEFAULT_REGION": self._region},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        told = f"ledgerock {' '.join(arguments)}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        assert ran.returncode == expected, told
        return ran.stdout

    @property
    def ledger(self) -> tuple[str, str]:
        return "--ledger", f"dynamodb:{self.deployment.name}"

    def row(self, principal: str) -> dict[str, Any]:
        """Return what the books say of a principal; nothing if it is not in them."""
        since = f"{datetime.now(UTC).timestamp() - 86_400:.0f}"
        day = datetime.fromtimestamp(int(since), UTC)
        report = json.loads(
            self.ledgerock(
                *("report", "--by", "principal", "--since", f"{day:%Y-%m-%d}"),
                *("--format", "json", *self.ledger),
            )
        )
        return next((row for row in report["rows"] if row["key"] == principal), {})

    # --- Calls --------------------------------------------------------------------------------

    @property
    def ways(self) -> list[str]:
        """The ways in that the stage has."""
        deployment = self.deployment
        there = (
            deployment.log_group,
            deployment.streams,
            deployment.queues,
            deployment.log_bucket,
        )
        return [way for way, is_there in zip(WAYS, there, strict=True) if is_there]

    def user(self, name: str) -> tuple[str, str]:
        """Return the ARN of a user that is none, and how the books call it."""
        full = f"{self.run}-{name}"
        return f"arn:aws:iam::{ACCOUNT}:user/{full}", f"user/{ACCOUNT}/{full}"

    def send(self, way: str, calls: Sequence[Call], *, with_events: bool = False) -> None:
        """Send the logs of calls one way; their events of CloudTrail before, where events come."""
        lines = [call.log() for call in calls]
        if way == "log group":
            self._write_logs(lines)
        elif way == "stream":
            self._put_records(lines)
        elif way == "queue":
            events = [call.event() for call in calls] if with_events else []
            self._send_messages([*events, *lines])
        else:
            self._put_object(lines)

    def _write_logs(self, lines: Sequence[str]) -> None:
        logs, group = self.client("logs"), self.deployment.log_group
        named = {"logGroupName": group, "logStreamName": self.run}
        if not self._log_stream:
            # One that is there was made by a first attempt of this request: the name is the run's.
            with suppress(logs.exceptions.ResourceAlreadyExistsException):
                logs.create_log_stream(**named)
            self._log_stream = self.run
            self._made(
                f"log stream {self.run}",
                lambda: logs.delete_log_stream(**named),
                lambda: _one_of(
                    logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=self.run)[
                        "logStreams"
                    ]
                ),
            )
        now = int(time.time() * 1_000)
        logs.put_log_events(
            **named, logEvents=[{"timestamp": now, "message": line} for line in lines]
        )

    def _put_records(self, lines: Sequence[str]) -> None:
        answer = self.client("kinesis").put_records(
            StreamName=self.deployment.streams[0],
            Records=[{"Data": line.encode(), "PartitionKey": str(uuid.uuid4())} for line in lines],
        )
        assert answer["FailedRecordCount"] == 0

    def _send_messages(self, bodies: Sequence[str]) -> None:
        queue = self.client("sqs")
        for body in bodies:
            queue.send_message(QueueUrl=self.deployment.queues[0], MessageBody=body)

    def _put_object(self, lines: Sequence[str]) -> None:
        store, now = self.client("s3"), datetime.now(UTC)
        folder = f"AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{self._region}/{now:%Y/%m/%d/%H}"
        named = {
            "Bucket": self.deployment.log_bucket,
            "Key": f"{folder}/{now:%Y%m%dT%H%M%S}000Z_{uuid.uuid4().hex[:16]}.json.gz",
        }
        body = gzip.compress("".join(f"{line}\n" for line in lines).encode())
        store.put_object(**named, Body=body)
        self._made(
            f"object {named['Key']}",
            lambda: store.delete_object(**named),
            lambda: store.head_object(**named),
        )

    def until_booked(self, principal: str, calls: int, again: Callable[[], None]) -> None:
        """Wait until a principal's calls are booked; nothing else may be, and nothing twice."""
        found: dict[str, Any] = {}

        def is_booked() -> bool:
            found.clear()
            found.update(self.row(principal))
            return int(found.get("calls", 0)) >= calls and found["estimated_usd"] == "0"

        self.sent[principal] = calls
        self.wait(is_booked, f"{calls} calls of {principal}; the books have {found}", again)
        assert_exact(found, calls)

    def wait(
        self, condition: Callable[[], object], what: str, again: Callable[[], None] | None = None
    ) -> None:
        """Wait until something is so; cause it again from time to time."""
        deadline = time.monotonic() + WAIT_SECONDS
        cause_at = time.monotonic() + AGAIN_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited {WAIT_SECONDS} s in vain: {what}"
            time.sleep(1)
            if again is not None and time.monotonic() > cause_at:
                again()
                cause_at = time.monotonic() + AGAIN_SECONDS

    # --- Budgets and the bus ------------------------------------------------------------------

    def set_budget(self, name: str, principal: str, *options: str) -> str:
        """Set a budget of this run; return its name."""
        full = f"{self.run}-{name}"
        scope = ("--scope", f"principal/{principal}")
        self.ledgerock("budgets", "set", full, *scope, *options, *self.ledger)
        self._made(
            f"budget {full}",
            lambda: self.remove_budget(full),
            lambda: _one_of(one for one in self.budgets() if one["name"] == full),
        )
        return full

    def remove_budget(self, name: str) -> None:
        self.ledgerock("budgets", "remove", name, *self.ledger)

    def remove_budgets_of_run(self) -> None:
        """Remove what tiers gave to the run's users."""
        for one in self.budgets():
            if self.run in json.dumps(one):
                self.remove_budget(one["name"])

    def budgets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.ledgerock("budgets", "list", "--json", *self.ledger)
        )["budgets"]
        return found

    def listen(self) -> None:
        """Collect what is announced on the stage's bus, in a queue of the run's own."""
        if self._collector:
            return
        queues, events, bus = self.client("sqs"), self.client("events"), self.deployment.bus
        url = self._collector = queues.create_queue(QueueName=self.run)["QueueUrl"]
        self._made(
            f"queue {self.run}",
            lambda: queues.delete_queue(QueueUrl=url),
            lambda: queues.get_queue_url(QueueName=self.run),
        )
        asked = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn = asked["Attributes"]["QueueArn"]
        named = {"Name": self.run, "EventBusName": bus}
        rule = events.put_rule(**named, EventPattern=json.dumps({"source": ["ledgerock"]}))
        self._made(
            f"rule {self.run}",
            lambda: events.delete_rule(**named),
            lambda: events.describe_rule(**named),
        )
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "events.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": arn,
                    "Condition": {"ArnEquals": {"aws:SourceArn": rule["RuleArn"]}},
                }
            ],
        }
        queues.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
        target = {"Rule": self.run, "EventBusName": bus}
        answer = events.put_targets(**target, Targets=[{"Id": "e2e", "Arn": arn}])
        assert answer["FailedEntryCount"] == 0
        self._cleaning.callback(lambda: events.remove_targets(**target, Ids=["e2e"]))

    def heard(self, detail_type: str, about: str) -> list[dict[str, Any]]:
        """Return the details of a type that name something, each checked against its schema."""
        queues = self.client("sqs")
        while True:
            answer = queues.receive_message(
                QueueUrl=self._collector, MaxNumberOfMessages=10, WaitTimeSeconds=1
            )
            for message in answer.get("Messages", ()):
                self._heard.append(json.loads(message["Body"]))
                queues.delete_message(
                    QueueUrl=self._collector, ReceiptHandle=message["ReceiptHandle"]
                )
            if not answer.get("Messages"):
                break
        return [
            checked_event(event)
            for event in self._heard
            if event["detail-type"] == detail_type and about in json.dumps(event["detail"])
        ]

    # --- A user that is one -------------------------------------------------------------------

    def make_user(self, name: str) -> tuple[str, str]:
        """Make an IAM user that the stage may suspend; return its ARN, and its name."""
        iam, full = self.client("iam"), f"{self.run}-{name}"
        key, _, value = self.config.enforcement.tag.partition("=")
        tags = [{"Key": key, "Value": value}] if key else []
        path = self.config.enforcement.user_paths[0]
        user = iam.create_user(UserName=full, Path=path, Tags=tags)["User"]
        self._made(
            f"user {full}",
            lambda: self._remove_user(full),
            lambda: iam.get_user(UserName=full),
        )
        return user["Arn"], full

    def _remove_user(self, name: str) -> None:
        iam = self.client("iam")
        for policy in self.inline_policies(name):
            iam.delete_user_policy(UserName=name, PolicyName=policy)
        attached = iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]
        for one in attached:
            iam.detach_user_policy(UserName=name, PolicyArn=one["PolicyArn"])
        iam.delete_user(UserName=name)

    def inline_policies(self, name: str) -> list[str]:
        found: list[str] = self.client("iam").list_user_policies(UserName=name)["PolicyNames"]
        return found


def assert_exact(row: dict[str, Any], calls: int) -> None:
    """Assert that the books have these calls, once each, to the last digit."""
    assert row["calls"] == calls
    assert row["cost_usd"] == format_pico_usd(calls * COST_PICO_USD)
    assert row["tokens"]["input_tokens"] == calls
    assert row["tokens"]["output_tokens"] == calls
    uncertain = ("unpriced_calls", "unmetered_calls", "failed_calls")
    assert [row[name] for name in uncertain] == [0, 0, 0]


def _is_there(look: Callable[[], Any]) -> bool:
    try:
        look()
    except LookupError:
        return False
    except ClientError as error:
        if error.response["Error"]["Code"] in GONE:
            return False
        raise
    return True


def _one_of(found: Any) -> Any:
    """Return the first of some; fail as a missing thing does if there is none."""
    for one in found:
        return one
    raise LookupError
