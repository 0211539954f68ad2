"""Functions and containers write the same metrics: one alarm serves both shapes."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from handlers import measures
from handlers.measures import EmbeddedMeter
from tests.cloudwatch import seen, series_of
from worker.runtime import metrics as container
from worker.telemetry import METRICS, Meter, MetricName

Printed = Callable[[Callable[[Meter], None]], list[str]]


def by_container(measure: Callable[[Meter], None], service: str = "ledgerock") -> list[str]:
    stream = io.StringIO()
    meter = container.EmbeddedMeter("Ledgerock", service, stream)
    measure(meter)
    meter.print(1_767_225_600_000)
    return stream.getvalue().splitlines()


@pytest.fixture
def by_function(capsys: pytest.CaptureFixture[str]) -> Printed:
    def printed(measure: Callable[[Meter], None]) -> list[str]:
        meter = EmbeddedMeter()
        measure(meter)
        capsys.readouterr()
        meter.flush()
        return capsys.readouterr().out.splitlines()

    return printed


def label_values(name: MetricName) -> dict[str, str]:
    return {label: f"the {label}" for label in METRICS[name].labels}


def measure_everything(meter: Meter) -> None:
    for number, (name, metric) in enumerate(METRICS.items(), 1):
        labels = label_values(name)
        if metric.kind == "counter":
            meter.add(name, number, **labels)
            meter.add(name, 0.5, **labels)
        elif metric.kind == "gauge":
            meter.set(name, 7, **labels)
            meter.set(name, number, **labels)
        else:
            meter.observe(name, number, **labels)
            meter.observe(name, 0.25, **labels)


def measure_results(meter: Meter) -> None:
    meter.add("records", 3, result="recorded")
    meter.add("records", 2, result="quarantined")
    meter.add("records", 4, result="recorded")
    meter.add("deliveries", 5, source="sqs:a", result="acknowledged")
    meter.add("deliveries", 6, source="sqs:b", result="acknowledged")
    meter.add("deliveries", 1, source="sqs:b", result="deferred")
    meter.set("source_behind_seconds", 2.5, source="kinesis:a")
    meter.set("source_behind_seconds", 9, source="kinesis:b")
    for state, count in (("active", 4), ("suspended", 1)):
        meter.set("budgets", count, state=state)
    meter.add("spend_usd", 0.0105)


def comparable(lines: list[str]) -> list[Any]:
    """Return the documents, without times and whatever order has no meaning in."""
    rows = [json.loads(line) for line in lines]
    for row in rows:
        row["_aws"].pop("Timestamp")
        [directive] = row["_aws"]["CloudWatchMetrics"]
        directive["Dimensions"] = sorted(map(sorted, directive["Dimensions"]))
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


@pytest.mark.parametrize("measure", [measure_everything, measure_results])
def test_a_container_writes_what_powertools_writes_for_a_function(
    measure: Callable[[Meter], None], by_function: Printed
) -> None:
    assert comparable(by_container(measure)) == comparable(by_function(measure))


def test_every_metric_is_seen_under_exactly_the_dimensions_it_says(by_function: Printed) -> None:
    for lines in (by_container(measure_everything), by_function(measure_everything)):
        series = series_of(lines)
        expected = {
            ("Ledgerock", name, frozenset({*((one, f"the {one}") for one in names), service}))
            for name, metric in METRICS.items()
            for names in (metric.labels, *metric.rollups)
            for service in [("service", "ledgerock")]
        }
        assert set(series) == expected
        for number, (name, metric) in enumerate(METRICS.items(), 1):
            values = {
                "counter": [number + 0.5],
                "gauge": [number],
                "histogram": [number, 0.25],
            }[metric.kind]
            for names in (metric.labels, *metric.rollups):
                assert seen(series, name, **{one: f"the {one}" for one in names}) == values


def test_alarms_on_the_service_alone_see_the_total(by_function: Printed) -> None:
    for lines in (by_container(measure_results), by_function(measure_results)):
        series = series_of(lines)
        assert seen(series, "records", result="recorded") == [7]
        assert seen(series, "records", result="quarantined") == [2]
        assert sum(seen(series, "records") or []) == 9
        assert sum(seen(series, "deliveries", result="acknowledged") or []) == 11
        assert seen(series, "deliveries", result="deferred") == [1]
        assert sum(seen(series, "deliveries") or []) == 12
        assert seen(series, "deliveries", source="sqs:b", result="acknowledged") == [6]
        assert seen(series, "deliveries", source="sqs:b") is None
        assert max(seen(series, "source_behind_seconds") or []) == 9
        assert seen(series, "spend_usd") == [0.0105]
        assert seen(series, "budgets", state="suspended") == [1]
        assert seen(series, "budgets") is None, "states added up say nothing"


def test_stages_of_one_account_do_not_meet(
    by_function: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "SERVICE", "ledgerock-dev")
    lines = [*by_function(measure_results), *by_container(measure_results, "ledgerock-prod")]
    series = series_of(lines)
    for service in ("ledgerock-dev", "ledgerock-prod"):
        assert sum(seen(series, "records", service) or []) == 9
        assert seen(series, "spend_usd", service) == [0.0105]
    assert {dict(dimensions)["service"] for _, _, dimensions in series} == {
        "ledgerock-dev",
        "ledgerock-prod",
    }
