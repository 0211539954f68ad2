"""Tags of users and roles: in memory, and in IAM as moto has it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.calls import ACCOUNT, asynchronous
from tests.iam_emulated import EmulatedIam, moto_request
from worker.adapters.iam_tagging import IamTagging
from worker.adapters.memory_tagging import MemoryTagging
from worker.core.errors import EnforcementError, TransientError
from worker.ports import Tagging

USER = f"user/{ACCOUNT}/eve%40example.com"
ROLE = f"role/{ACCOUNT}/Analyst"
NOBODY = f"user/{ACCOUNT}/nobody"
TRUST = '{"Version":"2012-10-17","Statement":[]}'

Open = Callable[[], AbstractAsyncContextManager[Tagging]]
Request = Callable[[str, str, dict[str, Any]], Awaitable[dict[str, Any]]]


@pytest.fixture(scope="module")
def moto() -> Iterator[Request]:
    with moto_request() as request:
        yield request


@pytest.fixture(params=["memory", "moto"])
def open_tagging(request: pytest.FixtureRequest) -> Open:
    @asynccontextmanager
    async def in_memory() -> AsyncIterator[Tagging]:
        yield MemoryTagging([USER, ROLE])

    @asynccontextmanager
    async def in_moto() -> AsyncIterator[Tagging]:
        ask: Request = request.getfixturevalue("moto")
        await ask(ACCOUNT, "create_user", {"UserName": "eve@example.com"})
        role = {"RoleName": "Analyst", "AssumeRolePolicyDocument": TRUST}
        await ask(ACCOUNT, "create_role", role)
        try:
            yield IamTagging(EmulatedIam(ask))
        finally:
            await ask(ACCOUNT, "delete_user", {"UserName": "eve@example.com"})
            await ask(ACCOUNT, "delete_role", {"RoleName": "Analyst"})

    return in_memory if request.param == "memory" else in_moto


@pytest.mark.parametrize("subject", [USER, ROLE])
@asynchronous
async def test_tags_are_set_changed_and_taken_away(open_tagging: Open, subject: str) -> None:
    async with open_tagging() as tagging:
        assert await tagging.tags(subject) == {}
        assert await tagging.tag(subject, {"ledgerock:managed": "detected", "stage": "prod"})
        assert await tagging.tag(subject, {"ledgerock:managed": "provisioned"})
        assert await tagging.tags(subject) == {"ledgerock:managed": "provisioned", "stage": "prod"}
        assert await tagging.untag(subject, ["stage", "never-there"])
        assert await tagging.untag(subject, ["stage"])
        assert await tagging.tags(subject) == {"ledgerock:managed": "provisioned"}
        assert await tagging.tag(subject, {})
        assert await tagging.untag(subject, [])
        await tagging.close()


@asynchronous
async def test_somebody_who_is_not_there_has_no_tags(open_tagging: Open) -> None:
    async with open_tagging() as tagging:
        assert await tagging.tags(NOBODY) is None
        assert not await tagging.tag(NOBODY, {"a": "b"})
        assert not await tagging.untag(NOBODY, ["a"])


@asynchronous
async def test_many_tags_come_page_by_page(moto: Request) -> None:
    async def ask(account: str, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if operation == "list_user_tags":
            arguments = {**arguments, "MaxItems": 7}
        return await moto(account, operation, arguments)

    await moto(ACCOUNT, "create_user", {"UserName": "many"})
    tagging = IamTagging(EmulatedIam(ask))
    subject = f"user/{ACCOUNT}/many"
    wanted = {f"key-{number}": str(number) for number in range(20)}
    assert await tagging.tag(subject, wanted)
    assert await tagging.tags(subject) == wanted


@asynchronous
async def test_what_iam_refuses_is_explained() -> None:
    async def refuse(_account: str, operation: str, _arguments: dict[str, Any]) -> dict[str, Any]:
        code = "Throttling" if operation == "list_user_tags" else "AccessDenied"
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)

    tagging = IamTagging(EmulatedIam(refuse))
    with pytest.raises(TransientError):
        await tagging.tags(USER)
    with pytest.raises(EnforcementError, match="iam:TagUser"):
        await tagging.tag(USER, {"a": "b"})
    with pytest.raises(EnforcementError, match="users and roles alone"):
        await tagging.tags(f"agent/{ACCOUNT}/us-east-1/a")
