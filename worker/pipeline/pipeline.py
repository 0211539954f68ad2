"""The only orchestration: from deliveries to booked calls, written crossings and results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from worker.core.decoders import Decoder
from worker.core.errors import TransientError
from worker.core.evidence import Observation
from worker.core.ledger import Amounts, Leaf
from worker.core.posting import Poster
from worker.core.results import (
    DeliveryResult,
    Ignored,
    Malformed,
    ObjectReference,
    Outcome,
    Position,
    ProfileSeen,
)
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.digest import Digest, Digester, undecodable
from worker.pipeline.objects import ObjectBooks
from worker.pipeline.profiles import ProfileWatch
from worker.pipeline.usage import UsageWatch
from worker.ports import Committed, Delivery, Ledger, Processed, Quarantine

OUT_OF_TIME = "out of time; what was booked stays booked"


class Figures(msgspec.Struct, gc=False):
    """What one commit did.

    Attributes:
        records: Records decoded; the sum of the five results below.
        recorded: First sight of a call.
        upgraded: Better evidence of a known call.
        duplicates: Nothing new.
        ignored: No calls.
        quarantined: Not understood, kept aside.
        unpriced_calls: Calls without a rate, net.
        unmetered_calls: Calls without counts, net.
        crossings: Thresholds newly found crossed.
        first_at_ms: Time of the oldest call among them, epoch milliseconds UTC; 0 for none.
        commit_seconds: How long the commit took.
    """

    records: int = 0
    recorded: int = 0
    upgraded: int = 0
    duplicates: int = 0
    ignored: int = 0
    quarantined: int = 0
    unpriced_calls: int = 0
    unmetered_calls: int = 0
    crossings: int = 0
    first_at_ms: int = 0
    commit_seconds: float = 0.0


class Step(msgspec.Struct, gc=False):
    """What came of one commit: the deliveries that ended with it, and its figures.

    A delivery that names objects ends with the last of its commits.
    """

    processed: list[Processed]
    figures: Figures


class Pipeline:
    """Books what deliveries hold.

    Args:
        ledger: Where calls are booked.
        quarantine: Where malformed records are kept.
        decoder: Reads payloads.
        poster: Prices and attributes. Replaced when the profiles that are known change.
        budgets: Looks at budgets after every commit; None for none.
        usage: Notices unpriced, unmetered and quarantined usage; None for none.
        profiles: Learns application inference profiles; None for none.
        objects: Books the objects that notifications name; None leaves them alone.
    """

    def __init__(  # noqa: PLR0913 - the parts of the one orchestration
        self,
        *,
        ledger: Ledger,
        quarantine: Quarantine,
        decoder: Decoder,
        poster: Poster,
        budgets: BudgetWatch | None = None,
        usage: UsageWatch | None = None,
        profiles: ProfileWatch | None = None,
        objects: ObjectBooks | None = None,
    ) -> None:
        """Put the parts together."""
        self.ledger = ledger
        self.quarantine = quarantine
        self.decoder = decoder
        self.poster = poster
        self.budgets = budgets
        self.usage = usage
        self.profiles = profiles
        self.objects = objects
        self.fault = ""
        """Why the last commit failed; empty once one succeeded."""

    async def process(self, deliveries: Sequence[Delivery]) -> list[Processed]:
        """Book some deliveries, and wait for the objects that they name.

        Returns:
            How each ended, in order. When the ledger or the quarantine has a passing fault,
            all are deferred: nothing may be acknowledged, everything may come again.
        """
        ended = {
            one.receipt: one async for step in self.steps(deliveries) for one in step.processed
        }
        return [ended[delivery.receipt] for delivery in deliveries]

    async def steps(
        self, deliveries: Sequence[Delivery], *, deadline: float | None = None
    ) -> AsyncGenerator[Step, None]:
        """Book some deliveries together, then the objects that they name, one after another.

        Each delivery ends in exactly one step. What cannot be finished by `deadline` (time of
        the event loop, seconds) is deferred; its objects keep what was booked of them.
        """
        digester = Digester(self.poster)
        plain: list[tuple[str, list[Outcome]]] = []
        naming: list[tuple[Delivery, list[Outcome]]] = []
        for delivery in deliveries:
            outcomes = self._decode(delivery)
            digester.add(outcomes)
            if self.objects is not None and any(
                isinstance(outcome, ObjectReference) for outcome in outcomes
            ):
                naming.append((delivery, outcomes))
            else:
                plain.append((delivery.receipt, outcomes))
        digest = digester.digest()
        try:
            async with asyncio.timeout_at(deadline):
                figures = await self._book(digest)
        except (TransientError, TimeoutError) as error:
            everything = [*plain, *((one.receipt, outcomes) for one, outcomes in naming)]
            yield Step([_deferred(*ended, error) for ended in everything], Figures())
            return
        ended = [_processed(receipt, outcomes, digest.unpostable) for receipt, outcomes in plain]
        yield Step(ended, figures)
        for delivery, outcomes in naming:
            async for step in self._objects(delivery, outcomes, digest.unpostable, deadline):
                yield step

    async def _objects(
        self,
        delivery: Delivery,
        outcomes: list[Outcome],
        unpostable: frozenset[str],
        deadline: float | None,
    ) -> AsyncGenerator[Step, None]:
        """Book the objects that a delivery names; the last step ends the delivery."""
        assert self.objects is not None  # noqa: S101 - nothing names objects otherwise
        references = [one for one in outcomes if isinstance(one, ObjectReference)]
        try:
            for reference in references:
                digests = self.objects.read(reference, delivery, lambda: self.poster)
                async with aclosing(digests):
                    while True:
                        # Never around the yield: whoever takes the step must not be timed out.
                        async with asyncio.timeout_at(deadline):
                            digest = await anext(digests, None)
                            figures = None if digest is None else await self._book(digest)
                        if figures is None:
                            break
                        yield Step([], figures)
        except (TransientError, TimeoutError) as error:
            yield Step([_deferred(delivery.receipt, outcomes, error)], Figures())
            return
        yield Step([_processed(delivery.receipt, outcomes, unpostable)], Figures())

    def _decode(self, delivery: Delivery) -> list[Outcome]:
        name = delivery.name or delivery.receipt
        try:
            outcomes = list(self.decoder.decode(delivery.body, source=name))
        except Exception as error:  # noqa: BLE001 - one delivery must not hold up the others
            outcomes = [undecodable(error, delivery.body, Position(name))]
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, Malformed) and outcome.truncated:
                # A queue keeps no copy: the delivery is put aside whole, once, for the redrive.
                outcomes[index] = msgspec.structs.replace(
                    outcome, body=delivery.body, truncated=False
                )
                break
        return outcomes

    async def _book(self, digest: Digest) -> Figures:
        started = time.monotonic()
        try:
            committed = await self.book(digest)
        except TransientError as error:
            self.fault = str(error)
            raise
        if digest.batch.records:  # the ledger was asked
            self.fault = ""
        totals = Amounts()
        for _, amounts in committed.postings:
            totals.add(amounts)
        return Figures(
            records=digest.records,
            recorded=committed.recorded,
            upgraded=committed.upgraded,
            duplicates=committed.duplicates,
            ignored=digest.ignored,
            quarantined=digest.quarantined,
            unpriced_calls=totals.unpriced_calls,
            unmetered_calls=totals.unmetered_calls,
            crossings=committed.crossings,
            first_at_ms=digest.first_at_ms,
            commit_seconds=time.monotonic() - started,
        )

    async def book(self, digest: Digest) -> Committed:
        """Book a digest: calls in the ledger, crossings and malformed records written down.

        Raises:
            TransientError: A passing fault; booking the same records again is safe.
        """
        if self.profiles is not None and digest.profiles:
            poster = self.poster
            learned = await self.profiles.learn(digest.profiles, poster)
            if learned is not poster:
                self.poster = learned
        # The commit comes last, so that an attempt that fails has told of no bookings.
        if digest.malformed:
            await self.quarantine.put(digest.malformed)
        touched = self.budgets is not None or (
            self.profiles is not None and not self.profiles.at_end
        )
        committed = await self.ledger.commit(digest.batch, self.poster, touched=touched)
        await self._after(digest, committed)
        return committed

    async def _after(self, digest: Digest, committed: Committed) -> None:
        """Write down what follows from a commit, before its deliveries are acknowledged."""
        leaves: set[Leaf] = committed.touched
        if self.profiles is not None:
            poster = self.poster
            learned = await self.profiles.resolve(digest.batch.profiles, leaves, poster)
            if learned.poster is not poster:  # another batch may have learned meanwhile
                self.poster = learned.poster
            leaves |= learned.moved
        if self.usage is not None:
            await self.usage.look(committed.postings, digest.malformed)
        if self.budgets is not None:
            committed.crossings = len(await self.budgets.look(leaves))


def _deferred(receipt: str, outcomes: list[Outcome], error: Exception) -> Processed:
    reason = OUT_OF_TIME if isinstance(error, TimeoutError) else str(error)
    return Processed(receipt, DeliveryResult.DEFERRED, len(outcomes), reason=reason)


def _processed(receipt: str, outcomes: list[Outcome], unpostable: frozenset[str]) -> Processed:
    quarantined = sum(
        isinstance(outcome, Malformed)
        or (isinstance(outcome, Observation) and outcome.key in unpostable)
        for outcome in outcomes
    )
    ignored = sum(
        isinstance(outcome, Ignored | ObjectReference | ProfileSeen) for outcome in outcomes
    )
    nothing_else = quarantined == len(outcomes) > 0
    result = DeliveryResult.QUARANTINED if nothing_else else DeliveryResult.ACKNOWLEDGED
    return Processed(receipt, result, len(outcomes), ignored, quarantined)
