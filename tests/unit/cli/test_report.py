import csv
import io
import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import ALICE, BEN, NOVA_PRO, SONNET_3, log, write, write_month
from worker.cli.report import Dimension
from worker.core.report import DIMENSIONS


@pytest.fixture
def booked(run: Run, folder: Path) -> Path:
    write_month(folder)
    run("replay", "logs")
    return folder


def test_every_dimension_of_the_books_can_be_asked_for() -> None:
    assert tuple(Dimension) == DIMENSIONS


def test_json_is_the_contract_and_the_same_bytes_every_time(run: Run, booked: Path) -> None:
    text = run("report", "--format", "json")
    document = json.loads(text)
    assert (document["by"], document["since"], document["until"]) == ("principal", None, None)
    assert [(row["key"], row["cost_usd"], row["calls"]) for row in document["rows"]] == [
        (ALICE, "0.021", 2),
        (BEN, "0.004075", 3),
    ]
    assert document["total"]["cost_usd"] == "0.025075"
    assert document["total"]["unpriced_calls"] == 1
    assert document["total"]["tokens"]["input_tokens"] == 8_510
    assert run("report", "--format", "json") == text


def test_a_window_is_by_event_time(run: Run, booked: Path) -> None:
    text = run("report", "--since", "2026-10", "--until", "2026-11", "--format", "json")
    document = json.loads(text)
    assert document["since"] == "2026-10-01T00:00:00Z"
    assert document["total"]["cost_usd"] == "0.02476"
    # A bound within a day, with an offset: noon UTC of October 1st is not included.
    until = "2026-10-01T14:00:00+02:00"
    assert json.loads(run("report", "--until", until, "--format", "json"))["rows"] == []


def test_months_are_in_order_of_time(run: Run, booked: Path) -> None:
    rows = json.loads(run("report", "--by", "month", "--format", "json"))["rows"]
    assert [(row["key"], row["cost_usd"]) for row in rows] == [
        ("2026-10", "0.02476"),
        ("2026-11", "0.000315"),
    ]


def test_csv_has_a_header_and_every_digit(run: Run, booked: Path) -> None:
    text = run("report", "--by", "model", "--format", "csv")
    assert text.splitlines()[0] == (
        "key,cost_usd,calls,input_tokens,output_tokens,cache_read_tokens,cache_write_5m_tokens,"
        "cache_write_1h_tokens,estimated_usd,estimated_calls,unpriced_calls,unmetered_calls,"
        "failed_calls"
    )
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["key"], row["cost_usd"]) for row in rows[:2]] == [
        (SONNET_3, "0.021"),
        (NOVA_PRO, "0.00376"),
    ]
    assert rows[0]["input_tokens"] == "2000"


def test_the_table_adds_up_and_names_what_is_not_known(run: Run, booked: Path) -> None:
    text = run("report")
    total = next(line for line in text.splitlines() if line.startswith("total"))
    assert total.split()[1:4] == ["$0.025075", "100.0%", "5"]
    assert "1 unpriced" in total
    assert "1 call unpriced: counted, and not in the cost" in text
    assert "`ledgerock rebook" in text


def test_rows_without_a_key_say_so(run: Run, booked: Path) -> None:
    assert "(none)" in run("report", "--by", "team")


def test_small_amounts_are_never_shown_as_zero(run: Run, folder: Path) -> None:
    # Titan Embed v2 costs USD 0.02 a million: three tokens are 0.00000006.
    record = log("r1", "amazon.titan-embed-text-v2:0", (3, None))
    write(folder / "one.json", record, log("r2", user="ben"))
    run("replay", "one.json")
    line = next(li for li in run("report").splitlines() if li.startswith(ALICE))
    assert line.split()[1:3] == ["$0.00000006", "<0.1%"]


def test_an_empty_report_says_how_to_fill_it(run: Run, booked: Path) -> None:
    assert "ledgerock replay PATH" in run("report", "--since", "2030-01")


def test_unknown_dimensions_and_formats_are_argument_errors(run: Run) -> None:
    run("report", "--by", "colour", code=2, error="--by")
    run("report", "--format", "xml", code=2, error="--format")
    run("report", "--since", "2026-11", "--until", "2026-10", code=2, error="--since must be")


def test_a_wrong_choice_is_told_the_right_ones(run: Run) -> None:
    error = "Error: Invalid value for '--format': 'xml' is none of table, json, csv"
    run("report", "--format", "xml", code=2, error=error)
    run("report", "--by", "user", code=2, error="'--by': 'user' is none of principal, identity,")
