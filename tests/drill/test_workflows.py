"""Every branch of the workflows in Step Functions, with tasks that answer as they are told.

LocalStack answers for the function, as the mock configuration says (AWS documentation: "Using
mocked service integrations for testing in Step Functions Local"; LocalStack reads the same file).
A container of its own, since that file is named when it starts.
"""

import asyncio
import io
import json
import os
import tarfile
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from aiobotocore.session import get_session

from infra.workflows import (
    Retries,
    restoration_definition,
    restoration_pattern,
    suspension_definition,
    suspension_pattern,
)
from tests.calls import asynchronous
from tests.dynamodb import ENVIRONMENT, LOCALSTACK_IMAGE, LOCALSTACK_PORT, START_SECONDS
from tests.infra.asl import Json, TaskError
from tests.infra.branches import BRANCHES, STATES, Answer, Branch, answer_of
from tests.infra.test_workflows import ARN, event
from tests.integration.emulator import until
from tests.workers import wait_for
from worker.core.events import (
    BUDGET_GRACE_STARTED,
    DETAIL_TYPES,
    RESTORATION_REQUIRED,
    SUSPENSION_REQUIRED,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(START_SECONDS + 120)]

MOCKS: Final = "/tmp/mocks.json"
ROLE: Final = "arn:aws:iam::000000000000:role/workflows"
RETRIES: Final = Retries(interval_seconds=1, attempts=2, backoff=2, interval_seconds_max=2)
MACHINES: Final = {
    "Suspension": suspension_definition(ARN, retries=RETRIES),
    "Restoration": restoration_definition(ARN, retries=RETRIES),
}
REPEATED: Final = 20
"""How often the last answer of a step is given at most."""
_SESSION: Final = get_session()


def machine_of(branch: Branch) -> str:
    return "Restoration" if branch.is_restoration else "Suspension"


# --- The mock configuration -------------------------------------------------------------------


def mocks(branches: list[Branch], deadline: str) -> Json:
    cases: dict[str, Json] = {name: {} for name in MACHINES}
    responses: Json = {}
    for branch in branches:
        states = cases[machine_of(branch)][branch.name] = {}
        for step, state in STATES.items():
            name = f"{branch.name}-{step}"
            states[state] = name
            responses[name] = _responses(branch.answers.get(step, [""]), deadline)
    machines = {name: {"TestCases": listed} for name, listed in cases.items()}
    return {"StateMachines": machines, "MockedResponses": responses}


def _responses(answers: list[Answer], deadline: str) -> Json:
    *first, last = answers
    found = {str(number): _response(one, deadline) for number, one in enumerate(first)}
    found[f"{len(first)}-{len(first) + REPEATED}"] = _response(last, deadline)
    return found


def _response(answer: Answer, deadline: str) -> Json:
    if isinstance(answer, TaskError):
        return {"Throw": {"Error": answer.name, "Cause": answer.cause}}
    return {"Return": {"StatusCode": 200, "Payload": answer_of(answer, deadline)}}


# --- LocalStack -------------------------------------------------------------------------------


