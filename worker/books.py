"""Reading and mending the books of any ledger: reports and rebooking.

Both work through the `Ledger` port alone, so that they say the same of every ledger.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import msgspec

from worker.core.errors import ConfigurationError
from worker.core.evidence import split_call_key
from worker.core.ledger import MS_PER_DAY, Amounts, Entry, Leaf, amounts_of
from worker.core.posting import Poster
from worker.core.report import Report, build_report
from worker.core.seal import Seal, day_text
from worker.pipeline import Window
from worker.pipeline.changes import LookLater, change_of
from worker.ports import Ledger, Rebooking

REBOOK_PROGRESS: Final = "rebook"
"""Under which name a rebooking leaves its place, to resume from."""

PASSES_MAX: Final = 5
"""Further passes over a ledger that others are booking into; then their calls must wait."""


async def report(ledger: Ledger, by: str, window: Window) -> Report:
    """Sum up the ledger by one dimension.

    Args:
        ledger: Any ledger.
        by: One of `worker.core.report.DIMENSIONS`.
        window: Event time. Whole days are answered from balances; of days that the bounds cut
            apart, the calls are added up, exactly but more slowly.

    Raises:
        ConfigurationError: The entries of a day that is cut apart may be gone.
    """
    field = "day" if by == "month" else by
    first, last, cut = await whole_days(ledger, window)
    totals: dict[str, Amounts] = {}
    if first is None or last is None or first <= last:
        totals = await ledger.totals(field, first, last)
    async for leaf, amounts in postings_in(ledger, cut):
        totals.setdefault(str(getattr(leaf, field)), Amounts()).add(amounts)
    return build_report(by, totals, window.since_ms, window.until_ms)


async def whole_days(ledger: Ledger, window: Window) -> tuple[int | None, int | None, list[Window]]:
    """Take a window apart: the UTC days that are wholly in it, and what it holds of others.

    Returns:
        The first and the last whole day, None where an end is open; and the windows that are
        left, of which only entries can tell.

    Raises:
        ConfigurationError: The entries of a day that is cut apart may be gone.
    """
    since, until = window.since_ms, window.until_ms
    first = None if since is None else -(-since // MS_PER_DAY)
    last = None if until is None else until // MS_PER_DAY - 1
    cut: list[Window] = []
    if since is not None and until is not None and since // MS_PER_DAY == until // MS_PER_DAY:
        cut = [window]
    else:
        if since is not None and since % MS_PER_DAY:
            cut.append(Window(since, (since // MS_PER_DAY + 1) * MS_PER_DAY))
        if until is not None and until % MS_PER_DAY:
            cut.append(Window(until // MS_PER_DAY * MS_PER_DAY, until))
    if cut:
        gone_before = (await ledger.seal_in_force()).expired_day
        days = [(one.since_ms or 0) // MS_PER_DAY for one in cut]
        if min(days) < gone_before:
            message = (
                f"calls before {day_text(gone_before)} are sealed, and their entries may be gone: "
                f"of {day_text(min(days))} only the whole day is known; "
                "give bounds at midnight UTC"
            )
            raise ConfigurationError(message)
    return first, last, cut


async def postings_in(
    ledger: Ledger, windows: Sequence[Window]
) -> AsyncIterator[tuple[Leaf, Amounts]]:
    """Yield what the calls of some windows add to which leaf; goes through all entries."""
    if not windows:
        return
    async for entries in ledger.scan():
        for entry in entries:
            if any(window.holds(entry.evidence.occurred_at_ms) for window in windows):
                posting = entry.posting
                amounts = amounts_of(entry.evidence, posting.cost_pico_usd, posting.status)
                yield posting.leaf, amounts


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
        sealed: Entries looked at that are sealed and would have changed.
        sealed_before_ms: Calls before this are sealed, epoch milliseconds UTC; 0 for none.
        by_principal: Figures of the changed calls, before and after.
        by_model: The same by model.
        resumed: Whether an interrupted run was taken up where it stopped.
    """

    entries: int = 0
    rebooked: int = 0
    moved: int = 0
    sealed: int = 0
    sealed_before_ms: int = 0
    by_principal: dict[str, Change] = {}
    by_model: dict[str, Change] = {}
    resumed: bool = False


class RebookNote(msgspec.Struct):
    """The place of an interrupted rebooking: valid for the same basis and window only."""

    basis: tuple[str, str]
    since_ms: int | None
    until_ms: int | None
    after: str


