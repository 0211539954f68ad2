"""Reading tiers from tables of native values (TOML) or of texts (parameters). Pure.

`docs/tiers.md` says what each key means; a file and a tree of parameters have the same keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Final, NoReturn, TypeVar

from worker.core.budget_terms import (
    AMOUNT_MAX,
    BUDGET_UNITS,
    LIMIT_USD_MAX,
    ROLLING,
    THRESHOLDS_DEFAULT,
    BudgetAction,
    BudgetUnit,
    Scope,
    check_budget,
    period_days,
)
from worker.core.directory_views import TEAM_TAG
from worker.core.errors import ConfigurationError
from worker.core.money import PICO_PER_USD
from worker.core.tiers import (
    ANCHOR_DAY,
    CAP,
    GRACE_SECONDS_DEFAULT,
    KINDS,
    NO_TIER,
    ON,
    ON_DEFAULT,
    TIER_TAG,
    TierBudget,
    Tiers,
)

BUDGETS_MAX: Final = 10
"""Of one tier."""
TIERS_MAX: Final = 100

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,15}", re.ASCII)
_TAG_LENGTH_MAX: Final = 128
_FOUND_LENGTH_MAX: Final = 120
_EPOCH: Final = date(1970, 1, 1)
_BUDGET_KEYS: Final = (
    "limit",
    "unit",
    "period",
    "anchor",
    "thresholds",
    "action",
    "grace_seconds",
    "forecast",
)
_KEYS: Final = ("on", "tags", "defaults", "tiers", CAP)

_Word = TypeVar("_Word", bound=str)
Place = Callable[[tuple[str, ...]], str]
"""Says where a key stands: `tiers FILE: tiers.standard`, `parameter /ledgerock/tiers/standard`."""


def read_tiers(document: Mapping[str, object], place: Place) -> Tiers:
    """Read tiers from tables of native values (TOML) or of texts (parameters).

    Raises:
        ConfigurationError: Says which key, what is expected and what was found.
    """
    reader = _Reader(place)
    reader.known(document, (), _KEYS)
    tags = reader.table(document, ("tags",))
    reader.known(tags, ("tags",), ("tier", "team"))
    named = reader.table(document, ("tiers",))
    if len(named) > TIERS_MAX:
        reader.fail(("tiers",), f"at most {TIERS_MAX} tiers", len(named))
    tiers = {name: reader.tier(named, name) for name in named}
    on = reader.words(document, ("on",), ON_DEFAULT, ON)
    cap = reader.budgets(document, (CAP,), is_cap=True)
    return Tiers(
        tiers=tiers,
        defaults=reader.defaults(document, tiers),
        on=on,
        tier_tag=reader.tag(tags, "tier", TIER_TAG),
        team_tag=reader.tag(tags, "team", TEAM_TAG),
        cap=cap,
    )


class _Reader:
    """Reads checked values; every complaint says where."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def fail(self, keys: tuple[str, ...], expected: str, found: object) -> NoReturn:
        shown = "nothing" if found is None else repr(found)
        if len(shown) > _FOUND_LENGTH_MAX:
            shown = f"{shown[:_FOUND_LENGTH_MAX]}..."
        raise ConfigurationError(f"{self._place(keys)}: expected {expected}, found {shown}")

    def known(
        self, table: Mapping[str, object], keys: tuple[str, ...], allowed: tuple[str, ...]
    ) -> None:
        for key in table:
            if key not in allowed:
                self.fail((*keys, key), f"one of the keys {', '.join(allowed)}", key)

    def table(self, parent: Mapping[str, object], keys: tuple[str, ...]) -> Mapping[str, object]:
        found = parent.get(keys[-1], {})
        if not isinstance(found, Mapping):
            self.fail(keys, "a table", found)
        return found

    def words(
        self,
        parent: Mapping[str, object],
        keys: tuple[str, ...],
        default: frozenset[str],
        allowed: tuple[str, ...],
    ) -> frozenset[str]:
        found = parent.get(keys[-1])
        if found is None:
            return default
        words = found if isinstance(found, list) else _parts(found)
        if words is None or any(word not in allowed for word in words):
            self.fail(keys, f"a list of some of {', '.join(allowed)}", found)
        return frozenset(str(word) for word in words)

    def tag(self, tags: Mapping[str, object], key: str, default: str) -> str:
        found = tags.get(key, default)
        is_good = isinstance(found, str) and 0 < len(found) <= _TAG_LENGTH_MAX
        if not isinstance(found, str) or not is_good or found != found.strip():
            self.fail(("tags", key), f"a tag's name of at most {_TAG_LENGTH_MAX}", found)
        return found

    def defaults(
        self, document: Mapping[str, object], tiers: Mapping[str, object]
    ) -> dict[str, str]:
        found = self.table(document, ("defaults",))
        self.known(found, ("defaults",), KINDS)
        defaults: dict[str, str] = {}
        for kind, tier in found.items():
            if tier == NO_TIER:
                continue
            if not isinstance(tier, str) or tier not in tiers:
                names = ", ".join(sorted(tiers)) or "none is defined"
                self.fail(("defaults", kind), f"{NO_TIER}, or one of the tiers {names}", tier)
            defaults[kind] = tier
        return defaults

    def tier(self, tiers: Mapping[str, object], name: str) -> tuple[TierBudget, ...]:
        keys = ("tiers", name)
        if not _NAME.fullmatch(name) or name in {NO_TIER, CAP}:
            self.fail(keys, f"a name of 1 to 32 letters, digits, - and _, not {NO_TIER}", name)
        table = self.table(tiers, keys)
        self.known(table, keys, ("budgets",))
        return self.budgets(table, (*keys, "budgets"))

    def budgets(
        self, parent: Mapping[str, object], keys: tuple[str, ...], *, is_cap: bool = False
    ) -> tuple[TierBudget, ...]:
        found = self.table(parent, keys)
        if len(found) > BUDGETS_MAX:
            self.fail(keys, f"at most {BUDGETS_MAX} budgets", len(found))
        budgets = []
        for label in sorted(found):
            if not _LABEL.fullmatch(label):
                self.fail((*keys, label), "a label of 1 to 16 of a-z, 0-9 and -", label)
            table = self.table(found, (*keys, label))
            budgets.append(self._budget(table, (*keys, label), is_cap=is_cap))
        return tuple(budgets)

    def _budget(
        self, table: Mapping[str, object], keys: tuple[str, ...], *, is_cap: bool
    ) -> TierBudget:
        self.known(table, keys, _BUDGET_KEYS)
        unit = self._one_of(table, (*keys, "unit"), BUDGET_UNITS, "usd")
        period = self._text(table, (*keys, "period"), "monthly")
        only_notifies = is_cap or period.startswith(ROLLING)
        default: BudgetAction = "notify" if only_notifies else "suspend"
        action = self._one_of(table, (*keys, "action"), ("notify", "suspend"), default)
        if is_cap and action == "suspend":
            self.fail((*keys, "action"), "notify: a cap on everything suspends nobody", action)
        suspends = action == "suspend"
        budget = TierBudget(
            label=keys[-1],
            limit_amount=self._limit(table, (*keys, "limit"), unit),
            unit=unit,
            period=period,
            anchor_day=self._anchor(table, (*keys, "anchor"), period),
            thresholds=self._thresholds(table, (*keys, "thresholds")),
            action=action,
            grace_seconds=self._whole(
                table, (*keys, "grace_seconds"), GRACE_SECONDS_DEFAULT if suspends else 0
            ),
            forecast=self._flag(table, (*keys, "forecast")),
        )
        scope = Scope("everything") if is_cap else Scope("principal", "user/000000000000/x")
        try:
            check_budget(budget.budget(keys[-1], scope, ""))
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._place(keys)}: {error}") from error
        return budget

    def _text(self, table: Mapping[str, object], keys: tuple[str, ...], default: str) -> str:
        found = table.get(keys[-1], default)
        if not isinstance(found, str):
            self.fail(keys, "a text", found)
        return found.strip()

    def _one_of(
        self,
        table: Mapping[str, object],
        keys: tuple[str, ...],
        allowed: tuple[_Word, ...],
        default: _Word,
    ) -> _Word:
        found = self._text(table, keys, default)
        for one in allowed:
            if one == found:
                return one
        return self.fail(keys, f"one of {', '.join(allowed)}", found)

    def _limit(self, table: Mapping[str, object], keys: tuple[str, ...], unit: BudgetUnit) -> int:
        """Read an amount exactly; a number with a point is no exact one, so it is a text."""
        found = table.get(keys[-1])
        is_usd = unit == "usd"
        expected = (
            'an amount of USD, a whole number or a text such as "49.50"'
            if is_usd
            else f"a whole number of {unit}"
        )
        if isinstance(found, bool) or not isinstance(found, int | str):
            self.fail(keys, expected, found)
        try:
            amount = Decimal(str(found).strip())
        except InvalidOperation:
            self.fail(keys, expected, found)
        largest = LIMIT_USD_MAX if is_usd else AMOUNT_MAX
        if not amount.is_finite() or not 0 < amount <= largest:
            self.fail(keys, f"{expected}, more than 0 and at most {largest}", found)
        scaled = amount * (PICO_PER_USD if is_usd else 1)
        if scaled != int(scaled):
            self.fail(keys, "at most 12 decimals" if is_usd else expected, found)
        return int(scaled)

    def _whole(self, table: Mapping[str, object], keys: tuple[str, ...], default: int) -> int:
        found = table.get(keys[-1], default)
        if isinstance(found, str) and found.strip().isdecimal() and len(found) < 20:  # noqa: PLR2004
            return int(found)
        if isinstance(found, bool) or not isinstance(found, int):
            self.fail(keys, "a whole number", found)
        return found

    def _flag(self, table: Mapping[str, object], keys: tuple[str, ...]) -> bool:
        found = table.get(keys[-1], False)
        if isinstance(found, str) and found.strip().lower() in {"true", "false"}:
            return found.strip().lower() == "true"
        if not isinstance(found, bool):
            self.fail(keys, "true or false", found)
        return found

    def _thresholds(self, table: Mapping[str, object], keys: tuple[str, ...]) -> tuple[int, ...]:
        found = table.get(keys[-1])
        if found is None:
            return THRESHOLDS_DEFAULT
        parts = found if isinstance(found, list) else _parts(found)
        if parts is None:
            self.fail(keys, "a list of per cents, such as [70, 90, 100]", found)
        texts = [str(part).strip() for part in parts if not isinstance(part, bool)]
        if len(texts) != len(parts) or not all(
            text.isdecimal() and len(text) < 10  # noqa: PLR2004
            for text in texts
        ):
            self.fail(keys, "whole per cents, such as [70, 90, 100]", found)
        return tuple(int(text) for text in texts)

    def _anchor(self, table: Mapping[str, object], keys: tuple[str, ...], period: str) -> int:
        found = table.get(keys[-1])
        is_counted = period_days(period) is not None and not period.startswith(ROLLING)
        if found is None:
            return ANCHOR_DAY if is_counted else 0
        try:
            day = found if isinstance(found, date) else date.fromisoformat(str(found).strip())
        except ValueError:
            self.fail(keys, "a date such as 2026-01-05", found)
        if not is_counted:
            self.fail(keys, "no anchor but with an N-day period", found)
        return (date(day.year, day.month, day.day) - _EPOCH).days


def _parts(found: object) -> list[str] | None:
    """Split a list that is written as a text."""
    if not isinstance(found, str):
        return None
    return [part.strip() for part in found.split(",") if part.strip()]
