"""Faults of what is announced, due and booked."""

from typing import Final

import msgspec

from tests.calls import DAY, HOUR, NOON
from tests.unit.doctor.planting import Fault, keeper
from tests.unit.doctor.world import (
    ACCOUNT,
    TOPIC,
    World,
)
from worker.core.budget_terms import Budget, Scope
from worker.core.directory import Keys, LifecycleFact, Subject, encode_subject
from worker.core.enforcement import Suspension
from worker.core.enforcement_names import (
    DIRECTORY,
    KEYS,
    QUEUE_ENFORCE,
    QUEUE_MONITOR,
    SUSPENSION,
    suspension_partition,
)
from worker.core.ledger import Amounts
from worker.core.results import Malformed, Position
from worker.ports import Notice, Record
from worker.ports.account import (
    TopicState,
)

ALICE: Final = f"user/{ACCOUNT}/alice"


FAULTS: Final[list[Fault]] = []
fault = keeper(FAULTS)


# --- Announcing and enforcing -----------------------------------------------------------------


@fault("topic", "no such topic", "REVERT_DRIFT")
def topic_gone(world: World) -> None:
    world.account.topics.clear()


@fault("topic", "nobody is subscribed", "aws sns subscribe")
def topic_unheard(world: World) -> None:
    world.account.topics[TOPIC] = TopicState(0)


@fault("topic", "nobody confirmed", "follow the link")
def topic_unconfirmed(world: World) -> None:
    world.account.topics[TOPIC] = TopicState(0, 1)


@fault("topic", "1 of its subscribers did not confirm", "follow the link", "warning")
def topic_half_confirmed(world: World) -> None:
    world.account.topics[TOPIC] = TopicState(2, 1)


def _notice(at_ms: int, channel: str = "") -> Notice:
    return Notice(
        id=f"n{channel}",
        detail_type="Budget Threshold Crossed",
        subject="budget/x",
        detail=msgspec.Raw(b"{}"),
        state="pending",
        recorded_at_ms=at_ms,
        channel=channel,
    )


@fault("announcer", "nobody announces: 1 events wait, the longest for 3 minutes", "update-service")
async def nobody_announces(world: World) -> None:
    await world.outbox.put([_notice(NOON - 180_000)])


@fault("announcer", "nobody tells people by sns: 1 messages", "update-service")
async def nobody_tells(world: World) -> None:
    await world.outbox.put([_notice(NOON - 61_000, "sns")])


async def _due(world: World, queue: str, at_ms: int) -> None:
    assert await world.records.write([Record("t#x", "0000001", b"{}", 1, queue, at_ms)])


@fault("monitor", "nobody monitors: 1 things are due, the longest for 2 hours", "update-service")
async def nobody_monitors(world: World) -> None:
    await _due(world, QUEUE_MONITOR, NOON - 2 * HOUR)


async def _suspension(world: World, suspension: Suspension) -> None:
    record = Record(
        suspension_partition(suspension.principal),
        SUSPENSION,
        msgspec.json.encode(suspension),
        1,
        QUEUE_ENFORCE,
        suspension.due_at_ms,
    )
    assert await world.records.write([record])


@fault("enforcer", "nobody enforces: 1 suspensions", "update-service")
async def nobody_enforces(world: World) -> None:
    due = NOON - 10 * 60_000
    await _suspension(world, Suspension(ALICE, phase="required", due_at_ms=due, version=1))


# --- Usage and principals ---------------------------------------------------------------------


@fault("prices", "7 calls of acme.new-v1:0 have no price", "ledgerock rebook --pending")
def unpriced(world: World) -> None:
    world.totals.models["acme.new-v1:0"] = Amounts(calls=9, unpriced_calls=7)


@fault("prices", "20 of 1,000 calls (2.0%) have no counts", "ledgerock report", "warning")
def unmetered(world: World) -> None:
    world.totals.models = {"m": Amounts(calls=1_000, unmetered_calls=20)}


@fault("quarantine", "1 records are in quarantine", "ledgerock quarantine redrive --all")
async def quarantined(world: World) -> None:
    position = Position("logs/a.json.gz", 3)
    await world.quarantine.put([Malformed("$", "an object", "?", b"?", position=position)])


async def _know(world: World, *facts: LifecycleFact) -> None:
    [subject] = {fact.subject for fact in facts}
    body = encode_subject(Subject(subject, facts))
    assert await world.records.write([Record(DIRECTORY, subject, body, 1)])


_MADE = LifecycleFact(ALICE, "created", NOON - 9 * DAY, "e1", unique_id="AIDAONE")


@fault("keys", "has keys outside provisioning: ACCA1, made by ada", "principals show", "warning")
async def found_key(world: World) -> None:
    service = "bedrock.amazonaws.com"
    key = LifecycleFact(
        ALICE, "key_created", NOON - DAY, "e2", actor="ada", key_id="ACCA1", service=service
    )
    await _know(world, _MADE, key)
    keys = msgspec.json.encode(Keys(ALICE, found_ids=("ACCA1",)))
    assert await world.records.write([Record(KEYS, ALICE, keys, 1)])


@fault("budgets", f"the budget alices is of {ALICE}, who was deleted", "budgets remove", "warning")
async def budget_of_the_gone(world: World) -> None:
    await _know(world, _MADE, LifecycleFact(ALICE, "deleted", NOON - DAY, "e3"))
    assert await world.budgets.put(Budget("alices", Scope("principal", ALICE), 10**12))


@fault("suspensions", f"{ALICE} cannot be suspended by Ledgerock: a managed role", "show")
async def needs_a_person(world: World) -> None:
    suspension = Suspension(
        ALICE,
        phase="required",
        failure="a managed role",
        needs_person=True,
        due_at_ms=NOON + HOUR,
        version=1,
    )
    await _suspension(world, suspension)
