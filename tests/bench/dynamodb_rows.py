"""The rows on the shared ledger: commits a second on DynamoDB Local, and write units a call."""

from decimal import Decimal
from typing import Any, Final

from tests.bench.measuring import judged, run_child, say, spread
from tests.bench.write_units import (
    PRICE_SOURCE,
    USD_PER_MILLION_READ_UNITS,
    USD_PER_MILLION_WRITE_UNITS,
)

SIZE: Final = 500
RECORDS: Final = 2_500
SPEED_BAR: Final = 5
UNITS_BAR: Final = 3.0
POPULATIONS: Final = (3, 200, 300, 5_000)
SIZES: Final = (10, 90, 500, 2_000)
JUDGED: Final = (300, 500)
"""The population and batch size that the bar is held against: the workload's own."""


def commit_rows(rounds: int) -> dict[str, Any]:
    """Measure commits against one transaction per call, interleaved."""
    say(f"DynamoDB Local: {RECORDS:,} records in batches of {SIZE}, {rounds} rounds")
    found = run_child("dynamodb_child", {"records": RECORDS, "size": SIZE, "rounds": rounds})
    taken: list[dict[str, float]] = found["rounds"]
    ours = f"calls a second in batches of {SIZE} / in one transaction per call, 4 at a time"
    names = {
        "item_per_scope": f"{ours}, each scope's balance an item",
        "same_items": f"{ours}, adding to the very items that ours adds to",
    }
    return {
        "rows": [
            judged(name, "at least", SPEED_BAR, [one["ours"] / one[way] for one in taken])
            for way, name in names.items()
        ],
        "rounds": rounds,
        "calls": found["calls"],
        "calls_per_second": {way: spread([one[way] for one in taken]) for way in taken[0]},
        "agreement": "every payer's day of all three",
    }


def unit_rows() -> dict[str, Any]:
    """Compute write units by population and batch size, with the price that follows."""
    table = []
    for principals in POPULATIONS:
        say(f"write units: {principals:,} principals")
        found = run_child("units_child", {"principals": principals, "sizes": SIZES})
        for row in found["table"]:
            write, read = Decimal(row["write_units"]), Decimal(row["read_units"])
            usd = write * Decimal(USD_PER_MILLION_WRITE_UNITS)
            reads = read * Decimal(USD_PER_MILLION_READ_UNITS)
            table.append(
                row
                | {
                    "usd_per_million_calls": f"{usd + reads:.2f}",
                    "of_it_for_writing": f"{usd:.2f}",
                }
            )
    [chosen] = [
        row
        for row in table
        if (row["principals"], row["batch"], row["writers"], row["booked_days_later"])
        == (*JUDGED, 1, 0)
    ]
    name = f"write units a call, {JUDGED[0]} principals, batches of {JUDGED[1]}"
    return {
        "rows": [judged(name, "at most", UNITS_BAR, [float(chosen["write_units"])])],
        "table": table,
        "prices": {
            "usd_per_million_write_units": USD_PER_MILLION_WRITE_UNITS,
            "usd_per_million_read_units": USD_PER_MILLION_READ_UNITS,
            "source": PRICE_SOURCE,
        },
    }
