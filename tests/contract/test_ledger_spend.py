"""One contract for all ledgers: what a scope spent, over days of its own calendar."""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calls import (
    ACCOUNT,
    DAY,
    HOUR,
    MICRO,
    NOON,
    PRO,
    REGION,
    SONNET,
    UNLISTED,
    asynchronous,
    book,
    call,
    poster,
)
from tests.contract.conftest import KINDS, Open
from worker.core.budget_terms import Scope, ScopeDays, ScopeKind
from worker.core.evidence import Counts, Observation
from worker.core.ledger import Amounts, Leaf
from worker.core.registry import (
    Agent,
    ApplicationProfile,
    Calendar,
    Pool,
    PrincipalFact,
    Registry,
)
from worker.core.spend import Spend
from worker.ports import Ledger, Rebooking

TODAY = NOON // DAY
"""2026-10-01, at noon in UTC: 14:00 in Berlin, the next day at 01:00 in Apia."""
PLENTY = Counts(1_000, 500, 10, 20, 0)
PLAIN = Counts(1_000, 500)
PLAIN_PICO = 2_400_000_000
AGENT = f"agent/{ACCOUNT}/{REGION}/BOT1234567"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/bot"
PROFILE = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/search000001"


def _calendar(scope: str, zone: str) -> Calendar:
    return Calendar(scope, zone, ZoneInfo(zone))


LOCAL = poster(
    registry=Registry(
        agents=[Agent(AGENT, "bot", (ROLE,))],
        principals=[PrincipalFact("user/*/a*", "research"), PrincipalFact("user/*/b*", "sales")],
        applications=[ApplicationProfile(PROFILE, PRO, "search")],
        pools=[Pool("humans", "user/*"), Pool("robots", "agent/*")],
        calendars=[
            _calendar("principal/*", "Europe/Berlin"),
            _calendar(f"principal/user/{ACCOUNT}/bob", "Pacific/Apia"),
            _calendar("team/research", "Pacific/Apia"),
            _calendar("pool/humans", "Pacific/Apia"),
            _calendar("application/*", "America/Los_Angeles"),
            _calendar("everything", "Europe/Berlin"),
        ],
    )
)


def _user(name: str) -> str:
    return f"user/{ACCOUNT}/{name}"


def _made(number: int, user: str, model: str, hours: int) -> Observation:
    caller = {}
    if user == "bot":
        caller = {"identity_arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/bot/run{number % 2}"}
    at_ms = NOON + hours * HOUR
    return call(number, PLENTY, model=model, user=user, at_ms=at_ms, **caller)


USERS = ["alice", "amy", "bob", "carol", "bot"]
MODELS = [PRO, MICRO, SONNET, UNLISTED, PROFILE]
SCOPES = [
    Scope("everything"),
    Scope("account", ACCOUNT),
    Scope("account", "999999999999"),
    *(Scope("principal", _user(name)) for name in [*USERS[:-1], "nobody"]),
    *(Scope("team", name) for name in ("research", "sales", "none", "")),
    *(Scope("pool", name) for name in ("humans", "robots", "none", "")),
    *(Scope("application", name) for name in ("search", "")),
    *(Scope("agent", name) for name in (AGENT, "")),
    *(Scope("model", name) for name in (PRO, MICRO, SONNET, UNLISTED)),
]


Balances = Sequence[tuple[Leaf, Amounts]]


def expected(balances: Balances, wanted: ScopeDays) -> Spend:
    """Add balances up again, one by one."""
    calls = cost = tokens = 0
    kind, name = wanted.scope.kind, wanted.scope.id
    if kind != "everything" and not name:
        return Spend()
    for leaf, amounts in balances:
        mine = kind == "everything" or getattr(leaf, kind) == name
        day = dict(leaf.local_days).get(kind, leaf.day)
        if mine and wanted.first_day <= day <= wanted.last_day:
            calls += amounts.calls
            cost += amounts.cost_pico_usd
            tokens += amounts.input_tokens + amounts.output_tokens + amounts.cache_read_tokens
            tokens += amounts.cache_write_5m_tokens + amounts.cache_write_1h_tokens
    return Spend(calls, cost, tokens)


# --- Days ------------------------------------------------------------------------------------


