"""The events on usage that is not charged: unpriced, unmetered, quarantined.

Each comes at most once per subject, cause and UTC day, with counts.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec

from worker.core.events import (
    SCHEMA_VERSION,
    USAGE_QUARANTINED,
    USAGE_UNMETERED,
    USAGE_UNPRICED,
    Event,
    PeriodDetail,
    ScopeDetail,
    bounded,
    event_id_of,
    iso,
    iso_day,
    message,
    within,
)
from worker.core.ledger import MS_PER_DAY

Counted = Literal["unpriced", "unmetered"]


class UsageDetail(msgspec.Struct, frozen=True):
    """Detail of `Usage Unpriced` and `Usage Unmetered`.

    Attributes:
        counted_at: When the calls were counted.
        cause: `unpriced` or `unmetered`.
        period: The UTC day of the calls.
        calls: Such calls on that day, as far as they are known.
    """

    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    counted_at: str
    scope: ScopeDetail
    cause: Counted
    period: PeriodDetail
    calls: int
    message: str


class QuarantinedDetail(msgspec.Struct, frozen=True):
    """Detail of `Usage Quarantined`.

    Attributes:
        counted_at: When the records were counted.
        scope: The source that they came from.
        cause: Where in the records something else was expected, and what.
        period: The UTC day on which they were put aside.
        records: How many were, at least.
        reason: What was the matter with the first of them.
        position: Where that one stood.
    """

    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    counted_at: str
    scope: ScopeDetail
    cause: str
    period: PeriodDetail
    records: int
    reason: str
    position: str
    message: str


def usage_subject(day: int) -> str:
    """Return the subject that a UTC day's `Usage ...` events are listed under."""
    return f"usage/{iso_day(day)}"


def usage_event_id(detail_type: str, day: int, subject: str | None, cause: str) -> str:
    """Return the id of a usage event: one per kind, UTC day, subject and cause.

    Args:
        detail_type: Of the event.
        day: UTC day, days since 1970-01-01.
        subject: Model or source, uncut; None for all the others together.
        cause: Uncut.
    """
    kind = detail_type.lower().replace(" ", "-")
    return event_id_of(f"{kind}-{iso_day(day)}", *([] if subject is None else [subject]), cause)


def usage_counted(
    cause: Counted, model: str | None, day: int, calls: int, recorded_at_ms: int
) -> Event:
    """Build `Usage Unpriced` or `Usage Unmetered`.

    Args:
        cause: `unpriced` or `unmetered`.
        model: Whose calls; None for all models together, where too many have such calls.
        day: UTC day of the calls, days since 1970-01-01.
        calls: How many are known of, at least one.
        recorded_at_ms: Ledger time, epoch milliseconds UTC.
    """
    detail_type = USAGE_UNPRICED if cause == "unpriced" else USAGE_UNMETERED
    event_id = usage_event_id(detail_type, day, model, cause)
    occurred_at_ms = within(recorded_at_ms, day * MS_PER_DAY, (day + 1) * MS_PER_DAY)
    scope = ScopeDetail("other", "") if model is None else ScopeDetail("model", bounded(model))
    detail = UsageDetail(
        event_id=event_id,
        schema_version=SCHEMA_VERSION,
        occurred_at=iso(occurred_at_ms),
        recorded_at=iso(recorded_at_ms),
        counted_at=iso(recorded_at_ms),
        scope=scope,
        cause=cause,
        period=_day_period(day),
        calls=calls,
        message=_counted_message(cause, scope, iso_day(day), calls),
    )
    return Event(
        event_id, detail_type, usage_subject(day), msgspec.json.encode(detail), occurred_at_ms
    )


def usage_detail(detail: bytes) -> UsageDetail:
    """Read the detail of `Usage Unpriced` or `Usage Unmetered`."""
    return msgspec.json.decode(detail, type=UsageDetail)


