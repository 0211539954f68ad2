"""One contract for all stores of application inference profiles: what is known is never lost."""

import asyncio

import msgspec

from tests.calls import asynchronous
from tests.contract.conftest import OpenState
from worker.core.registry import ApplicationProfile, Period

ARN = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2c3d4e5f6"
MODEL = "amazon.nova-pro-v1:0"
BARE = ApplicationProfile(ARN, MODEL)
TAGS = (("app", "search"), ("team", "research"))
SINCE = Period(from_ms=1_790_856_000_000)


@asynchronous
async def test_profiles_are_learnt_once(open_state: OpenState) -> None:
    full = ApplicationProfile(ARN + "x", MODEL, "search", TAGS, SINCE)
    long = ApplicationProfile(ARN + "y" * 2_000, MODEL)
    async with open_state() as state:
        assert await state.profiles.profiles() == []
        assert await state.profiles.learn([]) == 0
        assert await state.profiles.learn([full, BARE, long, BARE]) == 3
        assert await state.profiles.learn([BARE, full]) == 0
        assert await state.profiles.profiles() == [BARE, full, long]


@asynchronous
async def test_tags_and_application_are_filled_in_and_never_replaced(open_state: OpenState) -> None:
    tagged = msgspec.structs.replace(BARE, tags=TAGS)
    named = msgspec.structs.replace(BARE, application="search", period=SINCE)
    other = ApplicationProfile(ARN, "another", "sales", (("x", "y"),))
    async with open_state() as state:
        assert await state.profiles.learn([BARE]) == 1
        assert await state.profiles.learn([tagged]) == 1
        assert await state.profiles.profiles() == [tagged]
        assert await state.profiles.learn([named]) == 1
        both = ApplicationProfile(ARN, MODEL, "search", TAGS, SINCE)
        assert await state.profiles.profiles() == [both]
        assert await state.profiles.learn([BARE, tagged, named, other]) == 0
        assert await state.profiles.profiles() == [both]


@asynchronous
async def test_several_who_learn_at_once_lose_nothing(open_state: OpenState) -> None:
    tagged = msgspec.structs.replace(BARE, tags=TAGS)
    named = msgspec.structs.replace(BARE, application="search", period=SINCE)
    async with open_state() as state:
        facts = [BARE, tagged, named] * 3
        learnt = await asyncio.gather(*(state.profiles.learn([fact]) for fact in facts))
        assert await state.profiles.profiles() == [
            ApplicationProfile(ARN, MODEL, "search", TAGS, SINCE)
        ]
        assert 2 <= sum(learnt) <= 3


@asynchronous
async def test_profiles_outlive_the_process(open_kept_state: OpenState) -> None:
    async with open_kept_state() as state:
        assert await state.profiles.learn([BARE]) == 1
    async with open_kept_state() as state:
        assert await state.profiles.profiles() == [BARE]
