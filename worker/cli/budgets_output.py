"""Budgets as documents and as tables."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker.cli.budgets_set import Done
from worker.cli.budgets_work import Shown
from worker.cli.money import MoneyColumn, show_usd
from worker.cli.output import KeyCell, bar, cells, console, printable, quantity, table
from worker.core.budget_standing import Standing
from worker.core.budget_terms import (
    Budget,
    BudgetUnit,
    amount_text,
    is_rolling,
    limit_text,
    period_days,
)
from worker.core.budget_texts import seconds_text
from worker.core.events import BUDGET_THRESHOLD_CROSSED, iso_day, percent_of
from worker.core.registry import Registry
from worker.core.report import iso_time
from worker.ports import Notice

STATE_STYLES: Final = {
    "warning": "yellow",
    "critical": "red",
    "exceeded": "bold red",
    "grace_period": "bold red",
    "suspended": "bold red",
}


class CrossingFacts(msgspec.Struct):
    """What is shown of a crossing's detail."""

    threshold: int = 0
    level: str = ""
    spent_usd: str = ""
    spent: str = ""
    unit: BudgetUnit = "usd"
    percent: str = ""
    period: dict[str, str] = {}
    budget: dict[str, Any] = {}


def budget_document(budget: Budget) -> dict[str, Any]:
    """Return a budget as `--json` prints it."""
    has_anchor = period_days(budget.period) is not None and not is_rolling(budget.period)
    return {
        "name": budget.name,
        "scope": str(budget.scope),
        "limit_usd": _usd(budget.limit_amount, budget),
        "limit": limit_text(budget),
        "unit": budget.unit,
        "action": budget.action,
        "grace_seconds": budget.grace_seconds,
        "forecast": budget.forecast,
        "origin": budget.origin or None,
        "period": budget.period,
        "anchor": iso_day(budget.anchor_day) if has_anchor else None,
        "thresholds": list(budget.thresholds),
        "revision": budget.revision,
        "created_at": iso_time(budget.created_at_ms),
        "removed": budget.is_removed,
    }


def standing_document(standing: Standing, registry: Registry) -> dict[str, Any]:
    """Return a budget with its current period."""
    return budget_document(standing.budget) | _current_document(standing, registry)


def _current_document(standing: Standing, registry: Registry) -> dict[str, Any]:
    budget, period = standing.budget, standing.period
    return {
        "first_day": iso_day(period.first_day),
        "last_day": iso_day(period.last_day),
        "start": iso_time(period.start_ms),
        "end": iso_time(period.end_ms),
        "time_zone": _zone_name(budget, registry),
        "spent_usd": _usd(standing.spent_amount, budget),
        "spent": amount_text(standing.spent_amount, budget.unit),
        "percent": percent_of(standing.spent_amount, budget.limit_amount),
        "state": standing.state,
        "deadline": iso_time(standing.deadline_ms or None),
    }


def _zone_name(budget: Budget, registry: Registry) -> str:
    zone = registry.zone(budget.scope.kind, budget.scope.id)
    return "UTC" if zone is None else str(zone)


def set_document(done: Done, registry: Registry) -> dict[str, Any]:
    """Return what came of `budgets set`."""
    return {
        "result": done.result,
        "budget": standing_document(done.standing, registry),
        "crossings": [notice_document(one) for one in done.crossings],
    }


def shown_document(shown: Shown, registry: Registry) -> dict[str, Any]:
    """Return a budget with everything that was told of it."""
    current = {} if shown.standing is None else _current_document(shown.standing, registry)
    crossings = [notice_document(one) for one in _crossings(shown.notices)]
    return budget_document(shown.budget) | current | {"crossings": crossings}


def notice_document(notice: Notice) -> dict[str, Any]:
    """Return a crossing as it was written down."""
    facts = _facts(notice)
    return {
        "event_id": notice.id,
        "revision": facts.budget.get("revision"),
        "first_day": facts.period.get("first_day"),
        "threshold": facts.threshold,
        "level": facts.level,
        "spent_usd": facts.spent_usd or None,
        "spent": facts.spent or facts.spent_usd,
        "unit": facts.unit,
        "state": notice.state,
        "recorded_at": iso_time(notice.recorded_at_ms),
        "announced_at": iso_time(notice.announced_at_ms or None),
    }


def print_set(done: Done, registry: Registry, options: str) -> None:
    """Say what came of `budgets set`."""
    out = console()
    budget = done.standing.budget
    result = {"created": "set", "changed": "changed", "unchanged": "as it was"}[done.result]
    follows = "" if budget.action == "notify" else f"; at the limit {_action(budget)}"
    out.print(
        printable(
            f"{budget.name} is {result}: {budget.scope} may spend "
            f"{show_amount(budget.limit_amount, budget.unit)}, {budget.period}"
            f"{follows}; thresholds {', '.join(f'{one} %' for one in budget.thresholds)}"
        ),
        soft_wrap=True,
    )
    out.print(f"spent {_spent(done.standing, registry)}")
    for notice in done.crossings:
        facts = _facts(notice)
        out.print(f"* {facts.threshold} % is crossed ({facts.level}); {_told(notice)}")
    name = printable(budget.name)
    out.print(f"next: `ledgerock budgets show {name}{options}`", soft_wrap=True)


