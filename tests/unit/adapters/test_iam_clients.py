"""Clients of IAM by account: whose credentials, and who is told when there are none."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.calls import asynchronous
from worker.adapters.iam_clients import AssumingClient, Caller, IamClients
from worker.adapters.iam_requests import IamRequests
from worker.core.errors import ConfigurationError, EnforcementError, TransientError

HOME, ABROAD = "111122223333", "444455556666"
ROLE = "arn:aws:iam::{account}:role/ledgerock/Enforce"


class Sts:
    """STS, as the worker sees it."""

    def __init__(self, arn: str, fault: Exception | None = None) -> None:
        self.arn, self.fault = arn, fault
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def request(self, operation: str, **arguments: Any) -> dict[str, Any]:
        self.asked.append((operation, arguments))
        if self.fault is not None:
            raise self.fault
        if operation == "get_caller_identity":
            return {"Account": HOME, "Arn": self.arn, "UserId": "AROAX:i-1"}
        expiration = datetime(2026, 11, 22, 9, tzinfo=UTC)
        keys = {"AccessKeyId": "ASIAX", "SecretAccessKey": "s", "SessionToken": "t"}
        return {"Credentials": {**keys, "Expiration": expiration}}

    async def close(self) -> None:
        """Have nothing to close."""


def clients(
    role: str = "",
    account: str = "",
    *,
    arn: str = f"arn:aws:sts::{HOME}:assumed-role/Worker/i-1",
    fault: Exception | None = None,
) -> tuple[IamClients, Sts]:
    made, sts = IamClients(role, account), Sts(arn, fault)
    made._sts = sts  # type: ignore[assignment]
    return made, sts


@asynchronous
async def test_the_own_account_is_reached_with_own_credentials() -> None:
    made, sts = clients()
    client = await made.of(HOME)
    assert not isinstance(client, AssumingClient)
    assert await made.of(HOME) is client
    assert await made.own() == (f"role/{HOME}/Worker",)
    assert sts.asked == [("get_caller_identity", {})]
    await made.close()


@asynchronous
async def test_other_accounts_need_a_role() -> None:
    made, _sts = clients()
    with pytest.raises(EnforcementError, match=f"account {ABROAD}.*LEDGEROCK_ENFORCEMENT_ROLE"):
        await made.of(ABROAD)


@pytest.mark.parametrize("role", ["", ROLE])
@asynchronous
async def test_an_account_that_sts_does_not_confirm_is_never_acted_in(role: str) -> None:
    made, _sts = clients(role, ABROAD)
    for account in (HOME, ABROAD):
        with pytest.raises(EnforcementError, match=f"LEDGEROCK_ACCOUNT={ABROAD}.*{HOME}"):
            await made.of(account)


@asynchronous
async def test_a_role_is_assumed_in_every_account_the_own_one_included() -> None:
    made, _sts = clients(ROLE)
    for account in (HOME, ABROAD):
        client = await made.of(account)
        assert isinstance(client, AssumingClient)
        assert client.role_arn == f"arn:aws:iam::{account}:role/ledgerock/Enforce"
    assert await made.own() == ("role/*/Enforce", f"role/{HOME}/Worker")


@asynchronous
async def test_a_worker_that_runs_as_the_role_does_not_assume_it_again() -> None:
    made, _sts = clients(ROLE, arn=f"arn:aws:sts::{HOME}:assumed-role/Enforce/i-1")
    assert not isinstance(await made.of(HOME), AssumingClient)
    assert isinstance(await made.of(ABROAD), AssumingClient)


@asynchronous
async def test_a_role_of_one_account_reaches_no_other() -> None:
    made, _sts = clients(ROLE.replace("{account}", HOME))
    assert isinstance(await made.of(HOME), AssumingClient)
    with pytest.raises(EnforcementError, match=r"write \{account\}"):
        await made.of(ABROAD)


def test_a_role_that_is_none_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(ConfigurationError, match="is not the ARN of a role"):
        IamClients("LedgerockEnforce")


@asynchronous
async def test_credentials_are_asked_for_as_a_session_of_ours() -> None:
    made, sts = clients(ROLE)
    client = await made.of(ABROAD)
    assert isinstance(client, AssumingClient)
    assert await client.assume() == {
        "access_key": "ASIAX",
        "secret_key": "s",
        "token": "t",
        "expiry_time": "2026-11-22T09:00:00+00:00",
    }
    arn = f"arn:aws:iam::{ABROAD}:role/ledgerock/Enforce"
    assert sts.asked[-1] == ("assume_role", {"RoleArn": arn, "RoleSessionName": "ledgerock"})


@pytest.mark.parametrize(
    "code, kind, told",
    [
        ("AccessDenied", EnforcementError, "AWS denies sts:AssumeRole; allow it"),
        ("Throttling", TransientError, "sts:AssumeRole is not possible now"),
    ],
)
@asynchronous
async def test_a_role_that_cannot_be_assumed_is_named(
    code: str, kind: type[Exception], told: str
) -> None:
    made, sts = clients(ROLE)
    client = await made.of(ABROAD)
    assert isinstance(client, AssumingClient)
    sts.fault = ClientError({"Error": {"Code": code, "Message": "no"}}, "AssumeRole")
    with pytest.raises(kind, match=told) as error:
        await client.assume()
    assert f"{ABROAD}:role/ledgerock/Enforce" in str(error.value)


@asynchronous
async def test_sts_is_asked_again_after_it_failed_and_never_again_after_it_answered() -> None:
    made, sts = clients(fault=ConnectionResetError())
    with pytest.raises(TransientError, match="sts:GetCallerIdentity"):
        await made.caller()
    sts.fault = None
    assert await made.caller() == Caller(HOME, "aws", f"role/{HOME}/Worker")
    await made.caller()
    assert len(sts.asked) == 2


@asynchronous
async def test_an_account_that_sts_confirms_is_the_own_one() -> None:
    made, _sts = clients(account=HOME)
    assert (await made.caller()).account == HOME
    await made.of(HOME)


@asynchronous
async def test_a_refusal_to_assume_a_role_is_not_taken_for_one_of_iam(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    made, sts = clients(ROLE)
    await made.caller()
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRole")
    sts.fault = denied
    with pytest.raises(EnforcementError, match="AWS denies sts:AssumeRole"):
        await IamRequests(made).find("role", ABROAD, "Scout")
    await made.close()
