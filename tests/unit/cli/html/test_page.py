import base64
import hashlib
import html
import re
import sys
from pathlib import Path

import pytest

from tests.calls import asynchronous, book, call, poster
from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import write_month
from worker import books
from worker.adapters.memory_ledger import MemoryLedger
from worker.cli.html.reading import read_page
from worker.cli.html.render import render
from worker.core.evidence import Counts
from worker.core.ledger import MS_PER_DAY
from worker.pipeline import Window

NOON = 20_000 * MS_PER_DAY + MS_PER_DAY // 2


@pytest.fixture
def booked(run: Run, folder: Path) -> Path:
    write_month(folder)
    run("replay", "logs")
    return folder


def test_the_same_ledger_gives_the_same_bytes(run: Run, booked: Path) -> None:
    page = run("report", "--format", "html")
    assert page == run("report", "--format", "html")
    run("report", "--format", "html", "--output", "page.html")
    assert (booked / "page.html").read_text(encoding="utf-8") == page


def test_the_page_names_nothing_outside_itself(run: Run, booked: Path) -> None:
    page = run("report", "--format", "html")
    assert set(re.findall(r"[a-z]+://[^\s\"'<]*", page)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(?:link|img|iframe|object|embed|base|form)\b|@import|url\(", page)
    assert not re.search(r"\son[a-z]+=|\sstyle=", page)


def test_the_policy_allows_this_style_and_script_and_nothing_else(run: Run, booked: Path) -> None:
    page = run("report", "--format", "html")
    policy = html.unescape(re.findall(r'Security-Policy" content="([^"]*)"', page)[0])
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_doubts_come_with_the_command_that_mends_them(run: Run, booked: Path) -> None:
    page = run("report", "--format", "html", "--ledger", "sqlite:./ledgerock.db")
    assert "ledgerock rebook --ledger sqlite:./ledgerock.db --prices FILE" in page
    assert "acme" in page


def test_an_empty_period_says_so(run: Run, booked: Path) -> None:
    page = run("report", "--format", "html", "--since", "2030-01", "--until", "2030-02")
    assert "No calls in this period" in page
    assert "<svg" not in page


def test_drawing_leaves_the_interpreter_as_it_was(run: Run, booked: Path) -> None:
    run("report", "--format", "html")
    assert all(hasattr(finder, "find_spec") for finder in sys.meta_path)


def test_arguments_that_do_not_fit_are_refused(run: Run, booked: Path) -> None:
    run("report", "--output", "x.txt", code=2, error="--output goes with --format html")
    missing = ("report", "--format", "html", "--output", "missing/page.html")
    run(*missing, code=2, error="cannot be written")


@asynchronous
async def test_large_ledgers_are_shown_from_balances_alone() -> None:
    posted, ledger = poster(), MemoryLedger()
    await book(ledger, posted, *[call(n, Counts(10, 10), at_ms=NOON) for n in range(3)])
    shown = await read_page(ledger, posted, Window(), calls_read_max=2)
    assert shown.details[0].calls is None
    assert not shown.caching.exact
    page = render(shown, calls_read_max=2)
    assert "Single calls are not shown: this ledger has more than 2" in page
    shown = await read_page(ledger, posted, Window(), calls_read_max=3)
    assert [len(one.calls or ()) for one in shown.details] == [3]
    assert "0 other calls not listed" in render(shown, calls_read_max=3)


@asynchronous
async def test_a_window_within_a_day_is_cut_exactly() -> None:
    posted, ledger = poster(), MemoryLedger()
    hour = 3_600_000
    calls = [call(n, Counts(1_000 * n, 10), at_ms=NOON + n * hour) for n in range(1, 6)]
    await book(ledger, posted, *calls)
    window = Window(NOON + 3 * hour, NOON + 5 * hour)
    shown = await read_page(ledger, posted, window)
    report = await books.report(ledger, "principal", window)
    assert shown.total == report.total
    assert shown.total.calls == 2
    assert shown.before is not None
    assert shown.before[1].calls == 2
    assert [line.input_tokens for line in shown.details[0].calls or ()] == [4_000, 3_000]
    assert "12:00" not in shown.period.label
