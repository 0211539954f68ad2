"""Users with Bedrock API keys in AWS IAM.

AWS documentation: "API keys for Amazon Bedrock" (IAM User Guide): a long-term key is a
service-specific credential of an IAM user for `bedrock.amazonaws.com`, two at most a user.
`DeleteUser` (IAM API reference): a user that has anything left cannot be deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Final

from worker.adapters.aws_client import FAULTS, AwsClient
from worker.adapters.aws_errors import error_code, explained
from worker.core.deny_policy import PREFIX
from worker.core.directory import BEDROCK_SERVICE
from worker.core.errors import ConfigurationError, TransientError
from worker.ports.provisioning import ApiKey, Home, KeyUser, NewKey

MISSING: Final = "NoSuchEntity"
EXISTS: Final = "EntityAlreadyExists"
IN_USE: Final = "DeleteConflict"
BUSY: Final = frozenset({"ConcurrentModification", "EntityTemporarilyUnmodifiable"})
PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts at a user that was made just now: IAM is eventually consistent."""


class IamKeys:
    """`worker.ports.provisioning.Provisioning` in IAM, with the rights of whoever runs it.

    Args:
        client: An open client of IAM, for tests.
        sts: An open client of STS, for tests.
        pauses: Between attempts at a user that IAM may not know everywhere yet.
    """

    def __init__(
        self,
        client: Any = None,  # noqa: ANN401 - botocore clients are untyped
        sts: Any = None,  # noqa: ANN401
        *,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """Connect to nothing yet."""
        self._iam = AwsClient("iam", client=client)
        # A repeated request would make a second key that nobody knows of.
        self._once = AwsClient("iam", client=client, attempts_max=1)
        self._sts = AwsClient("sts", client=sts)
        self._pauses = tuple(pauses)

    async def home(self) -> Home:
        """Return the account of the credentials."""
        answer = await self._sts.call(
            "get_caller_identity", subject="the AWS account", action="sts:GetCallerIdentity"
        )
        arn: str = answer["Arn"]
        return Home(answer["Account"], arn.split(":")[1], arn)

    async def find(self, name: str) -> KeyUser | None:
        """Return a user with its tags and keys."""
        answer, code = await self._ask("get_user", name, MISSING)
        if code:
            return None
        user = answer["User"]
        tags = [tag async for page in self._pages("list_user_tags", name) for tag in page["Tags"]]
        keys = [
            _key(found)
            async for page in self._pages(
                "list_service_specific_credentials", name, ServiceName=BEDROCK_SERVICE
            )
            for found in page["ServiceSpecificCredentials"]
        ]
        return KeyUser(
            name=user["UserName"],
            unique_id=user["UserId"],
            path=user["Path"],
            tags={tag["Key"]: tag["Value"] for tag in tags},
            keys=tuple(sorted(keys)),
        )

    async def create_user(
        self, name: str, *, path: str, tags: Sequence[tuple[str, str]], boundary: str = ""
    ) -> KeyUser | None:
        """Make a user; see the port."""
        values: dict[str, Any] = {"PermissionsBoundary": boundary} if boundary else {}
        values |= {"Path": path, "Tags": [{"Key": key, "Value": value} for key, value in tags]}
        answer, code = await self._ask("create_user", name, EXISTS, **values)
        if code:
            return None
        user = answer["User"]
        return KeyUser(user["UserName"], user["UserId"], user["Path"], dict(tags))

    async def attach(self, name: str, policy: str) -> None:
        """Attach a managed policy."""
        await self._soon(self._iam, "attach_user_policy", name, PolicyArn=policy)

    async def create_key(self, name: str, days: int | None = None) -> NewKey:
        """Make a Bedrock API key."""
        values = {} if days is None else {"CredentialAgeDays": days}
        answer = await self._soon(
            self._once,
            "create_service_specific_credential",
            name,
            ServiceName=BEDROCK_SERVICE,
            **values,
        )
        found = answer["ServiceSpecificCredential"]
        return NewKey(_key(found), found["ServiceCredentialSecret"])

    async def delete_key(self, name: str, key_id: str) -> None:
        """Delete a key, unless it is gone."""
        operation = "delete_service_specific_credential"
        await self._ask(operation, name, MISSING, ServiceSpecificCredentialId=key_id)

    async def strip(self, name: str, policies: Collection[str]) -> None:
        """Take policies away, unless they are gone."""
        arns = {*policies}
        async for page in self._pages("list_attached_user_policies", name):
            attached = page["AttachedPolicies"]
            arns |= {one["PolicyArn"] for one in attached if _is_own(one["PolicyName"])}
        for arn in sorted(arns):
            await self._ask("detach_user_policy", name, MISSING, PolicyArn=arn)
        names = [
            one
            async for page in self._pages("list_user_policies", name)
            for one in page["PolicyNames"]
        ]
        for policy in filter(_is_own, names):
            await self._ask("delete_user_policy", name, MISSING, PolicyName=policy)

    async def delete_user(self, name: str) -> None:
        """Delete a user, unless it is gone."""
        _answer, code = await self._ask("delete_user", name, MISSING, IN_USE)
        if code == IN_USE:
            message = (
                f"user {name}: has something that was not made here, such as an access key, a "
                "password or a group; take that away first"
            )
            raise ConfigurationError(message)

    async def close(self) -> None:
        """Close connections."""
        for client in (self._iam, self._once, self._sts):
            await client.close()

    # --- Requests -----------------------------------------------------------------------------

    async def _soon(
        self,
        client: AwsClient,
        operation: str,
        name: str,
        **values: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Make a request about a user that was made just now, and may not be seen at once."""
        for pause in (*self._pauses, None):
            try:
                return await client.request(operation, UserName=name, **values)
            except FAULTS as error:
                if pause is None or error_code(error) != MISSING:
                    raise _meaning(error, name, operation) from error
                await asyncio.sleep(pause)
        raise AssertionError  # the last attempt returns or raises

    async def _pages(
        self,
        operation: str,
        name: str,
        **values: Any,  # noqa: ANN401
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield all pages of an answer; none if the user is gone."""
        while True:
            page, code = await self._ask(operation, name, MISSING, **values)
            if code:
                return
            yield page
            if not page.get("IsTruncated"):
                return
            values["Marker"] = page["Marker"]

    async def _ask(
        self,
        operation: str,
        name: str,
        *expected: str,
        **values: Any,  # noqa: ANN401
    ) -> tuple[Any, str]:
        """Make one request; return its answer, or none and an error code that was expected."""
        try:
            return await self._iam.request(operation, UserName=name, **values), ""
        except FAULTS as error:
            code = error_code(error)
            if code in expected:
                return None, code
            raise _meaning(error, name, operation) from error


def _meaning(error: BaseException, name: str, operation: str) -> Exception:
    action = f"iam:{operation.title().replace('_', '')}"
    if error_code(error) in BUSY:
        return TransientError(f"user {name}: {action} is not possible now ({error})")
    return explained(error, subject=f"user {name}", action=action)


def _is_own(policy_name: str) -> bool:
    return policy_name.startswith(PREFIX)


def _key(found: dict[str, Any]) -> ApiKey:
    ends = found.get("ExpirationDate")
    return ApiKey(
        id=found["ServiceSpecificCredentialId"],
        status=found["Status"],
        created_at_ms=_at_ms(found["CreateDate"]),
        expires_at_ms=0 if ends is None else _at_ms(ends),
    )


def _at_ms(at: Any) -> int:  # noqa: ANN401 - a datetime with a time zone, as botocore makes it
    return int(at.timestamp()) * 1000
