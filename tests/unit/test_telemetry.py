import io
import json
import logging
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
import structlog

from worker.announcer import Announced
from worker.core.enforcement import State
from worker.core.errors import ConfigurationError, TransientError
from worker.enforcer import Enforced
from worker.pipeline import Figures
from worker.telemetry import (
    METRICS,
    MetricName,
    configure_logs,
    log_level,
    measure_announced,
    measure_commit,
    measure_enforced,
    measure_monitored,
    measure_states,
    measure_told,
)
from worker.telemetry.metrics import BUDGET_STATES


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_metric_is_in_the_table_and_well_formed() -> None:
    assert set(METRICS) == set(get_args(MetricName))
    for metric in METRICS.values():
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(metric.buckets)
        assert metric.help.endswith(".")
        for labels in metric.rollups:
            assert set(labels) < set(metric.labels)
    assert METRICS["budgets"].labels == ("state",)
    assert set(BUDGET_STATES) == set(get_args(State))


def test_log_lines_are_json_with_utc_times(stream: io.StringIO) -> None:
    configure_logs("info", stream)
    structlog.get_logger("x").info("starting", queues=("a", "b"), at=3)
    structlog.get_logger("x").debug("left out")
    logging.getLogger("library").warning("odd %s", "thing")
    logging.getLogger("library").info("left out")
    first, second = lines(stream)
    assert (first["event"], first["queues"], first["level"]) == ("starting", ["a", "b"], "info")
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["level"], second["logger"]) == (
        "odd thing",
        "warning",
        "library",
    )


def test_exceptions_are_named_and_placed_but_only_ours_are_quoted(stream: io.StringIO) -> None:
    configure_logs("info", stream)
    log = structlog.get_logger("x")
    for error in (TransientError("table T is throttled"), ValueError("what a caller wrote")):
        try:
            raise error  # noqa: TRY301 - it needs a traceback
        except Exception:
            log.exception("failed")
    ours, other = lines(stream)
    assert (ours["error_type"], ours["error"]) == ("TransientError", "table T is throttled")
    assert other["error_type"] == "ValueError"
    assert "caller wrote" not in stream.getvalue()
    assert "test_telemetry.py" in other["error_at"][-1]


def test_the_level_comes_from_the_environment() -> None:
    assert log_level({}) == "info"
    assert log_level({"LEDGEROCK_LOG_LEVEL": "Debug"}) == "debug"
    with pytest.raises(ConfigurationError, match="LEDGEROCK_LOG_LEVEL=loud"):
        log_level({"LEDGEROCK_LOG_LEVEL": "loud"})


class Notebook:
    def __init__(self) -> None:
        self.taken: list[tuple[Any, ...]] = []

    def add(self, name: MetricName, amount: float = 1, **labels: str) -> None:
        self.taken.append((name, amount, *labels.values()))

    def set(self, name: MetricName, value: float, **labels: str) -> None:
        self.taken.append((name, value, *labels.values()))

    def observe(self, name: MetricName, value: float, **labels: str) -> None:
        self.taken.append((name, value, *labels.values()))


def test_a_commit_is_measured_once_and_nothing_negative_is_added() -> None:
    book = Notebook()
    figures = Figures(
        records=6,
        recorded=2,
        upgraded=1,
        duplicates=1,
        ignored=1,
        quarantined=1,
        unpriced_calls=-1,
        unmetered_calls=2,
        cost_pico_usd=10_500_000_001,
        crossings=2,
        first_at_ms=1_000,
        commit_seconds=0.5,
    )
    measure_commit(book, figures, 4_000)
    assert book.taken == [
        ("records", 2, "recorded"),
        ("records", 1, "upgraded"),
        ("records", 1, "duplicate"),
        ("records", 1, "ignored"),
        ("records", 1, "quarantined"),
        ("calls", 2),
        ("spend_usd", 0.010500000001),
        ("unmetered_calls", 2),
        ("commit_seconds", 0.5),
        ("call_to_booked_seconds", 3.0),
        ("crossings", 2),
        ("call_to_crossing_seconds", 3.0),
        ("call_to_crossing_seconds", 3.0),
    ]
    book.taken.clear()
    measure_commit(book, Figures(), 4_000)
    assert book.taken == []
    measure_commit(book, Figures(upgraded=1, cost_pico_usd=-250_000_000_000), 4_000)
    assert book.taken == [("records", 1, "upgraded"), ("spend_usd", -0.25)]


def test_states_without_a_budget_are_measured_too() -> None:
    book = Notebook()
    measure_states(book, {"active": 3, "suspended": 1})
    assert book.taken == [
        ("budgets", 3, "active"),
        ("budgets", 0, "warning"),
        ("budgets", 0, "critical"),
        ("budgets", 0, "grace_period"),
        ("budgets", 1, "suspended"),
    ]


def test_what_the_bus_and_the_channels_took_is_measured() -> None:
    book = Notebook()
    done = Announced(announced=3, failed=2, lapsed=1, oldest_wait_ms=4_500)
    measure_announced(book, done, is_of_all=True)
    measure_told(book, "sns", done, is_of_all=True)
    assert book.taken == [
        ("notices_announced", 3),
        ("notices_failed", 2),
        ("notices_oldest_pending_seconds", 4.5),
        ("people_told", 3, "sns"),
        ("people_failed", 2, "sns"),
        ("people_given_up", 1, "sns"),
        ("people_oldest_pending_seconds", 4.5, "sns"),
    ]
    book.taken.clear()
    measure_announced(book, Announced(), is_of_all=False)
    measure_told(book, "sns", Announced(), is_of_all=False)
    assert book.taken == []


def test_how_long_enforcement_took_is_measured_for_each_principal() -> None:
    book = Notebook()
    done = Enforced(
        suspended=2,
        restored=1,
        failed=1,
        needs_person=1,
        crossing_to_deny_ms=[3_605_250, 1_500],
        hold_to_deny_ms=[5_250],
    )
    measure_enforced(book, done)
    assert book.taken == [
        ("suspensions", 2),
        ("restorations", 1),
        ("suspensions_failed", 2),
        ("crossing_to_denied_seconds", 3605.25),
        ("crossing_to_denied_seconds", 1.5),
        ("hold_to_denied_seconds", 5.25),
    ]
    book.taken.clear()
    measure_enforced(book, Enforced())
    assert book.taken == []


class _Run(msgspec.Struct):
    deadlines: int = 2
    crossings: int = 1
    lag_ms: int = 1_500


def test_how_far_the_monitor_is_behind_is_measured() -> None:
    book = Notebook()
    measure_monitored(book, _Run())
    assert book.taken == [("grace_periods", 2), ("crossings", 1), ("monitor_lag_seconds", 1.5)]
    book.taken.clear()
    measure_monitored(book, _Run(0, 0, 0))
    assert book.taken == [("monitor_lag_seconds", 0)]