class StepFunctions:
    """Step Functions in a container of its own."""

    def __init__(self, container: Any, endpoint: str) -> None:
        self._container = container
        self._endpoint = endpoint

    def tell(self, configuration: Json) -> None:
        """Say how tasks answer, from the next execution on."""
        content = json.dumps(configuration).encode()
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as packed:
            entry = tarfile.TarInfo(MOCKS.removeprefix("/tmp/"))
            entry.size, entry.mtime = len(content), int(time.time())
            packed.addfile(entry, io.BytesIO(content))
        self._container.put_archive("/tmp", archive.getvalue())

    @asynccontextmanager
    async def client(self, service: str = "stepfunctions") -> AsyncIterator[Any]:
        context = _SESSION.create_client(
            service,
            endpoint_url=self._endpoint,
            region_name=ENVIRONMENT["AWS_REGION"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        async with context as opened:
            yield opened


@contextmanager
def step_functions() -> Iterator[StepFunctions]:
    """Run Step Functions and EventBridge, which answer for tasks as they are told."""
    # The test ends the container itself; a second image to watch over it may not be there.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow

    container = DockerContainer(LOCALSTACK_IMAGE).with_exposed_ports(LOCALSTACK_PORT)
    container.with_env("SERVICES", "stepfunctions,events,sts,iam")
    container.with_env("SFN_MOCK_CONFIG", MOCKS)
    with container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(LOCALSTACK_PORT)
        endpoint = f"http://{host}:{port}"
        wait_for(lambda: is_ready(endpoint), "LocalStack")
        yield StepFunctions(container.get_wrapped_container(), endpoint)


def is_ready(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(f"{endpoint}/_localstack/health", timeout=5).close()
    except OSError:
        return False
    return True


async def made(states: Any) -> dict[str, str]:
    """Make both state machines; return their ARNs."""
    found = {}
    for name, definition in MACHINES.items():
        answer = await states.create_state_machine(
            name=name, definition=json.dumps(definition), roleArn=ROLE
        )
        found[name] = answer["stateMachineArn"]
    return found


async def history_of(states: Any, execution: str) -> tuple[str, list[Json]]:
    """Wait for the end of an execution; return its status and its history."""
    found: Json = {}

    async def has_ended() -> bool:
        found.update(await states.describe_execution(executionArn=execution))
        return bool(found["status"] != "RUNNING")

    await until(has_ended, f"the end of {execution}")
    history = await states.get_execution_history(executionArn=execution, maxResults=1000)
    return found["status"], history["events"]


def entered(history: list[Json]) -> list[str]:
    return [
        one["stateEnteredEventDetails"]["name"]
        for one in history
        if "stateEnteredEventDetails" in one
    ]


# --- What must be so --------------------------------------------------------------------------


@asynchronous
async def test_the_workflows_in_step_functions() -> None:
    """One test, since all of it shares a container and the file that says how tasks answer."""
    with step_functions() as service:
        async with service.client() as states, service.client("events") as bus:
            arns = await made(states)
            await every_branch_ends_as_it_does_in_memory(service, states, arns)
            await nothing_is_done_before_the_deadline(service, states, arns)
            await our_events_alone_start_the_workflows(bus)
            await an_event_on_the_bus_starts_an_execution(states, bus, arns)


async def every_branch_ends_as_it_does_in_memory(
    service: StepFunctions, states: Any, arns: dict[str, str]
) -> None:
    service.tell(mocks(BRANCHES, "2026-11-01T12:00:00Z"))

    async def run(branch: Branch) -> tuple[str, list[Json]]:
        started = await states.start_execution(
            stateMachineArn=f"{arns[machine_of(branch)]}#{branch.name}",
            input=json.dumps(event(branch.kind)),
        )
        return await history_of(states, started["executionArn"])

    ran = await asyncio.gather(*map(run, BRANCHES))
    for branch, (status, history) in zip(BRANCHES, ran, strict=True):
        assert entered(history) == ["Read Event", "What Happened", *branch.path], branch.name
        assert status == branch.status, branch.name
        failures = [one for one in history if one["type"] == "TaskFailed"]
        assert len(failures) == branch.failures, branch.name
        for one in history:
            if one["type"] == "TaskScheduled":
                given = json.loads(one["taskScheduledEventDetails"]["parameters"])
                assert given["FunctionName"] == ARN
                payload = given["Payload"]
                assert (payload["kind"], payload["detail"]) == (branch.kind, {"event_id": "e"})
                assert payload["execution"].startswith("arn:aws:states:")
                assert payload["work"] in ({}, {"claim": "c1"})


async def nothing_is_done_before_the_deadline(
    service: StepFunctions, states: Any, arns: dict[str, str]
) -> None:
    [branch] = [one for one in BRANCHES if one.name == "GraceServed"]
    deadline = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=5)
    service.tell(mocks([branch], deadline.strftime("%Y-%m-%dT%H:%M:%S.000Z")))
    started = await states.start_execution(
        stateMachineArn=f"{arns['Suspension']}#{branch.name}",
        input=json.dumps(event(branch.kind)),
    )
    status, history = await history_of(states, started["executionArn"])
    assert status == "SUCCEEDED"
    [checked] = [
        one["timestamp"]
        for one in history
        if one.get("stateEnteredEventDetails", {}).get("name") == "Check Again"
    ]
    # LocalStack counts whole seconds, down.
    assert checked >= deadline - timedelta(seconds=1)


async def our_events_alone_start_the_workflows(bus: Any) -> None:
    async def matches(pattern: Json, given: Json) -> bool:
        answer = await bus.test_event_pattern(
            EventPattern=json.dumps(pattern), Event=json.dumps(given)
        )
        return bool(answer["Result"])

    for pattern, expected in (
        (suspension_pattern(), [BUDGET_GRACE_STARTED, SUSPENSION_REQUIRED]),
        (restoration_pattern(), [RESTORATION_REQUIRED]),
    ):
        found = [kind for kind in DETAIL_TYPES if await matches(pattern, event(kind))]
        assert found == expected
        foreign = event(expected[0]) | {"source": "somebody.else"}
        assert not await matches(pattern, foreign)


async def an_event_on_the_bus_starts_an_execution(
    states: Any, bus: Any, arns: dict[str, str]
) -> None:
    """The event is understood; the function that is not there is a failure, and no success."""
    name = f"bus-{uuid.uuid4().hex}"
    await bus.create_event_bus(Name=name)
    await bus.put_rule(Name=name, EventBusName=name, EventPattern=json.dumps(suspension_pattern()))
    target = {"Id": "workflow", "Arn": arns["Suspension"], "RoleArn": ROLE}
    await bus.put_targets(Rule=name, EventBusName=name, Targets=[target])
    detail = {"event_id": uuid.uuid4().hex}
    put = {"Source": "ledgerock", "DetailType": BUDGET_GRACE_STARTED, "EventBusName": name}
    await bus.put_events(Entries=[{**put, "Detail": json.dumps(detail)}])
    found: list[str] = []

    async def is_started() -> bool:
        listed = await states.list_executions(stateMachineArn=arns["Suspension"])
        for one in listed["executions"]:
            described = await states.describe_execution(executionArn=one["executionArn"])
            if json.loads(described["input"])["detail"] == detail:
                found.append(one["executionArn"])
        return bool(found)

    await until(is_started, "an execution")
    status, history = await history_of(states, found[0])
    assert entered(history)[2:] == ["Notify", "Check Again", "Record Failure", "Not Recorded"]
    assert status == "FAILED"
