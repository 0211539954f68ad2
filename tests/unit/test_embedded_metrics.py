"""Metrics in CloudWatch's embedded metric format, line by line."""

import io
import json

from tests.cloudwatch import VALUES_MAX, seen, series_of
from worker.runtime.metrics import EmbeddedMeter
from worker.telemetry import Tally
from worker.telemetry.embedded import SAMPLE_MAX

AT_MS = 1_767_225_600_000


class Printer:
    """A container's meter, and the lines that it printed last."""

    def __init__(self, service: str = "ledgerock-dev") -> None:
        self.stream = io.StringIO()
        self.meter = EmbeddedMeter("Ledgerock", service, self.stream)

    def lines(self, at_ms: int = AT_MS) -> list[str]:
        self.stream.seek(0)
        self.stream.truncate()
        self.meter.print(at_ms)
        return self.stream.getvalue().splitlines()


def test_a_line_is_exactly_what_cloudwatch_takes() -> None:
    printer = Printer()
    printer.meter.add("deliveries", 2, result="deferred", source="sqs:calls")
    [line] = printer.lines()
    assert json.loads(line) == {
        "_aws": {
            "Timestamp": AT_MS,
            "CloudWatchMetrics": [
                {
                    "Namespace": "Ledgerock",
                    "Dimensions": [
                        ["source", "result", "service"],
                        ["service"],
                        ["result", "service"],
                    ],
                    "Metrics": [{"Name": "deliveries", "Unit": "Count"}],
                }
            ],
        },
        "source": "sqs:calls",
        "result": "deferred",
        "service": "ledgerock-dev",
        "deliveries": [2],
    }


def test_counters_are_what_came_since_and_gauges_what_holds() -> None:
    printer = Printer()
    assert printer.lines() == []
    printer.meter.add("calls", 3)
    printer.meter.add("calls")
    printer.meter.set("breaker_open", 1)
    printer.meter.observe("commit_seconds", 0.25)
    first = series_of(printer.lines())
    assert seen(first, "calls", "ledgerock-dev") == [4]
    assert seen(first, "breaker_open", "ledgerock-dev") == [1]
    assert seen(first, "commit_seconds", "ledgerock-dev") == [0.25]
    printer.meter.add("calls", 2)
    second = series_of(printer.lines())
    assert seen(second, "calls", "ledgerock-dev") == [2]
    assert seen(second, "breaker_open", "ledgerock-dev") == [1]
    assert seen(second, "commit_seconds", "ledgerock-dev") is None
    printer.meter.set("breaker_open", 0)
    third = series_of(printer.lines())
    assert {name for _, name, _ in third} == {"breaker_open"}
    assert seen(third, "breaker_open", "ledgerock-dev") == [0]


def test_a_function_keeps_nothing_for_the_next_invocation() -> None:
    tally = Tally()
    tally.set("monitor_lag_seconds", 4)
    tally.add("crossings")
    tally.observe("commit_seconds", 1)
    assert len(list(tally.take())) == 1
    assert list(tally.take()) == []


def test_what_is_taken_back_is_written_as_it_is() -> None:
    printer = Printer()
    printer.meter.add("spend_usd", 0.5)
    printer.meter.add("spend_usd", -0.75)
    assert seen(series_of(printer.lines()), "spend_usd", "ledgerock-dev") == [-0.25]


def test_no_line_holds_more_values_than_cloudwatch_takes_and_none_is_lost() -> None:
    printer = Printer()
    values = [number / 8 for number in range(2 * VALUES_MAX + 50)]
    for value in values:
        printer.meter.observe("commit_seconds", value)
        printer.meter.observe("delivery_age_seconds", 2 * value)
    printer.meter.observe("call_to_booked_seconds", 7)
    printer.meter.add("calls", 5)
    lines = printer.lines()
    assert len(lines) == 3
    series = series_of(lines)
    assert seen(series, "commit_seconds", "ledgerock-dev") == values
    assert seen(series, "delivery_age_seconds", "ledgerock-dev") == [2 * one for one in values]
    assert seen(series, "call_to_booked_seconds", "ledgerock-dev") == [7]
    assert seen(series, "calls", "ledgerock-dev") == [5]


def test_of_too_many_values_a_sample_is_kept_and_the_greatest_always() -> None:
    for greatest_at in (0, 20 * SAMPLE_MAX - 1):
        printer = Printer()
        for number in range(20 * SAMPLE_MAX):
            printer.meter.observe("delivery_age_seconds", number % 1_000)
            if number == greatest_at:
                printer.meter.observe("delivery_age_seconds", 99_999)
        values = seen(series_of(printer.lines()), "delivery_age_seconds", "ledgerock-dev")
        assert values is not None
        assert len(values) == SAMPLE_MAX
        assert values.count(99_999) == 1
        # A thousand draws from 0 to 999: their mean is 499.5, give or take ten deviations of 9.1.
        others = [one for one in values if one != 99_999]
        assert 408 < sum(others) / len(others) < 591


def test_seconds_are_written_to_the_microsecond() -> None:
    printer = Printer()
    printer.meter.observe("commit_seconds", 0.1 + 0.2)
    [line] = printer.lines()
    assert '"commit_seconds":[0.3]' in line
