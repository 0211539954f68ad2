"""Tables of spend: keys, cost, calls, tokens, and what is not certain about them."""

from collections.abc import Sequence

from rich.table import Table

from worker.cli.money import MoneyColumn
from worker.cli.output import bar, cells, count, quantity, share, short_count, table
from worker.core.ledger import Amounts

NO_KEY = "(none)"

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
        title: A line above the table.
    """

    def __init__(self, heading: str, rows: Rows, total: Amounts, title: str | None = None) -> None:
        """Lay out the columns that the figures need."""
        self._money = MoneyColumn([*(row.cost_pico_usd for _, row in rows), total.cost_pico_usd])
        self._total = total
        self._cached = any(_cached(amounts) for _, amounts in (*rows, ("", total)))
        self._flagged = any(uncertain(amounts) for _, amounts in (*rows, ("", total)))
        right = ["cost", "share", "calls", "input", "output"]
        columns = [heading, "cost", "share", "", "calls", "input", "output"]
        if self._cached:
            right.append("cached")
            columns.append("cached")
        if self._flagged:
            columns.append("of these")
        self.table: Table = table(columns, title=title, right=right)
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
        values = [
            key,
            self._money.show(amounts.cost_pico_usd),
            share(amounts.cost_pico_usd, whole),
            "" if bold else bar(amounts.cost_pico_usd, whole),
            count(amounts.calls),
            short_count(amounts.input_tokens),
            short_count(amounts.output_tokens),
        ]
        if self._cached:
            values.append(short_count(_cached(amounts)))
        if self._flagged:
            values.append(uncertain(amounts))
        self.table.add_row(*cells(*values), style="bold" if bold else None)


def notes(amounts: Amounts, estimated_usd: str) -> list[str]:
    """Say what the uncertain calls mean, and which command mends them.

    Args:
        amounts: The total.
        estimated_usd: How much of its cost is estimated, for people.
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
            "`ledgerock prices show MODEL` says why; add a price (--prices) or a profile "
            "(--registry), then run `ledgerock rebook`"
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


def _cached(amounts: Amounts) -> int:
    return amounts.cache_read_tokens + amounts.cache_write_5m_tokens + amounts.cache_write_1h_tokens
