import pytest
import typer

from worker.cli.times import FORMS, parse_time, window_of

OCTOBER_MS = 1_790_812_800_000
"""2026-10-01T00:00:00Z: day 20,727 since 1970."""


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2026-10", OCTOBER_MS),
        ("2026-10-01", OCTOBER_MS),
        ("2026-10-01T00:00", OCTOBER_MS),
        ("2026-10-01 00:00:00Z", OCTOBER_MS),
        ("2026-10-01T12:00:00+02:00", OCTOBER_MS + 10 * 3_600_000),
        ("2026-09-30T22:30:00-01:30", OCTOBER_MS),
        ("2026-10-01T00:00:00.250Z", OCTOBER_MS + 250),
        ("1970-01-01", 0),
    ],
)
def test_times_are_utc_unless_they_have_an_offset(text: str, expected: int) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026", "2026-13", "2026-02-30", "20261001", "2026-W40", "1790812800"]
)
def test_anything_else_is_refused_with_the_forms_that_are_not(text: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        parse_time(text)
    assert FORMS in str(caught.value)


def test_a_window_is_half_open_and_never_empty() -> None:
    window = window_of(OCTOBER_MS, OCTOBER_MS + 1)
    assert window.holds(OCTOBER_MS)
    assert not window.holds(OCTOBER_MS + 1)
    assert window_of(None, None).is_open
    with pytest.raises(typer.BadParameter, match="--since must be earlier than --until"):
        window_of(OCTOBER_MS, OCTOBER_MS)
