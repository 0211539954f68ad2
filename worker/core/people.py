"""What people are told of an event: who hears of what, the subject line, the text, Slack's blocks.

Events say most of it themselves: `message` is one line, `next` what happens next and when,
`command` the command that changes it. Here it is put into a form that a person reads quickly.
Names come from outside and may hold anything: they are kept on one line, cut, and never read as
markup.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from worker.core.events import (
    BUDGET_FORECAST,
    BUDGET_GRACE_STARTED,
    BUDGET_THRESHOLD_CROSSED,
    MESSAGE_LENGTH_MAX,
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SUSPENSION_FAILED,
    SUSPENSION_REQUIRED,
    TAGS_CHANGED,
    UNPROVISIONED_KEY,
    bounded,
)

SUBJECT_LENGTH_MAX: Final = 99
"""Subjects of SNS are "less than 100 characters long" (API reference: Publish), ASCII here."""
VALUE_LENGTH_MAX: Final = 512
"""Characters of a name, an amount, a reason; lines that events make are longer."""
NAME_LENGTH_MAX: Final = 60
"""Characters of a name in a subject line."""
HOLDS_SHOWN_MAX: Final = 3
HEADER_LENGTH_MAX: Final = 150
"""Characters of a header (Slack: "Header block"), escapes included."""
SECTION_LENGTH_MAX: Final = 3_000
"""Characters of a section's text (Slack: "Text object"), escapes included."""

Detail = Mapping[str, Any]

_TOLD: Final = frozenset(
    {
        BUDGET_THRESHOLD_CROSSED,
        BUDGET_GRACE_STARTED,
        BUDGET_FORECAST,
        PRINCIPAL_SUSPENDED,
        PRINCIPAL_RESTORED,
        SUSPENSION_FAILED,
        UNPROVISIONED_KEY,
        TAGS_CHANGED,
    }
)
REQUIRED: Final = frozenset({SUSPENSION_REQUIRED, RESTORATION_REQUIRED})
"""Somebody is to act: told only where nobody acts, for what was done is told by itself."""

_NEXT: Final[Mapping[str, str]] = {
    BUDGET_THRESHOLD_CROSSED: "Nothing is done by itself at this threshold.",
    BUDGET_FORECAST: "Nothing is done by itself; this is an estimate.",
    PRINCIPAL_SUSPENDED: "Calls are denied until every hold is lifted.",
    PRINCIPAL_RESTORED: "Calls are allowed again.",
    SUSPENSION_FAILED: "It is tried again.",
}
"""What happens next where an event does not say it itself."""
_MARKUP: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
"""What Slack reads as markup (Slack: "Formatting text for app surfaces", escaping)."""
_NOT_ASCII: Final = re.compile(r"[^\x20-\x7e]+")
_UNITS: Final = {"usd": "USD"}


class Message(msgspec.Struct, frozen=True):
    """What people are told of one event.

    Attributes:
        event_id: The event's; the same for every copy.
        detail_type: The event's.
        subject: One line of ASCII, at most `SUBJECT_LENGTH_MAX` characters.
        text: Some lines, for people.
        blocks: The same for Slack: its blocks, as JSON objects.
        brief: The event's one line, for notifications.
        detail: The event's detail, JSON.
    """

    event_id: str
    detail_type: str
    subject: str
    text: str
    blocks: tuple[dict[str, Any], ...]
    brief: str
    detail: bytes


def is_told(detail_type: str, detail: bytes) -> bool:
    """Whether people are told of an event, where Ledgerock itself suspends and restores.

    Of thresholds that were found crossed together, people hear of the highest alone, and of none
    in a period that is over. Of a grace period of no length they hear by the suspension that
    follows at once.
    """
    if detail_type not in _TOLD:
        return False
    found = _decoded(detail)
    if detail_type == BUDGET_THRESHOLD_CROSSED:
        return bool(found.get("highest_of_jump", True)) and not found.get("late", False)
    if detail_type == BUDGET_GRACE_STARTED:
        return found.get("grace_seconds") != 0
    return True


def is_told_by_hand(detail_type: str, detail: bytes) -> bool:
    """Whether people are told of an event where nobody but a person suspends and restores.

    They hear of what is required then, once: reminders are for machines.
    """
    if detail_type in REQUIRED:
        return not _decoded(detail).get("reminder", False)
    return is_told(detail_type, detail)


