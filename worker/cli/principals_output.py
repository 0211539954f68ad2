"""Principals as documents and as tables."""

from __future__ import annotations

from typing import Any

import msgspec

from worker.cli.budgets_output import standing_document
from worker.cli.money import MoneyColumn, show_usd
from worker.cli.output import KeyCell, cells, console, count, printable, quantity, table
from worker.cli.principals_map import Mapped
from worker.cli.principals_work import Known, Shown
from worker.core.enforcement import Hold
from worker.core.events import iso_day
from worker.core.ledger import Amounts
from worker.core.money import format_pico_usd
from worker.core.registry import Registry
from worker.core.report import iso_time
from worker.ports import Notice


class _Message(msgspec.Struct):
    message: str = ""


def known_document(known: Known) -> dict[str, Any]:
    """Return a principal as it is listed."""
    return {
        "principal": known.principal,
        "spent_usd": format_pico_usd(known.month.cost_pico_usd),
        "calls": known.month.calls,
        "state": known.state or None,
        "tier": known.tier or None,
        "tags": known.tags,
        "budgets": [one.budget.name for one in known.standings],
        "holds": [hold.budget for hold in known.suspension.holds],
        "needs_person": known.suspension.needs_person,
        "deleted": known.is_deleted,
    }


def shown_document(shown: Shown, registry: Registry) -> dict[str, Any]:
    """Return everything about a principal."""
    known, suspension = shown.known, shown.known.suspension
    return known_document(known) | {
        "total_usd": format_pico_usd(shown.total.cost_pico_usd),
        "total_calls": shown.total.calls,
        "incarnations": _lives(known),
        "agent_roles": _roles(known),
        "keys": _keys(shown),
        "provisioned": None if shown.provision is None else shown.provision.state,
        "budgets": [_budget(one, registry) for one in known.standings],
        "holds": [_hold(hold) for hold in suspension.holds],
        "suspension": {
            "phase": suspension.phase,
            "id": suspension.suspension_id or None,
            "mode": suspension.mode,
            "since": iso_time(suspension.phase_at_ms or None),
            "why": suspension.why,
            "by": suspension.by,
            "attempts": suspension.attempts,
            "failure": suspension.failure or None,
            "needs_person": suspension.needs_person,
            "next_look": iso_time(suspension.due_at_ms or None),
            "count": suspension.number,
        },
        "waived": [
            {"budget": one.budget, "first_day": iso_day(one.first_day), "revision": one.revision}
            for one in suspension.waived
        ],
        "notices": [_notice(one) for one in shown.notices],
        "audit": [
            {
                "number": entry.number,
                "at": iso_time(entry.at_ms),
                "act": entry.act,
                "by": entry.details.actor,
                "why": entry.details.why,
            }
            for entry in shown.audit
        ],
    }


def mapped_document(mapped: Mapped) -> dict[str, Any]:
    """Return what came of `principals map`."""
    return {
        "result": mapped.result,
        "agent": mapped.agent,
        "role_arn": mapped.role_arn,
        "in_effect": [
            {"from": iso_time(period.from_ms), "to": iso_time(period.to_ms)}
            for period in mapped.periods
        ],
        "ambiguous_with": mapped.ambiguous_with,
        "calls": mapped.moved.calls,
        "usd": format_pico_usd(mapped.moved.cost_pico_usd),
    }


# --- For people -------------------------------------------------------------------------------


def print_listed(listed: list[Known]) -> None:
    """Show the principals in a table."""
    out = console()
    if not listed:
        out.print("nobody spent anything this month, and nobody has a budget")
        return
    money = MoneyColumn(one.month.cost_pico_usd for one in listed)
    names = ("principal", "this month", "calls", "state", "holds", "tier", "tags")
    columns = table(names, right=("this month", "calls"), key="principal")
    for one in listed:
        state = one.state or "-"
        if one.suspension.needs_person:
            state += ", needs a person"
        if one.is_deleted:
            state += ", deleted"
        values = (
            money.show(one.month.cost_pico_usd),
            count(one.month.calls),
            state,
            ", ".join(hold.budget for hold in one.suspension.holds) or "-",
            one.tier or "-",
            " ".join(f"{key}={value}" for key, value in sorted(one.tags.items())) or "-",
        )
        columns.add_row(KeyCell(one.principal), *cells(*values))
    out.print(columns)
    held = sum(bool(one.suspension.holds) for one in listed)
    persons = sum(one.suspension.needs_person for one in listed)
    ending = f", {held} held" * bool(held) + f", {persons} in need of a person" * bool(persons)
    out.print(f"{quantity(len(listed), 'principal')}{ending}")


