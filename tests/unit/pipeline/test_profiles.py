import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

import msgspec
import pytest

from tests.calls import ACCOUNT, PRO, asynchronous, book, call, fold, poster, snapshot
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_state import MemoryProfiles
from worker.core.errors import ConfigurationError, TransientError
from worker.core.evidence import Counts
from worker.core.ledger import Entry, Leaf
from worker.core.posting import Poster
from worker.core.registry import ApplicationProfile, Registry
from worker.core.results import ProfileSeen
from worker.pipeline.profiles import (
    ASK_AGAIN_SECONDS,
    ASK_SOON_SECONDS,
    Learned,
    ProfileWatch,
)
from worker.ports import Rebooking

ARN = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/a1"
OTHER = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/b2"
COUNTS = Counts(1_000, 500)
COST = 1_000 * 800_000 + 500 * 3_200_000
"""Pico-USD: 0.8 and 3.2 USD a million tokens."""


def profile(arn: str = ARN, model: str = PRO, application: str = "shop") -> ApplicationProfile:
    return ApplicationProfile(arn=arn, model=model, application=application)


class Asked:
    """Answers for AWS, and counts."""

    def __init__(self, *answers: ApplicationProfile | Exception | None) -> None:
        self.answers = list(answers)
        self.arns: list[str] = []

    async def profile(self, arn: str) -> ApplicationProfile | None:
        self.arns.append(arn)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        pass


class Asking(MemoryLedger):
    """Counts how often everything that is pending is looked for, and how often some of it.

    Rebooking fails as often as it is told to, before it does anything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[str] = []
        self.faults = 0

    def pending(
        self, *, models: Collection[str] | None = None, leaves: Collection[Leaf] | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        self.looks.append("everywhere" if leaves is None else "there")
        return super().pending(models=models, leaves=leaves)

    async def rebook(self, rebookings: Sequence[Rebooking]) -> int:
        if self.faults:
            self.faults -= 1
            raise TransientError("throttled")
        return await super().rebook(rebookings)


class Books:
    """A ledger with a watch, as a pipeline uses them."""

    def __init__(self, *answers: ApplicationProfile | Exception | None) -> None:
        self.ledger, self.store, self.source = Asking(), MemoryProfiles(), Asked(*answers)
        self.at = 0.0
        self.poster = poster()
        self.watch = self.new_watch()

    def new_watch(self) -> ProfileWatch:
        return ProfileWatch(
            ledger=self.ledger, store=self.store, source=self.source, monotonic=lambda: self.at
        )

    async def commit(self, number: int, arn: str = ARN, *, failed: bool = False) -> frozenset[str]:
        """Book a call and look; return the models that calls were moved from and to."""
        made = (
            call(number, model=arn, error_code="AccessDeniedException")
            if failed
            else call(number, COUNTS, model=arn)
        )
        batch = fold(self.poster, [made])
        done = await self.ledger.commit(batch, self.poster, touched=True)
        return self.follow_up(await self.watch.resolve(batch.profiles, done.waiting, self.poster))

    async def tell(self, told: ApplicationProfile) -> frozenset[str]:
        """Take in an event of a profile's creation; return as `commit` does."""
        self.poster = await self.watch.learn([ProfileSeen(told)], self.poster)
        learned = await self.watch.resolve(set(), [], self.poster, [told.arn])
        return self.follow_up(learned)

    def follow_up(self, learned: Learned) -> frozenset[str]:
        self.poster = learned.poster
        self.watch.followed_up(learned)
        return frozenset(leaf.model for leaf in learned.moved)

    async def costs(self) -> dict[str, int]:
        sums: dict[str, int] = {}
        for leaf, amounts in (await snapshot(self.ledger)).items():
            sums[leaf.model] = sums.get(leaf.model, 0) + amounts.cost_pico_usd
        assert not (await self.ledger.verify()).differences
        return sums


UNKNOWN = "application-inference-profile/a1"


@asynchronous
async def test_a_call_of_an_unknown_profile_is_rebooked_once_aws_has_told() -> None:
    books = Books(profile())
    assert await books.commit(1) == {UNKNOWN, PRO}
    assert await books.costs() == {PRO: COST}
    assert (await books.store.profiles()) == [profile()]
    assert await books.commit(2) == frozenset()
    assert books.source.arns == [ARN]
    assert await books.costs() == {PRO: 2 * COST}


@asynchronous
async def test_what_was_booked_before_the_creation_was_heard_of_is_rebooked() -> None:
    books = Books(None)
    await books.commit(1)
    assert await books.costs() == {UNKNOWN: 0}
    assert await books.tell(profile()) == {UNKNOWN, PRO}
    applications = {leaf.application for leaf in await snapshot(books.ledger)}
    assert applications == {"shop"}
    assert await books.costs() == {PRO: COST}


