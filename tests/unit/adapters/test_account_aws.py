"""Reading an account: what AWS's answers mean, checked against the descriptions of its services."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final

import pytest
from aiobotocore.session import get_session
from aiobotocore.stub import AioStubber

from tests.calls import asynchronous
from tests.tidy.sources import python_files, read_text
from worker.adapters.account_aws import AwsAccount
from worker.adapters.account_events import management_kinds
from worker.adapters.account_logs import denies_plain
from worker.adapters.aws_client import AwsClient
from worker.core.doctor import CannotReadError
from worker.ports.account import (
    Caller,
    FunctionState,
    InvocationLogging,
    LogFilter,
    MappingState,
    ServiceState,
    TopicState,
    Trail,
)

REGION: Final = "us-east-1"
ROLE: Final = "arn:aws:iam::111122223333:role/ledgerock/dev/worker"
TRAIL: Final = "arn:aws:cloudtrail:us-east-1:111122223333:trail/all"
NOW: Final = datetime.now(UTC)
UUID: Final = "14e0db71-5d35-4eb5-b481-8945cf9d10c2"


class StubbedAccount(AwsAccount):
    """An account whose clients answer what a test says, and only in the order in which it does."""

    def __init__(self, stack: AsyncExitStack) -> None:
        super().__init__()
        self._stack = stack
        self._stubbers: dict[str, AioStubber] = {}
        self.regions: dict[str, str] = {}

    async def stub(self, service: str) -> AioStubber:
        """Return what says how a service answers."""
        if service not in self._stubbers:
            context = get_session().create_client(
                service,
                region_name=REGION,
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
            client = await self._stack.enter_async_context(context)
            self._stubbers[service] = AioStubber(client)
            self._stubbers[service].activate()
            self._given = {**getattr(self, "_given", {}), service: client}
        return self._stubbers[service]

    def _client(self, service: str, region: str) -> AwsClient:
        self.regions[service] = region
        return AwsClient(service, client=self._given[service])

    async def answers(
        self, service: str, operation: str, answer: dict[str, Any], **asked: Any
    ) -> None:
        """Have a service answer next, if it is asked so."""
        (await self.stub(service)).add_response(operation, answer, asked or None)

    async def fails(self, service: str, operation: str, code: str, **more: Any) -> None:
        """Have a service refuse next."""
        (await self.stub(service)).add_client_error(operation, code, "no", **more)

    def assert_asked(self) -> None:
        for stubber in self._stubbers.values():
            stubber.assert_no_pending_responses()


@asynccontextmanager
async def stubbed() -> AsyncIterator[StubbedAccount]:
    async with AsyncExitStack() as stack:
        account = StubbedAccount(stack)
        yield account
        account.assert_asked()


# --- Invocation logging -----------------------------------------------------------------------


@asynchronous
async def test_logging_that_is_on_says_where_to_and_with_which_bodies() -> None:
    async with stubbed() as account:
        config = {
            "cloudWatchConfig": {"logGroupName": "/calls", "roleArn": ROLE},
            "s3Config": {"bucketName": "calls"},
            "textDataDeliveryEnabled": True,
            "imageDataDeliveryEnabled": False,
            "videoDataDeliveryEnabled": True,
        }
        operation = "get_model_invocation_logging_configuration"
        await account.answers("bedrock", operation, {"loggingConfig": config})
        found = await account.invocation_logging("eu-west-1")
        assert found == InvocationLogging("/calls", "calls", ("text", "video"))
        assert account.regions["bedrock"] == "eu-west-1"
        await account.answers("bedrock", operation, {})
        assert await account.invocation_logging("eu-west-1") is None


@asynchronous
async def test_the_role_that_bedrock_assumes_in_a_region_is_found_among_the_stages() -> None:
    def role(name: str, service: str) -> dict[str, Any]:
        source = f"arn:aws:bedrock:{name}:111122223333:*"
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": service},
            "Condition": {"ArnLike": {"aws:SourceArn": source}},
        }
        return {
            "Path": "/ledgerock/dev/",
            "RoleName": name,
            "RoleId": "AROAEXAMPLE0000001",
            "Arn": f"arn:aws:iam::111122223333:role/ledgerock/dev/{name}",
            "CreateDate": NOW,
            "AssumeRolePolicyDocument": json.dumps({"Statement": [statement]}),
        }

    def page(name: str, service: str, marker: str = "") -> dict[str, Any]:
        more = {"IsTruncated": True, "Marker": marker} if marker else {"IsTruncated": False}
        return {"Roles": [role(name, f"{service}.amazonaws.com")], **more}

    path = "/ledgerock/dev/"
    async with stubbed() as account:
        first, second = page("us-east-1", "bedrock", "m"), page("eu-west-1", "bedrock")
        await account.answers("iam", "list_roles", first, PathPrefix=path)
        await account.answers("iam", "list_roles", second, PathPrefix=path, Marker="m")
        found = await account.logging_role(path, "eu-west-1")
        assert found == "arn:aws:iam::111122223333:role/ledgerock/dev/eu-west-1"
        await account.answers("iam", "list_roles", page("eu-west-1", "lambda"), PathPrefix=path)
        assert await account.logging_role(path, "eu-west-1") is None


@asynchronous
async def test_a_filter_says_how_it_spreads_records() -> None:
    async with stubbed() as account:
        one = {
            "filterName": "f",
            "logGroupName": "/calls",
            "filterPattern": "",
            "destinationArn": "arn:d",
            "roleArn": ROLE,
            "distribution": "Random",
        }
        operation = "describe_subscription_filters"
        await account.answers("logs", operation, {"subscriptionFilters": [one]})
        [found] = await account.log_filters(REGION, "/calls")
        assert found == LogFilter("f", "arn:d", "Random", ROLE)
        await account.fails("logs", operation, "ResourceNotFoundException")
        assert await account.log_filters(REGION, "/calls") == []


# --- Trails, topics ---------------------------------------------------------------------------


@asynchronous
async def test_a_trail_says_whether_it_is_on_and_what_it_takes() -> None:
    async with stubbed() as account:
        await account.answers(
            "cloudtrail",
            "describe_trails",
            {"trailList": [{"Name": "all", "TrailARN": TRAIL}]},
            includeShadowTrails=True,
        )
        await account.answers("cloudtrail", "get_trail_status", {"IsLogging": True}, Name=TRAIL)
        selectors = [{"ReadWriteType": "WriteOnly", "IncludeManagementEvents": True}]
        await account.answers(
            "cloudtrail", "get_event_selectors", {"EventSelectors": selectors}, TrailName=TRAIL
        )
        assert await account.trails(REGION) == [Trail(TRAIL, writes=True, reads=False)]


@pytest.mark.parametrize(
    "selectors, kinds",
    [
        ({"EventSelectors": [{}]}, {"read", "write"}),
        ({"EventSelectors": [{"ReadWriteType": "ReadOnly"}]}, {"read"}),
        ({"EventSelectors": [{"IncludeManagementEvents": False}]}, set()),
        ({}, set()),
        (
            {
                "AdvancedEventSelectors": [
                    {"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Management"]}]}
                ]
            },
            {"read", "write"},
        ),
        (
            {
                "AdvancedEventSelectors": [
                    {
                        "FieldSelectors": [
                            {"Field": "eventCategory", "Equals": ["Management"]},
                            {"Field": "readOnly", "Equals": ["false"]},
                        ]
                    },
                    {"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Data"]}]},
                ]
            },
            {"write"},
        ),
    ],
)
def test_selectors_say_which_management_events_a_trail_takes(
    selectors: dict[str, Any], kinds: set[str]
) -> None:
    assert management_kinds(selectors) == kinds


@asynchronous
async def test_subscriptions_that_nobody_confirmed_are_told_apart() -> None:
    topic = "arn:aws:sns:us-east-1:111122223333:people"
    arns = [f"{topic}:1", "PendingConfirmation", "Deleted"]
    async with stubbed() as account:
        await account.answers(
            "sns",
            "list_subscriptions_by_topic",
            {"Subscriptions": [{"SubscriptionArn": one} for one in arns]},
        )
        assert await account.topic(topic) == TopicState(1, 1)


# --- What runs --------------------------------------------------------------------------------


@asynchronous
async def test_a_function_says_how_it_is_and_what_it_is_called_for() -> None:
    async with stubbed() as account:
        await account.answers(
            "lambda",
            "get_function_configuration",
            {"State": "Active", "LastUpdateStatus": "Failed", "LastUpdateStatusReason": "no image"},
            FunctionName="f",
        )
        mapping = {"UUID": UUID, "EventSourceArn": "arn:q", "State": "Disabled"}
        await account.answers(
            "lambda", "list_event_source_mappings", {"EventSourceMappings": [mapping]}
        )
        found = await account.function("f")
        assert found == FunctionState(
            "Active", "Failed", "no image", (MappingState(UUID, "arn:q", "Disabled"),)
        )
        await account.fails("lambda", "get_function_configuration", "ResourceNotFoundException")
        assert await account.function("f") is None


@asynchronous
async def test_a_service_says_how_many_tasks_run_and_with_which_role() -> None:
    service = {
        "serviceName": "s",
        "status": "ACTIVE",
        "desiredCount": 2,
        "runningCount": 1,
        "taskDefinition": "arn:t",
        "events": [{"message": "out of memory"}, {"message": "before"}],
    }
    async with stubbed() as account:
        await account.answers(
            "ecs", "describe_services", {"services": [service]}, cluster="c", services=["s"]
        )
        definition = {"taskDefinition": {"taskRoleArn": ROLE}}
        await account.answers("ecs", "describe_task_definition", definition)
        found = await account.service("c", "s")
        assert found == ServiceState("ACTIVE", 2, 1, "out of memory", ROLE)
        for services in ([], [service | {"status": "INACTIVE"}]):
            await account.answers("ecs", "describe_services", {"services": services})
            assert await account.service("c", "s") is None


# --- Rights and identity ----------------------------------------------------------------------


@asynchronous
async def test_a_session_is_simulated_as_the_role_that_it_is_one_of() -> None:
    session = "arn:aws:sts::111122223333:assumed-role/worker/s1"
    made = {
        "Path": "/ledgerock/dev/",
        "RoleName": "worker",
        "RoleId": "AROAEXAMPLE0000001",
        "Arn": ROLE,
        "CreateDate": NOW,
    }
    results = [
        {"EvalActionName": "sqs:ReceiveMessage", "EvalDecision": "allowed"},
        {"EvalActionName": "sqs:DeleteMessage", "EvalDecision": "implicitDeny"},
    ]
    async with stubbed() as account:
        await account.answers("iam", "get_role", {"Role": made}, RoleName="worker")
        await account.answers(
            "iam",
            "simulate_principal_policy",
            {"EvaluationResults": results},
            PolicySourceArn=ROLE,
            ActionNames=["sqs:ReceiveMessage", "sqs:DeleteMessage"],
            ResourceArns=["arn:q"],
        )
        actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
        assert await account.not_allowed(session, actions, "arn:q") == ["sqs:DeleteMessage"]


def dated(ahead: timedelta) -> dict[str, Any]:
    """Return what an answer says of its time, to a clock that is ahead."""
    headers = {"date": format_datetime(datetime.now(UTC) - ahead, usegmt=True)}
    return {"ResponseMetadata": {"HTTPHeaders": headers}}


@asynchronous
async def test_the_date_of_an_answer_tells_how_far_the_clock_is_off() -> None:
    identity = {"Account": "111122223333", "Arn": ROLE, "UserId": "u"}
    async with stubbed() as account:
        answer = identity | dated(timedelta(minutes=7))
        await account.answers("sts", "get_caller_identity", answer)
        found = await account.caller()
        assert (found.account, found.arn) == ("111122223333", ROLE)
        assert found.skew_ms is not None
        assert 7 * 60_000 <= found.skew_ms < 9 * 60_000
        await account.answers("sts", "get_caller_identity", identity)
        assert await account.caller() == Caller("111122223333", ROLE, None)


@pytest.mark.parametrize("minutes, is_told", [(-20, True), (1, False)])
@asynchronous
async def test_a_refused_signature_is_the_clocks_fault_if_it_is_off(
    minutes: int, is_told: bool
) -> None:
    async with stubbed() as account:
        meta = dated(timedelta(minutes=minutes))["ResponseMetadata"]
        await account.fails(
            "sts", "get_caller_identity", "SignatureDoesNotMatch", response_meta=meta
        )
        if is_told:
            assert (await account.caller()).skew_ms is not None
            return
        with pytest.raises(CannotReadError, match="does not accept the credentials"):
            await account.caller()


# --- Faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code, permission, says",
    [
        ("AccessDeniedException", "sns:ListSubscriptionsByTopic", "AWS denies"),
        ("AuthorizationError", "sns:ListSubscriptionsByTopic", "AWS denies"),
        ("InvalidClientTokenId", "", "does not accept the credentials"),
        ("InternalError", "", "is not possible now"),
        ("Throttling", "", "is not possible now"),
    ],
)
@asynchronous
async def test_a_refusal_names_the_permission_only_where_that_is_why(
    code: str, permission: str, says: str
) -> None:
    async with stubbed() as account:
        await account.fails("sns", "list_subscriptions_by_topic", code)
        with pytest.raises(CannotReadError, match=says) as caught:
            await account.topic("arn:aws:sns:us-east-1:111122223333:people")
        assert caught.value.permission == permission


@asynchronous
async def test_an_account_without_credentials_or_region_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    account = AwsAccount()
    with pytest.raises(CannotReadError, match="Set AWS_REGION"):
        await account.table("x-entries")
    await account.close()


@pytest.mark.parametrize(
    "changes, is_denied",
    [
        ({}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Action": ["s3:*"]}, True),
        ({"Effect": "Allow"}, False),
        ({"Action": "s3:GetObject"}, False),
        ({"Principal": {"AWS": ROLE}}, False),
        ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, False),
        ({"Condition": {}}, False),
    ],
)
def test_a_policy_that_denies_plain_requests_denies_them_to_all(
    changes: dict[str, Any], is_denied: bool
) -> None:
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": "*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    assert denies_plain({"Statement": [statement | changes]}) == is_denied
    assert denies_plain({"Statement": statement | changes}) == is_denied


# --- Only reads -------------------------------------------------------------------------------

SOURCES: Final = [
    path for path in python_files("worker") if path.match("worker/adapters/account_*.py")
]
READS: Final = {"describe", "get", "head", "list", "simulate"}


def test_no_request_changes_anything() -> None:
    text = "".join(map(read_text, SOURCES))
    asked = set(re.findall(r'"((?:[a-z]+_)+[a-z]+)"', text)) & operations()
    assert len(asked) > 25
    assert {one.partition("_")[0] for one in asked} <= READS


def operations() -> set[str]:
    """Return the names of all operations of the services that are asked, as clients have them."""
    from botocore import xform_name  # noqa: PLC0415 - of this one function
    from botocore.session import Session  # noqa: PLC0415

    text = "".join(map(read_text, SOURCES))
    services = set(re.findall(r'"([a-z0-9]+)"', text)) & set(Session().get_available_services())
    return {
        xform_name(name)
        for service in services
        for name in Session().get_service_model(service).operation_names
    }


def test_the_policy_in_the_documentation_allows_what_is_asked_and_no_more() -> None:
    text = "".join(map(read_text, SOURCES))
    asked = set(re.findall(r'"((?!aws:)[a-z0-9]+:[A-Z]\w+)"', text))
    [policy] = re.findall(r"```json\n(.*?)```", read_text(Path("docs/doctor.md")), re.DOTALL)
    statements = json.loads(policy)["Statement"]
    allowed = {action for one in statements if one["Sid"] == "Doctor" for action in one["Action"]}
    assert len(asked) > 25
    assert allowed == asked