def print_shown(shown: Shown, registry: Registry) -> None:
    """Show everything about a principal, line by line."""
    document = shown_document(shown, registry)
    known, suspension = shown.known, shown.known.suspension
    _line("principal", known.principal + (" (deleted)" if known.is_deleted else ""))
    _line("spent", f"{_spent(known.month)} this month, {_spent(shown.total)} ever")
    _line("state", known.state or "no budget, no hold")
    if known.tier or known.tags:
        tags = " ".join(f"{key}={value}" for key, value in sorted(known.tags.items()))
        _line("tier", f"{known.tier or 'none'}; tags {tags or 'none'}")
    for one in document["incarnations"]:
        _line("was" if one["to"] else "is", _period(one["principal"], one))
    for one in document["agent_roles"]:
        _line("role", _period(", ".join(one["role_arns"]), one))
    for one in document["keys"]:
        made = "made by ledgerock keys" if one["provisioned"] else f"made by {one['made_by']}"
        _line("key", f"{one['id']} ({one['service'] or 'access key'}), {one['status']}, {made}")
    for one in document["budgets"]:
        deadline = f", suspended at {one['deadline']}" if one["deadline"] else ""
        spent = f"{one['spent']} of {one['limit']} {one['unit']} ({one['percent']} %)"
        _line("budget", f"{one['name']}: {spent}, {one['period']}, {one['state']}{deadline}")
    for hold in suspension.holds:
        _line("hold", f"{hold.budget}: {hold.reason} (by {hold.by}, {iso_time(hold.since_ms)})")
    if suspension.phase != "clear" or suspension.failure:
        failed = f"; failed {suspension.attempts} times: {suspension.failure}"
        person = "; a person has to act" * suspension.needs_person
        since = f"{suspension.phase} since {iso_time(suspension.phase_at_ms)}"
        _line("suspension", since + failed * bool(suspension.failure) + person)
    for one in document["notices"]:
        _line("told", f"{one['recorded_at']} {one['type']}: {one['message']}")
    for one in document["audit"]:
        _line("done", f"{one['at']} {one['act']} (by {one['by']}) {one['why']}")


def print_mapped(mapped: Mapped) -> None:
    """Say what came of `principals map`."""
    out = console()
    verb = "is mapped to" if mapped.result == "mapped" else "was mapped already to"
    out.print(printable(f"{mapped.role_arn} {verb} {mapped.agent}"), soft_wrap=True)
    for period in mapped.periods:
        ends = iso_time(period.to_ms) or "further notice"
        out.print(f"from {iso_time(period.from_ms) or 'ever'} until {ends}")
    if mapped.ambiguous_with:
        others = ", ".join(mapped.ambiguous_with)
        out.print(
            printable(
                f"this role also serves {others}: nothing is split by guess, its calls stay with "
                "the role while that is so"
            ),
            soft_wrap=True,
        )
    moved = quantity(mapped.moved.calls, "call")
    out.print(f"{moved} moved to the agent, {show_usd(mapped.moved.cost_pico_usd)}")


def _line(word: str, text: str) -> None:
    console().print(printable(f"{word + ':':<12}{text}"), soft_wrap=True)


def _spent(amounts: Amounts) -> str:
    return f"{show_usd(amounts.cost_pico_usd)} in {quantity(amounts.calls, 'call')}"


def _period(what: str, document: dict[str, Any]) -> str:
    return f"{what} from {document['from'] or 'ever'} until {document['to'] or 'now'}"


# --- Parts ------------------------------------------------------------------------------------


def _lives(known: Known) -> list[dict[str, Any]]:
    lives = () if known.view is None else known.view.lives
    return [
        {
            "principal": life.principal,
            "unique_id": life.unique_id or None,
            "from": iso_time(life.from_ms),
            "to": iso_time(life.to_ms),
            "created_by": life.created_by or None,
        }
        for life in lives
    ]


def _roles(known: Known) -> list[dict[str, Any]]:
    roles = () if known.view is None else known.view.roles
    return [
        {
            "role_arns": list(arns),
            "from": iso_time(period.from_ms),
            "to": iso_time(period.to_ms),
        }
        for arns, period in roles
    ]


def _keys(shown: Shown) -> list[dict[str, Any]]:
    view = shown.known.view
    keys = () if view is None or not shown.known.is_present else view.keys
    return [
        {
            "id": key.id,
            "service": key.service or None,
            "status": "deleted" if not key.is_live else "active" if key.is_active else "inactive",
            "made_at": iso_time(key.made_at_ms),
            "made_by": key.made_by or None,
            "provisioned": key.id in shown.keys.key_ids,
        }
        for key in keys
    ]


def _budget(standing: Any, registry: Registry) -> dict[str, Any]:  # noqa: ANN401
    document = standing_document(standing, registry)
    return document | {"deadline": iso_time(standing.deadline_ms or None)}


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        "budget": hold.budget,
        "first_day": iso_day(hold.first_day) if hold.first_day else None,
        "revision": hold.revision,
        "since": iso_time(hold.since_ms),
        "until": iso_time(hold.end_ms or None),
        "by": hold.by,
        "reason": hold.reason,
    }


def _notice(notice: Notice) -> dict[str, Any]:
    try:
        text = msgspec.json.decode(notice.detail, type=_Message).message
    except msgspec.DecodeError:
        text = ""
    return {
        "id": notice.id,
        "type": notice.detail_type,
        "state": notice.state,
        "recorded_at": iso_time(notice.recorded_at_ms),
        "message": text,
    }
