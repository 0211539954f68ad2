"""Giving principals the budgets of their tier, and taking them back.

Everything here looks at what is, never at what changed: it reads the facts and what was given,
works out what is to be, and writes the difference, each budget on condition of its revision. So
it may be told twice, by several processes at once, and die anywhere: whoever comes next does the
rest. Somebody slower may have read older facts; whoever finds, having written, that what was given
or known is another by now, begins anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Final

import msgspec

from worker.core.budget_events import budget_initialized
from worker.core.budget_terms import Budget
from worker.core.directory import Given, Keys, Subject, decode_subject
from worker.core.directory_views import View, view_of
from worker.core.enforcement_names import (
    DIRECTORY,
    GIVEN,
    KEYS,
    LEFT,
    QUEUE_GIVING,
    TIERS_IN_FORCE,
)
from worker.core.errors import LedgerockError, TransientError
from worker.core.ledger import Leaf
from worker.core.memo import remember
from worker.core.registry import Registry, plain_id
from worker.core.tiers import ORIGIN, Tiers, budget_name, budgets_of, cap_budgets, tier_of
from worker.pipeline.budget_looks import BudgetLooks, keep_budget
from worker.pipeline.known_tiers import (
    InForce,
    KnownTiers,
    UnknownTiersError,
    force_record,
    in_force,
)
from worker.pipeline.notices import notice_of
from worker.ports import BudgetStore, Clock, Outbox, Record, Records, TierSource

ATTEMPTS: Final = 10
GIVEN_TOGETHER: Final = 320
"""Principals that changed tiers are given to by one call."""
SEEN_MAX: Final = 50_000
"""Principals remembered as having budgets, or needing none."""
PAGE: Final = 200
TRY_AGAIN_MS: Final = 60_000
"""When somebody who could not be given budgets is tried again."""
AT_ONCE: Final = 16
"""Principals that changed tiers are given to at a time."""
EVERYTHING: Final = "everything"
SPENDERS: Final = frozenset({"user", "role", "session", "agent"})
"""Kinds of principals that are given budgets."""


class Known(msgspec.Struct, frozen=True):
    """What is known of a principal, strongly read.

    Attributes:
        view: Its subject.
        versions: Of the records that it was read from; they change with everything known.
        given: What it was given.
        has_found_key: A live key of its was not made through provisioning.
        force: The tiers in force.
    """

    view: View
    versions: tuple[int, int, int]
    given: Given | None
    has_found_key: bool
    force: InForce | None

    @property
    def force_digest(self) -> str:
        """Which tiers are in force; empty for none."""
        return "" if self.force is None else self.force.digest


class TierGiver:
    """Gives budgets.

    Args:
        source: The operator's tiers.
        records: What is known of principals, and what they were given.
        budgets: Where budgets are kept.
        looks: Has new budgets looked at.
        outbox: Keeps what is announced.
        clock: Ledger time.
        registry: Says which period a budget is in.
        is_covered: Whether a principal has a budget of its own already, from anybody; for those
            who are given one because they spend.
        monotonic: Seconds, for reading tiers again.
    """

    def __init__(  # noqa: PLR0913 - the ports that it needs
        self,
        *,
        source: TierSource,
        records: Records,
        budgets: BudgetStore,
        looks: BudgetLooks,
        outbox: Outbox,
        clock: Clock,
        registry: Callable[[], Registry],
        is_covered: Callable[[str], bool] = lambda _principal: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know no tiers yet."""
        self._tiers = KnownTiers(source, clock, monotonic)
        self._records = records
        self._budgets = budgets
        self._looks = looks
        self._outbox = outbox
        self._clock = clock
        self._registry = registry
        self._is_covered = is_covered
        self._seen: dict[str, bool] = {}
        self._seen_under = ""
        # Who is still to be given what changed tiers say, and which.
        self._left: tuple[str, list[str]] | None = None
        self._fault = ""

    @property
    def fault(self) -> str:
        """Why tiers could not be read, or somebody not be given budgets; empty if all is well."""
        return self._tiers.fault or self._fault

    async def tiers(self) -> Tiers:
        """Return the tiers; what was read last, where they cannot be read now or are wrong.

        Raises:
            TransientError: They were never read, and cannot be read now.
            ConfigurationError: They were never read, and are wrong.
        """
        return await self._tiers.now()

    async def give(self, subject_id: str) -> str:
        """Settle a subject, or leave that to the monitor where it cannot be done now.

        Returns:
            As `settle`; empty while that is not known.

        Raises:
            TransientError: Neither could be done; doing it again is safe.
        """
        try:
            return await self.settle(subject_id)
        except (UnknownTiersError, msgspec.MsgspecError) as error:
            self._fault = str(error)
            await self._leave(subject_id)
            return ""

    async def settle(self, subject_id: str, *, spends: str = "") -> str:
        """Give a subject's principals the budgets that they are to have, and take others away.

        Args:
            subject_id: A user, role, agent or session.
            spends: The one of its principals that spent, if that is why it is given any.

        Returns:
            The tier of the one who lives; empty for none.

        Raises:
            UnknownTiersError: The tiers are not known now.
            TransientError: Doing it again is safe.
        """
        for _ in range(ATTEMPTS):
            known = await self._known(subject_id)
            tiers = await self._tiers.agreed(known.force)
            view = known.view
            for life in view.lives[:-1]:
                await self._close(life.principal)
            principal = view.last.principal
            given = known.given
            spent = (given is not None and given.spent) or spends == principal
            tier = tier_of(
                view,
                tiers,
                is_given=spent or (given is not None and bool(given.tier)),
                has_found_key=known.has_found_key,
            )
            if not tier and given is None:
                return ""
            wanted = budgets_of(tiers, tier, principal)
            version = await self._note(principal, subject_id, tier, set(wanted), spent=spent)
            if version is None:
                continue
            for label in sorted({*wanted, *(given.labels if given else ())}):
                await self._reconcile(budget_name(principal, label), wanted.get(label))
            after = await self._known(subject_id)
            is_in_force = after.force_digest == known.force_digest
            if is_in_force and after.versions == (*known.versions[:2], version):
                return tier
        message = f"{subject_id}: others are changing its budgets at the same time; try again"
        raise TransientError(message)

    async def first_use(self, leaves: Iterable[Leaf]) -> None:
        """Give budgets to those who spend and have none, where the operator wants that.

        Raises:
            TransientError: Doing it again is safe.
        """
        if self._seen_under != self._tiers.digest:
            self._seen.clear()
        new = {leaf.principal for leaf in leaves}.difference(self._seen)
        new = {one for one in new if one.partition("/")[0] in SPENDERS}
        if not new:
            return
        try:
            await self._give_spenders(new)
        except UnknownTiersError as error:
            # Whoever spends again is looked at again.
            self._fault = str(error)
            return
        self._seen_under = self._tiers.digest
        for principal in new:
            remember(self._seen, principal, True, SEEN_MAX)  # noqa: FBT003 - a set in a bound

    async def _give_spenders(self, spenders: Collection[str]) -> None:
        if "first_use" not in (await self._tiers.agreed(None)).on:
            return
        keys = [(GIVEN, principal) for principal in sorted(spenders)]
        given = await self._records.get_many(keys)
        for _, principal in keys:
            if (GIVEN, principal) not in given and not self._is_covered(principal):
                await self.settle(subject_of(principal), spends=principal)

    async def keep_up(self) -> bool:
        """Give everybody what changed tiers say, some at a time; return whether any were given.

        Goes through all that is known of principals, once for each change of the tiers. For the
        monitor: no commit waits for it. A process that dies over it leaves it to the next.

        Raises:
            TransientError: The next call goes on; or the tiers were never read.
            ConfigurationError: The tiers were never right.
        """
        await self.tiers()
        self._fault = ""
        try:
            await self._give_those_left()
            return await self._sweep()
        except UnknownTiersError as error:
            self._fault = str(error)
            return False

    async def _sweep(self) -> bool:
        record = await self._records.get(*TIERS_IN_FORCE)
        force = in_force(record)
        tiers = await self._tiers.agreed(force)
        digest = self._tiers.digest
        if force is None or force.digest != digest:
            # First of all, so that nobody goes on giving by those before.
            now_ms = self._clock.now_ms()
            new = InForce(digest, now_ms) if force is None else force.followed_by(digest, now_ms)
            record = force_record(new, record)
            if not await self._records.write([record]):
                return True
            force = new
        if force.is_done:
            self._left = None
            return False
        if self._left is None or self._left[0] != digest:
            await self._settle_cap(tiers)
            subjects = dict.fromkeys([name async for name in self._names(DIRECTORY)])
            subjects |= dict.fromkeys([subject_of(name) async for name in self._names(GIVEN)])
            subjects.pop(EVERYTHING, None)
            self._left = digest, list(subjects)
        left = self._left[1]
        for _ in range(GIVEN_TOGETHER // AT_ONCE):
            jobs = map(self._settle_or_leave, left[:AT_ONCE])
            for settled in await asyncio.gather(*jobs, return_exceptions=True):
                if isinstance(settled, BaseException):
                    raise settled
            del left[:AT_ONCE]
        if not left:
            done = msgspec.structs.replace(force, is_done=True)
            await self._records.write([force_record(done, record)])
            self._left = None
        return True

    async def _settle_or_leave(self, subject_id: str) -> bool:
        """Settle a subject; one that cannot be settled now holds up no other."""
        try:
            await self.settle(subject_id)
        except UnknownTiersError:
            raise
        except (LedgerockError, msgspec.MsgspecError) as error:
            self._fault = f"{subject_id}: {error}"
            await self._leave(subject_id, TRY_AGAIN_MS)
            return False
        return True

    async def _leave(self, subject_id: str, after_ms: int = 0) -> None:
        """Write down that a subject is to be settled."""
        due_at_ms = self._clock.now_ms() + after_ms
        for _ in range(ATTEMPTS):
            # A new version each time: whoever is just settling it does not take this one away.
            version = _version(await self._records.get(LEFT, subject_id)) + 1
            left = Record(LEFT, subject_id, b"{}", version, QUEUE_GIVING, due_at_ms)
            if await self._records.write([left]):
                return
        message = f"{subject_id}: others are leaving it for later at the same time; try again"
        raise TransientError(message)

    async def _give_those_left(self) -> None:
        """Settle those who could not be settled when that was due."""
        async for records in self._records.due(QUEUE_GIVING, self._clock.now_ms()):
            for record in records:
                if await self._settle_or_leave(record.name):
                    await self._records.remove(record)

    async def _names(self, partition: str) -> AsyncIterator[str]:
        after = ""
        while page := await self._records.partition(partition, after=after, limit=PAGE):
            for record in page:
                yield record.name
            after = page[-1].name

    async def _settle_cap(self, tiers: Tiers) -> None:
        budgets = {budget.name: budget for budget in cap_budgets(tiers)}
        given = await self._given(EVERYTHING)
        names = {*budgets, *(given.labels if given else ())}
        if await self._note(EVERYTHING, EVERYTHING, "", set(budgets), spent=False) is None:
            raise TransientError("the cap: others are setting it at the same time; try again")
        for name in sorted(names):
            await self._reconcile(name, budgets.get(name))

    async def _known(self, subject_id: str) -> Known:
        """Read all that decides about a subject's last life."""
        found = await self._records.get_many(
            [(DIRECTORY, subject_id), (KEYS, subject_id), TIERS_IN_FORCE]
        )
        record, keys = found.get((DIRECTORY, subject_id)), found.get((KEYS, subject_id))
        subject = Subject(subject_id)
        if record is not None:
            subject = decode_subject(subject_id, record.body)
        view = view_of(subject)
        has_found_key = False
        if keys is not None:
            found_ids = msgspec.json.decode(keys.body, type=Keys).found_ids
            has_found_key = any(key.is_live and key.id in found_ids for key in view.keys)
        given = await self._records.get(GIVEN, view.last.principal)
        return Known(
            view=view,
            versions=(_version(record), _version(keys), _version(given)),
            given=None if given is None else msgspec.json.decode(given.body, type=Given),
            has_found_key=has_found_key,
            force=in_force(found.get(TIERS_IN_FORCE)),
        )

    async def _given(self, principal: str) -> Given | None:
        record = await self._records.get(GIVEN, principal)
        return None if record is None else msgspec.json.decode(record.body, type=Given)

    async def _note(
        self, principal: str, subject_id: str, tier: str, labels: Collection[str], *, spent: bool
    ) -> int | None:
        """Write down what a principal is given, before it is; return the record's version.

        None if somebody else did at the same time.
        """
        record = await self._records.get(GIVEN, principal)
        before = None if record is None else msgspec.json.decode(record.body, type=Given)
        ever = {*labels, *(before.labels if before else ())}
        wanted = Given(principal, subject_id, tier, tuple(sorted(ever)), spent)
        if before == wanted:
            return _version(record)
        version = _version(record) + 1
        body = msgspec.json.encode(wanted)
        is_written = await self._records.write([Record(GIVEN, principal, body, version)])
        return version if is_written else None

    async def _close(self, principal: str) -> None:
        """Take the budgets of somebody who was deleted."""
        given = await self._given(principal)
        if given is not None:
            for label in given.labels:
                await self._reconcile(budget_name(principal, label), None)

    async def _reconcile(self, name: str, wanted: Budget | None) -> None:
        """Make one budget what it is to be, unless a person keeps it."""
        for _ in range(ATTEMPTS):
            before = await self._budgets.find(name)
            if before is not None and not before.origin.startswith(ORIGIN):
                return
            is_there = before is not None and not before.is_removed
            revision = 1 if before is None else before.revision + 1
            now_ms = self._clock.now_ms()
            if wanted is None:
                if before is None or not is_there:
                    return
                after = msgspec.structs.replace(
                    before, is_removed=True, revision=revision, created_at_ms=now_ms
                )
            else:
                after = msgspec.structs.replace(wanted, revision=revision, created_at_ms=now_ms)
                if before is not None and is_there and _same(before, after):
                    if before.revision == 1:  # whoever made it may have died before saying so
                        await self._announce(before)
                    return
            is_made = wanted is not None and not is_there
            if is_made and revision > 1:
                # Before it is kept: nobody could tell afterwards that it had not been there.
                await self._announce(after)
            if await keep_budget(self._budgets, self._looks, after, self._registry()):
                if is_made and revision == 1:
                    await self._announce(after)
                return
        raise TransientError(f"budget {name}: others are changing it at the same time; try again")

    async def _announce(self, budget: Budget) -> None:
        event = budget_initialized(budget)
        await self._outbox.put([notice_of(event, event.occurred_at_ms)])


def subject_of(principal: str) -> str:
    """Return the subject whose facts tell of a principal."""
    return plain_id(principal)


def _version(record: Record | None) -> int:
    return 0 if record is None else record.version


def _same(before: Budget, after: Budget) -> bool:
    """Whether two revisions say the same."""
    return before == msgspec.structs.replace(
        after, revision=before.revision, created_at_ms=before.created_at_ms
    )
