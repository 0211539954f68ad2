"""The only orchestration: from deliveries to booked calls, written crossings and results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from worker.core.decoders import Decoder
from worker.core.errors import ConfigurationError, RefusedError, TransientError
from worker.core.ledger import Amounts, Leaf
from worker.core.posting import Poster
from worker.core.results import (
    ObjectReference,
    Outcome,
)
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.digest import Digest, Digester
from worker.pipeline.directory import DirectoryWatch
from worker.pipeline.ending import decode_delivery, deferred, processed, remade
from worker.pipeline.objects import ObjectBooks
from worker.pipeline.profiles import ProfileWatch
from worker.pipeline.steps import Decoded, Figures, Step
from worker.pipeline.usage import UsageWatch
from worker.ports import Committed, Delivery, Ledger, Processed, Quarantine

GROUP_CALLS: Final = 5_000
GROUP_OTHERS: Final = 1_000
"""Calls, and records put aside, after which a batch's deliveries so far are booked."""

THREAD_BYTES: Final = 65_536
"""Bodies from this size on are decoded in a thread."""

PROBE: Final = "worker probe"
"""Name of a note that nobody leaves: to ask for it is to ask whether the ledger answers."""


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
        directory: Learns of users, roles, keys and agents; None for none.
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
        directory: DirectoryWatch | None = None,
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
        self.directory = directory
        self._thread_decoder: Decoder | None = None
        self._decoding = asyncio.Lock()
        self._fault = ""
        self._aside_fault = ""

    @property
    def fault(self) -> str:
        """Why something could not be booked or put aside lately; empty once something was."""
        return self._fault or self._aside_fault

    async def probe(self) -> None:
        """Forget why nothing could be booked if the ledger answers, though there is no call.

        Raises:
            TransientError: It does not, yet.
            ConfigurationError: It cannot be used.
        """
        await self.ledger.progress(PROBE)
        self._fault = ""

    async def keep_up(self) -> None:
        """Know what others have learned of users, roles and agents, and rebook what that moves.

        Asks every few seconds. What cannot be done now is done by the next call.
        """
        if self.directory is None:
            return
        try:
            await self.directory.refresh(self.poster, at_once=True)
            self._known_at()
            await self.directory.recheck(self.poster)
        except TransientError:
            pass

    async def _catch_up(self) -> float | None:
        """Know what others have learned; return since when all before is known."""
        if self.directory is not None:
            await self.directory.refresh(self.poster)
        return self._known_at()

    def _known_at(self) -> float | None:
        """Have the poster know what the directory does; return since when all before is known."""
        if self.directory is None:
            return None
        self.poster = self.directory.knowing(self.poster)
        return self.directory.asked_at

    async def process(self, deliveries: Sequence[Delivery]) -> list[Processed]:
        """Book some deliveries, and wait for the objects that they name.

        Returns:
            How each ended, in order. While the ledger has a passing fault, all are deferred:
            nothing may be acknowledged, everything may come again. While the quarantine has
            one, those are that hold poison.
        """
        ended = {
            one.receipt: one async for step in self.steps(deliveries) for one in step.processed
        }
        return [ended[delivery.receipt] for delivery in deliveries]

    async def steps(
        self, deliveries: Sequence[Delivery], *, deadline: float | None = None
    ) -> AsyncGenerator[Step, None]:
        """Book some deliveries together, then the objects that they name, a few at a time.

        Each delivery ends in exactly one step. What cannot be finished by `deadline` (time of
        the event loop, seconds) is deferred; its objects keep what was booked of them.
        """
        naming: list[Decoded] = []
        group: list[Decoded] = []
        try:
            async with asyncio.timeout_at(deadline):
                known_at = await self._catch_up()
        except (TransientError, TimeoutError) as error:
            yield Step([deferred(one.receipt, [], error) for one in deliveries], Figures(), error)
            return
        digester = Digester(self.poster)
        for number, delivery in enumerate(deliveries, 1):
            outcomes = await self._decode(delivery)
            digester.add(outcomes)
            group.append(Decoded(delivery, outcomes))
            if number < len(deliveries) and not digester.is_full(GROUP_CALLS, GROUP_OTHERS):
                continue
            digest = digester.digest()
            digest.known_at = known_at
            step = await self._group(group, digest, deadline)
            naming += [one for one in group if step.waits_for(one)]
            yield step
            if step.error is not None:
                rest = [deferred(one.receipt, [], step.error) for one in deliveries[number:]]
                yield Step(rest, Figures())
                break
            known_at = self._known_at()
            group, digester = [], Digester(self.poster)
        async with aclosing(self._all_objects(naming, deadline)) as steps:
            async for step in steps:
                yield step
        await self._recheck(deadline)

    async def _recheck(self, deadline: float | None) -> None:
        """Rebook what others' learning moved, as far as there is time; no delivery waits for it."""
        if self.directory is not None:
            try:
                async with asyncio.timeout_at(deadline):
                    await self.directory.recheck(self.poster)
            except (TransientError, TimeoutError):
                pass  # it stays due

    async def _group(
        self, group: Sequence[Decoded], digest: Digest, deadline: float | None
    ) -> Step:
        """Book deliveries that were decoded together.

        Those that name objects have not ended yet, unless they are deferred.
        """
        try:
            async with asyncio.timeout_at(deadline):
                if digest.batch.profiles or digest.lifecycle:
                    digest.outcomes = [outcome for one in group for outcome in one.outcomes]
                digest = await self._knowing(digest)
                unkept = await self._put_aside(digest)
                if unkept is not None:
                    # Nobody is told of records that come again.
                    digest.malformed = []
                figures = await self._book(digest)
        except (TransientError, TimeoutError) as error:
            ended = [deferred(one.delivery.receipt, one.outcomes, error) for one in group]
            return Step(ended, Figures(), error)
        ended = []
        for one in group:
            receipt, outcomes = one.delivery.receipt, one.outcomes
            if unkept is not None and one.holds_malformed(digest.unpostable):
                ended.append(deferred(receipt, outcomes, unkept))
            elif not (self.objects is not None and one.names_objects):
                ended.append(processed(receipt, outcomes, digest.unpostable))
        if unkept is not None:
            figures.records -= figures.quarantined
            figures.quarantined = 0
        return Step(ended, figures)

    async def _put_aside(self, digest: Digest) -> TransientError | ConfigurationError | None:
        """Keep what is malformed; return why that is not possible now.

        Calls beside it are booked all the same: only deliveries that hold poison come again.
        """
        if digest.malformed:
            try:
                await self.quarantine.put(digest.malformed)
            except (TransientError, ConfigurationError) as error:
                self._aside_fault = str(error)
                return error
            self._aside_fault = ""
        return None

    async def _all_objects(
        self, naming: Sequence[Decoded], deadline: float | None
    ) -> AsyncGenerator[Step, None]:
        """Book the objects of several deliveries side by side: a huge one holds up no other.

        How many are read at once is for `ObjectBooks` to say.
        """
        steps: asyncio.Queue[Step | Exception | None] = asyncio.Queue()

        async def read(one: Decoded) -> None:
            try:
                async with aclosing(self._objects(one, deadline)) as found:
                    async for step in found:
                        steps.put_nowait(step)
            except Exception as error:  # noqa: BLE001 - raised again by whoever takes the steps
                steps.put_nowait(error)
            finally:
                steps.put_nowait(None)

        reading = [asyncio.create_task(read(one)) for one in naming]
        try:
            left = len(reading)
            while left:
                step = await steps.get()
                if isinstance(step, Exception):
                    raise step
                if step is None:
                    left -= 1
                else:
                    yield step
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)

    async def _objects(self, naming: Decoded, deadline: float | None) -> AsyncGenerator[Step, None]:
        """Book the objects that a delivery names; the last step ends the delivery."""
        assert self.objects is not None  # noqa: S101 - nothing names objects otherwise
        delivery, outcomes = naming.delivery, naming.outcomes
        references = [one for one in outcomes if isinstance(one, ObjectReference)]
        try:
            for reference in references:
                digests = self.objects.read(reference, delivery, lambda: self.poster)
                async with aclosing(digests):
                    while True:
                        # Never around the yield: whoever takes the step must not be timed out.
                        async with asyncio.timeout_at(deadline):
                            known_at = await self._catch_up()
                            digest = await anext(digests, None)
                            figures = None
                            if digest is not None:
                                digest.known_at = known_at
                                figures = await self._book_all(digest)
                        if figures is None:
                            break
                        yield Step([], figures)
        except (TransientError, TimeoutError) as error:
            yield Step([deferred(delivery.receipt, outcomes, error)], Figures())
            return
        yield Step([processed(delivery.receipt, outcomes, frozenset())], Figures())

    async def _decode(self, delivery: Delivery) -> list[Outcome]:
        if len(delivery.body) < THREAD_BYTES:
            return decode_delivery(self.decoder, delivery)
        # A megabyte of logs takes long enough to hold up heartbeats. A decoder serves one thread
        # at a time, also when whoever waits for it is cancelled.
        async with self._decoding:
            decoder = self._thread_decoder = self._thread_decoder or Decoder(self.decoder.limits)
            thread = asyncio.ensure_future(asyncio.to_thread(decode_delivery, decoder, delivery))
            try:
                return await asyncio.shield(thread)
            except asyncio.CancelledError:
                await asyncio.wait([thread])
                raise

    async def _knowing(self, digest: Digest) -> Digest:
        """Return a digest of the same records that knows all that its calls name or follow from.

        What cannot be found out now is booked without it, and looked at again afterwards.
        """
        if self.directory is not None and digest.lifecycle:
            try:
                await self.directory.learn(digest.lifecycle, self.poster)
            except TransientError:
                return digest
            before, self.poster = self.poster, self.directory.knowing(self.poster)
            if self.poster is not before and digest.batch.records:
                digest = remade(digest, self.poster)
        return await self._knowing_profiles(digest)

    async def _knowing_profiles(self, digest: Digest) -> Digest:
        """Return a digest of the same records that knows the profiles that its calls name."""
        arns = digest.batch.profiles
        if self.profiles is None or not arns:
            return digest
        before = poster = self.poster
        try:
            if digest.profiles:
                poster = await self.profiles.learn(digest.profiles, poster)
            poster = await self.profiles.ahead(arns, poster)
        except TransientError:
            return digest
        if poster is not before:
            self.poster = poster
        if not any(poster.registry.profile_model(arn) for arn in arns):
            return digest
        again = remade(digest, poster)
        # Earlier calls of theirs may wait: they are looked for once everything is booked.
        again.batch.profiles |= arns
        return again

    async def _book_all(self, digest: Digest) -> Figures:
        """Book a part of an object; it stops where its records cannot be put aside."""
        digest = await self._knowing(digest)
        unkept = await self._put_aside(digest)
        if unkept is not None:
            raise TransientError(str(unkept)) from unkept
        return await self._book(digest)

    async def _book(self, digest: Digest) -> Figures:
        started = time.monotonic()
        try:
            committed = await self._commit(digest)
        except TransientError as error:
            self._fault = str(error)
            raise
        if digest.batch.records or digest.malformed or digest.profiles or digest.lifecycle:
            self._fault = ""
        totals = Amounts()
        for _, amounts in committed.postings:
            totals.add(amounts)
        return Figures(
            records=digest.records,
            recorded=committed.recorded,
            upgraded=committed.upgraded,
            duplicates=committed.duplicates,
            ignored=digest.ignored + committed.sealed,
            quarantined=digest.quarantined,
            unpriced_calls=totals.unpriced_calls,
            unmetered_calls=totals.unmetered_calls,
            cost_pico_usd=totals.cost_pico_usd + self._rebooked_cost(),
            crossings=committed.crossings,
            first_at_ms=digest.first_at_ms,
            commit_seconds=time.monotonic() - started,
            references=len(digest.references),
        )

    def _rebooked_cost(self) -> int:
        """Return what rebooking added to the spend since somebody asked, pico-USD, net."""
        watches = (self.profiles, self.directory)
        return sum(watch.take_cost() for watch in watches if watch is not None)

    async def book(self, digest: Digest) -> Committed:
        """Book a digest: calls in the ledger, crossings and malformed records written down.

        Raises:
            TransientError: A passing fault; booking the same records again is safe.
        """
        # The commit comes last, so that an attempt that fails has told of no bookings.
        if digest.malformed:
            await self.quarantine.put(digest.malformed)
        return await self._commit(digest)

    async def _commit(self, digest: Digest) -> Committed:
        if self.profiles is not None and digest.profiles:
            poster = self.poster
            learned = await self.profiles.learn(digest.profiles, poster)
            if learned is not poster:
                self.poster = learned
        if self.directory is not None and digest.lifecycle:
            await self.directory.learn(digest.lifecycle, self.poster)
            self.poster = self.directory.knowing(self.poster)
        touched = (
            self.budgets is not None
            or self.usage is not None
            or (self.profiles is not None and not self.profiles.at_end)
        )
        try:
            committed = await self.ledger.commit(digest.batch, self.poster, touched=touched)
        except RefusedError:
            # Whoever isolates the call does not come back for the others, which may be booked.
            if self.budgets is not None:
                await self.budgets.look(digest.batch.leaves_touched(), spending=())
            raise
        await self._after(digest, committed)
        return committed

    async def _after(self, digest: Digest, committed: Committed) -> None:
        """Write down what follows from a commit, before its deliveries are acknowledged."""
        leaves: set[Leaf] = committed.touched
        # What the calls are now, known ones included: whoever booked them may have died.
        postings = [*committed.postings, *committed.known_pending]
        learned = None
        if self.profiles is not None:
            poster = self.poster
            told = [one.profile.arn for one in digest.profiles]
            learned = await self.profiles.resolve(
                digest.batch.profiles, committed.waiting, poster, told
            )
            if learned.poster is not poster:  # another batch may have learned meanwhile
                self.poster = learned.poster
            leaves |= learned.moved
            postings += learned.postings
        followed = None
        if self.directory is not None:
            await self.directory.booked_late(digest.known_at, self.poster)
            self._known_at()
            followed = await self.directory.follow(digest.lifecycle, self.poster)
            leaves |= followed.moved
            postings += followed.postings
        if self.usage is not None:
            await self.usage.look(postings, digest.malformed)
        if self.budgets is not None:
            spending = {leaf for leaf, _ in committed.postings}
            committed.crossings = len(await self.budgets.look(leaves, spending))
        if self.profiles is not None and learned is not None:
            self.profiles.followed_up(learned)
        if self.directory is not None and followed is not None:
            self.directory.followed_up(followed)
            await self.directory.first_use(leaves)
