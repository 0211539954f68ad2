"""One event of every kind that people hear of, and the same with names that mean harm."""

from typing import Final

import msgspec

from tests.calls import DAY, HOUR, NOON
from worker.core.budget import crossings_of
from worker.core.budget_events import grace_started, limit_forecast, threshold_crossed
from worker.core.budget_forecast import Forecast
from worker.core.budget_periods import period_at
from worker.core.budget_terms import Budget, Scope
from worker.core.directory import LifecycleFact
from worker.core.directory_events import tags_changed, unprovisioned_key
from worker.core.directory_views import KeyView
from worker.core.enforcement import Hold, Suspension
from worker.core.events import Event
from worker.core.registry import EMPTY_REGISTRY
from worker.core.suspension import Claimed, Failed, HoldLifted, HoldPut, Input, Verified, turned
from worker.core.suspension_events import events_of

ALICE: Final = "user/111122223333/alice"
USD: Final = 10**12


def budget_of(principal: str = ALICE, name: str = "alice") -> Budget:
    return Budget(
        name=name,
        scope=Scope("principal", principal),
        limit_amount=20 * USD,
        action="suspend",
        grace_seconds=3600,
        forecast=True,
        revision=3,
    )


def budget_events(budget: Budget) -> list[Event]:
    """A crossing of 102.5 % at once, the grace period, and a forecast."""
    period = period_at(budget, NOON, EMPTY_REGISTRY)
    crossings = crossings_of(budget, period, 205 * USD // 10, NOON)
    forecast = Forecast(f"forecast-{budget.name}", budget, period, 10 * USD, 620 * USD, NOON + DAY)
    return [
        *(threshold_crossed(one, NOON, time_zone="UTC") for one in crossings),
        grace_started(budget, period, 205 * USD // 10, NOON, time_zone="UTC"),
        limit_forecast(forecast, NOON, time_zone="UTC"),
    ]


def suspension_events(principal: str, reason: str, budget: str = "alice") -> list[Event]:
    """Required, failed, suspended, restoration required, restored."""
    hold = Hold(
        budget=budget,
        first_day=NOON // DAY,
        revision=3,
        since_ms=NOON,
        reason=reason,
        end_ms=NOON + 30 * DAY,
        spent_amount=205 * USD // 10,
        crossed_at_ms=NOON - HOUR,
        limit_amount=20 * USD,
    )
    story: list[tuple[Input, int]] = [
        (HoldPut(hold), 0),
        (Claimed("one", NOON + HOUR), 1),
        (Failed("one", "suspend", f"AccessDenied: {reason}"), 2),
        (Claimed("two", NOON + HOUR), 60_000),
        (Verified("two", "suspend"), 61_000),
        (HoldLifted(budget, hold.first_day), DAY),
        (Claimed("three", NOON + DAY + HOUR), DAY + 1),
        (Verified("three", "restore"), DAY + 2),
    ]
    found: list[Event] = []
    now = Suspension(principal)
    for given, after_ms in story:
        following = turned(now, given, NOON + after_ms)
        assert following is not None, given
        found += events_of(now, following, given, NOON + after_ms)
        now = following
    return found


def directory_events(principal: str, actor: str) -> list[Event]:
    key = KeyView(
        "ACCAEXAMPLE", "bedrock.amazonaws.com", NOON, actor, "e-0", is_live=True, is_active=True
    )
    fact = LifecycleFact(principal, "untagged", NOON, "e-1", actor, tag_keys=("ledgerock:tier",))
    return [
        unprovisioned_key(principal, key, "standard", NOON),
        tags_changed(principal, fact, {"ledgerock:tier": "standard"}, NOON),
    ]


EVENTS: Final = [
    *budget_events(budget_of()),
    *suspension_events(ALICE, "20.5 of 20 USD are spent"),
    *directory_events(ALICE, "arn:aws:iam::111122223333:user/mallory"),
]

EVIL: Final = (
    "x\r\nBcc: everybody@example.com\n<!channel> <@U123> *bold* `code` & \u2028\x00\U0001f4a3 "
)
LONG: Final = EVIL + "A" * 10_000 + "<&>" * 2_000


def _spoilt(event: Event, name: str) -> Event:
    """Put a name wherever a detail holds text."""

    def spoil(value: object) -> object:
        if isinstance(value, str):
            return name
        if isinstance(value, dict):
            return {key: spoil(one) for key, one in value.items()}
        return [spoil(one) for one in value] if isinstance(value, list) else value

    detail = msgspec.json.decode(event.detail)
    spoilt = {**spoil(detail), "event_id": event.id}  # type: ignore[dict-item]  # it is one
    return msgspec.structs.replace(event, detail=msgspec.json.encode(spoilt))


HOSTILE: Final = [_spoilt(event, name) for event in EVENTS for name in (EVIL, LONG)]
