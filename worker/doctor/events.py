"""Rules that bring events, and the trails that CloudTrail's events need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.core.doctor import Sign, aws
from worker.doctor.patient import Check, Patient, checking
from worker.ports.account import Account, RuleState, Trail
from worker.settings.deployment import Rule

AREA: Final = "events"
ALL_EVENTS: Final = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
ON: Final = frozenset({"ENABLED", ALL_EVENTS})
DEFAULT_BUS: Final = "default"
CLOUDTRAIL: Final = "CloudTrail"


def checks(patient: Patient) -> list[Check]:
    """Return the checks of this part."""
    account, rules = patient.account, patient.deployment.rules
    if account is None:
        return []
    found = [
        checking(
            "rule",
            AREA,
            f"{one.name} in {one.region}",
            f"the rule is on: {one.why}" if one.why else "the rule is on",
            _rule,
            patient,
            account,
            one,
        )
        for one in rules
    ]
    well = "EventBridge gets the events of CloudTrail that rules wait for"
    regions = dict.fromkeys(one.region for one in rules if one.bus == DEFAULT_BUS)
    found += [
        checking("trail", AREA, region, well, _trails, patient, account, region)
        for region in regions
    ]
    if patient.deployment.bus:
        found.append(
            checking(
                "bus",
                "announcing",
                patient.deployment.bus,
                "the bus is there",
                _bus,
                patient,
                account,
            )
        )
    return found


async def _rule(patient: Patient, account: Account, wanted: Rule) -> Sequence[Sign]:
    found = await account.rule(wanted.region, wanted.bus, wanted.name)
    why = "what it is there for does not happen" + (f": {wanted.why}" if wanted.why else "")
    redeploy = patient.redeploy_in(wanted.region)
    if found is None:
        return [Sign("wrong", f"there is no such rule on the bus {wanted.bus}", why, redeploy)]
    signs = []
    if found.state not in ON:
        signs.append(Sign("wrong", f"the rule is {found.state}", why, _enable(wanted, found)))
    elif wanted.all_events and found.state != ALL_EVENTS:
        signs.append(
            Sign(
                "wrong",
                f"the rule is {found.state}, not {ALL_EVENTS}",
                "it never sees read-only management events, which calls of models are",
                _enable(wanted, found),
            )
        )
    if not found.targets:
        signs.append(Sign("wrong", "the rule has no target", why, redeploy))
    return signs


def _enable(wanted: Rule, found: RuleState) -> str:
    if not (wanted.all_events and found.pattern):
        return aws(
            "events enable-rule",
            name=wanted.name,
            event_bus_name=wanted.bus,
            region=wanted.region,
        )
    return aws(  # `enable-rule` knows the plain state alone.
        "events put-rule",
        name=wanted.name,
        event_bus_name=wanted.bus,
        event_pattern=found.pattern,
        state=ALL_EVENTS,
        region=wanted.region,
    )


async def _trails(patient: Patient, account: Account, region: str) -> Sequence[Sign]:
    wanted = [
        one for one in patient.deployment.rules if one.region == region and one.bus == DEFAULT_BUS
    ]
    rules = [await account.rule(region, one.bus, one.name) for one in wanted]
    if not any(rule and CLOUDTRAIL in rule.pattern for rule in rules):
        return []
    reads = any(one.all_events for one in wanted)
    trails = await account.trails(region)
    if any(_serves(one, reads=reads) for one in trails if one.is_logging):
        return []
    kinds = "management events, read-only ones included," if reads else "management events"
    return [
        Sign(
            "wrong",
            f"no trail that is switched on takes {kinds} of this Region",
            "EventBridge gets CloudTrail's events only where a trail takes them: no cross-check "
            "of calls, no news of agents, users and keys",
            _mend_trail(patient, trails, region, reads=reads),
        )
    ]


def _serves(trail: Trail, *, reads: bool) -> bool:
    return trail.writes and (trail.reads or not reads)


def _mend_trail(patient: Patient, trails: Sequence[Trail], region: str, *, reads: bool) -> str:
    for trail in trails:
        if _serves(trail, reads=reads):
            return aws("cloudtrail start-logging", name=trail.arn, region=_home(trail))
    for trail in trails:
        if trail.is_logging:
            selectors = '[{"ReadWriteType":"All","IncludeManagementEvents":true}]'
            return aws(
                "cloudtrail put-event-selectors",
                trail_name=trail.arn,
                event_selectors=selectors,
                region=_home(trail),
            )
    name = patient.deployment.name
    bucket = f"{name}-trail-{patient.deployment.account}-{region}"
    make = aws("cloudtrail create-subscription", name=name, s3_new_bucket=bucket, region=region)
    return f"{make}  # or switch on the trail of your organisation"


def _home(trail: Trail) -> str:
    return trail.arn.split(":")[3]


async def _bus(patient: Patient, account: Account) -> Sequence[Sign]:
    name = patient.deployment.bus
    if await account.bus(name):
        return []
    why = "nothing is announced: no grace period begins, nobody is suspended, nobody hears of it"
    by_hand = aws("events create-event-bus", name=name, region=patient.deployment.region)
    mend = patient.redeploy if patient.is_deployed else by_hand
    return [Sign("wrong", "there is no such bus", why, mend)]
