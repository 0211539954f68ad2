"""What is done to one principal: snapshots first, then IAM, then reading back.

Everything here may be done again after any failure, at any point, and by several at once: a
snapshot is kept once, and what is done already stays done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from worker.core.attribution import key_of
from worker.core.enforcement import Suspension
from worker.core.errors import (
    EnforcementError,
    LedgerockError,
    MissingPrincipalError,
    NeedsPersonError,
    ReplacedPrincipalError,
)
from worker.core.suspension import Failed, Gone, action_of, is_settled
from worker.core.targets import SharedRoleError, follows_name
from worker.enforcer.entries import Entries
from worker.enforcer.snapshots import Kept, Snapshots
from worker.pipeline.audit import AuditLog
from worker.ports import Enforcement, Order, Snapshot, Target

TargetsOf = Callable[[str], Awaitable[Sequence[Target]]]
"""Returns whom IAM is asked to act on for a principal, as `worker.core.targets.targets_of` does;
raises `EnforcementError` where it cannot be done."""

IsGone = Callable[[str], Awaitable[bool]]
"""Says whether a user, role or agent (`user/A/NAME`, ...) is known to have been deleted."""

Given = TypeVar("Given")
Found = TypeVar("Found")


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
        self._entries = Entries(audit)
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
        try:
            targets = await self._targets(principal)
        except SharedRoleError as error:
            raise NeedsPersonError(str(error)) from error
        if ask:
            await self._enforcement.refuse(principal, targets)
            for target in targets:
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
        if not is_settled(suspension):
            await self._entries.done(suspension, await self._snapshots.kept(suspension))

    async def record_failure(self, suspension: Suspension, given: Failed | Gone) -> None:
        """Write into the audit log why something failed, each reason once.

        Raises:
            TransientError: It may be written or not; doing it again is safe.
        """
        await self._entries.failed(suspension, given)

    # --- Suspending ---------------------------------------------------------------------------

    async def _suspend(self, suspension: Suspension) -> None:
        kept = await self._snapshots.kept(suspension)
        try:
            targets = await self._targets(suspension.principal)
        except SharedRoleError as error:
            # A deny that was put there before others had the role would be on them by now.
            strays = _with_targets(kept, error.targets)
            _raise_first(await self._tried(strays, lambda one: self._let_go(suspension, one)))
            raise NeedsPersonError(str(error)) from error
        current: list[Kept] = []

        async def find(target: Target) -> None:
            current.append(await self._found(suspension, target, kept))

        faults = await self._tried(targets, find)
        if current:
            await self._entries.begun(suspension, current)
        faults += await self._tried(current, lambda one: self._take(suspension, one))
        strays = [one for one in kept if _is_stray(one, targets, current)]
        faults += await self._tried(strays, lambda one: self._let_go(suspension, one))
        _raise_first(faults)

    async def _found(self, suspension: Suspension, target: Target, kept: Sequence[Kept]) -> Kept:
        """Return what was found of a target; look at it now if nobody has."""
        same = [one for one in _with_targets(kept, [target]) if _is_meant(one, target)]
        follows = follows_name(suspension.principal)
        if same and not follows:
            return same[0]
        reading = self._enforcement.snapshot(target)
        snapshot = await self._looking(suspension, target, reading)
        for one in same:
            if one.found.unique_id == snapshot.unique_id:
                return one
        return Kept(await self._snapshots.keep(suspension, snapshot))

    async def _take(self, suspension: Suspension, one: Kept) -> None:
        """Deny one target; in mode `detach` note what it has then, and take that."""
        order, taken = _order(suspension), one.taken
        if taken is None:
            work = self._enforcement.suspend(order, one.found.bare())
            await self._looking(suspension, one.target, work)
            if not order.takes(one.target):
                return
            meant = replace(one.target, unique_id=one.found.unique_id)
            reading = self._enforcement.snapshot(meant)
            now = await self._looking(suspension, one.target, reading)
            now = replace(now, target=one.target)
            taken = await self._snapshots.keep_taken(suspension, now)
            await self._entries.changed(suspension, Kept(one.found, taken))
        work = self._enforcement.suspend(order, taken)
        await self._looking(suspension, one.target, work)

    async def _let_go(self, suspension: Suspension, one: Kept) -> None:
        """Restore whom this suspension does not concern any more, such as a role given away."""
        order = _order(suspension)

        async def restored() -> list[str]:
            await self._enforcement.restore(order, one.owed)
            return await self._enforcement.unrestored(order, one.owed)

        try:
            left = await self._looking(suspension, one.target, restored())
        except (GoneError, ReplacedPrincipalError):
            left = []
        if left:
            raise UnverifiedError(f"{one.target} is not restored yet: {_listed(left)}")
        await self._snapshots.drop(suspension, one)

    async def _unsuspended(self, suspension: Suspension) -> list[str]:
        kept = await self._snapshots.kept(suspension)
        try:
            targets = await self._targets(suspension.principal)
        except SharedRoleError as error:
            shared = _with_targets(kept, error.targets)
            if shared:
                return [f"{one.target} serves others too by now" for one in shared]
            raise NeedsPersonError(str(error)) from error
        missing = []
        for target in targets:
            same = [one for one in _with_targets(kept, [target]) if _is_meant(one, target)]
            if not same:
                missing.append(f"{target} was never suspended")
            for one in same:
                missing += await self._missing(suspension, one)
        strays = (one for one in kept if _is_stray(one, targets, ()))
        return missing + [f"{one.target} is not to be suspended any more" for one in strays]

    async def _missing(self, suspension: Suspension, one: Kept) -> list[str]:
        order = _order(suspension)
        reading = self._enforcement.unsuspended(order, one.owed)
        try:
            missing: list[str] = await self._looking(suspension, one.target, reading)
        except ReplacedPrincipalError:
            return [f"{one.target} was made again"]
        if order.takes(one.target) and one.taken is None:
            missing.append(f"{one.target}: what it has was not taken yet")
        return missing

    async def _targets(self, principal: str) -> Sequence[Target]:
        try:
            targets = await self._targets_of(principal)
        except ReplacedPrincipalError as error:
            raise GoneError(str(error)) from error
        except MissingPrincipalError as error:
            if await self._is_gone(principal):
                raise GoneError(f"{error}; it was deleted") from error
            raise
        if not targets:
            message = f"{principal}: nobody is known that it calls Bedrock as"
            raise MissingPrincipalError(message)
        return targets

    async def _looking(
        self, suspension: Suspension, target: Target, work: Awaitable[Found]
    ) -> Found:
        """Do some work on a target; say so if it is missing because it was deleted.

        Of whoever goes on when its role is made again, it is left to others to say that it was.
        """
        try:
            return await work
        except ReplacedPrincipalError as error:
            if follows_name(suspension.principal):
                raise
            raise GoneError(str(error)) from error
        except MissingPrincipalError as error:
            if await self._is_gone(_subject(target)):
                raise GoneError(f"{error}; it was deleted") from error
            raise

    async def _tried(
        self, those: Sequence[Given], work: Callable[[Given], Awaitable[None]]
    ) -> list[EnforcementError | GoneError]:
        """Do something to several; what cannot be done to one is done to the others."""
        faults: list[EnforcementError | GoneError] = []
        for one in those:
            try:
                await work(one)
            except (EnforcementError, GoneError) as error:
                faults.append(error)
        return faults

    # --- Restoring ----------------------------------------------------------------------------

    async def _restore(self, suspension: Suspension) -> None:
        kept = await self._snapshots.kept(suspension)
        order = _order(suspension)
        if kept:
            await self._entries.begun(suspension, kept)

        async def restore(one: Kept) -> None:
            work = self._enforcement.restore(order, one.owed)
            try:
                await self._looking(suspension, one.target, work)
            except GoneError:
                return  # reading back says who is gone, once all others are known to be restored
            except ReplacedPrincipalError:
                # What was done to it went with it; but IAM knows roles by their names, and a slow
                # worker may have denied the one that came in its place.
                await self._enforcement.restore(order, _whoever_has(one.target))

        _raise_first(await self._tried(kept, restore))

    async def _unrestored(self, suspension: Suspension) -> list[str]:
        order = _order(suspension)
        missing: list[str] = []
        gone: list[str] = []
        for one in await self._snapshots.kept(suspension):
            try:
                reading = self._enforcement.unrestored(order, one.owed)
                missing += await self._looking(suspension, one.target, reading)
            except GoneError as error:
                gone.append(str(error))
            except ReplacedPrincipalError:
                whoever = _whoever_has(one.target)
                missing += await self._enforcement.unrestored(order, whoever)
        if gone and not missing:
            raise GoneError("; ".join(gone))
        return missing


def _order(suspension: Suspension) -> Order:
    return Order(suspension.suspension_id, suspension.mode, suspension.principal)


def _whoever_has(target: Target) -> Snapshot:
    """Return what stands for anybody of a target's name, whatever they had."""
    return Snapshot(target, unique_id="")


