"""The operator's tiers as a process knows them, and those that everybody is given budgets by.

Every process reads the tiers for itself and keeps them for a minute, so that for a while some
have old ones and others new ones; those that read files of their own may differ for good. So one
record says which tiers are **in force**: the monitor that finds new ones writes them down before
it gives anybody anything. Whoever has others reads its own again, and gives nothing by tiers that
were in force before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

import msgspec

from worker.core.enforcement_names import TIERS_IN_FORCE
from worker.core.errors import ConfigurationError, TransientError
from worker.core.tiers import NO_TIERS, Tiers
from worker.ports import Clock, Record, TierSource

TIERS_SECONDS: Final = 60.0
"""How long tiers are good for."""
FRESH_SECONDS: Final = 5.0
"""After so long they are read again where others have different ones."""
FAILED_SECONDS: Final = 15.0
"""How long nobody asks again for tiers that could not be read."""
WAIT_SECONDS: Final = 5.0
"""How long they are waited for: calls may be waiting behind."""
BACK_MS: Final = 300_000
"""How long after others came into force a process that was started since may go back to earlier
ones: by then it is no process that was merely started late in a roll-out."""
FORMER_MAX: Final = 8


class UnknownTiersError(TransientError):
    """Nobody can be given budgets now: tiers cannot be read, or are older than those in force."""


class InForce(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tiers that everybody is given budgets by.

    Attributes:
        digest: Which.
        at_ms: Since when, epoch milliseconds UTC.
        is_done: Everybody was given what they say.
        former: Digests of those before, the last one first.
    """

    digest: str
    at_ms: int = 0
    is_done: bool = False
    former: tuple[str, ...] = ()

    def followed_by(self, digest: str, at_ms: int) -> InForce:
        """Return what is in force once others are."""
        former = (self.digest, *(one for one in self.former if one not in {self.digest, digest}))
        return InForce(digest, at_ms, former=former[:FORMER_MAX])


class KnownTiers:
    """Reads tiers.

    Args:
        source: Where the operator keeps them.
        clock: Ledger time.
        monotonic: Seconds, for reading them again.

    Attributes:
        digest: Of those that were read last; empty for none.
        fault: Why they could not be read lately; empty if they could.
    """

    def __init__(
        self, source: TierSource, clock: Clock, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Know none yet."""
        self.digest = ""
        self.fault = ""
        self._source = source
        self._clock = clock
        self._monotonic = monotonic
        self._tiers = NO_TIERS
        self._asked_at: float | None = None
        self._error: TransientError | ConfigurationError | None = None
        # Since when this process has them, and which it had before.
        self._since_ms = 0
        self._former = ""

    async def now(self) -> Tiers:
        """Return the tiers; what was read last, where they cannot be read now or are wrong.

        Raises:
            TransientError: They were never read, and cannot be read now.
            ConfigurationError: They were never read, and are wrong.
        """
        good_for = TIERS_SECONDS if self.digest else FAILED_SECONDS
        if self._asked_at is None or self._monotonic() - self._asked_at >= good_for:
            await self._ask()
        if not self.digest and self._error is not None:
            raise self._error
        return self._tiers

    async def again(self) -> Tiers:
        """Return the tiers as they were some seconds ago at most.

        Raises:
            TransientError: They cannot be read now.
            ConfigurationError: They are wrong.
        """
        good_for = FRESH_SECONDS if self._error is None else FAILED_SECONDS
        if self._asked_at is None or self._monotonic() - self._asked_at >= good_for:
            await self._ask()
        if self._error is not None:
            raise self._error
        return self._tiers

    async def agreed(self, force: InForce | None) -> Tiers:
        """Return the tiers to give budgets by.

        Args:
            force: What is in force; None for nothing yet.

        Raises:
            UnknownTiersError: There are none now.
        """
        try:
            tiers = await self.now()
            if force is not None and force.digest != self.digest:
                tiers = await self.again()
        except (TransientError, ConfigurationError) as error:
            raise UnknownTiersError(f"nobody is given budgets: {error}") from error
        if force is not None and self.is_outdated(force):
            self.fault = (
                "the tiers that this process reads are older than those in force; make all "
                "processes read the same ones, and start this one again"
            )
            raise UnknownTiersError(self.fault)
        return tiers

    def is_outdated(self, force: InForce) -> bool:
        """Whether others took the place of these tiers: the operator did not go back to them."""
        if self.digest == force.digest or self.digest not in force.former:
            return False
        if self._former == force.digest or getattr(self._source, "is_shared", False):
            return False
        is_new_here = self._since_ms > force.at_ms
        return not (is_new_here and self._clock.now_ms() - force.at_ms >= BACK_MS)

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                tiers = await self._source.tiers()
        except TimeoutError:
            self.fault = f"the tiers could not be read within {WAIT_SECONDS:.0f} seconds"
            self._error = TransientError(self.fault)
        except (TransientError, ConfigurationError) as error:
            self._error, self.fault = error, str(error)
        else:
            self._error, self.fault = None, ""
            digest = digest_of(tiers)
            if digest != self.digest:
                self._former, self._since_ms = self.digest, self._clock.now_ms()
            self._tiers, self.digest = tiers, digest
        self._asked_at = self._monotonic()


def in_force(record: Record | None) -> InForce | None:
    """Return what a record says is in force; None for nothing, or nothing that can be read."""
    if record is None:
        return None
    try:
        return msgspec.json.decode(record.body, type=InForce)
    except msgspec.MsgspecError:
        return None


def force_record(force: InForce, before: Record | None) -> Record:
    """Return the record of what is in force."""
    version = 1 if before is None else before.version + 1
    return Record(*TIERS_IN_FORCE, msgspec.json.encode(force), version)


def digest_of(tiers: Tiers) -> str:
    """Return what tells tiers apart, whatever the order in which they were written down."""
    canonical = [
        sorted(tiers.tiers.items()),
        sorted(tiers.defaults.items()),
        sorted(tiers.on),
        tiers.tier_tag,
        tiers.team_tag,
        tiers.cap,
    ]
    return blake2b(msgspec.msgpack.encode(canonical), digest_size=16).hexdigest()
