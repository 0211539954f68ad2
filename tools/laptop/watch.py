"""Shows the pipeline live: `python -m tools.laptop.watch [--seconds N]`, behind `make watch`.

Without a terminal it prints one picture after another.
"""

import argparse
import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tools.laptop.host import SETTINGS, Metrics, read_metrics, registry, use_pipeline
from worker.bootstrap import State, open_ledger, open_state
from worker.core.budget_standing import Standing
from worker.core.errors import LedgerockError
from worker.core.events import budget_subject
from worker.core.ledger import Amounts
from worker.core.money import PICO_PER_USD
from worker.core.registry import Registry
from worker.pipeline.budgets import standings_of
from worker.ports import Ledger, Notice

EVERY_SECONDS: Final = 1.0
ROWS: Final = 8
EVENTS: Final = 8
BAR: Final = 24
DAY_MS: Final = 86_400_000
RATE_SECONDS: Final = 10.0
"""Throughput is that of so many last seconds."""
STYLES: Final = {
    "ok": "green",
    "warning": "yellow",
    "critical": "red",
    "exceeded": "bold red",
    "grace_period": "bold red",
    "suspended": "bold red reverse",
}
NARROWEST: Final = 100


class _Facts(msgspec.Struct):
    """What is shown of a crossing."""

    threshold: int = 0
    level: str = ""
    unit: str = "usd"
    spent: str = ""
    limit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What one look at the pipeline found.

    Attributes:
        principals: What principals spent today.
        models: What was spent on models today.
        standings: How the budgets stand.
        notices: What was told of them, with the budget's name.
        metrics: What the worker counts.
        problem: Why there is nothing to see, if so.
    """

    principals: Mapping[str, Amounts] = field(default_factory=dict)
    models: Mapping[str, Amounts] = field(default_factory=dict)
    standings: Sequence[Standing] = ()
    notices: Sequence[tuple[str, Notice]] = ()
    metrics: Metrics = field(default_factory=Metrics)
    problem: str = ""


async def look(ledger: Ledger, state: State, facts: Registry) -> Picture:
    """Look at everything once."""
    now_ms = time.time_ns() // 1_000_000
    today = now_ms // DAY_MS
    try:
        budgets = [one for one in await state.budgets.budgets() if not one.is_removed]
        principals, models, standings, told, metrics = await asyncio.gather(
            ledger.totals("principal", today, today),
            ledger.totals("model", today, today),
            standings_of(ledger, budgets, facts, now_ms, state.records),
            asyncio.gather(*(state.outbox.about(budget_subject(one.name)) for one in budgets)),
            asyncio.to_thread(read_metrics),
        )
    except LedgerockError as error:
        return Picture(problem=f"{error} Is the pipeline up? (make up)")
    notices = [
        (budget.name, notice)
        for budget, about in zip(budgets, told, strict=True)
        for notice in about
    ]
    notices.sort(key=lambda one: one[1].recorded_at_ms, reverse=True)
    return Picture(
        principals=principals,
        models=models,
        standings=standings,
        notices=notices,
        metrics=metrics,
    )


class Screen:
    """Draws pictures, and remembers a few for the throughput."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._booked: deque[tuple[float, int]] = deque()

    def draw(self, picture: Picture, width: int) -> RenderableType:
        """Return a picture for a terminal of so many columns."""
        if picture.problem:
            return Text(picture.problem, style="red")
        spend = [
            _spend("principal", picture.principals),
            _spend("model", picture.models),
        ]
        if width >= NARROWEST:
            beside = Table.grid(padding=(0, 3), expand=True)
            beside.add_column(ratio=1)
            beside.add_column(ratio=1)
            beside.add_row(*spend)
            spend = [beside]
        return Group(
            self._headline(picture),
            *spend,
            _budgets(picture.standings, width),
            _events(picture.notices, width),
        )

    def _headline(self, picture: Picture) -> Text:
        calls = sum(one.calls for one in picture.principals.values())
        cost = sum(one.cost_pico_usd for one in picture.principals.values())
        now = time.monotonic()
        self._booked.append((now, calls))
        while now - self._booked[0][0] > RATE_SECONDS:
            self._booked.popleft()
        (since, before), metrics = self._booked[0], picture.metrics
        rate = (calls - before) / (now - since) if now > since else 0.0
        parts = [
            f"{usd(cost)} today",
            f"{calls:,} calls, {max(rate, 0.0):.1f}/s",
            f"booked {_seconds(metrics, 'call_to_booked_seconds')} after the call",
            f"crossings {_seconds(metrics, 'call_to_crossing_seconds')}",
        ]
        parts += [
            f"{count:,} {name}"
            for name, count in (
                ("quarantined", metrics.by_result("records").get("quarantined", 0)),
                ("throttled", int(metrics.of("request_throttles"))),
                ("deferred", metrics.by_result("deliveries").get("deferred", 0)),
            )
            if count
        ]
        return Text("  ·  ".join(parts), style="bold")


