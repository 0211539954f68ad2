"""Tiers: which budgets a principal is given by itself, and what makes it matter. Pure.

A tier is a set of budgets. A principal that matters gets those of the tier that its tag names,
else of the default tier of its kind.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final
from urllib.parse import unquote

import msgspec

from worker.core.budget_terms import (
    THRESHOLDS_DEFAULT,
    Budget,
    BudgetAction,
    BudgetUnit,
    Scope,
)
from worker.core.directory_views import TEAM_TAG, View
from worker.core.registry import plain_id

TIER_TAG: Final = "ledgerock:tier"
NO_TIER: Final = "none"
"""Value of the tier tag that asks for no budget at all."""
ORIGIN: Final = "tier/"
CAP: Final = "cap"

ON: Final = ("credential", "access_key", "tag", "policy", "agent", "first_use", "every_user")
"""What may make a principal matter."""
ON_DEFAULT: Final = frozenset({"credential", "tag", "policy", "agent"})
KINDS: Final = ("user", "role", "session", "agent", "unprovisioned_key")
"""Kinds that have a default tier."""

GRACE_SECONDS_DEFAULT: Final = 300
ANCHOR_DAY: Final = 4
"""Monday, 5 January 1970: where periods of N days begin unless a tier says otherwise."""
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._]+", re.ASCII)
_SLUG_LENGTH_MAX: Final = 25
_DIGEST_BYTES: Final = 5


class TierBudget(msgspec.Struct, frozen=True):
    """A budget that every principal of a tier gets; see `Budget` for what its values mean.

    Attributes:
        label: Tells the budgets of a tier apart; part of their names.
    """

    label: str
    limit_amount: int
    unit: BudgetUnit = "usd"
    period: str = "monthly"
    anchor_day: int = 0
    thresholds: tuple[int, ...] = THRESHOLDS_DEFAULT
    action: BudgetAction = "suspend"
    grace_seconds: int = GRACE_SECONDS_DEFAULT
    forecast: bool = False

    def budget(self, name: str, scope: Scope, origin: str) -> Budget:
        """Return it as a principal's budget, first revision."""
        return Budget(
            name=name,
            scope=scope,
            limit_amount=self.limit_amount,
            period=self.period,
            anchor_day=self.anchor_day,
            thresholds=self.thresholds,
            unit=self.unit,
            action=self.action,
            grace_seconds=self.grace_seconds,
            forecast=self.forecast,
            origin=origin,
        )


class Tiers(msgspec.Struct, frozen=True):
    """Which budgets principals are given.

    Attributes:
        tiers: Budgets by tier.
        defaults: The tier of principals without a tag, by kind (`KINDS`); none for those absent.
        on: What makes a principal matter (`ON`).
        tier_tag: The tag that names a principal's tier.
        team_tag: The tag that names its team.
        cap: Budgets on everything together; they only notify.
    """

    tiers: dict[str, tuple[TierBudget, ...]] = {}
    defaults: dict[str, str] = {}
    on: frozenset[str] = ON_DEFAULT
    tier_tag: str = TIER_TAG
    team_tag: str = TEAM_TAG
    cap: tuple[TierBudget, ...] = ()

    @property
    def labels(self) -> frozenset[str]:
        """Labels of all budgets that any tier gives."""
        return frozenset(one.label for budgets in self.tiers.values() for one in budgets)


NO_TIERS: Final = Tiers()


# --- Who gets what ----------------------------------------------------------------------------


def tier_of(
    view: View, tiers: Tiers, *, is_given: bool = False, has_found_key: bool = False
) -> str:
    """Return the tier whose budgets a principal is to have; empty for none.

    Args:
        view: What is known of it.
        tiers: The operator's.
        is_given: It has budgets of a tier, or spent: then it matters as long as it lives.
        has_found_key: A key of its was not made through provisioning.
    """
    if not view.last.is_alive:
        return ""
    tag = view.tags.get(tiers.tier_tag, "") if "tag" in tiers.on else ""
    if tag == NO_TIER:
        return ""
    if tag in tiers.tiers:
        return tag
    if not (tag or is_given or has_found_key or _matters(view, tiers.on)):
        return ""
    kind = view.id.partition("/")[0]
    if has_found_key and (found := tiers.defaults.get("unprovisioned_key", "")):
        return found
    return tiers.defaults.get(kind, "")


def _matters(view: View, on: frozenset[str]) -> bool:
    """Whether anything that is known of a principal makes it matter."""
    keys = [key for key in view.keys if key.is_live]
    return (
        ("credential" in on and any(key.is_bedrock for key in keys))
        or ("access_key" in on and bool(keys))
        or ("policy" in on and view.mentions_bedrock)
        or ("agent" in on and view.is_registered and view.id.startswith("agent/"))
        or ("every_user" in on and view.id.startswith("user/"))
    )


def scope_of(principal: str) -> Scope:
    """Return the scope of a principal's own budgets."""
    return Scope("agent" if principal.startswith("agent/") else "principal", principal)


def budget_name(principal: str, label: str) -> str:
    """Return the name of the budget that a tier gives to a principal: readable, and its own.

    It is the same whatever the tier, so that another tier is another revision.
    """
    kind = principal.partition("/")[0]
    named = plain_id(principal).rpartition("/")[2]
    slug = _NOT_IN_A_NAME.sub("-", unquote(named))[:_SLUG_LENGTH_MAX].strip("-")
    content = f"{principal}\n{label}".encode("utf-8", "surrogatepass")
    digest = blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()
    return "-".join(part for part in (kind, slug, label, digest) if part)


def budgets_of(tiers: Tiers, tier: str, principal: str) -> dict[str, Budget]:
    """Return the budgets that a tier gives to a principal, by label."""
    scope = scope_of(principal)
    return {
        one.label: one.budget(budget_name(principal, one.label), scope, f"{ORIGIN}{tier}")
        for one in tiers.tiers.get(tier, ())
    }


def cap_budgets(tiers: Tiers) -> list[Budget]:
    """Return the budgets on everything together."""
    everything = Scope("everything")
    return [one.budget(f"{CAP}-{one.label}", everything, f"{ORIGIN}{CAP}") for one in tiers.cap]