@asynchronous
async def test_an_event_that_comes_again_finishes_what_a_crash_left() -> None:
    books = Books(None)
    await books.commit(1)
    await books.watch.learn([ProfileSeen(profile())], books.poster)  # and died before rebooking
    books.watch = books.new_watch()
    await books.tell(profile())
    assert await books.costs() == {PRO: COST}


@asynchronous
async def test_a_duplicate_of_a_call_that_waits_is_enough_to_rebook_it() -> None:
    books = Books(None)
    await books.commit(1)
    await books.store.learn([profile()])  # by another worker
    assert await books.commit(1) == {UNKNOWN, PRO}
    assert await books.costs() == {PRO: COST}


@asynchronous
async def test_a_profile_that_another_worker_knows_is_not_asked_for() -> None:
    books = Books()
    await books.store.learn([profile()])
    await books.commit(1)
    assert books.source.arns == []
    assert await books.costs() == {PRO: COST}


@pytest.mark.parametrize(
    "answer,seconds",
    [
        (None, ASK_AGAIN_SECONDS),
        (ConfigurationError("denied"), ASK_AGAIN_SECONDS),
        (TransientError("throttled"), ASK_SOON_SECONDS),
    ],
)
def test_aws_is_asked_again_after_a_while(answer: Exception | None, seconds: float) -> None:
    @asynchronous
    async def test() -> None:
        books = Books(answer, profile())
        await books.commit(1)
        books.at = seconds - 1
        await books.commit(2)
        assert books.source.arns == [ARN]
        assert await books.costs() == {UNKNOWN: 0}
        books.at = seconds
        await books.commit(3)
        assert books.source.arns == [ARN, ARN]
        assert await books.costs() == {PRO: 3 * COST}

    test()


@asynchronous
async def test_other_profiles_calls_stay_where_they_are() -> None:
    books = Books(None, profile(OTHER))
    await books.commit(1)
    await books.commit(2, OTHER)
    assert await books.costs() == {UNKNOWN: 0, PRO: COST}


@asynchronous
async def test_the_operators_word_on_a_profile_counts_before_what_was_learned() -> None:
    listed = msgspec.structs.replace(profile(), application="listed")
    own = Poster(poster().catalogue, Registry(applications=[listed]))
    watch = ProfileWatch(ledger=MemoryLedger(), store=MemoryProfiles())
    told = await watch.learn([ProfileSeen(profile(application="event"))], own)
    [done] = await book(MemoryLedger(), told, call(1, COUNTS, model=ARN))
    assert [leaf.application for leaf, _ in done.postings] == ["listed"]


STRANGERS = ARN.replace(ACCOUNT, "999999999999")
"""An ARN that ends like a known one, but belongs to somebody else."""
ELSEWHERE = ARN.replace("us-east-1", "us-west-2")


@pytest.mark.parametrize("arn", [STRANGERS, ELSEWHERE, ARN])
@asynchronous
async def test_failed_calls_never_have_anything_looked_for(arn: str) -> None:
    books = Books(None, None)
    await books.commit(0, arn, failed=True)  # before anybody knew
    await books.store.learn([profile()])
    books.ledger.looks.clear()
    for number in range(10):
        await books.commit(number, arn, failed=True)
    assert books.ledger.looks.count("everywhere") <= (arn == ARN)
    assert "there" not in books.ledger.looks


@asynchronous
async def test_calls_of_another_regions_profile_wait_for_that_one() -> None:
    books = Books(None, None)
    await books.commit(1, ELSEWHERE)
    await books.tell(profile())
    books.ledger.looks.clear()
    for number in range(2, 12):
        await books.commit(number, ELSEWHERE)
    assert await books.costs() == {UNKNOWN: 0}
    assert books.ledger.looks == []  # what cannot be moved is remembered
    books.at = ASK_AGAIN_SECONDS
    await books.commit(12, ELSEWHERE)
    assert books.ledger.looks == ["there"]
    await books.tell(profile(ELSEWHERE))
    assert await books.costs() == {PRO: 12 * COST}


@asynchronous
async def test_a_call_that_another_worker_left_behind_is_looked_for_where_it_is() -> None:
    books = Books(profile())
    ignorant = books.poster
    await books.commit(1)
    await book(books.ledger, ignorant, call(2, COUNTS, model=ARN))  # and died
    books.ledger.looks.clear()
    assert await books.commit(2) == {UNKNOWN, PRO}
    assert books.ledger.looks == ["there"]
    assert await books.costs() == {PRO: 2 * COST}


