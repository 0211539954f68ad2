import msgspec
import pytest

from tests.calls import ACCOUNT, PRO, asynchronous, book, call, fold, poster, snapshot
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_state import MemoryProfiles
from worker.core.errors import ConfigurationError, TransientError
from worker.core.evidence import Counts
from worker.core.posting import Poster
from worker.core.registry import ApplicationProfile, Registry
from worker.core.results import ProfileSeen
from worker.pipeline.profiles import ASK_AGAIN_SECONDS, ASK_SOON_SECONDS, ProfileWatch

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


class Books:
    """A ledger with a watch, as a pipeline uses them."""

    def __init__(self, *answers: ApplicationProfile | Exception | None) -> None:
        self.ledger, self.store, self.source = MemoryLedger(), MemoryProfiles(), Asked(*answers)
        self.at = 0.0
        self.poster = poster()
        self.watch = self.new_watch()

    def new_watch(self) -> ProfileWatch:
        return ProfileWatch(
            ledger=self.ledger, store=self.store, source=self.source, monotonic=lambda: self.at
        )

    async def commit(self, number: int, arn: str = ARN) -> frozenset[str]:
        """Book a call and look; return the models that calls were moved to."""
        batch = fold(self.poster, [call(number, COUNTS, model=arn)])
        done = await self.ledger.commit(batch, self.poster, touched=True)
        learned = await self.watch.resolve(batch.profiles, done.touched, self.poster)
        self.poster = learned.poster
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
    books.poster = await books.watch.learn([ProfileSeen(profile())], books.poster)
    learned = await books.watch.resolve(set(), [], books.poster)
    assert {leaf.model for leaf in learned.moved} == {UNKNOWN, PRO}
    assert {leaf.application for leaf in learned.moved} == {"", "shop"}
    assert await books.costs() == {PRO: COST}


@asynchronous
async def test_an_event_that_comes_again_finishes_what_a_crash_left() -> None:
    books = Books(None)
    await books.commit(1)
    await books.watch.learn([ProfileSeen(profile())], books.poster)  # and died before rebooking
    books.watch = books.new_watch()
    books.poster = await books.watch.learn([ProfileSeen(profile())], books.poster)
    await books.watch.resolve(set(), [], books.poster)
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
