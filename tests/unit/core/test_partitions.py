from datetime import UTC, datetime

import pytest

from worker.core.partitions import LATE_MS, partition_of

LOGS = "AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/"
TRAIL = "org/AWSLogs/o-exampleorgid/111122223333/CloudTrail/eu-west-1/"
HOUR_MS = 3_600_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    "key, start, end, is_day",
    [
        (
            f"{LOGS}2026/10/05/13/20261005T13Z_ab.json.gz",
            "2026-10-05T13",
            "2026-10-05T14",
            True,
        ),
        (f"{LOGS}2026/10/05/13/data/x_input.json.gz", "2026-10-05T13", "2026-10-05T14", True),
        (f"{LOGS}2026/10/05/", "2026-10-05", "2026-10-06", True),
        (f"{LOGS}2026/12/31/23/", "2026-12-31T23", "2027-01-01", True),
        (f"{LOGS}2026/12/", "2026-12-01", "2027-01-01", False),
        (f"{LOGS}2026/02/", "2026-02-01", "2026-03-01", False),
        (f"{LOGS}2028/", "2028-01-01", "2029-01-01", False),
        (f"{TRAIL}2026/10/05/1_CloudTrail_x.json.gz", "2026-10-05", "2026-10-06", True),
    ],
)
def test_folders_stand_for_the_time_of_delivery(
    key: str, start: str, end: str, *, is_day: bool
) -> None:
    assert partition_of(key) == (ms(start), ms(end), is_day)


@pytest.mark.parametrize(
    "key",
    [
        "",
        LOGS,
        f"{LOGS}20261005.json",
        f"{LOGS}2026/13/",
        f"{LOGS}2026/02/30/",
        f"{LOGS}0000/01/",
        f"{LOGS}2026/10/05/24/",
        "AWSLogs/1/CloudTrail-Digest/us-east-1/2026/10/05/x",
        "reports/2026/10/05/x.json",
        "BedrockModelInvocationLogs/us/east/2026/10/05/x",
    ],
)
def test_other_names_speak_of_no_time(key: str) -> None:
    assert partition_of(key) is None


def test_a_window_takes_in_what_may_have_been_delivered_late() -> None:
    day = partition_of(f"{TRAIL}2026/10/05/")
    assert day is not None
    assert day.may_hold(None, None)
    # Calls up to a day after its end, and from a day before its start on.
    assert day.may_hold(day.end_ms + LATE_MS - 1, None)
    assert not day.may_hold(day.end_ms + LATE_MS, None)
    assert day.may_hold(None, day.start_ms - LATE_MS + 1)
    assert not day.may_hold(None, day.start_ms - LATE_MS)
    assert day.may_hold(day.start_ms + HOUR_MS, day.start_ms + 2 * HOUR_MS)


def test_years_end() -> None:
    assert partition_of(f"{LOGS}9999/") is None