@asynchronous
async def test_a_profile_of_another_account_is_known_by_its_arn() -> None:
    books = Books(profile(STRANGERS))
    assert await books.commit(1, STRANGERS) == {UNKNOWN, PRO}
    assert await books.costs() == {PRO: COST}


@asynchronous
async def test_what_was_moved_is_due_until_it_was_followed_up() -> None:
    books = Books(None)
    await books.commit(1)
    books.poster = await books.watch.learn([ProfileSeen(profile())], books.poster)
    first = await books.watch.resolve(set(), [], books.poster, [ARN])
    again = await books.watch.resolve(set(), [], books.poster, [ARN])  # nothing moves
    assert again.moved == first.moved != set()
    books.watch.followed_up(again)
    assert (await books.watch.resolve(set(), [], books.poster, [ARN])).moved == set()


@asynchronous
async def test_a_rebooking_that_fails_is_made_when_the_call_comes_again() -> None:
    books = Books(profile())
    books.ledger.faults = 1
    with pytest.raises(TransientError):
        await books.commit(1)
    assert await books.commit(1) == {UNKNOWN, PRO}
    assert await books.costs() == {PRO: COST}


@asynchronous
async def test_profiles_that_are_put_off_are_rebooked_at_the_end() -> None:
    books = Books()
    books.watch.at_end = True
    await books.commit(1)
    await books.commit(2, OTHER)
    await books.store.learn([profile()])
    assert {leaf.model for leaf in (await books.watch.finish(books.poster)).moved} == {UNKNOWN, PRO}
    assert await books.costs() == {PRO: COST, "application-inference-profile/b2": 0}
    assert books.ledger.looks == ["everywhere"]


@asynchronous
async def test_leaves_of_a_rebooking_that_fails_half_way_are_due_for_a_look() -> None:
    class HalfWay(Asking):
        async def rebook(self, rebookings: Sequence[Rebooking]) -> int:
            await super().rebook(rebookings)
            raise TransientError("the answer was lost")

    books = Books(profile())
    books.ledger = HalfWay()
    books.watch = books.new_watch()
    with pytest.raises(TransientError):
        await books.commit(1)
    assert await books.costs() == {PRO: COST}
    again = await books.watch.resolve(set(), [], books.poster)
    assert {leaf.model for leaf in again.moved} == {UNKNOWN, PRO}
    assert all(amounts.is_zero() for _, amounts in again.postings)
    books.watch.followed_up(again)
    assert (await books.watch.resolve(set(), [], books.poster)).moved == set()


def calls_of(learned: Learned) -> dict[str, int]:
    return {leaf.model: amounts.calls for leaf, amounts in learned.postings}


@asynchronous
async def test_what_was_moved_meanwhile_is_not_followed_up() -> None:
    books = Books(profile())
    ignorant = books.poster
    await books.commit(0)  # Asks; nothing else is told of by what comes next.

    async def more(*numbers: int) -> Learned:
        made = [call(number, COUNTS, model=ARN) for number in numbers]
        await book(books.ledger, ignorant, *made)
        return await books.watch.resolve(set(), [], books.poster, [ARN])

    first = await more(1, 2, 3)
    assert calls_of(first) == {UNKNOWN: -3, PRO: 3}
    second = await more(4, 5)
    assert calls_of(first) == {UNKNOWN: -3, PRO: 3}  # as it was handed out
    assert calls_of(second) == {UNKNOWN: -5, PRO: 5}
    books.watch.followed_up(first)
    books.watch.followed_up(first)
    left = await more()
    assert calls_of(left) == {UNKNOWN: -2, PRO: 2}
    books.watch.followed_up(second)  # which knew of the rest, but of more as well
    assert calls_of(await more()) == {UNKNOWN: -2, PRO: 2}
    books.watch.followed_up(left)
    assert calls_of(await more()) == {}


@asynchronous
async def test_batches_that_name_the_same_new_profile_wait_for_one_answer() -> None:
    class Slow(Asked):
        def __init__(self) -> None:
            super().__init__(profile())
            self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

        async def profile(self, arn: str) -> ApplicationProfile | None:
            self.asked.set()
            await self.may_answer.wait()
            return await super().profile(arn)

    books = Books()
    source = books.source = Slow()
    books.watch = books.new_watch()
    async with asyncio.timeout(30):
        batches = [asyncio.create_task(books.watch.ahead([ARN], books.poster)) for _ in range(5)]
        await source.asked.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not any(batch.done() for batch in batches)
        source.may_answer.set()
        posters = await asyncio.gather(*batches)
    assert source.arns == [ARN]
    assert {one.registry.profile_model(ARN) for one in posters} == {PRO}