def usd(pico_usd: int) -> str:
    """Write an amount for people, to the hundredth of a cent."""
    return f"${pico_usd / PICO_PER_USD:,.4f}"


def amount(found: int, unit: str) -> str:
    """Write an amount in a budget's unit for people."""
    return usd(found) if unit == "usd" else f"{found:,} {unit}"


def _state(standing: Standing) -> str:
    """Return a budget's state, with the deadline of a grace period."""
    text = standing.state.replace("_", " ")
    if not standing.deadline_ms:
        return text
    return f"{text} until {time.strftime('%H:%M:%S', time.localtime(standing.deadline_ms / 1000))}"


def _seconds(metrics: Metrics, name: str) -> str:
    half, most = metrics.quantile(name, 0.5), metrics.quantile(name, 0.99)
    return "-" if half is None or most is None else f"{half:.1f} s (p99 {most:.1f} s)"


def _spend(title: str, totals: Mapping[str, Amounts]) -> Table:
    table = Table(title=f"spend by {title}", title_justify="left", expand=True, box=None)
    table.add_column(title, ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("calls", justify="right", no_wrap=True)
    table.add_column("USD", justify="right", no_wrap=True)
    most = sorted(totals.items(), key=lambda one: (-one[1].cost_pico_usd, one[0]))
    for key, amounts in most[:ROWS]:
        table.add_row(Text(key), f"{amounts.calls:,}", usd(amounts.cost_pico_usd))
    rest = [amounts for _, amounts in most[ROWS:]]
    if rest:
        cost = sum(one.cost_pico_usd for one in rest)
        table.add_row(f"{len(rest)} more", f"{sum(one.calls for one in rest):,}", usd(cost))
    return table


def _budgets(standings: Sequence[Standing], width: int) -> Table:
    wide = width >= NARROWEST
    bar = BAR if wide else BAR // 2
    table = Table(title="budgets", title_justify="left", expand=True, box=None)
    table.add_column("budget", no_wrap=True)
    if wide:
        table.add_column("of", no_wrap=True)
    table.add_column("spent", justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for standing in standings:
        budget, style = standing.budget, STYLES[standing.state]
        share = standing.spent_amount / budget.limit_amount
        filled = min(bar, round(share * bar))
        table.add_row(
            Text(budget.name),
            *([Text(f"{budget.scope}, {budget.period}")] if wide else []),
            amount(standing.spent_amount, budget.unit),
            amount(budget.limit_amount, budget.unit),
            Text("█" * filled + "░" * (bar - filled) + f" {share:4.0%}", style=style),
            Text(_state(standing), style=style),
        )
    return table


def _events(notices: Sequence[tuple[str, Notice]], width: int) -> Table:
    wide = width >= NARROWEST
    table = Table(title="latest events", title_justify="left", expand=True, box=None)
    for name in ("time", "budget", "event", *(("spent",) if wide else ()), "announced"):
        table.add_column(name, no_wrap=True)
    for name, notice in notices[:EVENTS]:
        facts = msgspec.json.decode(notice.detail, type=_Facts)
        at = f": {facts.threshold} %" if facts.threshold else ""
        spent = f"{facts.spent} of {facts.limit} {facts.unit}" if facts.spent else "-"
        announced: str = notice.state
        if notice.announced_at_ms:
            announced = f"after {(notice.announced_at_ms - notice.recorded_at_ms) / 1000:.1f} s"
        table.add_row(
            time.strftime("%H:%M:%S", time.localtime(notice.recorded_at_ms / 1000)),
            Text(name),
            f"{notice.detail_type}{at}",
            *([spent] if wide else []),
            announced,
        )
    return table


async def watch(seconds: float | None, console: Console) -> None:
    """Show the pipeline until it is enough."""
    use_pipeline()
    facts, screen = registry(), Screen()
    ledger, state = open_ledger(SETTINGS), open_state(SETTINGS)
    ends = None if seconds is None else time.monotonic() + seconds
    try:
        with _shower(console) as show:
            while True:
                picture = await look(ledger, state, facts)
                show(screen.draw(picture, console.width))
                if ends is not None and time.monotonic() + EVERY_SECONDS > ends:
                    return
                await asyncio.sleep(EVERY_SECONDS)
    finally:
        await state.close()
        await ledger.close()


class _shower:  # noqa: N801 - a context manager
    """Shows pictures in place on a terminal, one after another elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, screen=True)

    def __enter__(self) -> Callable[[RenderableType], None]:
        if not self._console.is_terminal:
            return self._print
        self._live.start()
        return lambda picture: self._live.update(picture, refresh=True)

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            last = self._live.renderable
            self._live.stop()
            self._console.print(last)

    def _print(self, picture: RenderableType) -> None:
        self._console.print(picture)
        self._console.rule()


def main() -> int:
    """Read the arguments and watch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, help="end by itself; else at Ctrl-C")
    options = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=140)
    try:
        asyncio.run(watch(options.seconds, console))
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