def usage_day(detail: UsageDetail) -> int:
    """Return the UTC day that a usage event is about, days since 1970-01-01."""
    return (date.fromisoformat(detail.period.first_day) - date(1970, 1, 1)).days


def recounted(detail: UsageDetail, calls: int, counted_at_ms: int) -> bytes:
    """Return a usage detail with the calls as they were counted by now."""
    line = _counted_message(detail.cause, detail.scope, detail.period.first_day, calls)
    counted_at = iso(counted_at_ms)
    changed = msgspec.structs.replace(detail, calls=calls, counted_at=counted_at, message=line)
    return msgspec.json.encode(changed)


def usage_quarantined(
    source: str | None, cause: str, records: int, *, reason: str, position: str, recorded_at_ms: int
) -> Event:
    """Build `Usage Quarantined`, for the UTC day of `recorded_at_ms`.

    Args:
        source: Where the records came from; None for all sources and causes together.
        cause: What was the matter with them all.
        records: How many there were, at least one.
        reason: What was the matter with the first of them.
        position: Where that one stood.
        recorded_at_ms: Ledger time, epoch milliseconds UTC.
    """
    day = recorded_at_ms // MS_PER_DAY
    event_id = usage_event_id(USAGE_QUARANTINED, day, source, cause)
    at = iso(recorded_at_ms)
    scope = ScopeDetail("other", "") if source is None else ScopeDetail("source", bounded(source))
    detail = QuarantinedDetail(
        event_id=event_id,
        schema_version=SCHEMA_VERSION,
        occurred_at=at,
        recorded_at=at,
        counted_at=at,
        scope=scope,
        cause=bounded(cause),
        period=_day_period(day),
        records=records,
        reason=bounded(reason),
        position=bounded(position),
        message="",
    )
    detail = msgspec.structs.replace(detail, message=_quarantined_message(detail))
    return Event(
        event_id,
        USAGE_QUARANTINED,
        usage_subject(day),
        msgspec.json.encode(detail),
        recorded_at_ms,
    )


def quarantined_recounted(detail: bytes, records: int, counted_at_ms: int) -> bytes:
    """Return the detail of `Usage Quarantined` with the records as they were counted by now."""
    before = msgspec.json.decode(detail, type=QuarantinedDetail)
    records = max(before.records, records)
    after = msgspec.structs.replace(before, records=records, counted_at=iso(counted_at_ms))
    return msgspec.json.encode(msgspec.structs.replace(after, message=_quarantined_message(after)))


def _counted_message(cause: Counted, scope: ScopeDetail, day: str, calls: int) -> str:
    of = "of many models" if scope.kind == "other" else f"of {scope.id}"
    count = f"{calls} {'call' if calls == 1 else 'calls'} {of} on {day}"
    if cause == "unpriced":
        return message(
            f"{count} could not be priced and cost nothing so far. Add the missing rates "
            "(LEDGEROCK_PRICES), or let the worker look up the inference profile, then run "
            "`ledgerock rebook`."
        )
    return message(
        f"{count} came without token counts and cost nothing so far. Turn on model invocation "
        "logging in their account and Region; provisioned, imported and custom models are not "
        "billed by token."
    )


def _quarantined_message(detail: QuarantinedDetail) -> str:
    origin = "several sources" if detail.scope.kind == "other" else detail.scope.id or "a source"
    count = f"{detail.records} {'record' if detail.records == 1 else 'records'}"
    return message(
        f"{count} from {origin} could not be understood and cost nothing so far: {detail.reason}"
        f" ({detail.position}). Look at `ledgerock quarantine list` and redrive what can be read."
    )


def _day_period(day: int) -> PeriodDetail:
    return PeriodDetail(
        start=iso(day * MS_PER_DAY),
        end=iso((day + 1) * MS_PER_DAY),
        first_day=iso_day(day),
        last_day=iso_day(day),
        time_zone="UTC",
    )
