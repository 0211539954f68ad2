"""The dashboard: everything that an operator asks first, and only what the stage has."""

from collections.abc import Iterator

import pytest

from tests.infra.shapes import Json
from tests.infra.watching import SEEN, seen, widget_metrics
from worker.telemetry.metrics import BUDGET_STATES, RECORD_RESULTS

EACH = pytest.mark.parametrize("name", SEEN)


def graphs(name: str) -> Iterator[Json]:
    for widget in seen(name).dashboard["widgets"]:
        if widget["type"] == "metric":
            yield widget["properties"]


def shown(name: str, title: str) -> Json:
    """Return the graph of a title, and its metrics."""
    [found] = [one for one in graphs(name) if one["title"].startswith(title)]
    return found


def names(name: str, title: str) -> set[str]:
    found = shown(name, title)
    return {one.name for one in widget_metrics({"widgets": [{"properties": found}]})}


@EACH
def test_it_is_named_after_the_stage_and_shows_every_alarm(name: str) -> None:
    found = seen(name)
    [dashboard] = found.of_type("AWS::CloudWatch::Dashboard")
    assert dashboard["DashboardName"] == found.config.name
    [alarms] = [one for one in found.dashboard["widgets"] if one["type"] == "alarm"]
    made = [
        logical
        for logical, one in found.template["Resources"].items()
        if one["Type"] == "AWS::CloudWatch::Alarm"
    ]
    assert sorted(alarms["properties"]["alarms"]) == sorted(f"{one}.Arn" for one in made)


@EACH
@pytest.mark.parametrize(
    "title, metrics",
    [
        ("Spend per hour", {"spend_usd"}),
        ("Spend per day", {"spend_usd"}),
        ("Calls per hour", {"calls"}),
        ("From call to booked", {"call_to_booked_seconds"}),
        ("From call to crossing", {"call_to_crossing_seconds"}),
        ("Records by result", {"records"}),
        ("Calls that are not charged", {"unpriced_calls", "unmetered_calls"}),
        ("Commits", {"commit_seconds"}),
        ("Budgets by state", {"budgets"}),
        (
            "Announcing",
            {"notices_announced", "notices_failed", "notices_oldest_pending_seconds"},
        ),
        ("The monitor's lag", {"monitor_lag_seconds"}),
    ],
)
def test_it_shows_what_is_asked_first(name: str, title: str, metrics: set[str]) -> None:
    assert names(name, title) == metrics


def test_spend_is_summed_up_by_hour_and_by_day() -> None:
    for title, seconds in (("Spend per hour", 3_600), ("Spend per day", 86_400)):
        graph = shown("functions", title)
        [metric] = widget_metrics({"widgets": [{"properties": graph}]})
        assert (metric.statistic, metric.seconds) == ("Sum", seconds)


@EACH
def test_lag_is_shown_as_median_and_tail(name: str) -> None:
    for title in ("From call to booked", "From call to crossing", "Commits"):
        graph = shown(name, title)
        statistics = [one.statistic for one in widget_metrics({"widgets": [{"properties": graph}]})]
        assert statistics == ["p50", "p99"]


@pytest.mark.parametrize(
    "title, label, values",
    [("Records by result", "result", RECORD_RESULTS), ("Budgets by", "state", BUDGET_STATES)],
)
def test_every_value_of_a_label_is_shown(title: str, label: str, values: tuple[str, ...]) -> None:
    graph = shown("functions", title)
    metrics = widget_metrics({"widgets": [{"properties": graph}]})
    assert tuple(dict(one.dimensions)[label] for one in metrics) == values


@pytest.mark.parametrize(
    "name, there, missing",
    [
        ("functions", "Functions: Errors", "Tasks"),
        ("functions", "Suspensions", "Workflow"),
        ("functions", "Telling people", "Deliveries in hand"),
        ("functions-s3", "Calls and invocation logs", "Stream"),
        ("functions-s3", "Functions: Duration", "Suspensions"),
        ("container", "Tasks", "Telling people"),
        ("container", "Workflow: suspension", "Telling people"),
        ("container", "Functions: Errors", "Telling people"),
        ("container", "Failed polls", "Telling people"),
    ],
)
def test_widgets_follow_what_is_deployed(name: str, there: str, missing: str) -> None:
    titles = [one["title"] for one in graphs(name)]
    assert any(title.startswith(there) for title in titles)
    assert not any(title.startswith(missing) for title in titles)


@EACH
def test_widgets_lie_side_by_side(name: str) -> None:
    """None covers another, and rows are full but for the last."""
    cells: set[tuple[int, int]] = set()
    for widget in seen(name).dashboard["widgets"]:
        covered = {
            (widget["x"] + column, widget["y"] + row)
            for column in range(widget["width"])
            for row in range(widget["height"])
        }
        assert max(column for column, _row in covered) < 24
        assert not covered & cells
        cells |= covered
    assert len(cells) > 24 * 6 * 5


@EACH
def test_titles_are_different(name: str) -> None:
    titles = [one["title"] for one in graphs(name)]
    assert len(titles) == len(set(titles))
