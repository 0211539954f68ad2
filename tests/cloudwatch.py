"""What CloudWatch makes of lines in its embedded metric format."""

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

VALUES_MAX: Final = 100
METRICS_MAX: Final = 100
DIMENSIONS_MAX: Final = 30
LINE_BYTES_MAX: Final = 256 * 1024
"""AWS documentation: "Specification: Embedded metric format"."""

Series = dict[tuple[str, str, frozenset[tuple[str, str]]], list[float]]
"""Values of a metric by namespace, name and exactly its dimensions: nothing is added up."""


def series_of(lines: Iterable[str]) -> Series:
    """Return what an alarm could see; lines that are no metrics are only logs."""
    found: Series = defaultdict(list)
    for line in lines:
        row = json.loads(line)
        if "_aws" not in row:
            continue
        assert len(line.encode()) <= LINE_BYTES_MAX
        assert isinstance(row["_aws"]["Timestamp"], int)
        for directive in row["_aws"]["CloudWatchMetrics"]:
            assert 0 < len(directive["Metrics"]) <= METRICS_MAX
            sets = [frozenset((name, row[name]) for name in one) for one in directive["Dimensions"]]
            assert len(set(sets)) == len(sets), "a value would count twice"
            assert all(len(one) <= DIMENSIONS_MAX for one in sets)
            assert all(text and isinstance(text, str) for one in sets for _, text in one)
            for metric in directive["Metrics"]:
                values = row[metric["Name"]]
                values = values if isinstance(values, list) else [values]
                assert 0 < len(values) <= VALUES_MAX
                for dimensions in sets:
                    found[directive["Namespace"], metric["Name"], dimensions] += values
    return dict(found)


def seen(
    series: Series, name: str, service: str = "ledgerock", /, **labels: str
) -> list[float] | None:
    """Return what an alarm on these dimensions sees of a metric; None for no data at all."""
    return series.get(("Ledgerock", name, frozenset({**labels, "service": service}.items())))
