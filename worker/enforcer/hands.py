"""What is done to one principal: snapshots first, then IAM, then reading back.

Everything here may be done again after any failure, at any point, and by several at once: a
snapshot is kept once, and what is done already stays done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from worker.core.attribution import key_of
from worker.core.enforcement import Suspension
from worker.core.errors import (
    EnforcementError,
    LedgerockError,
    MissingPrincipalError,
    ReplacedPrincipalError,
)
from worker.core.events import event_id_of
from worker.core.suspension import Failed, Gone, action_of, is_settled
from worker.enforcer.snapshots import Snapshots
from worker.pipeline.audit import AuditLog
from worker.ports import Enforcement, Order, Snapshot, Target

TargetsOf = Callable[[str], Awaitable[Sequence[Target]]]
"""Returns whom IAM is asked to act on for a principal, as `worker.core.targets.targets_of` does;
raises `EnforcementError` where it cannot be done."""

IsGone = Callable[[str], Awaitable[bool]]
"""Says whether a user, role or agent (`user/A/NAME`, ...) is known to have been deleted."""


class UnverifiedError(EnforcementError):
    """IAM took everything, but what is read back from it is not complete."""


class GoneError(LedgerockError):
    """Who was to be suspended or restored does not exist any more; the directory says so."""


async def nobody_is_gone(_subject: str) -> bool:
    """Know nothing of deletions."""
    return False


class Hands:
    """Suspends and restores.

    Args:
        enforcement: Acts on IAM.
        snapshots: What targets had before.
        audit: Is told of every act before it is done, and of what was verified.
        targets_of: Whom to act on for a principal.
        is_gone: Who is known to have been deleted.
    """

    def __init__(
        self,
        *,
        enforcement: Enforcement,
        snapshots: Snapshots,
        audit: AuditLog,
        targets_of: TargetsOf,
        is_gone: IsGone = nobody_is_gone,
    ) -> None:
        """Do nothing yet."""
        self._enforcement = enforcement
        self._snapshots = snapshots
        self._audit = audit
        self._targets_of = targets_of
        self._is_gone = is_gone

    async def check(self, principal: str, *, ask: bool = True) -> None:
        """Refuse whoever could not be suspended, before anything is written down.

        Args:
            principal: Who.
            ask: Ask IAM as well, which changes nothing.

        Raises:
            TransientError: Try again.
            EnforcementError: Says why it cannot be suspended.
        """
        for target in await self._targets(principal):
            if ask:
                await self._enforcement.snapshot(target)

    async def apply(self, suspension: Suspension) -> None:
        """Make IAM what the suspension's phase wants it to be.

        Raises:
            TransientError: Try again.
            EnforcementError: It cannot be done.
            GoneError: There is nobody to do it to.
        """
        if action_of(suspension) == "suspend":
            await self._suspend(suspension)
        else:
            await self._restore(suspension)

    async def missing(self, suspension: Suspension) -> list[str]:
        """Return what is not yet as the suspension's phase wants it, read back from IAM.

        Raises:
            TransientError: Try again.
            EnforcementError: It cannot be read.
            GoneError: There is nobody any more; whatever else there is, is as it should be.
        """
        if action_of(suspension) == "suspend":
            return await self._unsuspended(suspension)
        return await self._unrestored(suspension)

    async def record(self, suspension: Suspension) -> None:
        """Write into the audit log that what the phase wants was verified, once.

        Raises:
            TransientError: It may be written or not; doing it again is safe.
        """
        if is_settled(suspension):
            return
        is_suspension = action_of(suspension) == "suspend"
        targets = sorted(await self._snapshots.of(suspension))
        after = {"verified": targets, **_names(suspension)}
        act = "Principal Suspended" if is_suspension else "Principal Restored"
        await self._entry(suspension, act, {"phase": suspension.phase}, after)

    async def record_failure(self, suspension: Suspension, given: Failed | Gone) -> None:
        """Write into the audit log why something failed, each reason once.

        Raises:
            TransientError: It may be written or not; doing it again is safe.
        """
        if given.reason == suspension.failure:
            return
        act = "Suspension Failed" if given.action == "suspend" else "Restoration Failed"
        after = {"failure": given.reason, **_names(suspension)}
        await self._entry(suspension, act, {"phase": suspension.phase}, after, given.reason)

    # --- Suspending ---------------------------------------------------------------------------

    async def _suspend(self, suspension: Suspension) -> None:
        targets = await self._targets(suspension.principal)
        kept = await self._snapshots.of(suspension)
        for target in targets:
            if str(target) not in kept:
                snapshot = await self._looking(target, self._enforcement.snapshot(target))
                kept[str(target)] = await self._snapshots.keep(suspension, snapshot)
        before = {name: _had(one) for name, one in kept.items()}
        await self._intend(suspension, before)
        order = _order(suspension)
        wanted = [kept[str(target)] for target in targets]
        await self._each(wanted, lambda snapshot: self._enforcement.suspend(order, snapshot))
        for name in _others(kept, targets):
            await self._let_go(suspension, kept[name])

    async def _let_go(self, suspension: Suspension, snapshot: Snapshot) -> None:
        """Restore a role that the agent no longer has: it is somebody else's business now."""
        order = _order(suspension)

        async def restored() -> list[str]:
            await self._enforcement.restore(order, snapshot)
            return await self._enforcement.unrestored(order, snapshot)

        try:
            left = await self._looking(snapshot.target, restored())
        except GoneError:
            left = []
        if left:
            raise UnverifiedError(f"{snapshot.target} is not restored yet: {_listed(left)}")
        await self._snapshots.drop(suspension, snapshot.target)

    async def _unsuspended(self, suspension: Suspension) -> list[str]:
        order = _order(suspension)
        kept = await self._snapshots.of(suspension)
        targets = await self._targets(suspension.principal)
        missing = [f"{name} is not to be suspended any more" for name in _others(kept, targets)]
        for target in targets:
            snapshot = kept.get(str(target))
            if snapshot is None:
                missing.append(f"{target} was never suspended")
                continue
            reading = self._enforcement.unsuspended(order, snapshot)
            missing += await self._looking(target, reading)
        return missing

    async def _targets(self, principal: str) -> Sequence[Target]:
        try:
            targets = await self._targets_of(principal)
        except MissingPrincipalError as error:
            if await self._is_gone(principal):
                raise GoneError(f"{error}; it was deleted") from error
            raise
        if not targets:
            message = f"{principal}: nobody is known that it calls Bedrock as"
            raise MissingPrincipalError(message)
        return targets

    async def _each(
        self, snapshots: Iterable[Snapshot], work: Callable[[Snapshot], Awaitable[None]]
    ) -> None:
        """Do something to several targets; what cannot be done to one is done to the others."""
        faults: list[EnforcementError | GoneError] = []
        for snapshot in snapshots:
            try:
                await self._looking(snapshot.target, work(snapshot))
            except (EnforcementError, GoneError) as error:
                faults.append(error)
        # That somebody is gone is the least of what may be wrong.
        if faults:
            raise min(faults, key=lambda fault: isinstance(fault, GoneError))

    async def _looking(self, target: Target, work: Awaitable[Any]) -> Any:  # noqa: ANN401 - as work
        """Do some work on a target; say so if it is missing because it was deleted."""
        try:
            return await work
        except ReplacedPrincipalError as error:
            raise GoneError(str(error)) from error
        except MissingPrincipalError as error:
            if await self._is_gone(_subject(target)):
                raise GoneError(f"{error}; it was deleted") from error
            raise

    # --- Restoring ----------------------------------------------------------------------------

    async def _restore(self, suspension: Suspension) -> None:
        kept = await self._snapshots.of(suspension)
        if kept:
            before = {name: _order(suspension).suspension_id for name in kept}
            await self._intend(suspension, before)
        order = _order(suspension)
        try:
            await self._each(
                kept.values(), lambda snapshot: self._enforcement.restore(order, snapshot)
            )
        except GoneError:
            return  # reading back says who is gone, once it is known that all others are restored

    async def _unrestored(self, suspension: Suspension) -> list[str]:
        order = _order(suspension)
        missing: list[str] = []
        gone: list[str] = []
        for snapshot in (await self._snapshots.of(suspension)).values():
            try:
                reading = self._enforcement.unrestored(order, snapshot)
                missing += await self._looking(snapshot.target, reading)
            except GoneError as error:
                gone.append(str(error))
        if gone and not missing:
            raise GoneError("; ".join(gone))
        return missing

    # --- The audit log ------------------------------------------------------------------------

    async def _intend(self, suspension: Suspension, before: dict[str, Any]) -> None:
        """Write down what is about to be done; not again for every attempt after a failure."""
        if suspension.attempts:
            return
        is_suspension = action_of(suspension) == "suspend"
        act = "Suspension Begun" if is_suspension else "Restoration Begun"
        if is_settled(suspension):
            act = f"{act} Again"
        await self._entry(suspension, act, before, _names(suspension), suspension.claim)

    async def _entry(
        self, suspension: Suspension, act: str, before: object, after: object, once: str = ""
    ) -> None:
        reasons = [f"{one.reason} (by {one.by})" for one in suspension.holds]
        if not reasons:
            reasons = [f"{suspension.why} (by {suspension.by})"]
        await self._audit.append(
            act=act,
            actor="ledgerock",
            subject=suspension.principal,
            why="; ".join(reasons),
            before=before,
            after=after,
            once=event_id_of(act, suspension.principal, str(suspension.number), once),
        )


def _order(suspension: Suspension) -> Order:
    return Order(suspension.suspension_id, suspension.mode, suspension.principal)


def _names(suspension: Suspension) -> dict[str, Any]:
    return {
        "suspension_id": suspension.suspension_id,
        "number": suspension.number,
        "mode": suspension.mode,
    }


def _had(snapshot: Snapshot) -> dict[str, Any]:
    """Return what a target had, by name; the documents are in its snapshot."""
    return {
        "unique_id": snapshot.unique_id,
        "attached": list(snapshot.attached),
        "inline": [policy.name for policy in snapshot.inline],
        "keys": {key.id: key.status for key in snapshot.keys},
    }


def _others(kept: dict[str, Snapshot], targets: Sequence[Target]) -> list[str]:
    names = {str(target) for target in targets}
    return [name for name in kept if name not in names]


def _subject(target: Target) -> str:
    """Return the user or role behind a target, as the directory calls it."""
    return key_of("user" if target.kind == "user" else "role", target.account, target.name)


def _listed(parts: Sequence[str]) -> str:
    return "; ".join(parts)
