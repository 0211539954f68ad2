"""The page in a real browser: what it shows, what it asks for, what it looks like."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser
from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import SONNET_3, log, write
from worker.cli.html.text import printable_text
from worker.settings import Settings

ROOT = Path(__file__).parents[4]
SCREENS = ROOT / "build" / "screens"

TABLES = """
[...document.querySelectorAll("main > section > .scroll > table.spend")].map((table) => [
  table.dataset.by,
  [...table.tBodies[0].rows].map((row) => [
    row.dataset.key,
    [...row.cells].slice(1).map((cell) => cell.querySelector("data")?.value ?? cell.innerText)])])
"""
"""Every table that is no detail: its dimension, and key and cells of every row."""
CLIPPED = """[...document.querySelectorAll("main *, header *")].filter((node) => {
  const box = node.getBoundingClientRect();
  return box.width > 2 && box.right > innerWidth + 1
    && !node.closest(".scroll, .unseen");
}).map((node) => node.outerHTML.slice(0, 200))"""


@pytest.mark.timeout(120)
def test_the_demo_page_shows_the_books_to_the_last_digit(
    browser: Browser,
    demo: Settings,
    run: Run,
    tmp_path: Path,
) -> None:
    file = tmp_path / "report.html"
    run("report", "--format", "html", "--ledger", demo.ledger, "--output", str(file))
    browser.open(file)
    shown: dict[str, Any] = dict(browser.run(TABLES))
    assert list(shown) == ["principal", "model", "team", "agent", "application", "account"]
    document: dict[str, Any] = {}
    for by, rows in shown.items():
        text = run("report", "--format", "json", "--ledger", demo.ledger, "--by", by)
        document = json.loads(text)
        assert [row[0] for row in rows] == [row["key"] for row in document["rows"]]
        for (_, cells), row in zip(rows, document["rows"], strict=True):
            unknown = row["calls"] == row["unpriced_calls"] + row["unmetered_calls"]
            assert cells[0] == ("unknown" if unknown else row["cost_usd"])
            assert int(cells[2].replace(",", "")) == row["calls"]
    headline = browser.run("document.querySelector('[data-figure=cost] data').value")
    assert headline == document["total"]["cost_usd"] == "36.02883695"
    days = json.loads(run("report", "--format", "json", "--ledger", demo.ledger, "--by", "day"))
    bars = (
        "[...document.querySelectorAll('table.series tbody tr')]"
        ".map((row) => row.cells[1].firstChild.value)"
    )
    assert browser.run(bars) == [row["cost_usd"] for row in days["rows"]]
    assert browser.run(CLIPPED) == []
    browser.screenshot(SCREENS / "demo-desktop.png")
    browser.screenshot(SCREENS / "demo-readme.png", height=1_352)
    browser.run("document.querySelector('details.detail').open = true")
    browser.run("document.querySelector('details.detail').scrollIntoView()")
    browser.screenshot(SCREENS / "demo-detail.png", whole=False)
    browser.print(SCREENS / "demo.pdf")
    assert (SCREENS / "demo.pdf").read_bytes().startswith(b"%PDF-")
    browser.open(file, dark=True)
    browser.screenshot(SCREENS / "demo-dark.png", height=1_420)
    for width in (320, 390):
        browser.open(file, width=width, height=844, phone=True)
        assert browser.run("document.documentElement.scrollWidth") == width
        assert browser.run(CLIPPED) == []
    browser.run("document.querySelector('details.detail').open = true")
    browser.screenshot(SCREENS / "demo-phone.png")
    assert browser.complaints == []
    assert browser.requests == []


HOSTILE = (
    "</script><script>document.title='taken'</script>",
    '"><img src=x onerror="document.title=1">',
    "{{ 7 * 7777 }}{% raw %}",
    "\u202egnp.exe",
    "a" * 120,
    "</style><style>body{display:none}</style>",
    "<!--<script>",
    "&lt;b&gt;",
)


@pytest.mark.timeout(120)
def test_hostile_names_are_text(browser: Browser, run: Run, folder: Path) -> None:
    role = "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Power_0123456789abcdef"
    records = [
        log(
            f"r{number}-{index}</script>",
            model,
            identity={"arn": f"{role}/{name}"},
            at=f"2026-10-0{number + 1}T12:00:00Z",
        )
        for number, name in enumerate(HOSTILE)
        for index, model in enumerate((name, SONNET_3))
    ]
    write(folder / "one.json", *records)
    run("replay", "one.json")
    run("report", "--format", "html", "--output", "page.html")
    browser.open(folder / "page.html", width=390, phone=True)
    assert browser.run("document.title").startswith("Amazon Bedrock spend")
    assert browser.run("document.scripts.length") == 1
    assert (
        browser.run("document.querySelectorAll('img, iframe, object, embed, link, b').length") == 0
    )
    assert browser.run("document.querySelectorAll('style').length") == 1
    assert browser.run("getComputedStyle(document.body).display") == "block"
    assert browser.run("document.querySelectorAll('[onerror]').length") == 0
    assert "54439" not in browser.run("document.body.innerText")
    for by, keys in ((by, [key for key, _ in rows]) for by, rows in browser.run(TABLES)):
        document = json.loads(run("report", "--format", "json", "--by", by))
        assert keys == [printable_text(row["key"]) for row in document["rows"]]
    names = (
        "[...document.querySelectorAll('[data-by=principal] .name > bdi')].map(b => b.innerText)"
    )
    assert set(browser.run(names)) >= {printable_text(name).strip() for name in HOSTILE}
    assert browser.run("document.documentElement.scrollWidth") == 390
    browser.screenshot(SCREENS / "hostile-phone.png")
    assert browser.complaints == []
    assert browser.requests == []


@pytest.mark.timeout(120)
def test_rows_are_sorted_by_exact_figures_and_digits_are_shown(
    browser: Browser,
    run: Run,
    folder: Path,
) -> None:
    write(
        folder / "one.json",
        log("r1", tokens=(1_000, 500), user="alice"),
        log("r2", tokens=(1_001, 500), user="ben"),
        log("r3", tokens=(10, 1), user="chen"),
    )
    run("replay", "one.json")
    run("report", "--format", "html", "--output", "page.html")
    browser.open(folder / "page.html")
    names = (
        "[...document.querySelectorAll('[data-by=principal] tbody .name > bdi')]"
        ".map((node) => node.innerText)"
    )
    click = (
        "document.querySelector('[data-by=principal] thead').querySelectorAll('button')[{}].click()"
    )
    assert browser.run(names) == ["ben", "alice", "chen"]
    browser.run(click.format(1))
    browser.run(click.format(1))
    assert browser.run(names) == ["chen", "alice", "ben"]
    browser.run(click.format(0))
    assert browser.run(names) == ["alice", "ben", "chen"]
    assert (
        browser.run("document.querySelector('[data-by=principal] [aria-sort]').innerText.trim()")
        == "Principal"
    )
    costs = (
        "[...document.querySelectorAll('[data-by=principal] tbody td:nth-child(2)')]"
        ".map((cell) => cell.innerText)"
    )
    assert browser.run(costs) == ["$0.01", "$0.01", "<$0.01"]
    browser.run("document.getElementById('digits').click()")
    # USD 3 and 15 a million: 1,000 in and 500 out are 0.003 + 0.0075.
    assert browser.run(costs) == ["$0.0105", "$0.010503", "$0.000045"]
    assert browser.complaints == []
