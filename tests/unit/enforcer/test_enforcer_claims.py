"""However often the wind changes, a worker is done before its claim runs out."""

import asyncio
from typing import Any

import pytest

from tests.calls import asynchronous
from tests.suspension_world import ALICE, World
from worker.core.errors import EnforcementError
from worker.core.events import PRINCIPAL_SUSPENDED, SUSPENSION_FAILED
from worker.core.suspension import DAILY_MS
from worker.enforcer import Enforcer


@asynchronous
async def test_all_changes_of_direction_share_the_time_of_one_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await world.hold()
    enforcer: Any = world.enforcer()
    attempt = enforcer.attempt
    left: list[float] = []
    passed = iter([0.0, 0.0, 40.0, 40.0, 80.0, 80.0, 106.0, 106.0])
    monkeypatch.setattr(f"{Enforcer.__module__}.monotonic", lambda: next(passed))

    async def and_change(suspension: Any, claim: str, seconds: float) -> Any:
        left.append(seconds)
        given = await attempt(suspension, claim)
        await (world.hold() if len(left) % 2 == 0 else world.lift())
        return given

    enforcer.attempt = and_change
    await enforcer.act_now(ALICE)
    assert left == [105.0, 65.0, 25.0]
    assert (await world.get()).claim == "", "others go on"


@asynchronous
async def test_an_attempt_ends_when_the_time_of_its_claim_does() -> None:
    world = World()
    await world.hold()
    enforcer: Any = world.enforcer()
    suspension = await enforcer.claim(ALICE, "one")
    never = asyncio.Event()

    async def hang(_suspension: Any) -> None:
        await never.wait()

    enforcer.hands.apply = hang
    given = await enforcer.attempt(suspension, "one", 0.01)
    assert (given.reason, given.is_passing) == ("it took longer than 105 seconds", True)


@asynchronous
async def test_people_hear_that_what_a_re_check_could_not_mend_is_mended() -> None:
    world = World()
    await world.hold()
    await world.run()
    world.now += DAILY_MS
    world.iam.entities["user", "111122223333", "alice"].inline.clear()

    def deny(when: str, _number: int, name: str) -> None:
        if (when, name) == ("before", "put_inline"):
            raise EnforcementError("AWS denies it")

    world.iam.hook = deny
    await world.run()
    assert not world.is_denied()
    world.iam.hook = None
    world.now = (await world.get()).due_at_ms
    await world.run()
    told = await world.told()
    assert (told.count(PRINCIPAL_SUSPENDED), told.count(SUSPENSION_FAILED)) == (2, 1)
    assert world.is_denied()
