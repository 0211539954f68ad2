"""What every function and container may do is what its code asks for: no more, and no less."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import pytest

from handlers.opening import open_function
from infra.enforcement_rights import DENY_POLICIES, OWN_TAGS
from tests.infra.asked import CALLED_BY_OTHERS, GATES, OPENING, Asking, opened, shut_by
from tests.infra.call_graph import Code, Reach
from tests.infra.code_references import Text
from tests.infra.conftest import Shaped
from tests.infra.resolved import Resolver, actions_of, role_of, statements_of
from tests.infra.shapes import Json, Synthesised
from worker.bootstrap import open_worker
from worker.core.deny_policy import PATH, PREFIX
from worker.core.directory import OWN_TAG_PREFIX
from worker.settings import Settings

CREDENTIALS: Final = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}
LOOKED_AT: Final = (
    "functions-kinesis",
    "functions-subscription",
    "functions-s3",
    "functions-nothing",
    "functions-workflows",
    "functions-enforcement",
    "functions-customer-key",
    "functions-everything",
    "container-public",
    "container-private",
    "container-workflows",
    "container-enforcement",
    "container-nothing",
    "sources-accounts",
)
NOT_BY_CODE: Final[Mapping[str, tuple[frozenset[str], str]]] = {
    "Logs": (
        frozenset({"logs:CreateLogStream", "logs:PutLogEvents"}),
        "Lambda writes what a function prints, in its name",
    ),
    "Traces": (
        frozenset({"xray:PutTelemetryRecords", "xray:PutTraceSegments"}),
        "Lambda and the tracer's daemon send traces, in the function's name",
    ),
    "Source": (
        frozenset(
            {
                *("sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"),
                *("kinesis:DescribeStream", "kinesis:DescribeStreamSummary"),
                *("kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"),
                *("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"),
            }
        ),
        "Lambda polls event sources, in the function's name",
    ),
    "SourceList": (
        frozenset({"dynamodb:ListStreams", "kinesis:ListStreams"}),
        "the same; it has no resources",
    ),
    "DeadLetters": (
        frozenset({"sqs:SendMessage"}),
        "Lambda puts aside what the function failed at, in its name",
    ),
    "Key": (
        frozenset({"kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"}),
        "services use the stage's key, in the caller's name",
    ),
    "KeysElsewhere": (
        frozenset({"kms:Decrypt"}),
        "S3 uses the stage's keys of other Regions and accounts, in the caller's name",
    ),
    "Buckets": (
        frozenset({"s3:ListBucket"}),
        "without it S3 says of a missing object that it is denied",
    ),
    "BucketsElsewhere": (frozenset({"s3:ListBucket"}), "the same"),
}
"""Statements that no code of ours asks for: what they may hold, and who asks."""
READING: Final = frozenset({"s3:GetObject", "s3:GetObjectVersion"})
"""Asked for wherever deliveries are booked, and allowed where the configuration names a bucket:
without one nothing tells of objects."""
PUT_EVENTS: Final = "events:PutEvents"
BOOKING: Final = ("handlers.sqs", "handlers.kinesis", "handlers.cloudwatch_logs")


@dataclass(frozen=True, slots=True)
class Runs:
    """Something that runs code of ours.

    Attributes:
        name: For people.
        root: Module that it begins in.
        environment: As deployed.
        statements: All that its role has.
    """

    name: str
    root: str
    environment: Mapping[str, str]
    statements: list[Json]

    @property
    def allowed(self) -> frozenset[str]:
        """What it may ask for itself."""
        found: set[str] = set()
        for one in self.statements:
            actions = frozenset(actions_of(one))
            held, _ = NOT_BY_CODE.get(one["Sid"], (frozenset(), ""))
            if one["Effect"] == "Allow" and not actions <= held:
                found |= actions
        return frozenset(found)


@pytest.fixture(scope="session")
def asking() -> Asking:
    return Asking(Code())


def runs(synthesised: Synthesised) -> tuple[Runs, ...]:
    """Return everything of a ledger's stack that runs code of ours."""
    return tuple(_runs(Resolver(synthesised.ledger)))