def _with_targets(kept: Iterable[Kept], targets: Iterable[Target]) -> list[Kept]:
    """Return what is kept of some targets, whoever had their names."""
    names = {str(target) for target in targets}
    return [one for one in kept if str(one.target) in names]


def _is_meant(one: Kept, target: Target) -> bool:
    """Whether what is kept is of a target's own life, and not of a later bearer of its name."""
    return target.unique_id in {"", one.found.unique_id}


def _is_stray(one: Kept, targets: Sequence[Target], current: Sequence[Kept]) -> bool:
    """Whether what is kept is of nobody that is to be suspended any more.

    Args:
        one: What is kept.
        targets: Who is to be suspended.
        current: What is kept of those of them that were found just now.
    """
    same = [target for target in targets if str(target) == str(one.target)]
    now = {now.found.unique_id for now in _with_targets(current, same)}
    return not any(_is_meant(one, target) for target in same) or (
        bool(now) and one.found.unique_id not in now
    )


def _raise_first(faults: Sequence[EnforcementError | GoneError]) -> None:
    """Raise one of several faults; that somebody is gone is the least of what may be wrong."""
    if faults:
        raise min(faults, key=lambda fault: isinstance(fault, GoneError))


def _subject(target: Target) -> str:
    """Return the user or role behind a target, as the directory calls it."""
    return key_of("user" if target.kind == "user" else "role", target.account, target.name)


def _listed(parts: Sequence[str]) -> str:
    return "; ".join(parts)
