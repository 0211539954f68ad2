"""Clients of IAM, account by account.

With a role to assume (`LEDGEROCK_ENFORCEMENT_ROLE`) each account is reached through that role, the
worker's own account included, so that one role of few rights says what enforcement may do; only a
worker that runs under that very role uses it as it is. Without one, the worker's own credentials
reach its own account and no other. Assumed credentials are renewed by the SDK well before they
expire.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from aiobotocore.credentials import AioCredentialResolver, AioDeferredRefreshableCredentials
from aiobotocore.session import AioSession
from botocore.handlers import json_decode_policies

from worker.adapters.aws_client import FAULTS, AwsClient
from worker.adapters.aws_errors import explained
from worker.core.errors import ConfigurationError, EnforcementError, TransientError
from worker.core.targets import ACCOUNT_FIELD, caller_principal, own_patterns

SESSION_NAME: Final = "ledgerock"
"""Names our sessions of an assumed role; CloudTrail shows it."""
_ARN_PARTS: Final = 6


class Caller(msgspec.Struct, frozen=True):
    """Who acts.

    Attributes:
        account: The worker's own account.
        partition: `aws`, `aws-us-gov`, `aws-cn`, ...
        principal: Its id; empty for what is neither user nor role.
    """

    account: str
    partition: str
    principal: str


class IamClient(AwsClient):
    """A client of IAM that leaves policy documents as they come: percent-encoded text."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401
        """Connect to nothing yet."""
        super().__init__("iam", **options)

    async def open(self) -> Any:  # noqa: ANN401
        """Return the open client."""
        client = await super().open()
        # The SDK would parse them, and what is put back would not be what was found.
        client.meta.events.unregister("after-call.iam", json_decode_policies)
        return client


class AssumingClient(IamClient):
    """A client of IAM with the credentials of an assumed role.

    Args:
        role_arn: The role.
        sts: Assumes it.
    """

    def __init__(self, role_arn: str, sts: AwsClient) -> None:
        """Assume nothing yet."""
        super().__init__()
        self.role_arn = role_arn
        self._sts = sts

    def session(self) -> AioSession:
        """Return a session whose one source of credentials is the role."""
        session = super().session()
        session.register_component("credential_provider", AioCredentialResolver([_Assumed(self)]))
        return session

    async def assume(self) -> dict[str, str]:
        """Return credentials of the role, as the SDK wants them.

        Raises:
            TransientError: STS does not answer now.
            EnforcementError: The role cannot be assumed.
        """
        try:
            answer = await self._sts.request(
                "assume_role", RoleArn=self.role_arn, RoleSessionName=SESSION_NAME
            )
        except (*FAULTS, ConfigurationError) as error:
            raise refusal(error, subject=self.role_arn, action="sts:AssumeRole") from error
        found = answer["Credentials"]
        return {
            "access_key": found["AccessKeyId"],
            "secret_key": found["SecretAccessKey"],
            "token": found["SessionToken"],
            "expiry_time": found["Expiration"].isoformat(),
        }


class _Assumed:
    """Provides the SDK with the credentials of an assumed role."""

    METHOD: Final = "sts-assume-role"
    CANONICAL_NAME: Final = None

    def __init__(self, client: AssumingClient) -> None:
        self._client = client

    async def load(self) -> AioDeferredRefreshableCredentials:
        return AioDeferredRefreshableCredentials(self._client.assume, self.METHOD)


class IamClients:
    """Opens a client for each account, once.

    Args:
        role: ARN of the role to assume, `{account}` in place of the account; empty for none.
        account: What the operator says is the worker's own account, which STS has to confirm; empty
            for whatever STS says.
    """

    def __init__(self, role: str = "", account: str = "") -> None:
        """Connect to nothing yet."""
        self._role, self._account = role, account
        self._patterns = own_patterns([role]) if role else ()
        self._sts = AwsClient("sts")
        self._caller: Caller | None = None
        self._clients: dict[str, IamClient] = {}
        self._opening = asyncio.Lock()

    async def caller(self) -> Caller:
        """Return who acts; asks STS once.

        Raises:
            TransientError: STS does not answer now.
            EnforcementError: There are no credentials that it accepts, or they are of another
                account than the operator says.
        """
        async with self._opening:
            return await self._known_caller()

    async def _known_caller(self) -> Caller:
        if self._caller is None:
            action = "sts:GetCallerIdentity"
            try:
                answer = await self._sts.request("get_caller_identity")
            except (*FAULTS, ConfigurationError) as error:
                raise refusal(error, subject="the worker's own account", action=action) from error
            arn, account = answer["Arn"], answer["Account"]
            if self._account not in {"", account}:
                message = (
                    f"LEDGEROCK_ACCOUNT={self._account}: the worker's credentials are of account "
                    f"{account}; correct the one or the other"
                )
                raise EnforcementError(message)
            self._caller = Caller(
                account=account,
                partition=arn.split(":", _ARN_PARTS - 1)[1],
                principal=caller_principal(arn),
            )
        return self._caller

    async def own(self) -> tuple[str, ...]:
        """Return patterns of the principals that act here: the worker's, and the assumed role."""
        principal = (await self.caller()).principal
        return (*self._patterns, principal) if principal else self._patterns

    async def of(self, account: str) -> IamClient:
        """Return the client of an account.

        Raises:
            TransientError: STS does not answer now.
            EnforcementError: There is no way into that account.
        """
        async with self._opening:
            found = self._clients.get(account)
            if found is None:
                found = self._clients[account] = await self._made(account)
        return found

    async def _made(self, account: str) -> IamClient:
        caller = await self._known_caller()
        role = self._role.replace(ACCOUNT_FIELD, account)
        if not role:
            if account == caller.account:
                return IamClient()
            message = (
                f"account {account}: the worker is at home in {caller.account}, and has no role to "
                "assume elsewhere; set LEDGEROCK_ENFORCEMENT_ROLE"
            )
            raise EnforcementError(message)
        [principal] = own_patterns([role])
        if principal.split("/")[1] != account:
            message = (
                f"account {account}: LEDGEROCK_ENFORCEMENT_ROLE={self._role} is a role of another "
                f"one; write {ACCOUNT_FIELD} in place of its account"
            )
            raise EnforcementError(message)
        return IamClient() if principal == caller.principal else AssumingClient(role, self._sts)

    async def close(self) -> None:
        """Close all connections."""
        for client in (*self._clients.values(), self._sts):
            await client.close()
        self._clients.clear()


def refusal(
    error: BaseException, *, subject: str, action: str
) -> TransientError | EnforcementError:
    """Return what an error of IAM or STS means, for raising `from` it.

    Args:
        error: Any of `FAULTS`, or a `ConfigurationError` of opening a client.
        subject: Whom or what it was about.
        action: The permission it takes (`iam:PutUserPolicy`).
    """
    if isinstance(error, ConfigurationError):
        return EnforcementError(f"{subject}: {error}")
    meaning = explained(error, subject=subject, action=action)
    return meaning if isinstance(meaning, TransientError) else EnforcementError(str(meaning))
