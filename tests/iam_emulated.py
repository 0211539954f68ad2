"""IAM in emulators: in moto, in this process, and in LocalStack.

They keep policies as AWS does, but know no quotas, no API keys of Bedrock, and delete policies
that are attached: `EmulatedClient` puts these in, as the AWS documentation has them ("IAM and AWS
STS quotas", "API keys for AWS services", `DeletePolicy`).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final
from urllib.parse import unquote

import boto3
import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from botocore.handlers import json_decode_policies
from moto import mock_aws

from tests.dynamodb import localstack_endpoint
from tests.iam_worlds import CALL_MODELS, HOME, PROTECTION, SELF, State, World, unused
from worker.adapters.iam_clients import Caller
from worker.adapters.iam_enforcement import IamEnforcement
from worker.adapters.iam_requests import IamRequests
from worker.adapters.memory_enforcement import ATTACHED_MAX, INLINE_MAX, Hook
from worker.core.deny_policy import length_of

TRUST: Final = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",'
    '"Principal":{"Service":"bedrock-agentcore.amazonaws.com"}}]}'
)
# Reading the service's description takes most of the time that a client takes to make.
_SESSION: Final = get_session()

Request = Callable[..., Awaitable[dict[str, Any]]]


class EmulatedIam:
    """Clients of one emulator, for `IamRequests` and for tests: what it leaves out is put in.

    Args:
        request: Makes a request: `(account, operation, arguments)`.
    """

    def __init__(self, request: Request) -> None:
        self.request_of = request
        self.hook: Hook | None = None
        self.calls: list[str] = []
        self.keys: dict[tuple[str, str], dict[str, str]] = {}

    async def caller(self) -> Caller:
        return Caller(HOME, "aws", f"role/{HOME}/{SELF}")

    async def own(self) -> tuple[str, ...]:
        return f"role/{HOME}/{SELF}", "role/*/LedgerockEnforcement"

    async def of(self, account: str) -> Any:
        return EmulatedClient(self, account)

    async def close(self) -> None:
        """Leave the emulator open."""


class EmulatedClient:
    """A client of one account."""

    def __init__(self, iam: EmulatedIam, account: str) -> None:
        self._iam, self._account = iam, account

    async def request(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Make a request with the hook around it."""
        self._iam.calls.append(operation)
        number = len(self._iam.calls)
        if self._iam.hook is not None:
            self._iam.hook("before", number, operation)
        try:
            return await self._answer(operation, arguments)
        finally:
            if self._iam.hook is not None:
                self._iam.hook("after", number, operation)

    async def _answer(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if "service_specific_credential" in operation:
            return self._keys(operation, arguments)
        if operation in {"put_user_policy", "put_role_policy"}:
            await self._check_inline(operation.split("_")[1], arguments)
        if operation in {"attach_user_policy", "attach_role_policy"}:
            await self._check_attached(operation.split("_")[1], arguments)
        if operation == "delete_policy":
            found = await self.plain("list_entities_for_policy", PolicyArn=arguments["PolicyArn"])
            if any(found[f"Policy{kind}s"] for kind in ("User", "Role", "Group")):
                raise _error("DeleteConflict", operation)
        return await self.plain(operation, **arguments)

    async def plain(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Make a request as the emulator answers it."""
        return await self._iam.request_of(self._account, operation, arguments)

    async def inline(self, kind: str, name: str) -> dict[str, str]:
        who = {f"{kind.capitalize()}Name": name}
        names = (await self.plain(f"list_{kind}_policies", **who))["PolicyNames"]
        return {
            one: unquote(
                (await self.plain(f"get_{kind}_policy", **who, PolicyName=one))["PolicyDocument"]
            )
            for one in names
        }

    async def attached(self, kind: str, name: str) -> list[str]:
        who = {f"{kind.capitalize()}Name": name}
        found = await self.plain(f"list_attached_{kind}_policies", **who)
        return [policy["PolicyArn"] for policy in found["AttachedPolicies"]]

    async def _check_inline(self, kind: str, arguments: dict[str, Any]) -> None:
        after = await self.inline(kind, arguments[f"{kind.capitalize()}Name"])
        after[arguments["PolicyName"]] = arguments["PolicyDocument"]
        if sum(map(length_of, after.values())) > INLINE_MAX[kind]:
            raise _error("LimitExceeded", f"put_{kind}_policy")

    async def _check_attached(self, kind: str, arguments: dict[str, Any]) -> None:
        attached = await self.attached(kind, arguments[f"{kind.capitalize()}Name"])
        if arguments["PolicyArn"] not in attached and len(attached) >= ATTACHED_MAX:
            raise _error("LimitExceeded", f"attach_{kind}_policy")

    def _keys(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        keys = self._iam.keys.setdefault((self._account, arguments["UserName"]), {})
        if operation.startswith("list_"):
            found = [
                {
                    "ServiceSpecificCredentialId": one,
                    "Status": status,
                    "ServiceName": "bedrock.amazonaws.com",
                }
                for one, status in keys.items()
            ]
            git = {"ServiceName": "codecommit.amazonaws.com", "Status": "Active"}
            git["ServiceSpecificCredentialId"] = "ACCAGIT"
            return {"ServiceSpecificCredentials": [*found, git], "IsTruncated": False}
        one = arguments["ServiceSpecificCredentialId"]
        if one not in keys:
            raise _error("NoSuchEntity", operation)
        keys[one] = arguments["Status"]
        return {}


def _error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "as AWS has it"}}, operation)


class EmulatedWorld:
    """IAM of an emulator."""

    def __init__(self, iam: EmulatedIam) -> None:
        self._iam = iam
        self._enforcement = IamEnforcement(IamRequests(iam), protection=PROTECTION)

    @property
    def enforcement(self) -> IamEnforcement:
        return self._enforcement

    @property
    def hook(self) -> Hook | None:
        return self._iam.hook

    @hook.setter
    def hook(self, hook: Hook | None) -> None:
        self._iam.hook = hook
        self._iam.calls.clear()

    @property
    def calls(self) -> list[str]:
        return self._iam.calls

    def _at(self, account: str = HOME) -> EmulatedClient:
        return EmulatedClient(self._iam, account)

    async def policy(self, account: str = HOME) -> str:
        made = await self._at(account).plain(
            "create_policy", PolicyName=unused("theirs"), PolicyDocument=CALL_MODELS
        )
        return str(made["Policy"]["Arn"])

    async def delete_policy(self, arn: str) -> None:
        await self._at(arn.split(":")[4]).plain("delete_policy", PolicyArn=arn)

    async def policies(self, suspension: str, account: str = HOME) -> list[str]:
        found = await self._at(account).plain("list_policies", Scope="Local", MaxItems=1000)
        arns = [one["Arn"] for one in found["Policies"] if one["Path"] == "/ledgerock/"]
        return [arn for arn in arns if suspension in arn]

    async def make(
        self,
        kind: str,
        name: str,
        *,
        account: str = HOME,
        path: str = "/",
        attached: Iterable[str] = (),
        inline: Mapping[str, str] | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> str:
        at, who = self._at(account), {f"{kind.capitalize()}Name": name}
        trust = {"AssumeRolePolicyDocument": TRUST} if kind == "role" else {}
        made = await at.plain(f"create_{kind}", **who, **trust, Path=path)
        for arn in attached:
            await at.plain(f"attach_{kind}_policy", **who, PolicyArn=arn)
        for policy, document in (inline or {}).items():
            values = {"PolicyName": policy, "PolicyDocument": document}
            await at.plain(f"put_{kind}_policy", **who, **values)
        self._iam.keys[account, name] = dict(keys or {})
        return str(made[kind.capitalize()]["UserId" if kind == "user" else "RoleId"])

    async def put_inline(self, kind: str, name: str, policy: str, document: str) -> None:
        who = {f"{kind.capitalize()}Name": name}
        values = {"PolicyName": policy, "PolicyDocument": document}
        await self._at().plain(f"put_{kind}_policy", **who, **values)

    async def attach(self, kind: str, name: str, arn: str) -> None:
        who = {f"{kind.capitalize()}Name": name}
        await self._at().plain(f"attach_{kind}_policy", **who, PolicyArn=arn)

    async def detach(self, kind: str, name: str, arn: str) -> None:
        who = {f"{kind.capitalize()}Name": name}
        await self._at().plain(f"detach_{kind}_policy", **who, PolicyArn=arn)

    async def remove(self, kind: str, name: str) -> None:
        at, who = self._at(), {f"{kind.capitalize()}Name": name}
        for arn in await at.attached(kind, name):
            await at.plain(f"detach_{kind}_policy", **who, PolicyArn=arn)
        for policy in await at.inline(kind, name):
            await at.plain(f"delete_{kind}_policy", **who, PolicyName=policy)
        await at.plain(f"delete_{kind}", **who)

    async def state(self, kind: str, name: str, account: str = HOME) -> State:
        at = self._at(account)
        attached = sorted(await at.attached(kind, name))
        keys = dict(self._iam.keys.get((account, name), {}))
        return State(attached, await at.inline(kind, name), keys)


@contextmanager
def moto_request() -> Iterator[Request]:
    """Open IAM in this process; another account is reached by assuming a role of it."""
    # Moto sets credentials as well: what is set here is to be taken back before what it set.
    with mock_aws(), pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "testing")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        session = boto3.Session()
        sts = session.client("sts")
        clients: dict[str, Any] = {}

        async def request(
            account: str, operation: str, arguments: dict[str, Any]
        ) -> dict[str, Any]:
            if account not in clients:
                arn = f"arn:aws:iam::{account}:role/LedgerockEnforcement"
                keys = sts.assume_role(RoleArn=arn, RoleSessionName="ledgerock")["Credentials"]
                clients[account] = client = session.client(
                    "iam",
                    aws_access_key_id=keys["AccessKeyId"],
                    aws_secret_access_key=keys["SecretAccessKey"],
                    aws_session_token=keys["SessionToken"],
                )
                client.meta.events.unregister("after-call.iam", json_decode_policies)
            found: dict[str, Any] = getattr(clients[account], operation)(**arguments)
            return found

        yield request


@asynccontextmanager
async def in_localstack() -> AsyncIterator[World]:
    """IAM of LocalStack, where the access key's id names the account."""
    async with AsyncExitStack() as stack:
        clients: dict[str, Any] = {}

        async def request(
            account: str, operation: str, arguments: dict[str, Any]
        ) -> dict[str, Any]:
            if account not in clients:
                context = _SESSION.create_client(
                    "iam",
                    endpoint_url=localstack_endpoint(),
                    region_name="us-east-1",
                    aws_access_key_id=account,
                    aws_secret_access_key="test",
                )
                clients[account] = await stack.enter_async_context(context)
                events = clients[account].meta.events
                events.unregister("after-call.iam", json_decode_policies)
            found: dict[str, Any] = await getattr(clients[account], operation)(**arguments)
            return found

        yield EmulatedWorld(EmulatedIam(request))