@asynchronous
async def test_nobody_spends_anything_in_an_empty_ledger(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        assert await ledger.spend([]) == []
        ranges = [ScopeDays(scope, 0, 999_999) for scope in SCOPES]
        assert await ledger.spend(ranges) == [Spend()] * len(SCOPES)


@pytest.mark.parametrize(
    "scope, local_day",
    [
        (Scope("principal", _user("bob")), TODAY + 1),
        (Scope("principal", _user("alice")), TODAY),
        (Scope("team", "research"), TODAY + 1),
        (Scope("pool", "humans"), TODAY + 1),
        (Scope("everything"), TODAY),
    ],
    ids=str,
)
@asynchronous
async def test_a_call_counts_on_the_day_of_the_scopes_own_calendar(
    open_ledger: Open, scope: Scope, local_day: int
) -> None:
    user = scope.id.rpartition("/")[2] if scope.kind == "principal" else "alice"
    async with open_ledger() as ledger:
        await book(ledger, LOCAL, call(1, PLAIN, user=user))
        days = range(local_day - 2, local_day + 3)
        by_day = await ledger.spend([ScopeDays(scope, day, day) for day in days])
        spent = Spend(1, PLAIN_PICO, 1_500)
        assert by_day == [Spend(), Spend(), spent, Spend(), Spend()]
        ranges = [(0, local_day - 1), (0, local_day), (local_day, 999_999), (local_day + 1, 10**6)]
        series = await ledger.spend([ScopeDays(scope, *days) for days in [*ranges, (9, 8)]])
        assert series == [Spend(), spent, spent, Spend(), Spend()]


@asynchronous
async def test_a_call_that_moves_to_another_scope_takes_its_spend_along(open_ledger: Open) -> None:
    before, after = poster(), LOCAL
    everything = ScopeDays(Scope("everything"), TODAY, TODAY)
    team = ScopeDays(Scope("team", "research"), TODAY + 1, TODAY + 1)
    pool = ScopeDays(Scope("pool", "humans"), TODAY + 1, TODAY + 1)
    async with open_ledger() as ledger:
        await book(ledger, before, call(1, PLAIN))
        spent = await ledger.spend([everything, team, pool])
        assert spent == [Spend(1, PLAIN_PICO, 1_500), Spend(), Spend()]
        [entry] = await ledger.find("00000001-0000-4000-8000-000000000001")
        rated = after.rate(entry.evidence)
        assert await ledger.rebook([Rebooking(entry, rated)]) == 1
        assert await ledger.spend([everything, team, pool]) == [Spend(1, PLAIN_PICO, 1_500)] * 3
        assert [leaf.pool for leaf, _ in await ledger.balances()] == ["humans"]
        assert not (await ledger.verify()).differences


# --- Any calls, any ranges -------------------------------------------------------------------

CALLS = st.lists(
    st.tuples(st.sampled_from(USERS), st.sampled_from(MODELS), st.integers(-72, 72)),
    min_size=1,
    max_size=30,
)
DAYS = st.integers(TODAY - 4, TODAY + 4)
RANGES = st.lists(st.builds(ScopeDays, st.sampled_from(SCOPES), DAYS, DAYS), max_size=12)


Kind = Callable[[Path], AbstractAsyncContextManager[Ledger]]


async def _hold(
    kind: Kind, folder: Path, made: list[tuple[str, str, int]], tries: Sequence[Sequence[ScopeDays]]
) -> None:
    async with kind(folder) as ledger:
        calls = [_made(number, *fields) for number, fields in enumerate(made)]
        await book(ledger, LOCAL, *calls[::2])
        await book(ledger, LOCAL, *calls[1::2])
        balances = await ledger.balances()
        for ranges in tries:
            spent = await ledger.spend(ranges)
            assert spent == [expected(balances, wanted) for wanted in ranges]


@pytest.mark.parametrize("kind", KINDS[:2])
@settings(max_examples=25, deadline=None)
@given(made=CALLS, tries=st.lists(RANGES, min_size=1, max_size=3))
def test_spend_is_the_sum_of_balances_on_local_days(
    kind: Kind, made: list[tuple[str, str, int]], tries: list[list[ScopeDays]]
) -> None:
    _in_a_folder(kind, made, tries)


@pytest.mark.parametrize("kind", KINDS[2:])
@settings(max_examples=3, deadline=None)
@given(made=CALLS, tries=st.lists(RANGES, min_size=3, max_size=3))
def test_spend_is_the_sum_of_balances_on_local_days_in_tables(
    kind: Kind, made: list[tuple[str, str, int]], tries: list[list[ScopeDays]]
) -> None:
    _in_a_folder(kind, made, tries)


def _in_a_folder(
    kind: Kind, made: list[tuple[str, str, int]], tries: Sequence[Sequence[ScopeDays]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_hold(kind, Path(folder), made, tries))


@asynchronous
async def test_every_scope_over_every_range_of_busy_days(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        calls = [
            _made(number + 36, USERS[number % 5], MODELS[number % 4 if number % 5 else 4], number)
            for number in range(-36, 36)
        ]
        await book(ledger, LOCAL, *calls)
        kinds = {scope.kind for scope in SCOPES if scope.id or scope.kind == "everything"}
        every = [
            ScopeDays(scope, first, first + length)
            for scope in SCOPES
            for first, length in ((TODAY - 3, 6), (TODAY, 0), (TODAY - 1, 1), (TODAY - 9, 99))
        ]
        spent = await ledger.spend(every)
        balances = await ledger.balances()
        assert spent == [expected(balances, wanted) for wanted in every]
        seen: set[ScopeKind] = {
            wanted.scope.kind for wanted, one in zip(every, spent, strict=True) if one.cost_pico_usd
        }
        assert seen == kinds, "each kind of scope has spent something, or nothing is tested"
