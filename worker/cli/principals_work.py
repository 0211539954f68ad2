"""What the commands on principals read: spend, budgets, directory, suspensions, audit log."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from worker.cli.budgets_work import Books
from worker.core.audit import AuditEntry
from worker.core.budget_standing import Standing
from worker.core.directory import Given, Keys, decode_subject
from worker.core.directory_views import View, view_of
from worker.core.enforcement import Suspension
from worker.core.enforcement_names import DIRECTORY, GIVEN, KEYS, PROVISIONED
from worker.core.errors import ConfigurationError
from worker.core.events import budget_subject
from worker.core.ledger import MS_PER_DAY, Amounts
from worker.core.provision import Provision
from worker.core.registry import plain_id
from worker.core.suspension_events import principal_subject
from worker.core.tiers import TIER_TAG
from worker.pipeline.audit import AuditLog
from worker.pipeline.suspensions import Suspensions
from worker.ports import Notice, Record

PAGE: Final = 500
NOTICES_SHOWN: Final = 10
AUDIT_SHOWN: Final = 20
_RANKS: Final = {"ok": 0, "warning": 1, "critical": 2, "exceeded": 3, "grace_period": 4}
_WORST: Final = 5
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one principal.

    Attributes:
        principal: Its id.
        month: What it spent in this calendar month, UTC.
        suspension: Its holds, and how far they were carried out.
        view: What events said of it; None for nothing.
        tier: Whose budgets it was given; empty for none.
        standings: How its own budgets stand.
    """

    principal: str
    month: Amounts
    suspension: Suspension
    view: View | None = None
    tier: str = ""
    standings: tuple[Standing, ...] = ()

    @property
    def state(self) -> str:
        """How far its suspension is, else how its worst budget stands; empty without budgets."""
        if self.suspension.phase != "clear":
            return self.suspension.phase
        states = [str(one.state) for one in self.standings]
        return max(states, key=lambda state: _RANKS.get(state, _WORST), default="")

    @property
    def tags(self) -> dict[str, str]:
        """Its tags, as far as events told of them."""
        return {} if self.view is None or not self.is_present else self.view.tags

    @property
    def is_present(self) -> bool:
        """Whether the principal is the one that has this name now."""
        return self.view is None or self.view.last.principal == self.principal

    @property
    def is_deleted(self) -> bool:
        """Whether events say that it was deleted."""
        if self.view is None:
            return False
        return all(life.to_ms is not None for life in self.view.lives if self._is(life.principal))

    def _is(self, principal: str) -> bool:
        return principal == self.principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Everything about one principal.

    Attributes:
        known: As it is listed.
        total: What it ever spent.
        keys: Which of its keys were made through provisioning.
        provision: What `keys create` wrote down of it; None for nothing.
        notices: What was told of it and its budgets lately, by time.
        audit: What was done to it lately, by time.
    """

    known: Known
    total: Amounts
    keys: Keys
    provision: Provision | None
    notices: list[Notice] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)


class Principals:
    """Reads what is known of principals.

    Args:
        books: The ledger and its state.
    """

    def __init__(self, books: Books) -> None:
        """Take what is open."""
        self._books = books
        state, self._clock = books.state, books.clock
        self._records, self._outbox = state.records, state.outbox
        self._suspensions = Suspensions(
            records=state.records, outbox=state.outbox, clock=books.clock
        )

    async def listed(self) -> list[Known]:
        """Return who spent this month, has budgets or keys, is held, or is an agent.

        Those who spent most come first.
        """
        months = await self._months()
        held = {one.principal: one for one in await self._suspensions.listed()}
        views = await self._views()
        given = await self._given()
        standings = await self._standings()
        names = {*months, *held, *given, *standings}
        names |= {view.last.principal for view in views.values() if _matters(view)}
        found = [
            Known(
                principal=name,
                month=months.get(name, Amounts()),
                suspension=held.get(name, Suspension(name)),
                view=views.get(plain_id(name)),
                tier=given.get(name, ""),
                standings=tuple(standings.get(name, ())),
            )
            for name in names
            if name
        ]
        return sorted(found, key=lambda one: (-one.month.cost_pico_usd, one.principal))

    async def shown(self, principal: str) -> Shown:
        """Return everything about one principal.

        Raises:
            ConfigurationError: Nothing is known of it.
        """
        totals = await self._books.ledger.totals("principal")
        standings = (await self._standings()).get(principal, ())
        suspension = await self._suspensions.get(principal)
        subject = plain_id(principal)
        keys = [(DIRECTORY, subject), (GIVEN, principal), (KEYS, subject), (PROVISIONED, subject)]
        records = await self._records.get_many(keys)
        if not (totals.get(principal) or standings or suspension.version or records):
            message = (
                f"{principal}: nothing is known of such a principal; "
                "`ledgerock principals list` names them, such as user/111122223333/alice"
            )
            raise ConfigurationError(message)
        found = [records.get(key) for key in keys]
        directory, given, noted, provision = found
        known = Known(
            principal=principal,
            month=(await self._months()).get(principal, Amounts()),
            suspension=suspension,
            view=None if directory is None else _view(directory),
            tier="" if given is None else _given(given).tier,
            standings=tuple(standings),
        )
        return Shown(
            known=known,
            total=totals.get(principal, Amounts()),
            keys=Keys(subject) if noted is None else msgspec.json.decode(noted.body, type=Keys),
            provision=None
            if provision is None
            else msgspec.json.decode(provision.body, type=Provision),
            notices=await self._notices(known),
            audit=await self._audit(principal),
        )

    # --- Parts --------------------------------------------------------------------------------

    async def _months(self) -> dict[str, Amounts]:
        first_day, last_day = month_of(self._clock.now_ms())
        return await self._books.ledger.totals("principal", first_day, last_day)

    async def _standings(self) -> dict[str, list[Standing]]:
        found: dict[str, list[Standing]] = {}
        for one in await self._books.standings():
            if one.budget.scope.kind in {"principal", "agent"}:
                found.setdefault(one.budget.scope.id, []).append(one)
        return found

    async def _views(self) -> dict[str, View]:
        return {record.name: _view(record) async for record in self._all(DIRECTORY)}

    async def _given(self) -> dict[str, str]:
        found = [_given(record) async for record in self._all(GIVEN)]
        return {one.principal: one.tier for one in found if one.tier}

    async def _all(self, partition: str) -> AsyncIterator[Record]:
        after = ""
        while page := await self._records.partition(partition, after=after, limit=PAGE):
            for record in page:
                yield record
            after = page[-1].name

    async def _notices(self, known: Known) -> list[Notice]:
        subjects = [principal_subject(known.principal)]
        subjects += [budget_subject(one.budget.name) for one in known.standings]
        found = [
            notice
            for subject in subjects
            for notice in await self._outbox.about(subject)
            if not notice.channel
        ]
        return sorted(found, key=lambda one: (one.recorded_at_ms, one.id))[-NOTICES_SHOWN:]

    async def _audit(self, principal: str) -> list[AuditEntry]:
        """Go through the audit log, which is in order of time alone."""
        found: deque[AuditEntry] = deque(maxlen=AUDIT_SHOWN)
        async for page in AuditLog(self._records, self._clock).entries():
            found += [entry for entry in page if entry.details.subject == principal]
        return list(found)


def month_of(at_ms: int) -> tuple[int, int]:
    """Return the first and the last day of an instant's calendar month, UTC."""
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=31)).replace(day=1)
    days = [(one - _EPOCH) // timedelta(milliseconds=MS_PER_DAY) for one in (first, following)]
    return days[0], days[1] - 1


def _matters(view: View) -> bool:
    """Whether somebody who spends nothing is listed all the same."""
    has_key = any(key.is_live and key.is_bedrock for key in view.keys)
    is_agent = view.is_registered and view.id.startswith("agent/")
    return view.last.is_alive and (has_key or is_agent or TIER_TAG in view.tags)


def _view(record: Record) -> View:
    return view_of(decode_subject(record.name, record.body))


def _given(record: Record) -> Given:
    return msgspec.json.decode(record.body, type=Given)
