"""Which time the names of log objects speak of.

| delivered by | key |
|---|---|
| Bedrock | `.../BedrockModelInvocationLogs/<Region>/YYYY/MM/DD/HH/...` |
| CloudTrail | `.../CloudTrail/<Region>/YYYY/MM/DD/...` |

AWS documentation: "Monitor model invocation using CloudWatch Logs and Amazon S3", "Finding your
CloudTrail log files". The folders are those of delivery, so what happened shortly before may lie
in a later one; `LATE_MS` allows for it generously.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

LATE_MS: Final = 86_400_000
"""How far the time of a call may lie outside of the folder that it was delivered to."""

_PARTITION: Final = re.compile(
    r"(?:^|/)(?:BedrockModelInvocationLogs|CloudTrail)/[a-z0-9-]+/(?P<year>\d{4})/"
    r"(?:(?P<month>\d\d)/(?:(?P<day>\d\d)/(?:(?P<hour>\d\d)/)?)?)?",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS: Final = 12


class Partition(NamedTuple):
    """The time that a folder stands for: half-open, epoch milliseconds UTC.

    Attributes:
        start_ms: First millisecond.
        end_ms: First millisecond after it.
        is_day: Whether it is a day or an hour, worth listing as a whole.
    """

    start_ms: int
    end_ms: int
    is_day: bool

    def may_hold(self, since_ms: int | None, until_ms: int | None) -> bool:
        """Whether calls of a half-open window may have been delivered to this folder."""
        return (since_ms is None or self.end_ms + LATE_MS > since_ms) and (
            until_ms is None or self.start_ms - LATE_MS < until_ms
        )


def partition_of(key: str) -> Partition | None:
    """Return the time that a key or folder speaks of, or None if it speaks of none.

    Args:
        key: Key of an object, or beginning of keys that ends in a slash.
    """
    match = _PARTITION.search(key)
    if match is None:
        return None
    year, month, day, hour = (
        None if text is None else int(text) for text in match.group("year", "month", "day", "hour")
    )
    try:
        start = datetime(year or 0, month or 1, day or 1, hour or 0, tzinfo=UTC)
        if hour is not None:
            end = start + timedelta(hours=1)
        elif day is not None:
            end = start + timedelta(days=1)
        elif month is not None:
            end = start.replace(year=start.year + month // _MONTHS, month=month % _MONTHS + 1)
        else:
            end = start.replace(year=start.year + 1)
    except (ValueError, OverflowError):
        return None
    return Partition(_ms(start), _ms(end), day is not None)


def _ms(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(milliseconds=1)
