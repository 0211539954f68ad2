"""Reading `--since`, `--until` and `--at`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from worker.pipeline import Window

FORMS: Final = "2026-10, 2026-10-01, 2026-10-01T12:00, 2026-10-01T12:00:00+02:00"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MONTH: Final = re.compile(r"[0-9]{4}-[0-9]{2}", re.ASCII)
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?",
    re.ASCII,
)


def parse_time(text: str) -> int:
    """Read a month, a date or a time as epoch milliseconds; UTC unless it has an offset.

    Raises:
        typer.BadParameter: It is none of these; typer adds the option's name.
    """
    full = f"{text}-01" if _MONTH.fullmatch(text) else text
    message = f"{text!r} is no time; give a month, a date or a time like {FORMS}"
    if not _TIME.fullmatch(full):
        raise typer.BadParameter(message)
    try:
        instant = datetime.fromisoformat(full)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        return (instant - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(message) from error


def window_of(since_ms: int | None, until_ms: int | None) -> Window:
    """Return the half-open window of two options.

    Raises:
        typer.BadParameter: It is empty.
    """
    from worker.pipeline import Window

    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        message = "--since must be earlier than --until, which is not included"
        raise typer.BadParameter(message)
    return Window(since_ms, until_ms)
