"""`ledgerock seal`: settle a period for good, so that its entries may be let go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.group import say
from worker.cli.options import JsonOption, LedgerOption, ledger_option, read_settings
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.core.ledger import Amounts
    from worker.core.seal import Seal
    from worker.ports import Ledger

PeriodArgument = Annotated[
    str,
    typer.Argument(
        metavar="PERIOD",
        help="Everything before the end of this year, month or day in UTC: 2026, 2026-09 or "
        "2026-09-30. It must have ended 7 days ago.",
    ),
]
ExpireOption = Annotated[
    int | None,
    typer.Option(
        "--expire-after",
        metavar="DAYS",
        min=0,
        max=36_500,
        help="Let sealed entries go so many days after their call. Example: --expire-after 400",
    ),
]


@dataclass
class Sealed:
    """What sealing did, or would do.

    Attributes:
        before: The seal that was in force.
        after: The one that is, or would be.
        balances: Balances that are newly sealed.
        amounts: What they add up to.
        expire_after_days: How old entries may get; None if they stay.
        expired: Entries that were removed, or newly told when to go; in a dry run calls of the
            days in question, at most so many.
    """

    before: Seal
    after: Seal
    balances: int
    amounts: Amounts
    expire_after_days: int | None
    expired: int = 0

    @property
    def changed(self) -> bool:
        """Whether anything is sealed that was not."""
        return self.after.complete_day > self.before.complete_day


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ledgerock seal 2026-09 --expire-after 400")(seal)


def seal(
    period: PeriodArgument,
    expire_after: ExpireOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")
    ] = False,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Settle everything before the end of a period for good, earlier periods included.

    What each balance of these days adds up to is stored, and from then on nothing of them changes:
    calls that are heard of late are ignored as sealed, rebook passes over them, and reports,
    budgets and verify say what they said. There is no way back. Only what is sealed may be let go,
    with --expire-after: an entry that is gone can be neither explained nor priced anew, but every
    balance stays.

    It may be interrupted; running it again completes it.
    """
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = read_settings(ledger=ledger)
    done = run(_seal(settings, period, expire_after, dry_run=dry_run))
    if as_json:
        print_json(_document(settings, period, done, dry_run=dry_run))
    else:
        _print(settings, done, dry_run=dry_run)


async def _seal(
    settings: Settings, period: str, expire_after: int | None, *, dry_run: bool
) -> Sealed:
    from worker.adapters.clock import SystemClock
    from worker.bootstrap import open_ledger
    from worker.cli.progress import entries_progress
    from worker.core.seal import check_closed

    now_ms = SystemClock().now_ms()
    day = check_closed(period, now_ms)
    opened = open_ledger(settings, must_exist=True)
    try:
        done = await _prospect(opened, day, expire_after)
        if dry_run:
            done.expired = await _calls_before(opened, done.after, expire_after, now_ms)
            return done
        if settings.ledger_tables is not None and day > done.before.day:
            say("the watermark is moved first; then what is under way is waited for, a minute")
        with entries_progress() as on_progress:
            done.after = await opened.seal(day, on_progress)
            if expire_after is not None:
                done.expired = await opened.expire(expire_after, now_ms, on_progress)
        return done
    finally:
        await opened.close()


async def _prospect(ledger: Ledger, day: int, expire_after: int | None) -> Sealed:
    """Work out what sealing will do, from the balances."""
    from msgspec.structs import replace

    from worker.core.ledger import Amounts

    before = await ledger.seal_in_force()
    end = max(day, before.day)
    after = replace(before, day=end, complete_day=end)
    found = (
        await ledger.balances(max(1, before.complete_day), end - 1)
        if end > before.complete_day
        else []
    )
    amounts = Amounts()
    for _, one in found:
        amounts.add(one)
    return Sealed(before, after, len(found), amounts, expire_after)


async def _calls_before(ledger: Ledger, after: Seal, expire_after: int | None, now_ms: int) -> int:
    """Return how many calls happened on days whose entries would go by now."""
    from worker.core.ledger import MS_PER_DAY

    if expire_after is None:
        return 0
    last = min(after.may_go_before_day, now_ms // MS_PER_DAY - expire_after) - 1
    if last < 1:
        return 0
    return sum(amounts.calls for _, amounts in await ledger.balances(1, last))


def _document(settings: Settings, period: str, done: Sealed, *, dry_run: bool) -> dict[str, Any]:
    from worker.core.report import figures, iso_time

    return {
        "ledger": settings.ledger,
        "period": period,
        "dry_run": dry_run,
        "sealed_before": iso_time(done.after.watermark_ms),
        "sealed_before_previously": iso_time(done.before.watermark_ms or None),
        "changed": done.changed,
        "balances": done.balances,
        **figures(done.amounts),
        "expire_after_days": done.expire_after_days,
        "entries_expired": done.expired,
        "entries_kept_from": _kept_from(done),
    }


def _kept_from(done: Sealed) -> str | None:
    """Return the day from which entries stay whatever their age; None if none are let go."""
    from worker.core.seal import day_text

    return None if done.expire_after_days is None else day_text(done.after.may_go_before_day)


def _print(settings: Settings, done: Sealed, *, dry_run: bool) -> None:
    from worker.cli.money import show_usd
    from worker.cli.output import console, quantity
    from worker.core.seal import KEPT_DAYS, day_text

    out = console()
    watermark = f"{day_text(done.after.day)} 00:00 UTC"
    if done.changed:
        would = "would be sealed" if dry_run else "is sealed"
        out.print(f"everything before {watermark} {would}, earlier periods included")
        out.print(
            f"newly sealed: {quantity(done.balances, 'balance')} of "
            f"{quantity(done.amounts.calls, 'call')}, {show_usd(done.amounts.cost_pico_usd)}"
        )
        _print_unknown(settings, done.amounts, dry_run=dry_run)
    else:
        out.print(f"nothing to seal: everything before {watermark} is sealed already")
    if done.expire_after_days is not None:
        age = quantity(done.expire_after_days, "day")
        entries = quantity(done.expired, "entry", "entries")
        if dry_run:
            out.print(f"at most {entries} would be let go by now: sealed, and older than {age}")
        elif settings.ledger_tables is not None:
            out.print(f"{entries} newly told to go {age} after the call; DynamoDB removes them")
        else:
            out.print(f"{entries} removed: sealed, and older than {age}")
        out.print(
            f"kept whatever their age: entries from {_kept_from(done)} on ({KEPT_DAYS} days "
            "before the watermark), and those of batch jobs"
        )
    if dry_run:
        out.print("nothing was changed; run it again without --dry-run. There is no unsealing")
    elif done.changed:
        out.print(f"check: ledgerock verify{ledger_option(settings)}")


def _print_unknown(settings: Settings, amounts: Amounts, *, dry_run: bool) -> None:
    """Say how many calls without a price, or without counts, will never have one."""
    from worker.cli.output import console, quantity

    unknown = [
        f"{quantity(number, 'call')} {what}"
        for number, what in (
            (amounts.unpriced_calls, "unpriced"),
            (amounts.unmetered_calls, "unmetered"),
        )
        if number
    ]
    if not unknown:
        return
    of_them = f"of them {' and '.join(unknown)}"
    if dry_run:
        fix = f"price them first: ledgerock rebook{ledger_option(settings)}"
        console().print(f"{of_them} would stay so for good; {fix}", soft_wrap=True)
    else:
        console().print(f"{of_them} stay so for good: they cannot be priced any more")
