"""What the AWS Price List changes in the catalogue: a plan of new rows, and the file with them.

New rows are for one Region each and go into the operator's file, whose rows win over the packaged
ones. A changed price is a new row from a date on; the row before it holds until then. A price of
the catalogue that rested on one table, and that the Price List has as well, becomes a confirmed
row. Rows that the operator wrote are the operator's: they are neither ended nor doubled.

A rate above a long-context threshold has to come from the same place as its base rate, otherwise
the catalogue takes it for an assumption. Where one of the two gets a row of a Region, so does the
other; where the Price List does not have the other, a mere confirmation is left out.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from worker.core.catalogue import Catalogue
from worker.core.catalogue_rows import ANY, BEDROCK_LAUNCH_MS, ModelRates, RateRow
from worker.core.errors import LedgerockError
from worker.core.price_list import Quote

SOURCE: Final = "AWS Price List"
"""How rows that were written by an update are known again: by their source."""

SKUS_NAMED_MAX: Final = 3
DAY_MS: Final = 86_400_000

Action = Literal["changed", "added", "confirmed"]


class PriceUpdateError(LedgerockError):
    """The new prices cannot be written down as they are; the message says what to do."""


class Change(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One new row.

    Attributes:
        action: `changed`: the catalogue has another price; `added`: it has none of its own;
            `confirmed`: it has the same from one table.
        quote: What the Price List says.
        before: The catalogue's row until now, or None.
        ends: Whether `before` is a row of the operator's file that ends where this one begins.
        effective_from_ms: First instant of the new row.
        effective_to_ms: First instant after it, or None.
        confidence: Of the new row.
        sources: Of the new row.
    """

    action: Action
    quote: Quote
    before: RateRow | None
    ends: bool
    effective_from_ms: int
    effective_to_ms: int | None
    confidence: str
    sources: str


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A quote that changes nothing although it could, the row that stays, and why."""

    quote: Quote
    row: RateRow
    reason: str


class Plan(msgspec.Struct, frozen=True, gc=False):
    """All changes, by what they are for; what is kept; and how many rates are as they were."""

    changes: Sequence[Change]
    kept: Sequence[Kept]
    unchanged: int


OWN_ROW: Final = "your own row says otherwise, and stays"
ALONE: Final = (
    "the same price, not confirmed: the long-context rate beside it is not in the Price List, and"
    " would count as assumed"
)


def plan_update(
    quotes: Iterable[Quote], catalogue: Catalogue, now_ms: int, undated_from_ms: int
) -> Plan:
    """Compare quotes with the catalogue.

    Args:
        quotes: One for each rate.
        catalogue: Packaged rows and the operator's.
        now_ms: The catalogue is asked for this time, or for the offer's if that is later.
        undated_from_ms: Where a row begins whose offer has no date, or one that is not later than
            the row that it changes.

    Raises:
        PriceUpdateError: a changed row of an earlier update would end before it began.
    """
    planner = _Planner(catalogue, now_ms, undated_from_ms)
    groups: dict[tuple[str, ...], list[Quote]] = defaultdict(list)
    for quote in quotes:
        groups[quote.model, quote.routing, quote.region, quote.tier, quote.unit].append(quote)
    changes: list[Change] = []
    kept: list[Kept] = []
    unchanged = 0
    for group in groups.values():
        done = planner.compare(group)
        changes += done.changes
        kept += done.kept
        unchanged += done.unchanged
    return Plan(sorted(changes, key=lambda change: change.quote.key), kept, unchanged)


class _Planner:
    def __init__(self, catalogue: Catalogue, now_ms: int, undated_from_ms: int) -> None:
        self._catalogue = catalogue
        self._now_ms = now_ms
        self._undated_from_ms = undated_from_ms
        self._rates: dict[str, ModelRates] = {}

    def compare(self, group: Sequence[Quote]) -> Plan:
        """Plan the quotes of one (model, routing, Region, tier, unit), one for each threshold."""
        changes: dict[int, Change] = {}
        kept: list[Kept] = []
        rows = {quote.above_input_tokens: self._row(quote) for quote in group}
        for quote in group:
            row = rows[quote.above_input_tokens]
            if row is not None and row.override and not _is_ours(row):
                if row.rate_atto != quote.rate_atto:
                    kept.append(Kept(quote, row, OWN_ROW))
            elif change := self._change(quote, row):
                changes[quote.above_input_tokens] = change
        if changes:
            self._keep_together(group, rows, changes, kept)
        return Plan(list(changes.values()), kept, len(group) - len(changes) - len(kept))

    def _keep_together(
        self,
        group: Sequence[Quote],
        rows: dict[int, RateRow | None],
        changes: dict[int, Change],
        kept: list[Kept],
    ) -> None:
        """See to it that base and long-context rates come from rows of the same place."""
        quoted = {quote.above_input_tokens: quote for quote in group}
        others = set(self._thresholds(group[0])) - set(changes)
        others = {above for above in others if self._place(group[0], above) != group[0].region}
        if not others:
            return
        if others <= set(quoted):
            for above in others:
                row = rows[above]
                if row is not None and not (row.override and not _is_ours(row)):
                    changes[above] = self._confirmed(quoted[above], row)
            return
        for above, change in list(changes.items()):
            if change.action == "confirmed" and change.before is not None:
                del changes[above]
                kept.append(Kept(change.quote, change.before, ALONE))

    def _thresholds(self, quote: Quote) -> Iterable[int]:
        for above in self._of(quote.model).thresholds:
            if self._row(quote, above) is not None:
                yield above

    def _place(self, quote: Quote, above: int) -> str:
        row = self._row(quote, above)
        return row.region if row else ""

    def _change(self, quote: Quote, row: RateRow | None) -> Change | None:
        if row is None:
            begins = quote.effective_from_ms
            begins = self._undated_from_ms if begins is None else max(begins, BEDROCK_LAUNCH_MS)
            return self._new("added", quote, None, begins)
        if row.rate_atto != quote.rate_atto:
            begins = quote.effective_from_ms
            if begins is None or begins <= row.effective_from_ms:
                begins = self._undated_from_ms
            return self._new("changed", quote, row, begins)
        # A row that rests on the Price List already is not confirmed by it a second time.
        if SOURCE in row.sources or row.confidence != "single-source":
            return None
        return self._confirmed(quote, row)

    def _confirmed(self, quote: Quote, row: RateRow) -> Change:
        begins = quote.effective_from_ms
        begins = self._undated_from_ms if begins is None else begins
        return self._new("confirmed", quote, row, max(begins, row.effective_from_ms))

    def _new(self, action: Action, quote: Quote, row: RateRow | None, begins: int) -> Change:
        """Fit a new row between the rows of the same key that the operator's file has."""
        ends = action == "changed" and row is not None and row.override and _same(row, quote)
        siblings = self._of(quote.model).override.get(quote.key[1:], [])
        for sibling in siblings:
            if ends and sibling is row:
                continue
            if sibling.effective_from_ms <= begins and sibling.effective_to_ms is not None:
                begins = max(begins, sibling.effective_to_ms)
        until = min(
            (s.effective_from_ms for s in siblings if s.effective_from_ms > begins), default=None
        )
        if row is not None and action == "confirmed" and row.effective_to_ms is not None:
            until = min(until or row.effective_to_ms, row.effective_to_ms)
        if ends and row is not None and begins <= row.effective_from_ms:
            raise PriceUpdateError(
                f"{row.origin}: the price of {quote.model} {quote.unit} in {quote.region} changed,"
                " and the offer has no date later than the row's effective_from; give one with"
                " --effective-from, or correct the row"
            )
        named = ", ".join(quote.skus[:SKUS_NAMED_MAX])
        more = len(quote.skus) - SKUS_NAMED_MAX
        source = f"{SOURCE} (SKU {named}{f' and {more} more' if more > 0 else ''})"
        listed = quote.model in self._catalogue.models
        confidence = "confirmed" if action == "confirmed" else "single-source"
        if row is not None and action == "confirmed" and not _is_ours(row):
            source = f"{row.sources}; {source}" if row.sources else source
        return Change(
            action=action,
            quote=quote,
            before=row,
            ends=ends,
            effective_from_ms=begins,
            effective_to_ms=until,
            # A model that the catalogue does not list is known by the operator's mapping alone.
            confidence=confidence if listed else "operator",
            sources=source,
        )

    def _of(self, model: str) -> ModelRates:
        if model not in self._rates:
            self._rates[model] = ModelRates(self._catalogue.model_rows(model))
        return self._rates[model]

    def _row(self, quote: Quote, above: int | None = None) -> RateRow | None:
        """The row that the catalogue would take for a quote: listed, not derived from another."""
        rates = self._of(quote.model)
        at_ms = max(self._now_ms, quote.effective_from_ms or 0)
        threshold = quote.above_input_tokens if above is None else above
        for table in (rates.override, rates.packaged):
            for place in _places(quote.region):
                key = (quote.routing, place, quote.tier, quote.unit, threshold)
                row = rates.find(table, key, at_ms)
                if row is not None:
                    return row
        return None


def _places(region: str) -> tuple[str, ...]:
    """Where a row of a Region may stand: the Region, its geography, anywhere."""
    return (region, f"{region.rsplit('-', 2)[0]}-*", ANY)


def _is_ours(row: RateRow) -> bool:
    return row.override and SOURCE in row.sources


def _same(row: RateRow, quote: Quote) -> bool:
    return (row.routing, row.region, row.tier, row.unit, row.above_input_tokens) == quote.key[1:]
