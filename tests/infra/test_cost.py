"""What it costs to run: the pages say what is worked out, from figures that still hold."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.bench.dynamodb_child import CALLS, poster_of
from tests.bench.units_child import measure
from tests.bench.workload import SEED
from tests.bench.write_units import USD_PER_MILLION_READ_UNITS, USD_PER_MILLION_WRITE_UNITS
from tests.infra.conftest import Shaped
from tests.infra.shapes import configured, synthesise
from tests.infra.watching import alarm_metrics
from tests.tidy.sources import read_text
from tools import cost, cost_figures
from worker.settings import WorkerSettings
from worker.telemetry import METRICS
from worker.telemetry.metrics import BUDGET_STATES, DELIVERY_RESULTS, RECORD_RESULTS
from worker.traffic.profile import TrafficProfile
from worker.traffic.traffic import Traffic

PAGES = (Path("docs/cost.md"), Path("README.md"))


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_the_pages_say_what_is_worked_out(path: Path) -> None:
    text = read_text(path)
    assert cost.filled(text) == text, "run: python -m tools.cost --write"


def test_every_table_is_on_a_page() -> None:
    named = {one for path in PAGES for one in re.findall(r"<!-- cost: (\S+) -->", read_text(path))}
    assert named == cost.blocks().keys()


def test_sums_by_hand() -> None:
    """2.99 x 0.625 = 1.86875; 1.17 x 0.125 = 0.14625; together a million calls' tables."""
    rows = {what: usd for what, _how, usd in cost.per_million("container")}
    assert rows["DynamoDB, writes"] == Decimal("1.86875")
    assert rows["DynamoDB, reads"] == Decimal("0.14625")
    # 1,024 bytes x 1,000,000 = 0.95367431640625 GB, x (0.50 + 0.03).
    logs = rows["CloudWatch Logs, invocation logs"]
    assert logs == Decimal("0.95367431640625") * Decimal("0.53")
    # 730 x (0.5 x 0.04048 + 1 x 0.004445) = 730 x 0.024685.
    rest = {what: usd for what, _how, usd in cost.at_rest("container")}
    assert rest["Fargate, one task"] == Decimal("18.020050")
    assert rest["Kinesis on demand"] == Decimal("29.20")


def test_prices_are_the_bench_s() -> None:
    assert cost.price("write") == Decimal(USD_PER_MILLION_WRITE_UNITS)
    assert cost.price("read") == Decimal(USD_PER_MILLION_READ_UNITS)


@pytest.mark.timeout(300)
def test_units_are_what_the_bench_measures() -> None:
    """On calls of these days, as live ones are."""
    start = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    profile = TrafficProfile(
        name="units", seed=SEED, calls=CALLS, start=start, days=10, principals=300
    )
    traffic = Traffic(profile)
    found = asyncio.run(measure(traffic, poster_of(traffic), 500, 1))
    assert Decimal(found["write_units"]) == cost_figures.WRITE_UNITS[500]
    assert Decimal(found["read_units"]) == cost_figures.READ_UNITS
    wide = Decimal(str(found["write_units_by_what"]["wide"]))
    assert wide == cost_figures.WIDE_UNITS[500]
    assert found["write_units_by_what"]["entries"] == cost_figures.ENTRY_UNITS
    assert found["largest_item_bytes"]["entries"] + 100 == cost_figures.ENTRY_BYTES


@pytest.mark.parametrize(
    "shape, name", [("functions", "functions-kinesis"), ("container", "container-public")]
)
def test_metrics_of_alarms_are_counted(shape: str, name: str, shaped: Shaped) -> None:
    alarms = [
        one["Properties"]
        for one in shaped(name).ledger["Resources"].values()
        if one["Type"] == "AWS::CloudWatch::Alarm"
    ]
    watched = sum(len(list(alarm_metrics(one))) for one in alarms)
    assert watched == cost_figures.ALARM_METRICS[shape]


def test_metrics_of_its_own_are_counted() -> None:
    """Each set of dimensions is one: of a queue and a stream, without people to tell."""
    values = {
        "deliveries": {"source": 2, "result": len(DELIVERY_RESULTS)},
        "records": {"result": len(RECORD_RESULTS)},
        "budgets": {"state": len(BUDGET_STATES)},
    }
    count = 0
    for name, metric in METRICS.items():
        if metric.labels == ("channel",):
            continue
        for labels in (metric.labels, *metric.rollups):
            combinations = 1
            for label in labels:
                combinations *= values.get(name, {"source": 2})[label]
            count += combinations
    assert count == cost_figures.DEPLOYED["own_metrics"]


def test_endpoints_of_a_private_container_are_counted(tmp_path: Path) -> None:
    made = synthesise(configured({"shape": "container", "network": {"private": True}}), tmp_path)
    endpoints = [
        one
        for _stack, _name, one in made.resources()
        if one["Type"] == "AWS::EC2::VPCEndpoint"
        and one["Properties"].get("VpcEndpointType") == "Interface"
    ]
    assert len(endpoints) == cost_figures.DEPLOYED["endpoints"]


def test_the_stream_is_kept_as_long_as_is_paid_for(shaped: Shaped) -> None:
    [stream] = [
        one["Properties"]
        for one in shaped("functions-kinesis").ledger["Resources"].values()
        if one["Type"] == "AWS::Kinesis::Stream"
    ]
    assert stream["RetentionPeriodHours"] == 24 * cost_figures.STREAM_DAYS
    assert "ON_DEMAND" in json.dumps(stream)


def test_leases_are_renewed_as_often_as_is_paid_for() -> None:
    assert WorkerSettings().lease_seconds == 4 * cost_figures.LEASE_SECONDS
