"""Stages that were deployed into LocalStack, and workers on them."""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.drill.stacks import TEMPLATES, Deployed, Emulator
from tests.dynamodb import (
    ENVIRONMENT,
    LOCALSTACK_IMAGE,
    LOCALSTACK_PORT,
    ROOT,
)
from tests.events import checked
from tests.infra.shapes import Json
from tests.workers import WorkerProcess, wait_for

SERVICES: Final = (
    *("cloudformation", "cloudwatch", "dynamodb", "dynamodbstreams", "ec2", "events", "iam"),
    *("kinesis", "kms", "lambda", "logs", "s3", "sns", "sqs", "ssm", "stepfunctions", "sts"),
)
MOCKS: Final = "/tmp/mocks.json"
BY_TEST: Final = {
    # The tables are those of the stack, or nobody's.
    "LEDGEROCK_CREATE_TABLES": "0",
    # LocalStack has no Bedrock; nothing here has a profile that would be asked for.
    "LEDGEROCK_RESOLVE_PROFILES": "0",
}
OTHERWISE: Final = {"LEDGEROCK_HTTP_PORT"}
"""Variables of the task that a process on this machine has to have otherwise."""
LOG_STREAM: Final = "aws/bedrock/modelinvocations"


@contextmanager
def emulator() -> Iterator[tuple[Emulator, Any]]:
    """Run a LocalStack of one's own; yields it, and its container."""
    # The test ends the container itself; a second image to watch over it may not be there.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow

    container = DockerContainer(LOCALSTACK_IMAGE).with_exposed_ports(LOCALSTACK_PORT)
    container.with_env("SERVICES", ",".join(SERVICES)).with_env("DYNAMODB_IN_MEMORY", "1")
    container.with_env("SFN_MOCK_CONFIG", MOCKS)
    with container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(LOCALSTACK_PORT)
        endpoint = f"http://{host}:{port}"
        wait_for(lambda: _answers(endpoint), "LocalStack")
        yield Emulator(endpoint), container.get_wrapped_container()


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(f"{endpoint}/_localstack/health", timeout=5).close()
    except OSError:
        return False
    return True


def tell(container: Any, configuration: Json) -> None:
    """Say how tasks of Step Functions answer, from the next execution on."""
    content = json.dumps(configuration).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as packed:
        entry = tarfile.TarInfo(Path(MOCKS).name)
        entry.size, entry.mtime = len(content), int(time.time())
        packed.addfile(entry, io.BytesIO(content))
    container.put_archive(str(Path(MOCKS).parent), archive.getvalue())


