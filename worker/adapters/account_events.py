"""Reading an account: rules, trails, buses, topics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worker.adapters.account_reads import AccountReads
from worker.ports.account import RuleState, TopicState, Trail

_MISSING = ("ResourceNotFoundException",)
_MANAGEMENT = "Management"


class EventReads(AccountReads):
    """The part of `worker.ports.account.Account` on events."""

    async def rule(self, region: str, bus: str, name: str) -> RuleState | None:
        """Return a rule of EventBridge."""
        found = await self.ask(
            "events",
            "describe_rule",
            subject=f"rule {name}",
            action="events:DescribeRule",
            region=region,
            missing=_MISSING,
            Name=name,
            EventBusName=bus,
        )
        if found is None:
            return None
        targets = await self.ask(
            "events",
            "list_targets_by_rule",
            subject=f"rule {name}",
            action="events:ListTargetsByRule",
            region=region,
            missing=_MISSING,
            Rule=name,
            EventBusName=bus,
        )
        return RuleState(
            state=found.get("State", ""),
            targets=len((targets or {}).get("Targets", ())),
            pattern=found.get("EventPattern", ""),
        )

    async def trails(self, region: str) -> Sequence[Trail]:
        """Return the trails that take events of a Region."""
        answer = await self.ask(
            "cloudtrail",
            "describe_trails",
            subject=f"trails in {region}",
            action="cloudtrail:DescribeTrails",
            region=region,
            includeShadowTrails=True,
        )
        arns = [str(one["TrailARN"]) for one in (answer or {}).get("trailList", ())]
        return [await self._trail(region, arn) for arn in arns]

    async def _trail(self, region: str, arn: str) -> Trail:
        status = await self.ask(
            "cloudtrail",
            "get_trail_status",
            subject=arn,
            action="cloudtrail:GetTrailStatus",
            region=region,
            Name=arn,
        )
        chosen = await self.ask(
            "cloudtrail",
            "get_event_selectors",
            subject=arn,
            action="cloudtrail:GetEventSelectors",
            region=region,
            TrailName=arn,
        )
        kinds = management_kinds(chosen or {})
        return Trail(
            arn=arn,
            is_logging=bool((status or {}).get("IsLogging")),
            writes="write" in kinds,
            reads="read" in kinds,
        )

    async def bus(self, name: str) -> bool:
        """Return whether there is a bus of this name or ARN."""
        found = await self.ask(
            "events",
            "describe_event_bus",
            subject=f"bus {name}",
            action="events:DescribeEventBus",
            missing=_MISSING,
            Name=name,
        )
        return found is not None

    async def topic(self, arn: str) -> TopicState | None:
        """Return a topic; of its subscriptions, those of the first page."""
        found = await self.ask(
            "sns",
            "list_subscriptions_by_topic",
            subject=arn,
            action="sns:ListSubscriptionsByTopic",
            missing=("NotFound", "NotFoundException"),
            TopicArn=arn,
        )
        if found is None:
            return None
        arns = [str(one["SubscriptionArn"]) for one in found["Subscriptions"]]
        return TopicState(
            confirmed=sum(one.startswith("arn:") for one in arns),
            pending=arns.count("PendingConfirmation"),
        )


def management_kinds(selectors: Mapping[str, Any]) -> set[str]:
    """Return which management events a trail takes: `read`, `write` (GetEventSelectors)."""
    kinds: set[str] = set()
    for one in selectors.get("EventSelectors", ()):
        if one.get("IncludeManagementEvents", True):
            kinds |= _read_write(one.get("ReadWriteType", "All"))
    for one in selectors.get("AdvancedEventSelectors", ()):
        fields = {each["Field"]: each.get("Equals", ()) for each in one.get("FieldSelectors", ())}
        if _MANAGEMENT in fields.get("eventCategory", ()):
            kinds |= _read_only(fields.get("readOnly", ()))
    return kinds


def _read_write(kind: str) -> set[str]:
    return {"All": {"read", "write"}, "ReadOnly": {"read"}, "WriteOnly": {"write"}}.get(kind, set())


def _read_only(values: Iterable[str]) -> set[str]:
    given = {str(value).lower() for value in values}
    if not given:
        return {"read", "write"}
    return {kind for value, kind in (("true", "read"), ("false", "write")) if value in given}
