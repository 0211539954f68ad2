"""Users with Bedrock API keys, in memory and in IAM (moto's, with keys put in)."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.calls import NOON, asynchronous
from worker.adapters.iam_keys import IamKeys
from worker.adapters.memory_keys import MemoryKeys
from worker.core.errors import ConfigurationError, TransientError
from worker.ports.provisioning import Provisioning

POLICY = "arn:aws:iam::123456789012:policy/models"
"""Made below: moto has none of AWS's own."""
DENY = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}'
TAGS = [("ledgerock:provisioned", "i1"), ("team", "research")]
START = datetime.fromtimestamp(NOON / 1000, UTC)


def failure(code: str, operation: str) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "made up"}}
    return ClientError(answer, operation)


class Client:
    """A client of moto's IAM. Moto knows no service-specific credentials: they are put in, as the
    AWS documentation has them ("API keys for Amazon Bedrock", `DeleteUser`).

    Attributes:
        faults: Codes that the next requests of an operation fail with.
        made: Requests, in order.
        arguments: Their arguments.
    """

    def __init__(self) -> None:
        self._iam = boto3.client("iam", region_name="us-east-1")
        self._iam.create_policy(PolicyName="models", PolicyDocument=DENY)
        self._keys: dict[str, list[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self.faults: dict[str, list[str]] = {}
        self.made: list[str] = []
        self.arguments: list[dict[str, Any]] = []

    def __getattr__(self, operation: str) -> Any:
        async def request(**arguments: Any) -> Any:
            self.made.append(operation)
            self.arguments.append(arguments)
            if self.faults.get(operation):
                raise failure(self.faults[operation].pop(0), operation)
            own = type(self).__dict__.get(f"_{operation}")
            return own(self, **arguments) if own else getattr(self._iam, operation)(**arguments)

        return request

    def _create_service_specific_credential(self, **arguments: Any) -> dict[str, Any]:
        user = arguments["UserName"]
        self._iam.get_user(UserName=user)
        assert arguments["ServiceName"] == "bedrock.amazonaws.com"
        keys = self._keys.setdefault(user, [])
        if len(keys) == 2:
            raise failure("LimitExceeded", "CreateServiceSpecificCredential")
        made: dict[str, Any] = {
            "ServiceSpecificCredentialId": f"ACCA{next(self._numbers):016d}",
            "ServiceName": arguments["ServiceName"],
            "UserName": user,
            "Status": "Active",
            "CreateDate": START,
            "ServiceCredentialAlias": f"{user}-at-{next(self._numbers)}",
        }
        if "CredentialAgeDays" in arguments:
            made["ExpirationDate"] = START + timedelta(days=arguments["CredentialAgeDays"])
        keys.append(made)
        secret = {"ServiceCredentialSecret": "ABSK-secret"}
        return {"ServiceSpecificCredential": made | secret}

    def _list_service_specific_credentials(self, **arguments: Any) -> dict[str, Any]:
        self._iam.get_user(UserName=arguments["UserName"])
        listed = self._keys.get(arguments["UserName"], ())
        found = [one for one in listed if one["ServiceName"] == arguments["ServiceName"]]
        return {"ServiceSpecificCredentials": found, "IsTruncated": False}

    def _delete_service_specific_credential(self, **arguments: Any) -> None:
        user, name = arguments["UserName"], "ServiceSpecificCredentialId"
        keys = self._keys.get(user, [])
        left = [one for one in keys if one[name] != arguments[name]]
        if len(left) == len(keys):
            raise failure("NoSuchEntity", "DeleteServiceSpecificCredential")
        self._keys[user] = left

    def _delete_user(self, **arguments: Any) -> None:
        if self._keys.get(arguments["UserName"]):
            raise failure("DeleteConflict", "DeleteUser")
        self._iam.delete_user(**arguments)


class Sts:
    async def get_caller_identity(self) -> dict[str, str]:
        arn = "arn:aws-us-gov:iam::111122223333:user/operator"
        return {"Account": "111122223333", "Arn": arn}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    with mock_aws():
        yield Client()


@pytest.fixture(params=["memory", "moto"])
def keys(request: pytest.FixtureRequest) -> Provisioning:
    if request.param == "memory":
        return MemoryKeys(now_ms=NOON)
    return IamKeys(request.getfixturevalue("client"), Sts(), pauses=(0, 0))


async def made(keys: Provisioning, name: str = "bot", **values: Any) -> None:
    user = await keys.create_user(name, path="/ledgerock/", tags=TAGS, **values)
    assert user is not None
    await keys.attach(name, POLICY)


@asynchronous
async def test_a_user_is_found_as_it_was_made(keys: Provisioning) -> None:
    assert await keys.find("bot") is None
    user = await keys.create_user("bot", path="/ledgerock/", tags=TAGS)
    assert user is not None
    assert (user.name, user.path, user.tags, user.keys) == ("bot", "/ledgerock/", dict(TAGS), ())
    assert user.unique_id
    assert await keys.find("bot") == user
    assert await keys.create_user("bot", path="/", tags=[]) is None
    assert await keys.find("bot") == user


@asynchronous
async def test_keys_are_made_listed_and_deleted(keys: Provisioning) -> None:
    await made(keys)
    first = await keys.create_key("bot")
    second = await keys.create_key("bot", 30)
    assert first.secret
    assert first.secret not in repr(first)
    assert (first.key.created_at_ms, first.key.expires_at_ms) == (NOON, 0)
    assert second.key.expires_at_ms == NOON + 30 * 86_400_000
    found = await keys.find("bot")
    assert found is not None
    assert found.keys == tuple(sorted((first.key, second.key)))
    for _ in range(2):
        await keys.delete_key("bot", first.key.id)
        found = await keys.find("bot")
        assert found is not None
        assert found.keys == (second.key,)
    await keys.delete_key("nobody", "ACCA0000000000000001")


@asynchronous
async def test_a_third_key_is_refused(keys: Provisioning) -> None:
    await made(keys)
    await keys.create_key("bot")
    await keys.create_key("bot")
    with pytest.raises((ConfigurationError, TransientError)):
        await keys.create_key("bot")


@asynchronous
async def test_who_has_nothing_left_is_deleted(keys: Provisioning) -> None:
    await made(keys)
    key = await keys.create_key("bot")
    with pytest.raises(ConfigurationError, match="take that away first"):
        await keys.delete_user("bot")
    await keys.delete_key("bot", key.key.id)
    with pytest.raises(ConfigurationError, match="take that away first"):
        await keys.delete_user("bot")
    for _ in range(2):
        await keys.strip("bot", [POLICY])
        await keys.delete_user("bot")
        assert await keys.find("bot") is None


@asynchronous
async def test_nobody_can_be_given_anything(keys: Provisioning) -> None:
    with pytest.raises(ConfigurationError):
        await keys.attach("nobody", POLICY)
    with pytest.raises(ConfigurationError):
        await keys.create_key("nobody")


# --- IAM alone -----------------------------------------------------------------------------------


@asynchronous
async def test_stripping_leaves_what_others_gave(client: Client) -> None:
    keys = IamKeys(client, Sts())
    await made(keys)
    own = await client.create_policy(
        PolicyName="ledgerock-deny-s1", Path="/ledgerock/", PolicyDocument=DENY
    )
    theirs = await client.create_policy(PolicyName="theirs", PolicyDocument=DENY)
    for policy in (own, theirs):
        await client.attach_user_policy(UserName="bot", PolicyArn=policy["Policy"]["Arn"])
    for name in ("ledgerock-deny-s1", "theirs"):
        await client.put_user_policy(UserName="bot", PolicyName=name, PolicyDocument=DENY)
    await keys.strip("bot", [POLICY])
    attached = await client.list_attached_user_policies(UserName="bot")
    assert [one["PolicyName"] for one in attached["AttachedPolicies"]] == ["theirs"]
    assert (await client.list_user_policies(UserName="bot"))["PolicyNames"] == ["theirs"]


@asynchronous
async def test_a_boundary_is_there_with_the_user(client: Client) -> None:
    await made(IamKeys(client, Sts()), boundary=POLICY)
    # Moto takes a user's boundary and forgets it.
    assert client.arguments[0]["PermissionsBoundary"] == POLICY


@asynchronous
async def test_the_home_is_where_the_credentials_are(client: Client) -> None:
    home = await IamKeys(client, Sts()).home()
    assert (home.account, home.partition) == ("111122223333", "aws-us-gov")


@pytest.mark.parametrize("operation", ["attach_user_policy", "create_service_specific_credential"])
@asynchronous
async def test_iam_may_not_know_a_new_user_everywhere_yet(client: Client, operation: str) -> None:
    keys = IamKeys(client, Sts(), pauses=(0, 0))
    await keys.create_user("bot", path="/ledgerock/", tags=TAGS)
    client.faults[operation] = ["NoSuchEntity", "NoSuchEntity"]
    await keys.attach("bot", POLICY)
    await keys.create_key("bot")
    assert client.made.count(operation) == 3
    client.faults[operation] = ["NoSuchEntity"] * 3
    act = keys.attach("bot", POLICY) if "attach" in operation else keys.create_key("bot")
    with pytest.raises(ConfigurationError, match="bot"):
        await act


@pytest.mark.parametrize("code", ["Throttling", "ServiceFailure", "ConcurrentModification"])
@asynchronous
async def test_a_key_is_asked_for_once_whatever_passes(client: Client, code: str) -> None:
    keys = IamKeys(client, Sts(), pauses=(0, 0))
    await made(keys)
    client.faults["create_service_specific_credential"] = [code]
    with pytest.raises((TransientError, ConfigurationError)):
        await keys.create_key("bot")
    assert client.made.count("create_service_specific_credential") == 1


@asynchronous
async def test_denied_requests_name_the_permission(client: Client) -> None:
    keys = IamKeys(client, Sts())
    client.faults["create_user"] = ["AccessDenied"]
    with pytest.raises(ConfigurationError, match="AWS denies iam:CreateUser"):
        await keys.create_user("bot", path="/", tags=[])
