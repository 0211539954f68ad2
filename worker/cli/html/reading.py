"""Reading a ledger for the page: balances of two periods, and one bounded pass over calls."""

from typing import Final

from worker.books import postings_in, whole_days
from worker.core.errors import ConfigurationError
from worker.core.evidence import Evidence, EvidenceRank, Facts
from worker.core.ledger import MS_PER_DAY, Amounts, Leaf
from worker.core.posting import Poster
from worker.core.pricing import RateCard
from worker.core.report_calls import CacheUse, Survey, cache_use_of_balances
from worker.core.report_page import (
    Findings,
    Page,
    build_page,
    top_principals,
)
from worker.core.report_time import Balances, Period, period_of
from worker.pipeline import Window
from worker.ports import Ledger

CALLS_READ_MAX: Final = 250_000
"""Ledgers with more calls are shown from balances alone: single calls are not looked at."""

REGION_ASSUMED: Final = "us-east-1"
"""Whose rates stand for all where a saving is worked out from balances."""


async def read_page(
    ledger: Ledger,
    poster: Poster,
    window: Window,
    *,
    calls_read_max: int = CALLS_READ_MAX,
) -> Page:
    """Read everything that the page shows.

    Args:
        ledger: Any ledger.
        poster: Knows the rates that caching is judged by; nothing is priced again.
        window: Event time. Of days that the bounds cut apart, the calls are added up, as
            `worker.books.report` does.
        calls_read_max: Do not look at single calls where the ledger has more of them; 0 never.
    """
    period, balances, before = await _balances(ledger, window)
    principals = top_principals(balances)
    gone_before_ms = (await ledger.seal_in_force()).expired_day * MS_PER_DAY
    if gone_before_ms <= period.since_ms:
        gone_before_ms = 0
    survey = None
    cache: dict[str, CacheUse] | None = None
    if sum(amounts.calls for amounts in (await ledger.totals("day")).values()) <= calls_read_max:
        survey = Survey(principals, lambda evidence: poster.terms(evidence).card)
        async for entries in ledger.scan():
            survey.add(
                [
                    entry
                    for entry in entries
                    if period.since_ms <= entry.evidence.occurred_at_ms < period.until_ms
                ]
            )
        cache = None if gone_before_ms else survey.cache
    is_exact = cache is not None
    if cache is None:
        cache = cache_use_of_balances(balances, lambda model, at_ms: _card(poster, model, at_ms))
    return build_page(
        Findings(
            period=period,
            balances=balances,
            before=before or [],
            cache=cache,
            cache_exact=is_exact,
            calls=None if survey is None else survey.calls,
            gone_before_ms=gone_before_ms,
            before_is_unknown=before is None,
        )
    )


async def _balances(ledger: Ledger, window: Window) -> tuple[Period, Balances, Balances | None]:
    """Return the period, its balances, and those of the period before; None if nobody can tell."""
    ends = (window.since_ms, window.until_ms)
    if any((end or 0) % MS_PER_DAY for end in ends):
        return await _balances_of_entries(ledger, window)
    first = None if window.since_ms is None else window.since_ms // MS_PER_DAY
    last = None if window.until_ms is None else window.until_ms // MS_PER_DAY - 1
    balances = await ledger.balances(first, last)
    period = period_of(balances, *ends)
    earlier = period.before
    before = (
        []
        if window.since_ms is None  # it is the first call's day: nothing comes before
        else await ledger.balances(earlier.first_day, earlier.last_day)
    )
    return period, balances, before


async def _balances_of_entries(
    ledger: Ledger, window: Window
) -> tuple[Period, Balances, Balances | None]:
    pairs = await _sums(ledger, window)
    period = period_of(pairs, window.since_ms, window.until_ms)
    earlier = Window(period.before.since_ms, period.before.until_ms)
    try:
        return period, pairs, await _sums(ledger, earlier)
    except ConfigurationError:  # Nobody asked for that day, whose entries may be gone.
        return period, pairs, None


async def _sums(ledger: Ledger, window: Window) -> Balances:
    sums: dict[Leaf, Amounts] = {}
    first, last, cut = await whole_days(ledger, window)
    if first is None or last is None or first <= last:
        sums = dict(await ledger.balances(first, last))
    async for leaf, amounts in postings_in(ledger, cut):
        sums.setdefault(leaf, Amounts()).add(amounts)
    return list(sums.items())


def _card(poster: Poster, model: str, at_ms: int) -> RateCard | None:
    facts = Facts(account="", region=REGION_ASSUMED, region_rank=1, model_id=model, model_id_rank=1)
    return poster.terms(Evidence(facts, at_ms, 1, EvidenceRank.METERED)).card
