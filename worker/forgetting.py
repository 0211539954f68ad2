"""Forgetting a person: a pseudonym takes the place of the name, everywhere; all sums stay.

In this order, so that a crash anywhere is healed by doing it again:

1. A *mark* is kept with the ledger (`core.forgotten`). From now on whoever books recognises late
   calls of the person, and books them under the pseudonym. Those who share a ledger hear of it
   within some minutes, which are waited for.
2. The person's entries are rewritten, under the balances of the pseudonym: all entries are gone
   through, because the name may be in any of them.
3. Budgets, notices and records lose the name, then the audit log, whose chain holds.
4. What nothing uses any more is removed from the ledger: empty balances, names that are shared.

What Ledgerock does not keep is not its to forget: the logs themselves, records in quarantine, a
registry file, events that were announced. The journal of a shared ledger keeps a hash of the
identity until it expires.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from worker.core.audit import ACT_FORGET, AuditDetails
from worker.core.errors import ConfigurationError, TransientError
from worker.core.forgotten import (
    NOTE,
    PSEUDONYM,
    Mark,
    Marks,
    Person,
    marks_in,
    note_of,
)
from worker.core.ledger import Entry
from worker.core.registry import plain_id
from worker.pipeline.audit import AuditLog
from worker.pipeline.suspensions import Suspensions
from worker.ports import BudgetStore, Clock, Ledger, Rebooking
from worker.ports.texts import StateTexts

QUIET_MS: Final = 3_600_000
"""A person who called a model within this time is not gone, and cannot be forgotten."""

PASSES_MAX: Final = 5
ATTEMPTS: Final = 20
"""How often marks are changed anew because somebody else was first."""
PAUSE_LAST_SECONDS: Final = 0.5
NAME_BYTES: Final = 8
SALT_BYTES: Final = 16
_SLUG_SHOWN: Final = 8
"""Characters of a name by which a budget's name tells whose it is."""


class Forgotten(msgspec.Struct, frozen=True):
    """What forgetting a person did, in this run.

    Attributes:
        pseudonym: The identity that stands for the person.
        calls: Entries that were rewritten.
        kept: Budgets, notices and records that lost the name.
        audited: Entries of the audit log that did.
    """

    pseudonym: str
    calls: int = 0
    kept: int = 0
    audited: int = 0