class Stage:
    """A stage whose stack was created, driven as AWS and people drive it."""

    def __init__(self, emulated: Emulator, stack: Deployed, folder: Path) -> None:
        self.emulator, self.stack, self.name = emulated, stack, stack.name
        self._folder = folder
        self._collected: list[Json] = []
        clients = ("sqs", "events", "logs", "s3", "dynamodb", "stepfunctions")
        self.sqs, self.events, self.logs, self.s3, self.dynamodb, self.states = (
            emulated.client(one) for one in clients
        )
        self.bus = stack.named("AWS::Events::EventBus", self.name)
        self.queue = stack.named("AWS::SQS::Queue", "-events")
        self._collector = self._collect()

    def _collect(self) -> str:
        """Have what is announced on the stage's bus come to a queue of the test's own."""
        name = f"test-{self.name}"
        url = str(self.sqs.create_queue(QueueName=name)["QueueUrl"])
        pattern = json.dumps({"source": ["ledgerock"]})
        self.events.put_rule(Name=name, EventBusName=self.bus, EventPattern=pattern)
        arn = f"arn:aws:sqs:us-east-1:000000000000:{name}"
        self.events.put_targets(
            Rule=name, EventBusName=self.bus, Targets=[{"Id": "test", "Arn": arn}]
        )
        return url

    def empty(self, bucket: str) -> None:
        """Delete every object of a bucket, as whoever tears a stage down has to."""
        for one in self.s3.list_objects_v2(Bucket=bucket).get("Contents", ()):
            self.s3.delete_object(Bucket=bucket, Key=one["Key"])

    def end(self) -> None:
        """Remove what the test made itself."""
        name = f"test-{self.name}"
        self.events.remove_targets(Rule=name, EventBusName=self.bus, Ids=["test"])
        self.events.delete_rule(Name=name, EventBusName=self.bus)
        self.sqs.delete_queue(QueueUrl=self._collector)
        for logical, kind in self.stack.types.items():
            if kind == "AWS::S3::Bucket":
                self.empty(self.stack.resources[logical])

    # --- The worker and the command line ------------------------------------------------------

    @contextmanager
    def worker(self) -> Iterator[WorkerProcess]:
        """Run the container's worker with what the template tells the task; it ends well."""
        told = {
            name: text for name, text in self.stack.environment.items() if name not in OTHERWISE
        }
        log = self._folder / f"{self.name}.log"
        process = WorkerProcess(log, {**told, **BY_TEST}, endpoint=self.emulator.endpoint)
        try:
            process.until_ready()
            yield process
            assert process.terminate() == 0, process.log_text()[-4000:]
        finally:
            if process.process.poll() is None:
                process.kill()

    def ledgerock(self, *arguments: str) -> str:
        """Run a command on the stage's ledger; return what it prints."""
        environment = {name: text for name, text in os.environ.items() if "LEDGEROCK" not in name}
        environment |= {**ENVIRONMENT, "AWS_ENDPOINT_URL": self.emulator.endpoint}
        ledger = self.stack.environment["LEDGEROCK_LEDGER"]
        ran = subprocess.run(
            [sys.executable, "-m", "worker", *arguments, "--ledger", ledger],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    # --- What goes in -------------------------------------------------------------------------

    def write_log(self, records: Sequence[Json]) -> None:
        """Write invocation logs where Bedrock would."""
        group = self.stack.named("AWS::Logs::LogGroup", f"{self.name}-invocations")
        # LocalStack makes the stream and then answers 500, as it looks at the group's filters; the
        # client's second attempt is told that it is there.
        with suppress(self.logs.exceptions.ResourceAlreadyExistsException):
            self.logs.create_log_stream(logGroupName=group, logStreamName=LOG_STREAM)
        at_ms = int(time.time() * 1000)
        events = [{"timestamp": at_ms, "message": json.dumps(one)} for one in records]
        answer = self.logs.put_log_events(
            logGroupName=group, logStreamName=LOG_STREAM, logEvents=events
        )
        assert "rejectedLogEventsInfo" not in answer

    # --- What comes out -----------------------------------------------------------------------

    def booked(self) -> int:
        """Return how many entries there are by now."""
        table = self.stack.named("AWS::DynamoDB::Table", "-entries")
        pages = self.dynamodb.get_paginator("scan").paginate(
            TableName=table, Select="COUNT", ConsistentRead=True
        )
        return sum(page["Count"] for page in pages)

    def messages(self) -> int:
        """Return how many messages the queue has, invisible ones included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)
        return sum(map(int, found["Attributes"].values()))

    def until_booked(self, calls: int | None = None) -> None:
        """Wait until nothing is left in the queue and so many calls are booked, and no more."""
        wait_for(
            lambda: self.booked() >= (calls or 0) and not self.messages(),
            f"{calls} calls in {self.name}, and an empty queue",
        )
        assert calls is None or self.booked() == calls

    def announced(self) -> list[Json]:
        """Return what was announced so far, each event checked against its schema."""
        while True:
            answer = self.sqs.receive_message(QueueUrl=self._collector, MaxNumberOfMessages=10)
            messages = answer.get("Messages", ())
            if not messages:
                return self._collected
            for message in messages:
                event = json.loads(message["Body"])
                checked(event["detail-type"], json.dumps(event["detail"]).encode())
                self._collected.append(event)
                self.sqs.delete_message(
                    QueueUrl=self._collector, ReceiptHandle=message["ReceiptHandle"]
                )

    def until_announced(self, detail_type: str) -> Json:
        """Wait for an event of a type; return its detail."""
        found: list[Json] = []

        def is_there() -> bool:
            found[:] = [one for one in self.announced() if one["detail-type"] == detail_type]
            return bool(found)

        wait_for(is_there, f"{detail_type} on {self.bus}")
        detail: Json = found[0]["detail"]
        return detail

    def run(self, machine: str, case: str, given: Json) -> Json:
        """Run a workflow whose tasks answer as a case of the mocks says; see `execution`."""
        arn = self.stack.named("AWS::StepFunctions::StateMachine", f"{self.name}-{machine}")
        started = self.states.start_execution(
            stateMachineArn=f"{arn}#{case}", input=json.dumps(given)
        )["executionArn"]
        wait_for(lambda: self.execution(started)["status"] != "RUNNING", f"the end of {case}")
        return self.execution(started)

    def executions(self, machine: str, detail: Json) -> list[Json]:
        """Return a workflow's ended executions that an event's detail started; see `execution`."""
        arn = self.stack.named("AWS::StepFunctions::StateMachine", f"{self.name}-{machine}")
        listed = self.states.list_executions(stateMachineArn=arn)["executions"]
        ended = [
            self.execution(one["executionArn"]) for one in listed if one["status"] != "RUNNING"
        ]
        return [one for one in ended if one["input"]["detail"] == detail]

    def execution(self, arn: str) -> Json:
        """Return input, status and entered states of an execution."""
        described = self.states.describe_execution(executionArn=arn)
        history = self.states.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        entered = [
            one["stateEnteredEventDetails"]["name"]
            for one in history
            if "stateEnteredEventDetails" in one
        ]
        return {
            "input": json.loads(described["input"]),
            "status": described["status"],
            "entered": entered,
        }


def inventory(emulator: Emulator) -> set[tuple[str, str]]:
    """Return everything that there is in the account, by type and name or address.

    What AWS itself has in every account is left out, keys that are about to be deleted, and what
    LocalStack keeps the streams of tables in.
    """
    found = set()
    for service, operation, path, key in LISTS:
        pages = emulator.client(service).get_paginator(operation).paginate()
        for page in pages:
            for one in page.get(path, ()):
                found.add((f"{service}:{path}", one if isinstance(one, str) else one[key]))
    events = emulator.client("events")
    buses = [one["Name"] for one in events.list_event_buses()["EventBuses"]]
    found |= {("events:bus", name) for name in buses}
    for bus in buses:
        rules = events.list_rules(EventBusName=bus)["Rules"]
        found |= {("events:rule", one["Arn"]) for one in rules}
    s3, kms = emulator.client("s3"), emulator.client("kms")
    buckets = {one["Name"] for one in s3.list_buckets()["Buckets"]} - {TEMPLATES}
    found |= {("s3", name) for name in buckets}
    keys = [one for kind, one in found if kind == "kms:Keys"]
    gone = {
        one for one in keys if kms.describe_key(KeyId=one)["KeyMetadata"]["KeyState"] != "Enabled"
    }
    return {
        (kind, one)
        for kind, one in found
        if one not in gone and not one.startswith(("alias/aws/", "__ddb_stream_"))
    }


LISTS: Final = (
    ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    ("dynamodb", "list_tables", "TableNames", ""),
    ("iam", "list_roles", "Roles", "Arn"),
    ("kinesis", "list_streams", "StreamNames", ""),
    ("kms", "list_aliases", "Aliases", "AliasName"),
    ("kms", "list_keys", "Keys", "KeyId"),
    ("logs", "describe_log_groups", "logGroups", "logGroupName"),
    ("sns", "list_topics", "Topics", "TopicArn"),
    ("sqs", "list_queues", "QueueUrls", ""),
    ("ssm", "describe_parameters", "Parameters", "Name"),
    ("stepfunctions", "list_state_machines", "stateMachines", "stateMachineArn"),
)
"""Service, operation, where its answer has the list, and what a thing is called there."""
