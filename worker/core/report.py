"""Reports: balances summed by one dimension, ordered and totalled. Pure; rendering is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from worker.core.ledger import Amounts
from worker.core.money import format_pico_usd

DIMENSIONS: Final = (
    "principal",
    "identity",
    "agent",
    "team",
    "pool",
    "application",
    "account",
    "model",
    "day",
    "month",
)
"""What a report may be by."""

IN_TIME_ORDER: Final = frozenset({"day", "month"})

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

TOKEN_FIELDS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
)


class ReportRow(msgspec.Struct, frozen=True):
    """One line of a report.

    Attributes:
        key: The principal, model, day (`2026-10-01`) or month (`2026-10`); empty for calls
            without one (no agent, no team, no pool, no application).
        amounts: Its figures.
    """

    key: str
    amounts: Amounts


class Report(msgspec.Struct, frozen=True):
    """Rows by one dimension, and their total.

    Attributes:
        by: The dimension.
        since_ms: Start of the event times covered, None if open.
        until_ms: End (exclusive), None if open.
        rows: Most expensive first; days and months in order of time.
        total: Sum of all rows.
    """

    by: str
    since_ms: int | None
    until_ms: int | None
    rows: tuple[ReportRow, ...]
    total: Amounts


def report_key(by: str, key: str) -> str:
    """Return a leaf field's value as a report shows it (days are numbers in the ledger)."""
    if by not in IN_TIME_ORDER:
        return key
    date = (_EPOCH + timedelta(days=int(key))).date().isoformat()
    return date if by == "day" else date[: len("2026-10")]


def build_report(
    by: str, totals: Mapping[str, Amounts], since_ms: int | None, until_ms: int | None
) -> Report:
    """Order and total the figures of a report.

    Args:
        by: The dimension.
        totals: Figures by value of the leaf field (`day` for months).
        since_ms: Start of the event times covered.
        until_ms: End of the event times covered.
    """
    merged: dict[str, Amounts] = {}
    total = Amounts()
    for key, amounts in totals.items():
        merged.setdefault(report_key(by, key), Amounts()).add(amounts)
        total.add(amounts)
    rows = [ReportRow(key, amounts) for key, amounts in merged.items() if not amounts.is_zero()]
    if by in IN_TIME_ORDER:
        rows.sort(key=lambda row: row.key)
    else:
        rows.sort(key=lambda row: (-row.amounts.cost_pico_usd, row.key))
    return Report(by, since_ms, until_ms, tuple(rows), total)


def iso_time(at_ms: int | None) -> str | None:
    """Return epoch milliseconds as ISO 8601 in UTC; fractions only where there are any."""
    if at_ms is None:
        return None
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    timespec = "milliseconds" if at_ms % 1000 else "seconds"
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def figures(amounts: Amounts) -> dict[str, Any]:
    """Return amounts as the JSON contract names them; money as exact decimal strings."""
    return {
        "cost_usd": format_pico_usd(amounts.cost_pico_usd),
        "calls": amounts.calls,
        "tokens": {name: getattr(amounts, name) for name in TOKEN_FIELDS},
        "estimated_usd": format_pico_usd(amounts.estimated_pico_usd),
        "estimated_calls": amounts.estimated_calls,
        "unpriced_calls": amounts.unpriced_calls,
        "unmetered_calls": amounts.unmetered_calls,
        "failed_calls": amounts.failed_calls,
    }


def report_document(report: Report) -> dict[str, Any]:
    """Return a report as the JSON document of `report --format json`."""
    return {
        "by": report.by,
        "since": iso_time(report.since_ms),
        "until": iso_time(report.until_ms),
        "rows": [{"key": row.key, **figures(row.amounts)} for row in report.rows],
        "total": figures(report.total),
    }
