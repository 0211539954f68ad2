import pytest

from tools.laptop.host import parse_metrics

BEFORE = """\
# TYPE ledgerock_records_total counter
ledgerock_records_total{result="recorded"} 5.0
# TYPE ledgerock_deliveries_total counter
ledgerock_deliveries_total{result="acknowledged",source="sqs:one"} 2.0
ledgerock_deliveries_total{result="acknowledged",source="kinesis:two"} 3.0
# TYPE ledgerock_request_throttles_total counter
ledgerock_request_throttles_total 1.0
# TYPE ledgerock_lag_seconds histogram
ledgerock_lag_seconds_bucket{le="1.0"} 0.0
ledgerock_lag_seconds_bucket{le="2.0"} 0.0
ledgerock_lag_seconds_bucket{le="+Inf"} 0.0
ledgerock_lag_seconds_count 0.0
ledgerock_lag_seconds_sum 0.0
"""
AFTER = (
    BEFORE.replace('"recorded"} 5.0', '"recorded"} 9.0')
    .replace('le="1.0"} 0.0', 'le="1.0"} 10.0')
    .replace('le="2.0"} 0.0', 'le="2.0"} 20.0')
    .replace('le="+Inf"} 0.0', 'le="+Inf"} 20.0')
)


def test_counters_are_read_by_result_and_summed_over_everything_else() -> None:
    metrics = parse_metrics(BEFORE)
    assert metrics.by_result("records") == {"recorded": 5}
    assert metrics.by_result("deliveries") == {"acknowledged": 5}
    assert metrics.of("request_throttles") == 1
    assert metrics.of("request_retries") == 0


def test_what_was_counted_between_two_looks_is_their_difference() -> None:
    since = parse_metrics(AFTER).since(parse_metrics(BEFORE))
    assert since.by_result("records") == {"recorded": 4}
    assert since.by_result("deliveries") == {"acknowledged": 0}


def test_a_worker_that_began_anew_counts_from_nothing() -> None:
    since = parse_metrics(BEFORE).since(parse_metrics(AFTER))
    assert since.by_result("records") == {"recorded": 5}
    assert since.quantile("lag_seconds", 0.5) is None


@pytest.mark.parametrize("share, expected", [(0.25, 0.5), (0.5, 1.0), (0.75, 1.5), (1, 2.0)])
def test_quantiles_are_interpolated_between_bounds(share: float, expected: float) -> None:
    assert parse_metrics(AFTER).quantile("lag_seconds", share) == pytest.approx(expected)


def test_there_is_no_quantile_of_nothing() -> None:
    assert parse_metrics(BEFORE).quantile("lag_seconds", 0.5) is None
    assert parse_metrics("").quantile("lag_seconds", 0.5) is None


def test_what_is_beyond_the_last_bound_is_at_least_that() -> None:
    beyond = AFTER.replace('le="+Inf"} 20.0', 'le="+Inf"} 40.0')
    assert parse_metrics(beyond).quantile("lag_seconds", 0.99) == pytest.approx(2.0)
