"""Enforcement with the clients that the worker has, in LocalStack: other accounts, lost answers.

What is asked of IAM, and that policies end as they began, the contract suite shows.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from aiohttp import web

from tests import fault_proxy
from tests.calls import asynchronous
from tests.dynamodb import localstack_endpoint
from tests.fault_proxy import FaultProxy
from tests.iam_emulated import in_localstack
from tests.iam_worlds import ABROAD, CALL_MODELS, HOME, READ_LOGS, World, unused
from tests.integration.emulator import serving
from worker.adapters.iam_clients import AssumingClient, Caller, IamClient, IamClients
from worker.adapters.iam_enforcement import IamEnforcement
from worker.adapters.iam_requests import IamRequests
from worker.core.errors import EnforcementError, ProtectedPrincipalError, TransientError
from worker.core.targets import Target, targets_of
from worker.ports import Order

pytestmark = pytest.mark.integration

ROLE: Final = "arn:aws:iam::{account}:role/LedgerockEnforcement"


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have clients find LocalStack, where the id of an access key may be an account."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", HOME)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", localstack_endpoint())


async def role_of(world: World, account: str) -> Target:
    """Make a role with a policy of each kind."""
    policy = await world.policy(account)
    name = unused("Scout")
    inline = {"read-logs": READ_LOGS, "call-models": CALL_MODELS}
    await world.make("role", name, account=account, attached=[policy], inline=inline)
    return Target("role", account, name)


@pytest.mark.parametrize("role", [ROLE, ""])
@asynchronous
async def test_agentcore_role_at_home_is_suspended_and_restored(role: str) -> None:
    async with in_localstack() as world:
        target = await role_of(world, HOME)
        await there_and_back(world, target, IamClients(role))


@asynchronous
async def test_agentcore_cross_account_role_is_reached_through_an_assumed_role() -> None:
    async with in_localstack() as world:
        target = await role_of(world, ABROAD)
        [found] = targets_of(
            f"agent/{HOME}/us-east-1/scout-Ab3dEf5h1J",
            [f"arn:aws:iam::{ABROAD}:role/{target.name}"],
        )
        assert found == target
        await there_and_back(world, target, IamClients(ROLE))


async def there_and_back(world: World, target: Target, clients: IamClients) -> None:
    before = await world.state("role", target.name, target.account)
    enforcement = IamEnforcement(IamRequests(clients))
    snapshot = await enforcement.snapshot(target)
    assert {one.name: one.document for one in snapshot.inline} == before.inline
    order = Order(unused("s"), "detach", str(target))
    await enforcement.suspend(order, snapshot)
    assert await enforcement.unsuspended(order, snapshot) == []
    suspended = await world.state("role", target.name, target.account)
    assert (suspended.attached, len(suspended.inline)) == ([], 1)
    await enforcement.restore(order, snapshot)
    assert await enforcement.unrestored(order, snapshot) == []
    assert await world.state("role", target.name, target.account) == before
    await enforcement.close()


@asynchronous
async def test_without_a_role_other_accounts_are_out_of_reach() -> None:
    enforcement = IamEnforcement(IamRequests(IamClients()))
    with pytest.raises(EnforcementError, match=f"{ABROAD}.*LEDGEROCK_ENFORCEMENT_ROLE"):
        await enforcement.snapshot(Target("user", ABROAD, "alice"))
    await enforcement.close()


@asynchronous
async def test_the_role_that_the_worker_runs_under_is_never_suspended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outer = IamClients(ROLE)
    client = await outer.of(HOME)
    assert isinstance(client, AssumingClient)
    credentials = await client.assume()
    await outer.close()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", credentials["access_key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", credentials["secret_key"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", credentials["token"])
    enforcement = IamEnforcement(IamRequests(IamClients()))
    for target in (
        Target("role", HOME, "LedgerockEnforcement"),
        Target("session", HOME, "LedgerockEnforcement", "ledgerock"),
    ):
        with pytest.raises(ProtectedPrincipalError, match="Ledgerock's own"):
            await enforcement.snapshot(target)
    await enforcement.close()


@asynchronous
async def test_credentials_are_renewed_before_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    assumed = []
    assume = AssumingClient.assume

    async def briefly(self: AssumingClient) -> dict[str, str]:
        assumed.append(self.role_arn)
        soon = datetime.now(UTC) + timedelta(minutes=1)
        return await assume(self) | {"expiry_time": soon.isoformat()}

    monkeypatch.setattr(AssumingClient, "assume", briefly)
    async with in_localstack() as world:
        target = await role_of(world, ABROAD)
        iam = IamRequests(IamClients(ROLE))
        for _ in range(3):
            await iam.find("role", ABROAD, target.name)
        await iam.close()
    assert len(assumed) >= 3
    assert {*assumed} == {f"arn:aws:iam::{ABROAD}:role/LedgerockEnforcement"}


# --- Lost answers --------------------------------------------------------------------------------


class Impatient:
    """Clients that make each request once."""

    def __init__(self) -> None:
        self._client = IamClient(attempts_max=1)

    async def caller(self) -> Caller:
        return Caller(HOME, "aws", "")

    async def own(self) -> tuple[str, ...]:
        return ()

    async def of(self, _account: str) -> IamClient:
        return self._client

    async def close(self) -> None:
        await self._client.close()


def _throttled(_target: str) -> web.Response:
    """Throttle as IAM does (AWS documentation: "Common error types", of the Query protocol)."""
    error = "<Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate</Message></Error>"
    text = f"<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>"
    return web.Response(status=400, text=text, content_type="text/xml")


class IamFaults(FaultProxy):
    """Lets requests fail as IAM does."""

    def _fault(self, _target: str) -> str | None:
        if self._dice.random() >= self.share:
            return None
        return self._dice.choice(["cut off before", "cut off after", "busy", "throttled"])


async def insisted(act: Any, *arguments: Any) -> int:
    """Do something until it succeeds; return how often it failed, always in passing."""
    for failures in range(500):
        try:
            await act(*arguments)
        except TransientError:
            continue
        return failures
    pytest.fail("it never succeeded")


@asynchronous
async def test_a_quarter_of_requests_throttled_or_cut_off_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fault_proxy, "_throttled", _throttled)
    proxy = IamFaults(localstack_endpoint(), localstack_endpoint(), 0.25, seed=7)
    failures = 0
    async with in_localstack() as world, serving(proxy) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        enforcement = IamEnforcement(IamRequests(Impatient()))
        for _ in range(3):
            target = await role_of(world, HOME)
            before = await world.state("role", target.name)
            snapshots: list[Any] = []

            async def snapshot(of: Target = target, into: list[Any] = snapshots) -> None:
                into.append(await enforcement.snapshot(of))

            failures += await insisted(snapshot)
            order = Order(unused("s"), "detach", str(target))
            failures += await insisted(enforcement.suspend, order, snapshots[0])
            assert (await world.state("role", target.name)).attached == []
            failures += await insisted(enforcement.restore, order, snapshots[0])
            assert await world.state("role", target.name) == before
        await enforcement.close()
    assert failures >= 5
    assert {"throttled", "cut off before", "cut off after"} <= {*proxy.counts}