async def rebook(  # noqa: PLR0913 - how it is to be done
    ledger: Ledger,
    poster: Poster,
    window: Window,
    *,
    dry_run: bool = False,
    pending: bool = False,
    on_progress: Callable[[int], None] | None = None,
    look_later: LookLater | None = None,
) -> RebookResult:
    """Bring booked calls to what a fresh replay under `poster` would give.

    Each chunk is one transaction, and rebooking an entry twice changes nothing, so that the
    run may be interrupted anywhere; the next one with the same catalogue, registry and window
    takes up where it stopped. Sealed calls stay as they are.

    Args:
        ledger: Any ledger.
        poster: Prices and attributes under the catalogue and registry of now.
        window: Only calls with an event time in it.
        dry_run: Work everything out, change nothing.
        pending: Look at unpriced and unmetered calls alone, which is all that a late price or
            profile can move. What is done leaves them, so that no place need be kept.
        on_progress: Called with the number of entries looked at so far.
        look_later: Has the budgets looked at of what is about to be rebooked; None for no budgets.
    """
    note = RebookNote(
        (poster.basis.catalogue_revision, poster.basis.registry_revision),
        window.since_ms,
        window.until_ms,
        "",
    )
    seal = await ledger.seal_in_force()
    run = _Rebook(ledger, poster, window, seal, dry_run, on_progress, look_later)
    if dry_run or pending:
        await run.once(ledger.pending() if pending else ledger.scan())
        return run.result
    start = await _resume(ledger, note)
    run.result.resumed = start is not None
    calls = await _calls(ledger)
    await run.over(note, start)
    if start is not None:
        # Whatever was booked meanwhile, under the old prices, may lie before that place.
        await run.over(note, None, stop=start)
    for _ in range(PASSES_MAX):
        before, calls = calls, await _calls(ledger)
        if calls == before:
            break
        await run.over(note, None)  # somebody is booking at the same time
    await ledger.keep_progress(REBOOK_PROGRESS, None)
    return run.result


async def _calls(ledger: Ledger) -> int:
    return sum(amounts.calls for amounts in (await ledger.totals("account")).values())


class _Rebook:
    """One rebooking: passes over the entries, and what came of them."""

    def __init__(  # noqa: PLR0913, PLR0917 - private
        self,
        ledger: Ledger,
        poster: Poster,
        window: Window,
        seal: Seal,
        dry_run: bool,  # noqa: FBT001 - private
        on_progress: Callable[[int], None] | None,
        look_later: LookLater | None,
    ) -> None:
        self._ledger = ledger
        self._look_later = look_later
        self._poster = poster
        self._window = window
        self._seal = seal
        self._dry_run = dry_run
        self._on_progress = on_progress
        self.result = RebookResult(sealed_before_ms=seal.watermark_ms)

    async def once(self, scan: AsyncIterator[Sequence[Entry]]) -> None:
        """Rebook some entries, leaving no note."""
        async for entries in scan:
            await self._chunk(entries)
            if self._on_progress is not None:
                self._on_progress(self.result.entries)

    async def over(self, note: RebookNote, after: str | None, stop: str | None = None) -> None:
        """Rebook the entries after one key, up to the chunk that holds another."""
        async for entries in self._ledger.scan(after):
            await self._chunk(entries)
            if stop is None:
                note.after = entries[-1].key
                encoded = msgspec.json.encode(note).decode()
                await self._ledger.keep_progress(REBOOK_PROGRESS, encoded)
            if self._on_progress is not None:
                self._on_progress(self.result.entries)
            if stop is not None and any(entry.key == stop for entry in entries):
                return

    async def _chunk(self, entries: Sequence[Entry]) -> None:
        wanted = [
            item for entry in entries for item in _rebooking(entry, self._poster, self._window)
        ]
        result = self.result
        sealed = [item for item in wanted if self._seal.holds(item.before.posting.leaf.day)]
        if sealed:
            wanted = [item for item in wanted if not self._seal.holds(item.before.posting.leaf.day)]
            result.sealed += len(sealed)
        result.entries += len(entries)
        if wanted and not self._dry_run:
            if self._look_later is not None:
                await self._look_later({leaf for one in wanted for leaf, _ in change_of(one)})
            moved = len(wanted) - await self._ledger.rebook(wanted)
            result.moved += moved
            if moved:
                wanted = [item for item in wanted if await _is_done(self._ledger, item)]
        for item in wanted:
            _note_change(result, item)
        result.rebooked += len(wanted)


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
