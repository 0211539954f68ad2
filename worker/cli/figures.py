"""Tables of spend: keys, cost, calls, tokens, and what is not certain about them."""

from collections.abc import Sequence
from typing import Final

from rich.table import Table

from worker.cli.money import MoneyColumn
from worker.cli.output import KeyCell, bar, cells, count, quantity, share, short_count, table
from worker.core.ledger import Amounts

NO_KEY: Final = "(none)"

ROOMY_WIDTH: Final = 110
"""From this width on there is room for bars and tokens beside a long key."""

TOKEN_COLUMNS: Final = ("input", "output", "cached")

Rows = Sequence[tuple[str, Amounts]]


def uncertain(amounts: Amounts) -> str:
    """Say which calls of some are not simply priced: `2 estimated, 1 unpriced`."""
    parts = (
        (amounts.estimated_calls, "estimated"),
        (amounts.unpriced_calls, "unpriced"),
        (amounts.unmetered_calls, "unmetered"),
        (amounts.failed_calls, "failed"),
    )
    return ", ".join(f"{number:,} {word}" for number, word in parts if number)


class SpendTable:
    """A table of spend by key, with shares and a total.

    Args:
        heading: What the keys are.
        rows: Keys and figures, in order.
        total: The figures that shares are of.
        width: Columns of the terminal; narrow ones get fewer columns of figures.
    """

    def __init__(self, heading: str, rows: Rows, total: Amounts, width: int) -> None:
        """Lay out the columns that the figures need."""
        self._money = MoneyColumn([*(row.cost_pico_usd for _, row in rows), total.cost_pico_usd])
        self._total = total
        self._roomy = width >= ROOMY_WIDTH
        self._cached = self._roomy and any(_cached(amounts) for _, amounts in (*rows, ("", total)))
        self._flagged = any(uncertain(amounts) for _, amounts in (*rows, ("", total)))
        columns = [heading, "cost", "share"]
        columns += ["", "calls", "input", "output"] if self._roomy else ["calls"]
        columns += ["cached"] * self._cached + ["of these"] * self._flagged
        self.table: Table = table(
            columns, right=("cost", "share", "calls", *TOKEN_COLUMNS), key=heading
        )
        for key, amounts in rows:
            self._add(key or NO_KEY, amounts)

    @property
    def rounded(self) -> bool:
        """Whether any cost was shown with fewer digits than it has."""
        return self._money.rounded

    def add_total(self) -> None:
        """Close the table with the total."""
        self.table.add_section()
        self._add("total", self._total, bold=True)

    def _add(self, key: str, amounts: Amounts, *, bold: bool = False) -> None:
        whole = self._total.cost_pico_usd
        values = [key, show_cost(amounts, self._money), share(amounts.cost_pico_usd, whole)]
        if self._roomy:
            values.append("" if bold else bar(amounts.cost_pico_usd, whole))
        values.append(count(amounts.calls))
        if self._roomy:
            values.append(short_count(amounts.input_tokens))
            values.append(short_count(amounts.output_tokens))
        if self._cached:
            values.append(short_count(_cached(amounts)))
        if self._flagged:
            values.append(uncertain(amounts))
        key_cell, *others = values
        self.table.add_row(KeyCell(key_cell), *cells(*others), style="bold" if bold else None)


def notes(amounts: Amounts, estimated_usd: str, again: str) -> list[str]:
    """Say what the uncertain calls mean, and which command mends them.

    Args:
        amounts: The total.
        estimated_usd: How much of its cost is estimated, for people.
        again: The command that brings calls to new prices, without its options for them.
    """
    lines = []
    if amounts.estimated_calls:
        lines.append(
            f"{quantity(amounts.estimated_calls, 'call')} estimated, {estimated_usd} together: "
            "something is assumed; `ledgerock explain FILE` says what of each call"
        )
    if amounts.unpriced_calls:
        lines.append(
            f"{quantity(amounts.unpriced_calls, 'call')} unpriced: counted, and not in the cost. "
            "`ledgerock prices show MODEL` says why; add its price or its profile, then run "
            f"`{again} --prices FILE --registry FILE`"
        )
    if amounts.unmetered_calls:
        lines.append(
            f"{quantity(amounts.unmetered_calls, 'call')} unmetered: seen without counts, or not "
            "billed by token; replay the invocation logs of that time to add counts"
        )
    if amounts.failed_calls:
        lines.append(
            f"{quantity(amounts.failed_calls, 'call')} failed: nothing was billed for them"
        )
    return lines


def show_cost(amounts: Amounts, money: MoneyColumn) -> str:
    """Return the cost of some calls; where nothing is known of it, it is not shown as zero."""
    if 0 < amounts.calls == amounts.unpriced_calls + amounts.unmetered_calls:
        return "unknown"
    return money.show(amounts.cost_pico_usd)


def _cached(amounts: Amounts) -> int:
    return amounts.cache_read_tokens + amounts.cache_write_5m_tokens + amounts.cache_write_1h_tokens
