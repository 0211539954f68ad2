"""One contract for all ledgers: how the calls that a late mapping could move are found."""

from typing import Any

from tests.calls import ACCOUNT, DAY, HOUR, NOON, asynchronous, book, call, poster, request_id
from tests.contract.conftest import Open
from worker.core.evidence import Counts, EvidenceRank, Observation, SourceRank
from worker.core.journal import JOURNAL_DAYS
from worker.core.registry import Agent, Period, Registry, TrustRule
from worker.ports import Ledger, Rebooking

POSTER = poster()
PLENTY = Counts(1_000, 500)
ROLE = f"role/{ACCOUNT}/Bot"
AGENT = f"agent/{ACCOUNT}/us-east-1/BOT1234567"
MAPPED = poster(
    registry=Registry(
        agents=[Agent(AGENT, "bot", (f"arn:aws:iam::{ACCOUNT}:role/Bot",), Period(NOON))]
    )
)


def _by(role: str, number: int, at_ms: int = NOON, session: str = "s", **more: Any) -> Observation:
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}"
    return call(number, PLENTY, at_ms=at_ms, identity_arn=arn, **more)


async def _booked(ledger: Ledger, *identities: str, from_ms: int = NOON) -> list[str]:
    found = {entry.key async for page in ledger.booked(identities, from_ms) for entry in page}
    return sorted(found)


@asynchronous
async def test_the_calls_of_a_role_since_a_time_are_found_and_nobody_elses(
    open_ledger: Open,
) -> None:
    async with open_ledger() as ledger:
        assert await _booked(ledger, ROLE) == []
        mine = [_by("Bot", number, NOON + number * HOUR) for number in range(4)]
        await book(ledger, POSTER, *mine, _by("Bot", 4, NOON - 1), _by("Other", 5), call(6, PLENTY))
        assert await _booked(ledger, ROLE) == [one.key for one in mine]
        assert await _booked(ledger, ROLE, from_ms=NOON + 2 * HOUR) == [mine[2].key, mine[3].key]
        other = f"role/{ACCOUNT}/Other"
        assert await _booked(ledger, other, f"user/{ACCOUNT}/alice") == [call(5).key, call(6).key]
        assert await _booked(ledger, f"role/{ACCOUNT}/Nobody") == []
        assert await _booked(ledger) == []


@asynchronous
async def test_a_call_that_is_told_of_better_is_found_by_who_it_was_in_the_end(
    open_ledger: Open,
) -> None:
    async with open_ledger() as ledger:
        unknown = call(1, user="", source=SourceRank.COMPLETION, rank=EvidenceRank.SIGHTING)
        await book(ledger, POSTER, unknown)
        assert await _booked(ledger, f"unknown/{ACCOUNT}") == [unknown.key]
        [done] = await book(ledger, POSTER, _by("Bot", 1))
        assert done.upgraded == 1
        assert await _booked(ledger, ROLE) == [unknown.key]
        assert await _booked(ledger, f"unknown/{ACCOUNT}") == []
        # Told of once more, nothing changes, and it is still found.
        await book(ledger, POSTER, _by("Bot", 1))
        assert await _booked(ledger, ROLE) == [unknown.key]


@asynchronous
async def test_a_call_that_is_booked_long_after_it_happened_is_found(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        old = NOON - 2 * JOURNAL_DAYS * DAY
        await book(ledger, POSTER, _by("Bot", 1, old), _by("Bot", 2, old + HOUR))
        assert await _booked(ledger, ROLE, from_ms=old + 1) == [call(2).key]
        assert await _booked(ledger, ROLE, from_ms=0) == [call(1).key, call(2).key]


@asynchronous
async def test_sessions_are_found_by_their_role(open_ledger: Open) -> None:
    trusted = TrustRule("arn:aws:iam::*:role/B*", "session")
    by_session = poster(registry=Registry(rules=[trusted]))
    async with open_ledger() as ledger:
        await book(ledger, by_session, *(_by("Bot", n, session=f"s{n}") for n in range(2)))
        identities = {leaf.identity for leaf, _ in await ledger.balances()}
        assert identities == {f"session/{ACCOUNT}/Bot/s{n}" for n in range(2)}
        assert await _booked(ledger, ROLE) == [call(0).key, call(1).key]
        assert call(1).key in await _booked(ledger, f"session/{ACCOUNT}/Bot/s1")


@asynchronous
async def test_a_late_mapping_moves_exactly_what_a_replay_would_have_moved(
    open_ledger: Open,
) -> None:
    seen = [_by("Bot", number, NOON + (number - 2) * HOUR) for number in range(5)]
    seen += [_by("Other", 5), call(6, PLENTY)]
    async with open_ledger() as ledger, open_ledger() as fresh:
        await book(ledger, POSTER, *seen)
        await book(fresh, MAPPED, *seen)
        moved = 0
        async for page in ledger.booked([ROLE], NOON):
            moved += await ledger.rebook(
                [Rebooking(entry, MAPPED.rate(entry.evidence)) for entry in page]
            )
        assert moved == 3
        assert dict(await ledger.balances()) == dict(await fresh.balances())
        assert not (await ledger.verify()).differences
        # They still are the role's calls: another mapping could move them again.
        assert await _booked(ledger, ROLE) == [call(number).key for number in (2, 3, 4)]


@asynchronous
async def test_request_ids_of_any_form_are_found(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        made = [_by("Bot", number) for number in range(3)]
        odd = [
            Observation(f"{namespace}/{ACCOUNT}/{name}", made[0].evidence)
            for namespace, name in (("aws", "no-uuid"), ("batch", "j0b"), ("api", request_id(9)))
        ]
        await book(ledger, POSTER, *made, *odd)
        assert await _booked(ledger, ROLE) == sorted(one.key for one in [*made, *odd])