def _runs(resolve: Resolver) -> Iterator[Runs]:
    for name, properties in resolve.of_type("AWS::Lambda::Function"):
        if "ImageConfig" not in properties:
            continue
        [handler] = properties["ImageConfig"]["Command"]
        role = role_of(resolve.resources[name]["Properties"])
        yield Runs(
            name,
            handler.removesuffix(".handler"),
            properties["Environment"]["Variables"],
            statements_of(resolve, role),
        )
    for name, properties in resolve.of_type("AWS::ECS::TaskDefinition"):
        [container] = properties["ContainerDefinitions"]
        role = role_of(resolve.resources[name]["Properties"], "TaskRoleArn")
        yield Runs(
            name,
            "worker.runtime.serving",
            {one["Name"]: one["Value"] for one in container["Environment"]},
            statements_of(resolve, role),
        )


def reach_of(one: Runs, code: Code) -> Reach:
    """Open what runs as it is deployed, and return what can come to run then."""
    settings = Settings.read(one.environment)

    def open_it() -> AbstractAsyncContextManager[Any]:
        if one.root.startswith("handlers."):
            return open_function(one.environment)
        return open_worker(settings)

    lines = opened(open_it)
    roots = [one.root] if one.root.startswith("handlers.") else [one.root, f"{one.root}.serve"]
    return Reach(code, roots, lines.get, shut_by(settings), CALLED_BY_OTHERS, OPENING)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "LEDGEROCK_"))]:
        monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def test_rights_are_what_code_asks_for(asking: Asking, shaped: Shaped) -> None:
    """One test for all, since the code is analysed in each process that has one."""
    wrong = [
        (shape, one.root, *said)
        for shape in LOOKED_AT
        for one in runs(shaped(shape))
        for said in compared(one, asking)
    ]
    assert wrong == []


def compared(one: Runs, asking: Asking) -> Iterator[tuple[str, ...]]:
    """Yield what something may not do and asks for, and what it may do and never asks for."""
    reach = reach_of(one, asking.code)
    asked = asking.actions(reach)
    expected = asked.keys() - (READING - one.allowed)
    for action in sorted(expected - one.allowed):
        yield ("may not", action, " -> ".join(reach.path(asked[action])))
    for action in sorted(one.allowed - expected):
        yield ("may, and never asks for", action)
    for table, actions in asking.of_tables(reach).items():
        [rights] = [each for each in one.statements if each["Sid"] == table.capitalize()]
        for action in sorted(actions ^ set(actions_of(rights))):
            yield ("may, or asks for, but not both", action, table)


def test_a_request_more_or_less_is_seen(asking: Asking, shaped: Shaped) -> None:
    """One that is added is missed by whoever can make it; of one that is gone a right is left."""
    functions = [
        one for one in runs(shaped("functions-workflows")) if one.root != "handlers.kinesis"
    ]
    put = asking.code.bodies["worker.adapters.eventbridge_bus.EventBridgeBus._put"]
    kept, like = put.references[:], put.references[0]
    put.references.append(Text(like.line, like.end, False, False, "", texts=("remove_targets",)))
    added = {one.root: [said[:2] for said in compared(one, asking)] for one in functions}
    put.references[:] = [
        one for one in kept if not (isinstance(one, Text) and "put_events" in one.texts)
    ]
    gone = {one.root: [said[:2] for said in compared(one, asking)] for one in functions}
    put.references[:] = kept
    announcing = ("handlers.announcer", "handlers.monitor", "handlers.enforcement")
    missed, left = ("may not", "events:RemoveTargets"), ("may, and never asks for", PUT_EVENTS)
    assert added == {"handlers.sqs": []} | {one: [missed] for one in announcing}
    assert gone == {"handlers.sqs": []} | {one: [left] for one in announcing}


@pytest.mark.parametrize(
    "name", [*(name for gate in GATES for name in gate.names), *CALLED_BY_OTHERS]
)
def test_gates_are_about_functions_that_there_are(name: str) -> None:
    module, owner, method = name.rsplit(".", 2)
    assert callable(getattr(getattr(import_module(module), owner), method))


@pytest.mark.parametrize("shape", LOOKED_AT)
def test_whoever_books_has_no_rights_in_iam(shaped: Shaped, shape: str) -> None:
    for one in runs(shaped(shape)):
        if one.root in BOOKING:
            assert not [action for action in one.allowed if action.startswith(("iam:", "sts:"))]


def test_what_is_written_of_policies_and_tags_is_the_worker_s_own() -> None:
    assert f"{PATH.lstrip('/')}{PREFIX}*" == DENY_POLICIES
    assert f"{OWN_TAG_PREFIX}*" == OWN_TAGS
