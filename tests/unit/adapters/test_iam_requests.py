"""What the answers and errors of IAM mean."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.parsers import ResponseParserError
from botocore.session import get_session

from tests.calls import asynchronous
from worker.adapters.iam_clients import Caller
from worker.adapters.iam_entities import Entity
from worker.adapters.iam_requests import IamRequests, _action
from worker.core.errors import (
    ConfigurationError,
    EnforcementError,
    MissingPrincipalError,
    NeedsPersonError,
    TransientError,
)
from worker.ports import Key

HOME = "111122223333"
ALICE = Entity("user", HOME, "alice", "AIDA1", "/", f"arn:aws:iam::{HOME}:user/alice")
SCOUT = Entity("role", HOME, "Scout", "AROA1", "/", f"arn:aws:iam::{HOME}:role/Scout")
DENY = f"arn:aws-us-gov:iam::{HOME}:policy/ledgerock/ledgerock-deny-s-AIDA1"

Answer = Callable[[str, dict[str, Any]], Any]


class Stub:
    """Clients of an IAM that answers as a test says; keeps what it was asked for."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def caller(self) -> Caller:
        return Caller(HOME, "aws-us-gov", "")

    async def own(self) -> tuple[str, ...]:
        return ()

    async def of(self, account: str) -> Any:
        assert account == HOME
        return self

    async def request(self, operation: str, **arguments: Any) -> Any:
        self.asked.append((operation, arguments))
        found = self._answer(operation, arguments)
        if isinstance(found, Exception):
            raise found
        return found

    async def close(self) -> None:
        """Have nothing to close."""


