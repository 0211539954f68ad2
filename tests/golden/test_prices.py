"""Every row of prices.csv: a call and its cost, worked out from the public tables themselves."""

import csv
from pathlib import Path

import pytest

from worker.adapters.catalogue_files import load_catalogue
from worker.core.catalogue import Catalogue
from worker.core.catalogue_text import parse_instant
from worker.core.evidence import Counts
from worker.core.money import format_pico_usd
from worker.core.pricing import charge

TABLE = Path(__file__).parent / "prices.csv"


def records() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


@pytest.fixture(scope="module")
def prices() -> Catalogue:
    return load_catalogue()


@pytest.mark.parametrize("record", records(), ids=lambda record: record["listed_as"])
def test_a_call_costs_what_the_table_says(prices: Catalogue, record: dict[str, str]) -> None:
    at_ms = parse_instant(record["at"] or "2026-11-22")
    place = (record["model"], record["routing"], record["region"], record["tier"])
    card = prices.card(*place, at_ms)
    assert card is not None
    pairs = [unit.split("=") for unit in record["units"].split(";") if unit]
    counts = Counts(
        input_tokens=int(record["input_tokens"]),
        output_tokens=int(record["output_tokens"]),
        cache_read_tokens=int(record["cache_read_tokens"]),
        cache_write_5m_tokens=int(record["cache_write_5m_tokens"]),
        cache_write_1h_tokens=int(record["cache_write_1h_tokens"]),
        units=tuple(sorted((unit, int(quantity)) for unit, quantity in pairs)),
    )
    result = charge(card, counts)
    assert format_pico_usd(result.cost_pico_usd) == record["cost_usd"]
    assert result.unrated_units == ()
    assert result.assumed_reason is None
