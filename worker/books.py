"""Reading and mending the books of any ledger: reports and rebooking.

Both work through the `Ledger` port alone, so that they say the same of every ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from worker.core.evidence import split_call_key
from worker.core.ledger import MS_PER_DAY, Amounts, Entry, amounts_of
from worker.core.posting import Poster
from worker.core.report import Report, build_report
from worker.pipeline import Window
from worker.ports import Ledger, Rebooking

REBOOK_PROGRESS: Final = "rebook"
"""Under which name a rebooking leaves its place, to resume from."""


async def report(ledger: Ledger, by: str, window: Window) -> Report:
    """Sum up the ledger by one dimension.

    Args:
        ledger: Any ledger.
        by: One of `worker.core.report.DIMENSIONS`.
        window: Event time. Bounds at midnight UTC are answered from balances; others cut
            days apart and are answered from the entries, exactly but more slowly.
    """
    first, last = _whole_days(window)
    if _is_whole(window):
        field = "day" if by == "month" else by
        totals = await ledger.totals(field, first, last)
    else:
        totals = await _totals_of_entries(ledger, by, window)
    return build_report(by, totals, window.since_ms, window.until_ms)


def _is_whole(window: Window) -> bool:
    return (window.since_ms or 0) % MS_PER_DAY == 0 and (window.until_ms or 0) % MS_PER_DAY == 0


def _whole_days(window: Window) -> tuple[int | None, int | None]:
    first = None if window.since_ms is None else window.since_ms // MS_PER_DAY
    last = None if window.until_ms is None else window.until_ms // MS_PER_DAY - 1
    return first, last


async def _totals_of_entries(ledger: Ledger, by: str, window: Window) -> dict[str, Amounts]:
    field = "day" if by == "month" else by
    totals: dict[str, Amounts] = {}
    async for entries in ledger.scan():
        for entry in entries:
            if window.holds(entry.evidence.occurred_at_ms):
                posting = entry.posting
                key = str(getattr(posting.leaf, field))
                totals.setdefault(key, Amounts()).add(
                    amounts_of(entry.evidence, posting.cost_pico_usd, posting.status)
                )
    return totals


class Change(msgspec.Struct, gc=False):
    """How rebooking moves one principal's figures."""

    before: Amounts
    after: Amounts


class RebookResult(msgspec.Struct):
    """What a rebooking did, or with `dry_run` would do.

    Attributes:
        entries: Entries looked at, in this run.
        rebooked: Entries whose posting changed.
        moved: Entries that somebody else changed meanwhile; the next run looks at them again.
        by_principal: Figures of the changed calls, before and after.
        by_model: The same by model.
        resumed: Whether an interrupted run was taken up where it stopped.
    """

    entries: int = 0
    rebooked: int = 0
    moved: int = 0
    by_principal: dict[str, Change] = {}
    by_model: dict[str, Change] = {}
    resumed: bool = False


class RebookNote(msgspec.Struct):
    """The place of an interrupted rebooking: valid for the same basis and window only."""

    basis: tuple[str, str]
    since_ms: int | None
    until_ms: int | None
    after: str


async def rebook(
    ledger: Ledger,
    poster: Poster,
    window: Window,
    *,
    dry_run: bool = False,
    pending: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> RebookResult:
    """Bring booked calls to what a fresh replay under `poster` would give.

    Each chunk is one transaction, and rebooking an entry twice changes nothing, so that the
    run may be interrupted anywhere; the next one with the same catalogue, registry and window
    takes up where it stopped.

    Args:
        ledger: Any ledger.
        poster: Prices and attributes under the catalogue and registry of now.
        window: Only calls with an event time in it.
        dry_run: Work everything out, change nothing.
        pending: Look at unpriced and unmetered calls alone, which is all that a late price or
            profile can move. What is done leaves them, so that no place need be kept.
        on_progress: Called with the number of entries looked at so far.
    """
    note = RebookNote(
        (poster.basis.catalogue_revision, poster.basis.registry_revision),
        window.since_ms,
        window.until_ms,
        "",
    )
    result = RebookResult()
    keep_place = not (dry_run or pending)
    after = await _resume(ledger, note) if keep_place else None
    result.resumed = after is not None
    async for entries in ledger.pending() if pending else ledger.scan(after):
        rebookings = [item for entry in entries for item in _rebooking(entry, poster, window)]
        result.entries += len(entries)
        if rebookings and not dry_run:
            moved = len(rebookings) - await ledger.rebook(rebookings)
            result.moved += moved
            if moved:
                rebookings = [item for item in rebookings if await _is_done(ledger, item)]
        for item in rebookings:
            _note_change(result, item)
        result.rebooked += len(rebookings)
        if keep_place:
            note.after = entries[-1].key
            await ledger.keep_progress(REBOOK_PROGRESS, msgspec.json.encode(note).decode())
        if on_progress is not None:
            on_progress(result.entries)
    if keep_place:
        await ledger.keep_progress(REBOOK_PROGRESS, None)
    return result


def _rebooking(entry: Entry, poster: Poster, window: Window) -> list[Rebooking]:
    if not window.holds(entry.evidence.occurred_at_ms):
        return []
    rated = poster.rate(entry.evidence)
    posting, now = entry.posting, rated.posting()
    unchanged = msgspec.structs.replace(now, basis=posting.basis) == posting
    return [] if unchanged else [Rebooking(entry, rated)]


async def _is_done(ledger: Ledger, item: Rebooking) -> bool:
    """Whether an entry is what a rebooking made of it, and not what somebody else did."""
    before = item.before
    found = await ledger.find(split_call_key(before.key).request_id)
    return any(
        entry.key == before.key
        and entry.evidence == before.evidence
        and entry.posting == item.after.posting()
        for entry in found
    )


async def _resume(ledger: Ledger, wanted: RebookNote) -> str | None:
    stored = await ledger.progress(REBOOK_PROGRESS)
    if stored is None:
        return None
    note = msgspec.json.decode(stored, type=RebookNote)
    same = msgspec.structs.replace(note, after="") == wanted
    return note.after if same else None


def _note_change(result: RebookResult, item: Rebooking) -> None:
    before, after = item.before.posting, item.after.posting()
    evidence = item.before.evidence
    old = amounts_of(evidence, before.cost_pico_usd, before.status)
    new = amounts_of(evidence, after.cost_pico_usd, after.status)
    for changes, field in ((result.by_principal, "principal"), (result.by_model, "model")):
        old_key, new_key = getattr(before.leaf, field), getattr(after.leaf, field)
        changes.setdefault(old_key, Change(Amounts(), Amounts())).before.add(old)
        changes.setdefault(new_key, Change(Amounts(), Amounts())).after.add(new)
