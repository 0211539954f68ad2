import io
import sys

import pytest

from worker.cli.figures import SpendTable
from worker.cli.money import MoneyColumn, show_usd
from worker.cli.output import bar, console, printable, share, short_count, shorten
from worker.cli.progress import entries_progress, progress_line, replay_progress
from worker.core.ledger import Amounts
from worker.core.money import PICO_PER_USD
from worker.replay import ReplayProgress


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_column_has_as_many_decimals_as_its_amounts_need() -> None:
    money = MoneyColumn([10_500_000_000, 1_234 * PICO_PER_USD])
    assert money.show(10_500_000_000) == "$0.0105"
    assert money.show(1_234 * PICO_PER_USD) == "$1,234.0000"
    assert money.show(-10_500_000_000) == "-$0.0105"
    assert not money.rounded
    assert MoneyColumn([]).show(0) == "$0.00"


@pytest.mark.parametrize(
    "pico_usd, text",
    [
        (1, "$0.000000000001"),
        (499_999, "$0.000000499999"),
        (500_000, "$0.0000005"),
        (500_001, "$0.000001"),
        (1_500_000, "$0.000002"),
        (2_500_000, "$0.000002"),
        (999_999_500_000, "$1.000000"),
        (-1, "-$0.000000000001"),
    ],
)
def test_rounding_is_half_even_and_never_to_zero(pico_usd: int, text: str) -> None:
    assert MoneyColumn([pico_usd]).show(pico_usd) == text


def test_rounding_is_owned_up_to() -> None:
    money = MoneyColumn([1_000_001])
    money.show(1_000_001)
    assert money.rounded


def test_one_amount_is_shown_in_full() -> None:
    assert show_usd(17_788_906_251_250) == "$17.78890625125"
    assert show_usd(10**24) == "$1,000,000,000,000.00"
    assert show_usd(-500_000_000_000) == "-$0.50"


def test_shares_and_bars_of_something_are_never_nothing() -> None:
    assert share(1, 3) == "33.3%"
    assert share(2, 3) == "66.7%"
    assert share(1, 10_000) == "<0.1%"
    assert share(0, 3) == "0.0%"
    assert share(1, 0) == ""
    assert bar(0, 3) == ""
    assert bar(3, 3) in ("█" * 10, "#" * 10)
    assert bar(1, 10_000) in ("▏", "#")


def test_bars_need_no_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert bar(1, 2) == "#####"
    assert printable("Zoë") == "Zo\\xeb"


def test_tokens_are_shortened_as_people_say_them() -> None:
    numbers = (0, 999, 1_000, 12_345, 123_456, 999_999, 1_000_000, 4_567_890_123)
    assert [short_count(number) for number in numbers] == [
        "0",
        "999",
        "1.00k",
        "12.3k",
        "123k",
        "999k",
        "1.00M",
        "4.56G",
    ]


def test_untrusted_text_is_made_harmless() -> None:
    assert printable("user/1/alice") == "user/1/alice"
    assert printable("\x1b]0;owned\x07") == "\\x1b]0;owned\\x07"
    assert printable("left\u202eright") == "left\\u202eright"
    assert printable("\ud800") == "\\ud800"


def test_narrow_terminals_get_fewer_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    amounts = Amounts(calls=3, cost_pico_usd=PICO_PER_USD, input_tokens=7, cache_read_tokens=5)
    headings = {
        width: [
            column.header
            for column in SpendTable("team", [("", amounts)], amounts, width).table.columns
        ]
        for width in (80, 200)
    }
    assert headings[80] == ["team", "cost", "share", "calls"]
    assert headings[200] == ["team", "cost", "share", "", "calls", "input", "output", "cached"]


PERSON = "session/111122223333/AWSReservedSSO_DataScience_0123456789abcdef/alice%40example.com"


def test_a_long_key_gives_up_its_account_first_and_then_its_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert shorten(PERSON, len(PERSON)) == PERSON
    assert shorten(PERSON, len(PERSON) - 7) == PERSON.replace("11112222", "…")
    assert shorten(PERSON, 32) == "session/…" + PERSON[-23:]
    assert len(shorten(PERSON, 24)) == 24


@pytest.mark.parametrize("width", [80, 100])
def test_a_key_takes_one_line_of_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    amounts = Amounts(calls=1_234, cost_pico_usd=12_345_678_901_234, estimated_calls=2)
    out = console()
    out.print(SpendTable("principal", [(PERSON, amounts)], amounts, out.width).table)
    (row,) = [line for line in stream.getvalue().splitlines() if "alice" in line]
    assert row.split()[0].startswith("session/…")
    assert row.split()[0].endswith("alice%40example.com")
    assert row.split()[1:4] == ["$12.345679", "100.0%", "1,234"]


def test_a_key_is_whole_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    amounts = Amounts(calls=1)
    console().print(SpendTable("principal", [(PERSON, amounts)], amounts, 80).table)
    assert PERSON in capsys.readouterr().out


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    console().print("spend", style="red")
    assert "\x1b[31m" not in stream.getvalue()


PROGRESS = ReplayProgress(
    bytes_done=25_000_000, bytes_total=100_000_000, records=50_000, files_done=5, files_total=20
)


def test_a_line_of_progress_says_rate_and_what_is_left() -> None:
    assert progress_line(PROGRESS, 10) == (
        "25%  25.0 of 100.0 MB  5 of 20 files  50,000 records  2.5 MB/s  5,000 records/s  "
        "about 30 s left"
    )
    nothing = ReplayProgress(bytes_done=0, bytes_total=0, records=0, files_done=0, files_total=1)
    assert progress_line(nothing, 0).startswith("100%  0.0 of 0.0 MB  0 of 1 file")


def test_lines_come_every_few_seconds_on_what_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100
    monkeypatch.setattr("worker.cli.progress.time.monotonic", lambda: now)
    with replay_progress(lines=True) as on_progress:
        assert on_progress is not None
        for now in (101, 104, 106, 108, 112):  # noqa: B007 - the clock reads it
            on_progress(PROGRESS)
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 2
    assert captured.out == ""
    with replay_progress(lines=False) as on_progress:
        assert on_progress is None
    with entries_progress() as on_entries:
        assert on_entries is None


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with replay_progress(lines=False) as on_progress:
        assert on_progress is not None
        on_progress(PROGRESS)
    assert "5/20 files" in stream.getvalue()
    with entries_progress() as on_entries:
        assert on_entries is not None
        on_entries(1_000)
