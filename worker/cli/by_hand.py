"""Suspending and restoring by hand: a hold like any other, with a person's name and reason."""

from __future__ import annotations

import asyncio
import getpass
import platform
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from worker.adapters.clock import SystemClock
from worker.bootstrap import make_registry, open_state, team_tag
from worker.bootstrap.directory import is_gone
from worker.bootstrap.enforcing import Enforcing, open_enforcing
from worker.cli.options import lasting
from worker.core.enforcement import MANUAL, Hold, Suspension
from worker.core.errors import ConfigurationError, MissingPrincipalError
from worker.core.suspension import is_settled
from worker.pipeline.knowledge import load_learned
from worker.ports import Clock
from worker.settings import Settings

OTHERS_SECONDS: Final = 60
"""How long a command waits for another worker that is at the same principal already."""
_FORMS: Final = (
    "give user/ACCOUNT/NAME, role/ACCOUNT/NAME, session/ACCOUNT/ROLE/NAME or "
    "agent/ACCOUNT/REGION/ID, as `ledgerock report --by principal` lists them"
)
_KIND: Final = re.compile(r"(user|role|session|agent|root|federated|service|app|unknown)/\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of a command.

    Attributes:
        suspension: As it is afterwards.
        is_change: Whether a hold was put, or any was lifted.
        lifted: The holds that were lifted.
        is_left: Workflows carry it out, not this command.
        is_done: What was asked for was verified in IAM.
    """

    suspension: Suspension
    is_change: bool
    lifted: tuple[Hold, ...] = ()
    is_left: bool = False
    is_done: bool = False


class ByHand:
    """The work of `ledgerock suspend` and `ledgerock restore`.

    Args:
        enforcing: Suspends, restores, and keeps the audit log.
        clock: Ledger time.
        who: Who asks, for the audit log.
        pause: Waits some seconds for others.
    """

    def __init__(
        self,
        enforcing: Enforcing,
        clock: Clock,
        who: str,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take what is open."""
        self._suspensions = enforcing.suspensions
        self._enforcer = enforcing.enforcer
        self._audit = enforcing.audit
        self._clock = clock
        self._who = who
        self._pause = pause

    @property
    def _is_left(self) -> bool:
        return self._enforcer.acts == "workflows"

    async def suspend(self, principal: str, reason: str) -> Done:
        """Put a hold on a principal, and carry it out at once unless workflows do.

        Raises:
            ConfigurationError: There is no such principal.
            EnforcementError: It cannot be suspended; nothing was changed.
            TransientError: Doing it again is safe.
        """
        if not _KIND.fullmatch(principal):
            raise ConfigurationError(f"{principal!r} is no principal: {_FORMS}")
        try:
            await self._enforcer.hands.check(principal, ask=not self._is_left)
        except MissingPrincipalError as error:
            raise ConfigurationError(f"there is no such principal: {error}") from error
        await self._ordered("Suspension Ordered", principal, reason, {"hold": MANUAL})
        now_ms = self._clock.now_ms()
        hold = Hold(MANUAL, 0, 0, now_ms, reason, by=self._who)
        is_change = await self._suspensions.hold(principal, hold)
        return await self._carried_out(principal, is_change=is_change)

    async def restore(self, principal: str, reason: str, *, all_holds: bool) -> Done:
        """Lift the hold that was put by hand, and carry it out at once unless workflows do.

        Args:
            principal: Whose.
            reason: Why.
            all_holds: Lift those of budgets too, for their present revision and period.

        Raises:
            ConfigurationError: It was never suspended.
            TransientError: Doing it again is safe.
        """
        before = await self._suspensions.get(principal)
        if not before.version:
            message = f"{principal} was never suspended; `ledgerock principals list` names who was"
            raise ConfigurationError(message)
        lifting = [one for one in before.holds if all_holds or one.budget == MANUAL]
        names = [one.budget for one in lifting]
        await self._ordered("Restoration Ordered", principal, reason, {"lifted": names})
        lifted = []
        for hold in lifting:
            is_ours = await self._suspensions.lift(
                principal,
                hold.budget,
                hold.first_day,
                why=reason,
                by=self._who,
                waive=hold.budget != MANUAL,
            )
            lifted += [hold] if is_ours else []
        return await self._carried_out(principal, is_change=bool(lifted), lifted=tuple(lifted))

    async def _ordered(self, act: str, principal: str, reason: str, after: object) -> None:
        before = await self._suspensions.get(principal)
        await self._audit.append(
            act=act,
            actor=self._who,
            subject=principal,
            why=reason,
            before={"phase": before.phase, "holds": [one.budget for one in before.holds]},
            after=after,
        )

    async def _carried_out(
        self, principal: str, *, is_change: bool, lifted: tuple[Hold, ...] = ()
    ) -> Done:
        """Carry out what is wanted now, or wait until somebody else did."""
        suspension = await self._suspensions.get(principal)
        for _ in range(OTHERS_SECONDS):
            is_clear = suspension.phase == "clear" and not suspension.due_at_ms
            if self._is_left or is_clear:
                break
            figures = await self._enforcer.act_now(principal)
            suspension = await self._suspensions.get(principal)
            if not figures.left or is_settled(suspension):
                break
            await self._pause(1)
        # One who was deleted is clear, and has a failure that says so: there is no more to do.
        return Done(
            suspension=suspension,
            is_change=is_change,
            lifted=lifted,
            is_left=self._is_left and not is_settled(suspension),
            is_done=is_settled(suspension),
        )


def caller_name() -> str:
    """Return who runs a command: the operating system's user and host.

    That is what is known without asking AWS; IAM's own trail says by which credentials it acted.
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{platform.node() or 'unknown'}"


@asynccontextmanager
async def open_by_hand(settings: Settings, *, must_exist: bool = False) -> AsyncIterator[ByHand]:
    """Open what the commands work with: the ledger's state, and IAM.

    Raises:
        ConfigurationError: A setting or file is wrong.
    """
    lasting(settings, "nobody would know of the suspension")
    async with AsyncExitStack() as stack:
        state = open_state(settings, must_exist=must_exist)
        stack.push_async_callback(state.close)
        registry = make_registry(settings)
        learned = await load_learned(state.records, registry, await team_tag(settings))
        known = registry.with_directory(learned)
        clock = SystemClock()
        enforcing = open_enforcing(
            settings.enforcement,
            records=state.records,
            outbox=state.outbox,
            clock=clock,
            registry=lambda: known,
            stack=stack,
            is_gone=lambda subject: is_gone(state.records, subject),
        )
        yield ByHand(enforcing, clock, caller_name())
