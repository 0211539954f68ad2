"""The events that Ledgerock announces: what each says, as JSON, and under which id.

Ids are deterministic, so that an event that is announced twice is known to be the same. Details
are small, whatever callers called things: text from outside is cut to `TEXT_LENGTH_MAX`. Their
JSON Schemas lie in `worker/data/schemas`, one for each detail type.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from typing import Final

import msgspec

from worker.core.ledger import MS_PER_DAY

SCHEMA_VERSION: Final = 1
SOURCE: Final = "ledgerock"
"""Source of every event on the bus."""

BUDGET_THRESHOLD_CROSSED: Final = "Budget Threshold Crossed"
BUDGET_INITIALIZED: Final = "Budget Initialized"
BUDGET_GRACE_STARTED: Final = "Budget Grace Period Started"
BUDGET_REFRESHED: Final = "Budget Refreshed"
BUDGET_FORECAST: Final = "Budget Limit Forecast"
SUSPENSION_REQUIRED: Final = "Principal Suspension Required"
PRINCIPAL_SUSPENDED: Final = "Principal Suspended"
RESTORATION_REQUIRED: Final = "Principal Restoration Required"
PRINCIPAL_RESTORED: Final = "Principal Restored"
SUSPENSION_FAILED: Final = "Suspension Failed"
AGENT_REGISTERED: Final = "Agent Registered"
AGENT_REMOVED: Final = "Agent Removed"
UNPROVISIONED_KEY: Final = "Unprovisioned Key Detected"
TAGS_CHANGED: Final = "Principal Tags Changed"
USAGE_UNPRICED: Final = "Usage Unpriced"
USAGE_UNMETERED: Final = "Usage Unmetered"
USAGE_QUARANTINED: Final = "Usage Quarantined"
DETAIL_TYPES: Final = (
    BUDGET_THRESHOLD_CROSSED,
    BUDGET_INITIALIZED,
    BUDGET_GRACE_STARTED,
    BUDGET_REFRESHED,
    BUDGET_FORECAST,
    SUSPENSION_REQUIRED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    PRINCIPAL_RESTORED,
    SUSPENSION_FAILED,
    AGENT_REGISTERED,
    AGENT_REMOVED,
    UNPROVISIONED_KEY,
    TAGS_CHANGED,
    USAGE_UNPRICED,
    USAGE_UNMETERED,
    USAGE_QUARANTINED,
)

TEXT_LENGTH_MAX: Final = 256
"""Characters of a name that comes from outside."""
MESSAGE_LENGTH_MAX: Final = 2_000
"""Characters of the line for people."""

_LAST_DAY: Final = (date.max - date(1970, 1, 1)).days - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_IN_A_LINE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class Event(msgspec.Struct, frozen=True):
    """An event that is ready to be written down.

    Attributes:
        id: Deterministic.
        detail_type: One of `DETAIL_TYPES`.
        subject: What it is about, for listing: `budget/NAME`, `usage/2026-11-22`.
        detail: JSON, UTF-8.
        occurred_at_ms: Event time, epoch milliseconds UTC.
    """

    id: str
    detail_type: str
    subject: str
    detail: bytes
    occurred_at_ms: int


class ScopeDetail(msgspec.Struct, frozen=True):
    """What an event is about: `principal`, `team`, ...; of usage `model`, `source` or `other`."""

    kind: str
    id: str


class PeriodDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """A period: two instants, end excluded, and two local days, both included.

    Attributes:
        time_zone: The scope's time zone, where it is known.
    """

    start: str
    end: str
    first_day: str
    last_day: str
    time_zone: str = ""


def budget_subject(name: str) -> str:
    """Return the subject that a budget's events are listed under."""
    return f"budget/{name}"


# --- Text -------------------------------------------------------------------------------------


def percent_of(part: int, whole: int) -> str:
    """Return `part` in per cent of `whole`, cut after four decimals; `"100"` of nothing."""
    if whole <= 0:
        return "100"
    scaled = part * 100 * 10**4 // whole
    units, decimals = divmod(abs(scaled), 10**4)
    text = f"{units}.{decimals:04d}".rstrip("0").rstrip(".")
    return f"-{text}" if scaled < 0 else text


def iso(at_ms: int) -> str:
    """Write epoch milliseconds as `2026-11-22T05:03:12.000Z`; beyond the year 9999, its end."""
    at_ms = max(0, min(at_ms, (_LAST_DAY + 1) * MS_PER_DAY))
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def iso_day(day: int) -> str:
    """Write a day since 1970-01-01 as `2026-11-22`; beyond the year 9999, its last but one."""
    return (_EPOCH + timedelta(days=max(0, min(day, _LAST_DAY)))).date().isoformat()


def bounded(text: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    """Return text from outside on one line, without what no JSON can hold, cut with an ellipsis."""
    line = _NOT_IN_A_LINE.sub(" ", text[: 2 * length_max])
    return line if len(line) <= length_max else f"{line[: length_max - 1]}…"


def message(text: str) -> str:
    """Return a line for people, cut to what an event may hold."""
    return bounded(text, MESSAGE_LENGTH_MAX)


def within(at_ms: int, start_ms: int, end_ms: int) -> int:
    """Return the instant of a half-open range that is nearest to `at_ms`."""
    return max(start_ms, min(at_ms, end_ms - 1))


def event_id_of(kind: str, *parts: str) -> str:
    """Name a thing by what it is about; parts may hold anything, in any length."""
    joined = b"".join(
        len(part).to_bytes(8) + part.encode("utf-8", "surrogatepass") for part in parts
    )
    return f"{kind}-{blake2b(joined, digest_size=12).hexdigest()}"


class _Occurred(msgspec.Struct):
    occurred_at: datetime


def occurred_at_ms(detail: bytes) -> int | None:
    """Return the event time that a detail names, epoch milliseconds UTC; None if it names none."""
    try:
        occurred_at = msgspec.json.decode(detail, type=_Occurred).occurred_at
        return (occurred_at - _EPOCH) // timedelta(milliseconds=1)
    except (msgspec.DecodeError, TypeError):
        return None
