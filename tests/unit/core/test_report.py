from typing import Any

import pytest

from tests.calls import DAY, HOUR, NOON
from worker.core.ledger import Amounts
from worker.core.report import build_report, iso_time, report_document, report_key

FIRST = NOON // DAY


def test_rows_are_most_expensive_first_then_by_key() -> None:
    totals = {
        "b": Amounts(1, 5),
        "a": Amounts(2, 5),
        "c": Amounts(1, 7),
        "": Amounts(1, 0, unpriced_calls=1),
        "gone": Amounts(),
    }
    report = build_report("principal", totals, None, None)
    assert [row.key for row in report.rows] == ["c", "a", "b", ""]
    assert report.total == Amounts(5, 17, unpriced_calls=1)


def test_days_and_months_are_in_order_of_time() -> None:
    totals = {str(FIRST + 31): Amounts(1, 9), str(FIRST + 1): Amounts(1, 1), str(FIRST): Amounts(1)}
    days = build_report("day", totals, None, None)
    assert [row.key for row in days.rows] == ["2026-10-01", "2026-10-02", "2026-11-01"]
    months = build_report("month", totals, None, None)
    assert [(row.key, row.amounts) for row in months.rows] == [
        ("2026-10", Amounts(2, 1)),
        ("2026-11", Amounts(1, 9)),
    ]
    assert months.total == days.total


@pytest.mark.parametrize(
    "by,key,shown",
    [
        ("principal", "user/1/a", "user/1/a"),
        ("day", "0", "1970-01-01"),
        ("month", "0", "1970-01"),
        ("day", "20741", "2026-10-15"),
    ],
)
def test_keys_are_shown_as_people_read_them(by: str, key: str, shown: str) -> None:
    assert report_key(by, key) == shown


@pytest.mark.parametrize(
    "at_ms,text",
    [
        (None, None),
        (0, "1970-01-01T00:00:00Z"),
        (NOON, "2026-10-01T12:00:00Z"),
        (NOON + 1, "2026-10-01T12:00:00.001Z"),
    ],
)
def test_times_are_iso_in_utc(at_ms: int | None, text: str | None) -> None:
    assert iso_time(at_ms) == text


def test_the_document_is_the_contract() -> None:
    amounts = Amounts(3, 10_500_000_000, 1, 2, 3, 4, 5, 500_000_000, 1, 1, 1, 1)
    figures: dict[str, Any] = {
        "cost_usd": "0.0105",
        "calls": 3,
        "tokens": {
            "input_tokens": 1,
            "output_tokens": 2,
            "cache_read_tokens": 3,
            "cache_write_5m_tokens": 4,
            "cache_write_1h_tokens": 5,
        },
        "estimated_usd": "0.0005",
        "estimated_calls": 1,
        "unpriced_calls": 1,
        "unmetered_calls": 1,
        "failed_calls": 1,
    }
    document = report_document(build_report("model", {"m": amounts}, NOON, NOON + HOUR))
    assert document == {
        "by": "model",
        "since": "2026-10-01T12:00:00Z",
        "until": "2026-10-01T13:00:00Z",
        "rows": [{"key": "m", **figures}],
        "total": figures,
    }


def test_an_empty_report_has_a_total_of_nothing() -> None:
    document = report_document(build_report("day", {}, None, None))
    assert document["rows"] == []
    assert (document["since"], document["until"]) == (None, None)
    assert document["total"]["cost_usd"] == "0"
