"""Keys that were not made through provisioning, and tags of ours that others change."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import pytest

from tests.calls import ACCOUNT, NOON, asynchronous
from tests.lifecycle import (
    ADMIN,
    KEY,
    OWN,
    USER,
    api_event,
    create_key,
    create_user,
    delete_user,
    tag_user,
)
from tests.records import log
from tests.unit.pipeline.directory_world import World
from worker.adapters.memory_tagging import MemoryTagging
from worker.core.directory import DETECTED, INTENT_MS, MANAGED_TAG, PROVISIONED, Keys
from worker.core.enforcement_names import KEYS
from worker.core.errors import EnforcementError, TransientError
from worker.pipeline import found_keys
from worker.pipeline.found_keys import TRY_AGAIN_MS
from worker.ports import Record

SECOND = 1_000
TIER = "ledgerock:tier"


def world_with(*names: str) -> World:
    return World(subjects=[f"user/{ACCOUNT}/{name}" for name in names or ("alice",)])


async def mend(world: World) -> None:
    """Do what no commit waits for."""
    directory = world.worker().directory
    assert directory is not None
    await directory.do_due()


async def provision(world: World, at_ms: int, *key_ids: str, is_open: bool = True) -> None:
    """Write down what provisioning does, before the key and after it."""
    record = await world.records.get(KEYS, USER)
    keys = Keys(
        USER,
        wanted_at_ms=at_ms if is_open else 0,
        key_ids=key_ids,
        tags=((MANAGED_TAG, PROVISIONED),),
    )
    version = 1 if record is None else record.version + 1
    assert await world.records.write([Record(KEYS, USER, msgspec.json.encode(keys), version)])


def untag(number: int, *keys: str, **more: Any) -> dict[str, Any]:
    return api_event("UntagUser", number, {"userName": "alice", "tagKeys": list(keys)}, **more)


@asynchronous
async def test_a_key_made_by_others_is_tagged_budgeted_and_reported_once() -> None:
    world = world_with()
    for _ in range(2):
        await world.send(world.worker(), create_user(1), create_key(2, at_ms=NOON + SECOND))
        await mend(world)
    assert world.tagging.by_subject[USER] == {MANAGED_TAG: DETECTED}
    assert await world.limits(USER) == {"daily": 1}
    [told] = world.told("Unprovisioned Key Detected")
    assert (told["principal"], told["key_id"], told["made_by"]) == (USER, KEY, ADMIN)
    assert told["tier"] == "locked"
    assert told["message"] == (
        f"{USER} was given the Bedrock API key {KEY} by {ADMIN}, not through Ledgerock."
    )
    assert told["next"] == "The user is tagged as detected. It has the budgets of tier locked."
    assert told["command"] == f"ledgerock suspend {USER} --reason 'unprovisioned key'"
    assert world.told("Principal Tags Changed") == []


@asynchronous
async def test_the_operators_tier_counts_for_a_user_with_a_found_key() -> None:
    world = world_with()
    await world.send(world.worker(), tag_user(1, {TIER: "gold"}), create_key(2))
    assert await world.limits(USER) == {"monthly": 500}


@asynchronous
async def test_once_the_found_key_is_gone_the_user_has_its_kinds_tier() -> None:
    world = world_with()
    worker = world.worker()
    await world.send(worker, create_key(2))
    deleted = {"userName": "alice", "serviceSpecificCredentialId": KEY}
    gone = api_event("DeleteServiceSpecificCredential", 3, deleted, at_ms=NOON + SECOND)
    await world.send(worker, gone)
    assert await world.limits(USER) == {"monthly": 50}


@pytest.mark.parametrize("is_open", [True, False], ids=["being made", "made"])
@asynchronous
async def test_a_key_made_through_provisioning_is_no_news(is_open: bool) -> None:
    world = world_with()
    await provision(world, NOON - SECOND, *([] if is_open else [KEY]), is_open=is_open)
    await world.send(world.worker(), create_user(1), create_key(2))
    assert world.told("Unprovisioned Key Detected") == []
    assert await world.limits(USER) == {"monthly": 50}


@asynchronous
async def test_an_old_intent_and_another_key_excuse_nobody() -> None:
    world = world_with()
    await provision(world, NOON - INTENT_MS - SECOND)
    await world.send(world.worker(), create_key(2))
    assert len(world.told("Unprovisioned Key Detected")) == 1
    other = world_with()
    await provision(other, NOON, "ACCAOTHER", is_open=False)
    await other.send(other.worker(), create_key(2))
    assert len(other.told("Unprovisioned Key Detected")) == 1
    await mend(other)
    assert other.tagging.by_subject[USER] == {MANAGED_TAG: PROVISIONED}


@asynchronous
async def test_a_key_made_by_our_own_role_is_no_news() -> None:
    world = world_with()
    await world.send(world.worker(), create_key(2, actor=OWN))
    assert world.told("Unprovisioned Key Detected") == []
    assert world.tagging.by_subject[USER] == {}


@asynchronous
async def test_access_keys_are_not_found() -> None:
    world = world_with()
    made = {"accessKeyId": "AKIAONE", "userName": "alice", "status": "Active"}
    await world.send(world.worker(), api_event("CreateAccessKey", 1, None, {"accessKey": made}))
    assert world.told("Unprovisioned Key Detected") == []


@pytest.mark.parametrize(
    "event",
    [
        tag_user(3, {MANAGED_TAG: "mine"}),
        untag(3, MANAGED_TAG, "stage"),
        tag_user(3, {"ledgerock:shadow": "x"}),
    ],
    ids=["changed", "removed", "another of ours"],
)
@asynchronous
async def test_tampering_with_our_tags_is_reported_and_mended(event: dict[str, Any]) -> None:
    world = world_with()
    worker = world.worker()
    await world.send(worker, create_key(2))
    tags = world.tagging.by_subject[USER]
    tags.update({"stage": "prod", MANAGED_TAG: "mine", "ledgerock:shadow": "x", TIER: "locked"})
    for _ in range(2):
        await world.send(worker, event)
        await mend(world)
    assert tags == {MANAGED_TAG: DETECTED, "stage": "prod", TIER: "locked"}
    [told] = world.told("Principal Tags Changed")
    assert (told["principal"], told["changed_by"]) == (USER, ADMIN)
    assert told["wanted"] == {MANAGED_TAG: DETECTED}
    assert told["next"] == "They are put back as they are to be."


@asynchronous
async def test_a_forged_tag_on_a_user_that_was_just_made_is_taken_away() -> None:
    world = world_with()
    world.tagging.by_subject[USER] = {MANAGED_TAG: PROVISIONED}
    forged = [{"key": MANAGED_TAG, "value": PROVISIONED}]
    await world.send(world.worker(), create_user(1, tags=forged))
    assert len(world.told("Principal Tags Changed")) == 1
    await mend(world)
    assert world.tagging.by_subject[USER] == {}


@pytest.mark.parametrize(
    "event",
    [
        tag_user(3, {MANAGED_TAG: DETECTED}, actor=OWN),
        tag_user(3, {MANAGED_TAG: "else"}, actor=OWN),
        tag_user(3, {MANAGED_TAG: DETECTED}),  # as it is to be, whoever it was
        tag_user(3, {TIER: "gold", "ledgerock:team": "x", "stage": "y"}),
        untag(3, TIER, "ledgerock:shadow"),
    ],
    ids=["own", "own, other value", "as wanted", "the operator's", "none of ours"],
)
@asynchronous
async def test_our_own_tagging_and_the_operators_do_not_trigger_us(event: dict[str, Any]) -> None:
    world = world_with()
    worker = world.worker()
    await world.send(worker, create_key(2))
    await world.send(worker, event)
    assert world.told("Principal Tags Changed") == []


@asynchronous
async def test_tags_of_somebody_who_is_gone_are_nobodys() -> None:
    world = world_with()
    worker = world.worker()
    await world.send(worker, create_user(1), create_key(2))
    await world.send(worker, delete_user(3, at_ms=NOON + 5 * SECOND))
    del world.tagging.by_subject[USER]
    await world.send(worker, untag(4, MANAGED_TAG, at_ms=NOON + SECOND))
    assert world.told("Principal Tags Changed") == []


class Down(MemoryTagging):
    """IAM that does not answer, or does not let us."""

    def __init__(self, faults: list[Exception]) -> None:
        super().__init__([USER])
        self.faults = faults

    async def tag(self, subject: str, tags: Mapping[str, str]) -> bool:
        if self.faults:
            raise self.faults.pop(0)
        return await super().tag(subject, tags)

    async def untag(self, subject: str, keys: Collection[str]) -> bool:
        if self.faults:
            raise self.faults.pop(0)
        return await super().untag(subject, keys)


@asynchronous
async def test_an_outage_of_iam_holds_up_nothing_and_tags_are_mended_later() -> None:
    world = world_with()
    denied = EnforcementError("no permission for iam:TagUser")
    world.tagging = tagging = Down([TransientError("throttled"), denied])
    worker = world.worker()
    await world.send(worker, create_key(2))
    assert len(world.told("Unprovisioned Key Detected")) == 1
    assert await world.limits(USER) == {"daily": 1}
    assert tagging.by_subject[USER] == {}
    directory = worker.directory
    assert directory is not None
    assert directory._found_keys is not None
    await directory.do_due()
    assert directory._found_keys.fault == "throttled"
    await directory.do_due()  # not due yet
    assert tagging.faults == [denied]
    for _ in range(2):
        world.wait(TRY_AGAIN_MS / SECOND)
        other = world.worker().directory
        assert other is not None
        await other.do_due()
    assert tagging.by_subject[USER] == {MANAGED_TAG: DETECTED}
    assert [one async for one in world.records.due("tags", world.at_ms + 10**9)] == []


class Hanging(MemoryTagging):
    """IAM that takes the longer the more it is asked."""

    async def tags(self, subject: str) -> dict[str, str] | None:
        await asyncio.sleep(60)
        return await super().tags(subject)


@asynchronous
async def test_metering_does_not_wait_for_iam_and_neither_does_what_is_due_besides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(found_keys, "WAIT_SECONDS", 0.01)
    world = world_with()
    world.tagging = Hanging([USER, f"user/{ACCOUNT}/bob"])
    worker = world.worker()
    async with asyncio.timeout(5):
        await world.send(worker, create_key(2), create_key(3, "bob", key_id="ACCABOB"), log(4))
        for left in (1, 0):  # one of them each time
            await mend(world)
            due = [one async for chunk in world.records.due("tags", world.at_ms) for one in chunk]
            assert len(due) == left
    assert await world.limits(USER) == {"daily": 1}
