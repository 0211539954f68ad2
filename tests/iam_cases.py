"""Suspensions in IAM for tests: somebody with policies of every kind, who is to be suspended."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from tests.iam_emulated import EmulatedIam, EmulatedWorld, in_localstack, moto_request
from tests.iam_worlds import (
    CALL_MODELS,
    HOME,
    READ_LOGS,
    State,
    World,
    document_with,
    in_memory,
    unused,
)
from worker.core.enforcement import Mode
from worker.core.targets import Target, TargetKind
from worker.ports import Order, Snapshot

OpenWorld = Callable[[], AbstractAsyncContextManager[World]]
MODES: list[Mode] = ["deny", "detach"]


@pytest.fixture(scope="module")
def in_moto() -> Iterator[OpenWorld]:
    """Open IAM in this process, once: clients take longer to make than all these tests."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[World]:
        yield EmulatedWorld(EmulatedIam(request))

    with moto_request() as request:
        yield opened


def _opened(request: pytest.FixtureRequest) -> OpenWorld:
    if request.param == "moto":
        opened: OpenWorld = request.getfixturevalue("in_moto")
        return opened
    return in_memory if request.param == "memory" else in_localstack


LOCALSTACK = pytest.param("localstack", marks=pytest.mark.integration)


@pytest.fixture(params=["memory", "moto", LOCALSTACK])
def open_world(request: pytest.FixtureRequest) -> OpenWorld:
    """Open IAM of one kind."""
    return _opened(request)


@pytest.fixture(params=["memory", LOCALSTACK])
def open_patient_world(request: pytest.FixtureRequest) -> OpenWorld:
    """Open IAM of one kind, for tests that ask for much; moto takes its time in this process."""
    return _opened(request)


class Case:
    """A user or role with policies of every kind, and a suspension of it."""

    def __init__(self, world: World, target: Target, mode: Mode) -> None:
        self.world, self.target, self.mode = world, target, mode
        self.order = Order(unused("s"), mode, str(target))
        self.before = State([], {}, {})
        self.snapshot: Snapshot

    async def suspend(self) -> None:
        await self.world.enforcement.suspend(self.order, self.snapshot)

    async def restore(self) -> None:
        await self.world.enforcement.restore(self.order, self.snapshot)

    async def state(self) -> State:
        kind = "user" if self.target.kind == "user" else "role"
        return await self.world.state(kind, self.target.name, self.target.account)

    async def assert_suspended(self) -> None:
        missing = await self.world.enforcement.unsuspended(self.order, self.snapshot)
        assert missing == []
        [document] = [
            document
            for name, document in (await self.state()).inline.items()
            if name == f"ledgerock-deny-{self.order.suspension_id}"
        ]
        effects = {statement["Effect"] for statement in json.loads(document)["Statement"]}
        assert effects == {"Deny"}

    async def assert_as_before(self) -> None:
        assert await self.world.enforcement.unrestored(self.order, self.snapshot) == []
        assert await self.state() == self.before
        assert await self.world.policies(self.order.suspension_id, self.target.account) == []


async def case(
    world: World,
    kind: TargetKind = "user",
    mode: Mode = "deny",
    *,
    account: str = HOME,
    path: str = "/",
    session: str = "",
) -> Case:
    """Make a user or role with policies of every kind, and take its snapshot."""
    name = unused("someone")
    attached = [await world.policy(account), await world.policy(account)]
    inline = {"read-logs": READ_LOGS, "call-models": CALL_MODELS}
    keys = {"ACCAONE": "Active", "ACCATWO": "Inactive"} if kind == "user" else {}
    entity = "user" if kind == "user" else "role"
    given: dict[str, Any] = {"attached": attached, "inline": inline, "keys": keys}
    await world.make(entity, name, account=account, path=path, **given)
    made = Case(world, Target(kind, account, name, session), mode)
    made.before = await made.state()
    assert made.before == State(sorted(attached), inline, keys)
    made.snapshot = await world.enforcement.snapshot(made.target)
    return made


async def filled(world: World, one: Case) -> None:
    """Leave no room for another inline policy."""
    document = document_with(1_500 if one.target.kind == "user" else 9_500)
    kind = "user" if one.target.kind == "user" else "role"
    await world.put_inline(kind, one.target.name, "much", document)
    one.before = await one.state()
    one.snapshot = await world.enforcement.snapshot(one.target)