class Forgetting:
    """Forgets people.

    Args:
        ledger: Any ledger.
        budgets: Beside it.
        texts: Everything beside it.
        audit: The audit log.
        suspensions: Who is suspended.
        clock: Ledger time.
        pause: Waits so many seconds.
    """

    def __init__(  # noqa: PLR0913 - everywhere that a name may be
        self,
        *,
        ledger: Ledger,
        budgets: BudgetStore,
        texts: StateTexts,
        audit: AuditLog,
        suspensions: Suspensions,
        clock: Clock,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Change nothing yet."""
        self._ledger = ledger
        self._budgets = budgets
        self._texts = texts
        self._audit = audit
        self._suspensions = suspensions
        self._clock = clock
        self._pause = pause

    async def check(self, principal: str) -> str:
        """Refuse to forget who is no person, is suspended, or is still at it.

        Returns:
            The identity, as keys spell it.

        Raises:
            ConfigurationError: Says which, and what to do first.
        """
        person = Person(principal, Mark(PSEUDONYM, self._clock.now_ms()), Marks(""))
        listed = await self._suspensions.listed()
        for suspension in (*listed, await self._suspensions.get(person.identity)):
            is_in_place = suspension.holds or suspension.phase != "clear"
            if plain_id(suspension.principal) == person.identity and is_in_place:
                message = (
                    f"{suspension.principal} is suspended, or about to be; what was taken away "
                    f"could not be given back: `ledgerock restore {suspension.principal}` first"
                )
                raise ConfigurationError(message)
        since = self._clock.now_ms() - QUIET_MS
        async for entries in self._ledger.booked([person.identity], since):
            if any(person.owns(entry) for entry in entries):
                message = (
                    f"{person.identity} called a model within the last hour; forget people once "
                    "they are gone: delete their access first, and try again an hour later"
                )
                raise ConfigurationError(message)
        return person.identity

    async def forget(
        self,
        principal: str,
        *,
        actor: str,
        why: str = "",
        on_wait: Callable[[int], None] | None = None,
    ) -> Forgotten:
        """Forget a person; done again, it completes what was begun, under the same pseudonym.

        Args:
            principal: `user/A/NAME`, `session/A/ROLE/NAME` or `federated/A/NAME`, encoded or not.
            actor: Who wants it, for the audit log.
            why: One line.
            on_wait: Told for how many seconds others are waited for.

        Raises:
            ConfigurationError: It cannot be; see `check`.
            TransientError: It is done in part; do it again.
        """
        person = await self._marked(await self.check(principal))
        seconds = self._ledger.hears_after_seconds
        if seconds:
            if on_wait is not None:
                on_wait(seconds)
            await self._pause(seconds)
        calls = await self._rewrite(person)
        kept = await self._rewrite_state(person)
        audited = await self._rewrite_audit(person, actor, why)
        await self._change_marks(lambda marks: marks.changed())
        await self._ledger.purge(person)
        await self._change_marks(lambda marks: marks.changed())
        await self._ledger.keep_progress(_names_note(person), None)
        return Forgotten(person.pseudonym, calls, kept, audited)

    # --- Marks -------------------------------------------------------------------------------

    async def _marked(self, principal: str) -> Person:
        """Keep a mark, or renew the one that there is."""
        fresh = f"{PSEUDONYM}{secrets.token_hex(NAME_BYTES)}"

        def mark(marks: Marks) -> Marks:
            known = marks.of(principal)
            name = fresh if known is None else known.name
            return marks.with_mark(principal, Mark(name, self._clock.now_ms()))

        marks = await self._change_marks(mark)
        return Person(principal, marks.people[marks.digest(plain_id(principal))], marks)

    async def _change_marks(self, change: Callable[[Marks], Marks]) -> Marks:
        """Change the marks; of several who do so at once, nobody's change is lost.

        Raises:
            TransientError: Others kept changing them.
        """
        for attempt in range(ATTEMPTS):
            await asyncio.sleep(_jittered(attempt))
            before = await self._ledger.progress(NOTE)
            marks = change(marks_in(before) or Marks(secrets.token_hex(SALT_BYTES)))
            if await self._ledger.replace_progress(NOTE, before, note_of(marks)):
                return marks
        raise TransientError("others are forgetting people at the same time; try again")

    # --- Entries -----------------------------------------------------------------------------

    async def _rewrite(self, person: Person) -> int:
        rewritten = 0
        for _ in range(PASSES_MAX):
            found = 0
            async for entries in self._ledger.scan():
                mine = [_hidden(person, entry) for entry in entries if person.owns(entry)]
                if mine:
                    found += len(mine)
                    rewritten += await self._ledger.rebook(mine)
            if not found:
                return rewritten
        message = f"{person.identity}: calls keep being booked under the name; try again later"
        raise TransientError(message)

    # --- Beside the ledger -------------------------------------------------------------------

    async def _rewrite_state(self, person: Person) -> int:
        person.rename(await self._names_of_budgets(person))
        return await self._texts.rewrite(person.texts)

    async def _names_of_budgets(self, person: Person) -> dict[str, str]:
        """Return what to call the person's budgets whose names tell of them.

        It is noted with the ledger: once a budget is renamed, nobody else knows.
        """
        noted = await self._ledger.progress(_names_note(person))
        names = msgspec.json.decode(noted, type=dict[str, str]) if noted else {}
        slug = re.sub(r"[^a-z0-9]", "", person.name.lower())[:_SLUG_SHOWN]
        for budget in await self._budgets.budgets():
            shown = re.sub(r"[^a-z0-9]", "", budget.name.lower())
            if plain_id(budget.scope.id) == person.identity and slug and slug in shown:
                names[budget.name] = f"{person.mark.name}-{person.short_hash(budget.name)}"
        if names:
            await self._ledger.keep_progress(
                _names_note(person), msgspec.json.encode(names).decode()
            )
        return names

    async def _rewrite_audit(self, person: Person, actor: str, why: str) -> int:
        def rewrite(details: AuditDetails) -> AuditDetails:
            return AuditDetails(*person.texts(list(msgspec.structs.astuple(details))))

        await self._audit.append(
            act=ACT_FORGET,
            actor=actor,
            subject=person.pseudonym,
            why=person.text(why),
            once=f"forget/{person.mark.name}",
        )
        return await self._audit.forget(rewrite, actor=actor, subject=person.pseudonym, why=why)


def _hidden(person: Person, entry: Entry) -> Rebooking:
    evidence, rated = person.hidden(entry)
    return Rebooking(entry, rated, evidence)


def _jittered(attempt: int) -> float:
    longest = min(PAUSE_LAST_SECONDS, 0.05 * attempt)
    return random.uniform(0, longest)  # noqa: S311 - jitter, not a secret


def _names_note(person: Person) -> str:
    return f"names#{person.mark.name}"