def refused(code: str, status: int = 400, operation: str = "PutUserPolicy") -> ClientError:
    response = {
        "Error": {"Code": code, "Message": "as IAM words it"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, operation)


def iam_that(answer: Answer) -> tuple[IamRequests, Stub]:
    stub = Stub(answer)
    return IamRequests(stub), stub


@pytest.mark.parametrize(
    "error, kind, told",
    [
        (refused("Throttling"), TransientError, "not possible now"),
        (refused("ThrottlingException"), TransientError, "not possible now"),
        (refused("ServiceFailure", 500), TransientError, "not possible now"),
        (refused("", 503), TransientError, "not possible now"),
        (refused("ConcurrentModification", 409), TransientError, "iam:PutUserPolicy"),
        (refused("EntityTemporarilyUnmodifiable", 409), TransientError, "iam:PutUserPolicy"),
        (
            EndpointConnectionError(endpoint_url="https://iam.amazonaws.com"),
            TransientError,
            "cannot be reached",
        ),
        (ConnectionResetError("cut"), TransientError, "cut"),
        (ResponseParserError("invalid XML: busy"), TransientError, "busy"),
        (TimeoutError(), TransientError, "TimeoutError"),
        (refused("NoSuchEntity", 404), MissingPrincipalError, "user/111122223333/alice"),
        (refused("UnmodifiableEntity"), NeedsPersonError, "AWS alone may change it"),
        (refused("AccessDenied", 403), EnforcementError, "AWS denies iam:PutUserPolicy"),
        (refused("MalformedPolicyDocument"), EnforcementError, "AWS refuses iam:PutUserPolicy"),
        (refused("InvalidClientTokenId", 403), EnforcementError, "credentials"),
        (NoCredentialsError(), EnforcementError, "no usable AWS credentials"),
        (ConfigurationError("no Region"), EnforcementError, "no Region"),
    ],
)
@asynchronous
async def test_errors_say_whom_they_are_about_and_whether_they_pass(
    error: Exception, kind: type[Exception], told: str
) -> None:
    iam, _stub = iam_that(lambda _operation, _arguments: error)
    with pytest.raises(kind) as caught:
        await iam.put_inline(ALICE, "p", "{}")
    assert type(caught.value) is kind
    assert told in str(caught.value)
    assert str(caught.value).startswith("user/111122223333/alice: ")


@asynchronous
async def test_a_full_quota_is_an_answer_where_there_is_a_way_round_it() -> None:
    iam, _stub = iam_that(lambda _operation, _arguments: refused("LimitExceeded", 409))
    assert not await iam.put_inline(ALICE, "p", "{}")
    assert await iam.attach(ALICE, DENY) == "full"
    with pytest.raises(EnforcementError, match="iam:CreatePolicy would exceed a quota"):
        await iam.put_managed(HOME, "ledgerock-deny-s-AIDA1", "{}", "why")


@asynchronous
async def test_what_is_gone_is_no_error_where_it_is_taken_away() -> None:
    iam, _stub = iam_that(lambda _operation, _arguments: refused("NoSuchEntity", 404))
    assert await iam.inline(SCOUT, "p") is None
    await iam.delete_inline(SCOUT, "p")
    await iam.detach(SCOUT, DENY)
    assert await iam.attach(SCOUT, DENY) == "missing"
    assert await iam.managed(HOME, DENY) is None
    await iam.delete_managed(HOME, DENY)
    assert await iam.keys(ALICE) == []
    assert not await iam.set_key(ALICE, Key("ACCA1", "Active"), "Inactive")


@asynchronous
async def test_partitions_without_api_keys_have_none() -> None:
    iam, stub = iam_that(lambda _operation, _arguments: refused("NotSupportedService"))
    assert await iam.keys(ALICE) == []
    assert await iam.keys(SCOUT) == []
    assert [operation for operation, _arguments in stub.asked] == [
        "list_service_specific_credentials"
    ]


@asynchronous
async def test_all_pages_are_read() -> None:
    def answer(_operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        number = int(arguments.get("Marker", "0"))
        page: dict[str, Any] = {"IsTruncated": number < 2, "PolicyNames": [f"p{number}"]}
        page["AttachedPolicies"] = [{"PolicyArn": f"arn:{number}"}]
        page["ServiceSpecificCredentials"] = [
            {
                "ServiceSpecificCredentialId": f"ACCA{number}",
                "Status": "Expired",
                "ServiceName": service,
            }
            for service in ("bedrock.amazonaws.com", "cassandra.amazonaws.com")
        ]
        return page | ({"Marker": str(number + 1)} if number < 2 else {})

    iam, stub = iam_that(answer)
    assert await iam.attached(SCOUT) == ["arn:0", "arn:1", "arn:2"]
    assert await iam.inline_names(ALICE) == ["p0", "p1", "p2"]
    assert [key.id for key in await iam.keys(ALICE)] == ["ACCA0", "ACCA1", "ACCA2"]
    assert stub.asked[1] == (
        "list_attached_role_policies",
        {"RoleName": "Scout", "Marker": "1"},
    )


@pytest.mark.parametrize("account", [HOME, "444455556666"])
@asynchronous
async def test_a_namesake_in_another_account_is_nobody_that_was_meant(account: str) -> None:
    arn = f"arn:aws:iam::{account}:user/teams/alice"
    found = {"UserName": "alice", "UserId": "AIDA1", "Path": "/teams/", "Arn": arn}
    iam, _stub = iam_that(lambda _operation, _arguments: {"User": found})
    if account == HOME:
        assert (await iam.find("user", HOME, "alice")).arn == arn
        return
    with pytest.raises(EnforcementError, match=f"user/{HOME}/alice: .*another account.*{account}"):
        await iam.find("user", HOME, "alice")


@asynchronous
async def test_documents_are_decoded_to_the_letter() -> None:
    iam, _stub = iam_that(
        lambda _operation, _arguments: {"PolicyDocument": "%7B%0A%20%22a%22%3A%20%22+%C3%BC%22%7D"}
    )
    assert await iam.inline(ALICE, "p") == '{\n "a": "+ü"}'


@asynchronous
async def test_a_managed_policy_that_says_something_else_gets_a_new_version() -> None:
    old = "%7B%22a%22%3A1%7D"

    def answer(operation: str, _arguments: dict[str, Any]) -> Any:
        if operation == "create_policy":
            return refused("EntityAlreadyExists", 409)
        if operation == "get_policy":
            return {"Policy": {"DefaultVersionId": "v3"}}
        return {"PolicyVersion": {"Document": old}}

    iam, stub = iam_that(answer)
    name = "ledgerock-deny-s-AIDA1"
    assert await iam.put_managed(HOME, name, '{ "a": 1 }', "why") == DENY
    assert [operation for operation, _arguments in stub.asked] == [
        "create_policy",
        "get_policy",
        "get_policy_version",
    ]
    assert await iam.put_managed(HOME, name, '{"a":2}', "why" * 1_000) == DENY
    created = dict(stub.asked)["create_policy"]
    assert (created["Path"], len(created["Description"])) == ("/ledgerock/", 1_000)
    values = {"PolicyArn": DENY, "PolicyDocument": '{"a":2}', "SetAsDefault": True}
    assert stub.asked[-1] == ("create_policy_version", values)


@asynchronous
async def test_a_managed_policy_goes_with_all_its_versions() -> None:
    versions = [
        {"VersionId": "v3", "IsDefaultVersion": True},
        {"VersionId": "v2", "IsDefaultVersion": False},
        {"VersionId": "v1", "IsDefaultVersion": False},
    ]
    iam, stub = iam_that(lambda _operation, _arguments: {"Versions": versions})
    await iam.delete_managed(HOME, DENY)
    assert stub.asked[1:] == [
        ("delete_policy_version", {"PolicyArn": DENY, "VersionId": "v2"}),
        ("delete_policy_version", {"PolicyArn": DENY, "VersionId": "v1"}),
        ("delete_policy", {"PolicyArn": DENY}),
    ]


@pytest.mark.parametrize("users", [[], [{"UserName": "bob", "UserId": "AIDA2"}]])
@asynchronous
async def test_a_policy_in_use_passes_if_iam_is_behind_and_else_names_who_has_it(
    users: list[dict[str, str]],
) -> None:
    def answer(operation: str, _arguments: dict[str, Any]) -> Any:
        if operation == "delete_policy":
            return refused("DeleteConflict", 409)
        return {"Versions": [], "PolicyUsers": users, "PolicyRoles": [], "PolicyGroups": []}

    iam, _stub = iam_that(answer)
    if users:
        with pytest.raises(EnforcementError, match="user bob: detach it there"):
            await iam.delete_managed(HOME, DENY)
    else:
        with pytest.raises(TransientError, match="does not let it go yet"):
            await iam.delete_managed(HOME, DENY)


def test_every_operation_is_one_of_iam_and_named_like_its_permission() -> None:
    known = set(get_session().get_service_model("iam").operation_names)
    used = [
        f"{verb}_{kind}{rest}"
        for kind in ("user", "role")
        for verb, rest in (
            ("get", ""),
            ("list_attached", "_policies"),
            ("list", "_policies"),
            ("get", "_policy"),
            ("put", "_policy"),
            ("delete", "_policy"),
            ("attach", "_policy"),
            ("detach", "_policy"),
        )
    ]
    used += ["create_policy", "create_policy_version", "get_policy", "get_policy_version"]
    used += ["list_policy_versions", "delete_policy_version", "delete_policy"]
    used += ["list_entities_for_policy", "list_service_specific_credentials"]
    used += ["update_service_specific_credential"]
    assert {_action(one) for one in used} <= {f"iam:{name}" for name in known}