def message_of(detail_type: str, detail: bytes) -> Message:
    """Return what people are told of an event. Whatever the detail holds, there is a message."""
    found = _decoded(detail)
    brief = _line(found, "message") or detail_type
    rows = _rows(detail_type, found)
    event_id = _text(found, "event_id")
    lines = [brief, ""]
    width = max((len(name) for name, _ in rows), default=0) + 1
    lines += [f"{name + ':':<{width}} {value}" for name, value in rows]
    lines += ["", f"{detail_type}, event {event_id}, {_text(found, 'recorded_at')}"]
    return Message(
        event_id=event_id,
        detail_type=detail_type,
        subject=_subject(detail_type, found),
        text="\n".join(lines),
        blocks=_blocks(detail_type, found, brief, rows),
        brief=brief,
        detail=detail,
    )


def escaped(text: str, length_max: int = SECTION_LENGTH_MAX) -> str:
    """Return text that Slack does not read as markup or as a mention, cut with an ellipsis."""
    whole = text.translate(_MARKUP)
    if len(whole) <= length_max:
        return whole
    kept: list[str] = []
    left = length_max - 1
    for character in text:
        part = character.translate(_MARKUP)
        left -= len(part)
        if left < 0:
            break
        kept.append(part)
    return f"{''.join(kept)}…"


# --- What is said ---------------------------------------------------------------------------


def _rows(detail_type: str, detail: Detail) -> list[tuple[str, str]]:
    """List what is known, by name: who, budget, spend, period, until when, what next, command."""
    budget, period = _part(detail, "budget"), _part(detail, "period")
    rows = [
        ("Who", _who(detail)),
        ("Budget", _budget(budget)),
        ("Spent", _spent(detail, budget)),
        ("Period", _period(period)),
        ("Held for", _holds(detail)),
        ("Reason", _text(detail, "reason")),
        ("Deadline", _instant(_text(detail, "deadline"))),
        ("Limit passed", _instant(_text(detail, "passes_at"))),
        ("Next", _line(detail, "next") or _NEXT.get(detail_type, "")),
        ("Command", _line(detail, "command") or _command(budget)),
    ]
    return [(name, value) for name, value in rows if value]


def _who(detail: Detail) -> str:
    principal = _text(detail, "principal")
    if principal:
        return principal
    scope = _part(detail, "scope")
    kind, name = _text(scope, "kind"), _text(scope, "id")
    if kind in {"principal", "agent"} and name:
        return name  # it says itself what it is: `user/111122223333/alice`
    return " ".join(part for part in (kind, name) if part)


def _budget(budget: Detail) -> str:
    name = _text(budget, "name")
    if not name:
        return ""
    parts = [name]
    if revision := _text(budget, "revision"):
        parts.append(f"revision {revision}")
    if period := _text(budget, "period"):
        parts.append(period)
    return ", ".join(parts)


def _spent(detail: Detail, budget: Detail) -> str:
    """Return `20.5 of 20 USD (102.5 %)`, in whichever unit the event gives its amounts."""
    for suffix, unit in (("_usd", "USD"), ("", _unit(detail, budget))):
        spent = _text(detail, f"spent{suffix}")
        limit = _text(detail, f"limit{suffix}") or _text(budget, f"limit{suffix}")
        if spent:
            percent = _text(detail, "percent")
            of = f" of {limit}" if limit else ""
            return f"{spent}{of} {unit}".strip() + (f" ({percent} %)" if percent else "")
    return ""


def _holds(detail: Detail) -> str:
    """Return some holds: `alice, 20.5 of 20 USD, 2026-11-01 until 2026-12-01 00:00:00 UTC`."""
    found = detail.get("holds")
    holds = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    texts = []
    for hold in holds[:HOLDS_SHOWN_MAX]:
        first, end = _text(hold, "first_day"), _instant(_text(hold, "ends_at"))
        period = " ".join(part for part in (first, f"until {end}" if end else "") if part)
        parts = [_text(hold, "budget"), _spent(hold, {}), period]
        texts.append(", ".join(part for part in parts if part))
    count = detail.get("holds_count")
    more = (count if isinstance(count, int) else len(holds)) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")