def print_standings(standings: list[Standing], options: str) -> None:
    """Print how budgets stand, as a table."""
    from rich.text import Text

    out = console()
    if not standings:
        out.print(
            f"there are no budgets; `ledgerock budgets set NAME --scope KIND/ID --limit USD"
            f"{options}` makes one",
            soft_wrap=True,
        )
        return
    in_usd = [one for one in standings if one.budget.unit == "usd"]
    limits = MoneyColumn(one.budget.limit_amount for one in in_usd)
    spends = MoneyColumn(one.spent_amount for one in in_usd)
    columns = table(
        ("budget", "scope", "period", "limit", "spent", "per cent", "", "state"),
        right=("limit", "spent", "per cent"),
        key="scope",
    )
    for one in standings:
        budget = one.budget
        columns.add_row(
            *cells(budget.name),
            KeyCell(str(budget.scope)),
            *cells(
                _period(one),
                _shown(budget.limit_amount, budget.unit, limits),
                _shown(one.spent_amount, budget.unit, spends),
                _percent(one),
                bar(one.spent_amount, budget.limit_amount),
            ),
            Text(_state(one), style=STATE_STYLES.get(one.state, "")),
        )
    out.print(columns)
    out.print()
    over = sum(one.state in {"exceeded", "grace_period", "suspended"} for one in standings)
    out.print(f"{quantity(len(standings), 'budget')}, {over:,} exceeded")


def print_shown(shown: Shown, registry: Registry) -> None:
    """Print one budget with what was told of it."""
    out = console()
    budget = shown.budget
    lines = {
        "budget": f"{budget.name}, revision {budget.revision}",
        "scope": str(budget.scope),
        "limit": f"{show_amount(budget.limit_amount, budget.unit)} {budget.period}",
        "action": _action(budget),
        "thresholds": ", ".join(f"{one} %" for one in budget.thresholds),
        "since": str(iso_time(budget.created_at_ms)),
    }
    if period_days(budget.period) is not None and not is_rolling(budget.period):
        lines["anchor"] = iso_day(budget.anchor_day)
    if shown.standing is None:
        lines["state"] = "removed"
    else:
        lines["spent"] = _spent(shown.standing, registry)
        lines["state"] = _state(shown.standing)
    for name, text in lines.items():
        out.print(f"{name + ':':<12}{printable(text)}", soft_wrap=True)
    crossings = _crossings(shown.notices)
    out.print()
    if not crossings:
        out.print("no threshold was ever crossed")
        return
    columns = table(("crossed", "level", "spent", "period from", "found", "state"))
    for notice in crossings:
        facts = _facts(notice)
        columns.add_row(
            *cells(
                f"{facts.threshold} %",
                facts.level,
                f"${facts.spent_usd}" if facts.spent_usd else f"{facts.spent} {facts.unit}",
                facts.period.get("first_day", ""),
                str(iso_time(notice.recorded_at_ms)),
                _told(notice),
            )
        )
    out.print(columns)


def _spent(standing: Standing, registry: Registry) -> str:
    budget, period = standing.budget, standing.period
    days = f"from {iso_day(period.first_day)} to {iso_day(period.last_day)}"
    if period.first_day == period.last_day:
        days = f"on {iso_day(period.first_day)}"
    return (
        f"{show_amount(standing.spent_amount, budget.unit)} of "
        f"{show_amount(budget.limit_amount, budget.unit)} "
        f"({_percent(standing)}) {days}, {_zone_name(budget, registry)}"
    )


def _percent(standing: Standing) -> str:
    """Return per cents with at most one decimal, cut: 100 % is never shown too early."""
    percent = percent_of(standing.spent_amount, standing.budget.limit_amount)
    whole, _, decimals = percent.partition(".")
    return f"{whole}.{decimals[:1]}%" if decimals else f"{whole}%"


def _usd(amount: int, budget: Budget) -> str | None:
    return amount_text(amount, "usd") if budget.unit == "usd" else None


def show_amount(amount: int, unit: BudgetUnit) -> str:
    """Return an amount for people's eyes, in full."""
    return show_usd(amount) if unit == "usd" else f"{amount:,} {unit}"


def _shown(amount: int, unit: BudgetUnit, column: MoneyColumn) -> str:
    return column.show(amount) if unit == "usd" else show_amount(amount, unit)


def _state(standing: Standing) -> str:
    deadline_ms = standing.deadline_ms
    text = standing.state.replace("_", " ")
    return f"{text} until {iso_time(deadline_ms)}" if deadline_ms else text


def _action(budget: Budget) -> str:
    if budget.action == "notify":
        return "notify"
    grace = seconds_text(budget.grace_seconds)
    return f"suspend, {grace} after that is told" if budget.grace_seconds else "suspend"


def _period(standing: Standing) -> str:
    return f"{standing.budget.period} from {iso_day(standing.period.first_day)}"


def _told(notice: Notice) -> str:
    if notice.state == "announced":
        return f"announced {iso_time(notice.announced_at_ms)}"
    return "late: its period was over" if notice.state == "late" else notice.state


def _crossings(notices: list[Notice]) -> list[Notice]:
    return [one for one in notices if one.detail_type == BUDGET_THRESHOLD_CROSSED]


def _facts(notice: Notice) -> CrossingFacts:
    return msgspec.json.decode(notice.detail, type=CrossingFacts)
