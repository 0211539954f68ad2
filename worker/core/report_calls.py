"""What a report says of single calls: the dearest of each payer, and what caching was worth.

A cached read saves what the same tokens would have cost as plain input, less what reading them
from the cache did cost. A cache write costs more than plain input; that premium is counted the
same way. Both are differences of two charges of one call under one rate card, so that the
call's own Region, routing, tier and length of prompt decide them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from worker.core.evidence import Counts, Evidence, split_call_key
from worker.core.ledger import MS_PER_DAY, Amounts, Entry, Leaf, Status
from worker.core.pricing import RateCard, charge

CALLS_PER_PRINCIPAL: Final = 10
"""How many of a payer's calls are kept."""

CardOf = Callable[[Evidence], RateCard | None]
CardOfModel = Callable[[str, int], RateCard | None]
"""Rates of a model at a time, where no more is known of its calls."""


class CacheUse(msgspec.Struct, gc=False):
    """What prompt caching did for some calls.

    Attributes:
        read_tokens: Tokens read from the cache at known rates.
        write_tokens: Tokens written to the cache at known rates.
        saved_pico_usd: What the reads would have cost as input, less what they cost.
        premium_pico_usd: What the writes cost beyond the price of input.
        unrated_tokens: Cached tokens, read or written, whose saving is not known.
    """

    read_tokens: int = 0
    write_tokens: int = 0
    saved_pico_usd: int = 0
    premium_pico_usd: int = 0
    unrated_tokens: int = 0

    @property
    def net_pico_usd(self) -> int:
        """What is left of the saving after the premium; negative where caching cost more."""
        return self.saved_pico_usd - self.premium_pico_usd

    def add(self, other: CacheUse) -> None:
        """Add `other`, in place."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def is_zero(self) -> bool:
        """Whether nothing was cached."""
        return not (self.read_tokens or self.write_tokens or self.unrated_tokens)


def cache_use(card: RateCard | None, counts: Counts) -> CacheUse:
    """Return what caching did for counts that are charged by one card."""
    read = counts.cache_read_tokens
    write = counts.cache_write_5m_tokens + counts.cache_write_1h_tokens
    if not (read or write):
        return CacheUse()
    if card is None:
        return CacheUse(unrated_tokens=read + write)
    plain = counts.input_tokens or 0
    as_it_was = Counts(
        plain,
        counts.output_tokens,
        read,
        counts.cache_write_5m_tokens,
        counts.cache_write_1h_tokens,
    )
    no_reads = msgspec.structs.replace(as_it_was, input_tokens=plain + read, cache_read_tokens=0)
    no_writes = msgspec.structs.replace(
        as_it_was,
        input_tokens=plain + write,
        cache_write_5m_tokens=0,
        cache_write_1h_tokens=0,
    )
    charges = [charge(card, some) for some in (as_it_was, no_reads, no_writes)]
    if any(one.unrated_units or not one.rated for one in charges):
        return CacheUse(unrated_tokens=read + write)
    cost, cost_no_reads, cost_no_writes = (one.cost_pico_usd for one in charges)
    return CacheUse(
        read_tokens=read,
        write_tokens=write,
        saved_pico_usd=cost_no_reads - cost,
        premium_pico_usd=cost - cost_no_writes,
    )


def cache_use_of_balances(
    balances: Iterable[tuple[Leaf, Amounts]], card_of: CardOfModel
) -> dict[str, CacheUse]:
    """Work caching out from balances, by model, where calls are too many to be looked at.

    A balance knows neither Region nor routing nor tier nor the length of prompts: `card_of`
    stands for all of them, at base rates. The result is an estimate.
    """
    by_model_day: dict[tuple[str, int], Amounts] = {}
    for leaf, amounts in balances:
        by_model_day.setdefault((leaf.model, leaf.day), Amounts()).add(amounts)
    found: dict[str, CacheUse] = {}
    for (model, day), amounts in sorted(by_model_day.items()):
        card = card_of(model, day * MS_PER_DAY)
        base = None if card is None else msgspec.structs.replace(card, long_context=())
        counts = Counts(
            amounts.input_tokens,
            amounts.output_tokens,
            amounts.cache_read_tokens,
            amounts.cache_write_5m_tokens,
            amounts.cache_write_1h_tokens,
        )
        found.setdefault(model, CacheUse()).add(cache_use(base, counts))
    return {model: use for model, use in found.items() if not use.is_zero()}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLine:
    """One call as a report shows it.

    Attributes:
        key: The call's key.
        request_id: For `ledgerock explain` and the caller's own logs.
        occurred_at_ms: Event time, epoch milliseconds UTC.
        model: Canonical model id.
        status: How sure the charge is.
        reason: What is assumed; empty when `priced`.
        cost_pico_usd: The charge.
        input_tokens: Non-cached input.
        output_tokens: Output.
        cached_tokens: Read from or written to the cache.
    """

    key: str
    request_id: str
    occurred_at_ms: int
    model: str
    status: Status
    reason: str
    cost_pico_usd: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int


def call_line(entry: Entry) -> CallLine:
    """Return an entry as a report shows it."""
    counts, posting = entry.evidence.counts, entry.posting
    return CallLine(
        key=entry.key,
        request_id=split_call_key(entry.key).request_id,
        occurred_at_ms=entry.evidence.occurred_at_ms,
        model=posting.leaf.model,
        status=posting.status,
        reason=posting.reason,
        cost_pico_usd=posting.cost_pico_usd,
        input_tokens=counts.input_tokens or 0,
        output_tokens=counts.output_tokens or 0,
        cached_tokens=(
            counts.cache_read_tokens + counts.cache_write_5m_tokens + counts.cache_write_1h_tokens
        ),
    )


class _Ranked:
    """An entry in a heap: the cheapest is the least; of equals the later key is."""

    __slots__ = ("entry",)

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def __lt__(self, other: _Ranked) -> bool:
        mine, others = self.entry.posting.cost_pico_usd, other.entry.posting.cost_pico_usd
        return (mine, other.entry.key) < (others, self.entry.key)


class Survey:
    """One pass over entries: the dearest calls of some payers, and what caching did.

    Args:
        principals: Payers whose calls are kept. Callers choose session names, so memory needs a
            bound; the report names so many and no more.
        card_of: Rates of a call.
        calls_max: How many calls of each payer are kept.
    """

    def __init__(
        self, principals: Collection[str], card_of: CardOf, calls_max: int = CALLS_PER_PRINCIPAL
    ) -> None:
        """Start empty."""
        self._card_of = card_of
        self._calls_max = calls_max
        self._heaps: dict[str, list[_Ranked]] = {principal: [] for principal in principals}
        self.cache: dict[str, CacheUse] = {}

    def add(self, entries: Sequence[Entry]) -> None:
        """Take some entries of the period in."""
        for entry in entries:
            leaf, counts = entry.posting.leaf, entry.evidence.counts
            if (
                counts.cache_read_tokens
                or counts.cache_write_5m_tokens
                or counts.cache_write_1h_tokens
            ):
                use = cache_use(self._card_of(entry.evidence), counts)
                self.cache.setdefault(leaf.model, CacheUse()).add(use)
            heap = self._heaps.get(leaf.principal)
            if heap is None or not entry.posting.cost_pico_usd:
                continue
            if len(heap) < self._calls_max:
                heapq.heappush(heap, _Ranked(entry))
            else:
                heapq.heappushpop(heap, _Ranked(entry))

    def calls(self, principal: str) -> tuple[CallLine, ...]:
        """Return a payer's dearest calls, dearest first."""
        ranked = sorted(self._heaps.get(principal, ()), reverse=True)
        return tuple(call_line(one.entry) for one in ranked)