def _unit(detail: Detail, budget: Detail) -> str:
    unit = _text(detail, "unit") or _text(budget, "unit")
    return _UNITS.get(unit, unit)


def _period(period: Detail) -> str:
    first, last = _text(period, "first_day"), _text(period, "last_day")
    if not first:
        return ""
    days = first if first == last else f"{first} to {last}"
    zone = _text(period, "time_zone")
    end = _instant(_text(period, "end"))
    return f"{days}{f' ({zone})' if zone else ''}{f', ends {end}' if end else ''}"


def _instant(text: str) -> str:
    """Return `2026-11-22T15:03:00.000Z` as `2026-11-22 15:03:00 UTC`; anything else as it is."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z", text)
    return text if match is None else f"{match[1]} {match[2]} UTC"


def _command(budget: Detail) -> str:
    name = _text(budget, "name")
    return f"ledgerock budgets show {name}" if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) else ""


def _subject(detail_type: str, detail: Detail) -> str:
    """Return the subject line: what happened to whom, the essential first."""
    budget, who = _text(_part(detail, "budget"), "name"), _short(_who(detail))
    said: dict[str, str] = {
        BUDGET_THRESHOLD_CROSSED: (
            f"budget {_short(budget)} at {_text(detail, 'percent')} % ({_text(detail, 'level')})"
        ),
        BUDGET_GRACE_STARTED: f"{who}: suspension at {_instant(_text(detail, 'deadline'))}",
        BUDGET_FORECAST: f"budget {_short(budget)} will pass its limit",
        SUSPENSION_REQUIRED: f"suspend {who}",
        PRINCIPAL_SUSPENDED: f"suspended {who}",
        RESTORATION_REQUIRED: f"restore {who}",
        PRINCIPAL_RESTORED: f"restored {who}",
        SUSPENSION_FAILED: f"FAILED to {_text(detail, 'action') or 'suspend'} {who}",
        UNPROVISIONED_KEY: f"unprovisioned key of {who}",
        TAGS_CHANGED: f"tags of {who} changed",
    }
    line = f"Ledgerock: {said.get(detail_type) or detail_type.lower()}"
    return _NOT_ASCII.sub("?", line)[:SUBJECT_LENGTH_MAX].rstrip()


def _short(name: str) -> str:
    """Return a name that fits: its beginning and its end, where names of one kind differ."""
    if len(name) <= NAME_LENGTH_MAX:
        return name
    half = (NAME_LENGTH_MAX - 3) // 2
    return f"{name[:half]}...{name[-half:]}"


# --- Slack ----------------------------------------------------------------------------------


def _blocks(
    detail_type: str, detail: Detail, brief: str, rows: list[tuple[str, str]]
) -> tuple[dict[str, Any], ...]:
    """Return Slack's blocks. All text is plain: names can neither mention nor format anything."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(_subject(detail_type, detail), HEADER_LENGTH_MAX)},
        {"type": "section", "text": _plain(brief)},
    ]
    blocks += [{"type": "section", "text": _plain(f"{name}: {value}")} for name, value in rows]
    event_id = _text(detail, "event_id")
    if event_id:
        blocks.append({"type": "context", "elements": [_plain(f"event {event_id}")]})
    return tuple(blocks)


def _plain(text: str, length_max: int = SECTION_LENGTH_MAX) -> dict[str, Any]:
    return {"type": "plain_text", "text": escaped(text, length_max), "emoji": False}


# --- Details, whatever they hold --------------------------------------------------------------


def _decoded(detail: bytes) -> Detail:
    try:
        found = msgspec.json.decode(detail)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _part(detail: Detail, name: str) -> Detail:
    found = detail.get(name)
    return found if isinstance(found, dict) else {}


def _text(detail: Detail, name: str, length_max: int = VALUE_LENGTH_MAX) -> str:
    """Return a text or a number as one bounded line; anything else as nothing."""
    found = detail.get(name)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return ""
    return bounded(str(found), length_max).strip()


def _line(detail: Detail, name: str) -> str:
    """Return a whole line: a message, what happens next, a command."""
    return _text(detail, name, MESSAGE_LENGTH_MAX)
