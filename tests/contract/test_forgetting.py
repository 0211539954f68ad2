"""One contract for all ledgers: a person is forgotten, and every sum stays."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from tests.calls import (
    ACCOUNT,
    DAY,
    HOUR,
    MICRO,
    NOON,
    UNLISTED,
    asynchronous,
    book,
    call,
    entries,
    poster,
)
from tests.dynamodb import client, local_endpoint, localstack_endpoint, new_prefix
from worker import books
from worker.adapters.dynamodb_requests import Dynamo
from worker.bootstrap import State, open_ledger, open_state
from worker.core.audit import AuditDetails
from worker.core.budget_terms import Budget, Scope, ScopeDays
from worker.core.enforcement import Hold
from worker.core.errors import ConfigurationError, TransientError
from worker.core.evidence import Counts, Observation, SourceRank
from worker.core.forgotten import PSEUDONYM
from worker.core.ledger import Amounts
from worker.core.registry import Pool, PrincipalFact, Registry
from worker.core.report import DIMENSIONS
from worker.forgetting import Forgetting, Forgotten
from worker.pipeline import Window
from worker.pipeline.audit import AuditLog
from worker.pipeline.suspensions import Suspensions
from worker.ports import Ledger, Notice, Rebooking, Record
from worker.settings import Settings

PLENTY = Counts(1_000, 500)
NAME = "alice.liddell"
ALICE = f"user/{ACCOUNT}/{NAME}"
ARN = f"arn:aws:iam::{ACCOUNT}:user/staff/{NAME}"
UNIQUE = "AIDAQWERTYUIOPASDFGH"
SSO = "AWSReservedSSO_Data_0123456789abcdef"
SESSION = f"session/{ACCOUNT}/{SSO}/{NAME}"
POSTER = poster(
    registry=Registry(
        principals=[PrincipalFact("user/*", "research")], pools=[Pool("people", "user/*")]
    )
)


class Still:
    """A clock that stands a week after the calls."""

    def now_ms(self) -> int:
        return NOON + 7 * DAY


class World(NamedTuple):
    """A ledger, what is beside it, and what forgets."""

    ledger: Ledger
    state: State
    forgetting: Forgetting
    audit: AuditLog
    suspensions: Suspensions
    waited: list[float]

    async def forget(self, principal: str = ALICE) -> Forgotten:
        return await self.forgetting.forget(principal, actor="dodgson", why="asked for it")


@asynccontextmanager
async def _world(ledger: str, endpoint: str = "") -> AsyncIterator[World]:
    settings = Settings(ledger=ledger, create_tables=True)
    if endpoint:
        async with client(endpoint) as opened:
            dynamo = Dynamo(opened)
            yield _made(open_ledger(settings, dynamo=dynamo), open_state(settings, dynamo=dynamo))
        return
    world = _made(open_ledger(settings), open_state(settings))
    try:
        yield world
    finally:
        await world.ledger.close()
        await world.state.close()


def _made(ledger: Ledger, state: State) -> World:
    clock, waited = Still(), list[float]()
    audit = AuditLog(state.records, clock)
    suspensions = Suspensions(records=state.records, outbox=state.outbox, clock=clock)

    async def pause(seconds: float) -> None:
        waited.append(seconds)
        if hasattr(ledger, "_heard_until"):
            ledger._heard_until = 0.0  # as if so much time had passed

    forgetting = Forgetting(
        ledger=ledger,
        budgets=state.budgets,
        texts=state.texts,
        audit=audit,
        suspensions=suspensions,
        clock=clock,
        pause=pause,
    )
    return World(ledger, state, forgetting, audit, suspensions, waited)


Open = Callable[[], AbstractAsyncContextManager[World]]


@pytest.fixture(
    params=[
        "memory",
        "sqlite",
        "dynamodb",
        pytest.param("localstack", marks=pytest.mark.integration),
    ]
)
def open_world(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "memory":
        return lambda: _world("memory")
    if request.param == "sqlite":
        return lambda: _world(f"sqlite:{tmp_path / 'ledger.db'}")
    endpoint = local_endpoint() if request.param == "dynamodb" else localstack_endpoint()
    prefix = new_prefix()
    return lambda: _world(f"dynamodb:{prefix}", endpoint)


def _alices(number: int, counts: Counts = PLENTY, **more: Any) -> Observation:
    told: dict[str, Any] = {
        "identity_arn": ARN,
        "identity_type": "IAMUser",
        "principal_id": UNIQUE,
        "source_identity": NAME,
        "metadata": (("customer", NAME),),
        "metadata_rank": 9,
        "caller_rank": 9,
    }
    return call(number, counts, **told | more)


SEEN = [
    *(_alices(number, at_ms=NOON + number * HOUR) for number in range(4)),
    _alices(4, model=MICRO, at_ms=NOON - DAY),
    _alices(5, model=UNLISTED),
    call(6, PLENTY, user="bob"),
    call(7, PLENTY, user=f"{NAME}2"),
    call(8, PLENTY, user=f"x-{NAME}"),
]


async def _sums(ledger: Ledger) -> dict[str, dict[str, Amounts]]:
    """Return totals by every dimension that does not name the person."""
    fields = {field for field in DIMENSIONS if field not in {"principal", "identity", "month"}}
    return {field: await ledger.totals(field) for field in fields}


def _said(*things: object) -> str:
    return "\n".join(map(repr, things))


async def _everything(world: World) -> str:
    """Return all that the ports say of a world, as one text."""
    state = world.state
    texts: list[list[str]] = []

    def note(of: Any) -> Any:
        texts.append(list(of))
        return of

    await state.texts.rewrite(note)
    audit = [entry async for page in world.audit.entries() for entry in page]
    balances = await world.ledger.balances()
    return _said(await entries(world.ledger), balances, texts, audit)


# --- The ledger ------------------------------------------------------------------------------


@asynchronous
async def test_a_pseudonym_takes_the_place_of_the_name_and_every_sum_stays(
    open_world: Open,
) -> None:
    async with open_world() as world:
        ledger = world.ledger
        await book(ledger, POSTER, *SEEN)
        before, sums = await ledger.totals("principal"), await _sums(ledger)
        everything = [ScopeDays(Scope("everything"), 0, 999_999)]
        spent = await ledger.spend(everything)
        done = await world.forget()
        assert done.pseudonym.startswith(f"user/{ACCOUNT}/{PSEUDONYM}")
        assert done.calls == 6
        after = await ledger.totals("principal")
        assert after.pop(done.pseudonym) == before.pop(ALICE)
        assert after == before
        assert await _sums(ledger) == sums
        assert await ledger.spend(everything) == spent
        mine = [ScopeDays(Scope("principal", one), 0, 999_999) for one in (ALICE, done.pseudonym)]
        assert [one.calls for one in await ledger.spend(mine)] == [0, 6]
        check = await ledger.verify()
        assert (check.entries, check.differences) == (9, ())
        said = await _everything(world)
        for name in (f"'{ALICE}'", ARN, UNIQUE, f"'{NAME}'"):
            assert name not in said
        assert f"user/{ACCOUNT}/{NAME}2" in said
        assert f"user/{ACCOUNT}/x-{NAME}" in said
        assert bool(world.waited) == (ledger.hears_after_seconds > 0)


@asynchronous
async def test_a_late_record_of_an_old_call_brings_nothing_back_and_charges_nothing(
    open_world: Open,
) -> None:
    async with open_world() as world:
        await book(world.ledger, POSTER, *SEEN)
        done = await world.forget()
        before = dict(await world.ledger.balances())
        [again] = await book(world.ledger, POSTER, *SEEN)
        assert (again.recorded, again.upgraded, again.duplicates) == (0, 0, len(SEEN))
        # A better record: of the call it may say more, of the caller nothing.
        better = _alices(0, Counts(2_000, 500), at_ms=NOON, source=SourceRank.LOG)
        await book(world.ledger, POSTER, better, _alices(1, at_ms=NOON + HOUR, credential="bearer"))
        assert ALICE not in {leaf.principal for leaf, _ in await world.ledger.balances()}
        totals = await world.ledger.totals("principal")
        assert totals[done.pseudonym].calls == 6
        assert totals[done.pseudonym].input_tokens == 7_000
        # Two thousand input tokens instead of one, at 0.8 USD a million.
        added = sum(one.cost_pico_usd for one in before.values()) + 800_000_000
        assert (await world.ledger.spend([ScopeDays(Scope("everything"), 0, 999_999)]))[
            0
        ].cost_pico_usd == added
        assert f"{ARN}'" not in await _everything(world)
        assert not (await world.ledger.verify()).differences


@asynchronous
async def test_a_call_that_is_first_heard_of_late_is_booked_under_the_pseudonym(
    open_world: Open,
) -> None:
    async with open_world() as world:
        await book(world.ledger, POSTER, SEEN[0], SEEN[6])
        done = await world.forget()
        # Of the same name, but later than that: somebody else.
        later = _alices(21, at_ms=NOON + 8 * DAY, principal_id="AIDAZXCVBNMASDFGHJKL")
        [late] = await book(world.ledger, POSTER, _alices(20), later, call(22, PLENTY, user="bob"))
        assert late.recorded == 3
        assert {leaf.principal for leaf, _ in late.postings} == {
            done.pseudonym,
            ALICE,
            f"user/{ACCOUNT}/bob",
        }
        totals = await world.ledger.totals("principal")
        assert [totals[one].calls for one in (done.pseudonym, ALICE)] == [2, 1]
        assert not (await world.ledger.verify()).differences


@asynchronous
async def test_a_rebooking_does_not_bring_the_name_back(open_world: Open) -> None:
    later = poster(f"model,unit,usd\n{UNLISTED},input_tokens,2\n{UNLISTED},output_tokens,4\n",
                   POSTER.registry)  # fmt: skip
    async with open_world() as world:
        await book(world.ledger, POSTER, *SEEN)
        done = await world.forget()
        sums = await _sums(world.ledger)
        unchanged = await books.rebook(world.ledger, POSTER, Window())
        assert unchanged.rebooked == 0
        assert (await books.rebook(world.ledger, later, Window())).rebooked == 1
        totals = await world.ledger.totals("principal")
        assert ALICE not in totals
        assert totals[done.pseudonym].unpriced_calls == 0
        assert (await world.ledger.totals("pool"))["people"].calls == sums["pool"]["people"].calls
        assert not (await world.ledger.verify()).differences


@asynchronous
async def test_the_user_of_a_session_is_forgotten_and_its_role_is_not(open_world: Open) -> None:
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{SSO}"
    told = {"identity_arn": arn, "principal_id": f"AROAQWERTYUIOPASDFGH:{NAME}", "caller_rank": 9}
    mine, other = call(1, PLENTY, **told), call(2, PLENTY, **told | {"principal_id": ""})
    seen = [
        Observation(one.key, msgspec.structs.replace(one.evidence, session=who, session_rank=9))
        for one, who in ((mine, NAME), (other, "bob"))
    ]
    async with open_world() as world:
        await book(world.ledger, POSTER, *seen)
        assert set(await world.ledger.totals("principal")) == {
            SESSION, SESSION.replace(NAME, "bob")
        }  # fmt: skip
        done = await world.forget(SESSION)
        assert done.pseudonym.startswith(f"session/{ACCOUNT}/{SSO}/{PSEUDONYM}")
        [again] = await book(world.ledger, POSTER, *seen)
        assert (again.duplicates, again.postings) == (2, [])
        assert set(await world.ledger.totals("principal")) == {
            done.pseudonym, SESSION.replace(NAME, "bob")
        }  # fmt: skip
        assert NAME not in await _everything(world)
        assert not (await world.ledger.verify()).differences


@asynchronous
async def test_a_session_that_nobody_trusts_any_more_is_forgotten_too(open_world: Open) -> None:
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/Gate"
    one = call(1, PLENTY, identity_arn=arn, source_identity=NAME, caller_rank=9)
    evidence = msgspec.structs.replace(one.evidence, session=NAME, session_rank=9)
    async with open_world() as world:
        await book(world.ledger, POSTER, Observation(one.key, evidence), call(2, PLENTY))
        before = dict(await world.ledger.balances())
        assert f"role/{ACCOUNT}/Gate" in {leaf.principal for leaf in before}
        assert (await world.forget(f"session/{ACCOUNT}/Gate/{NAME}")).calls == 1
        assert dict(await world.ledger.balances()) == before
        assert NAME not in await _everything(world)
        assert not (await world.ledger.verify()).differences


@asynchronous
async def test_forgetting_again_completes_what_was_interrupted(open_world: Open) -> None:
    async with open_world() as world:
        ledger = world.ledger
        await book(ledger, POSTER, *SEEN)
        sums = await _sums(ledger)
        rebook = ledger.rebook

        async def killed(rebookings: Sequence[Rebooking]) -> int:
            await rebook(rebookings[:2])
            raise TransientError("killed")

        ledger.rebook = killed  # type: ignore[method-assign]
        with pytest.raises(TransientError, match="killed"):
            await world.forget()
        ledger.rebook = rebook  # type: ignore[method-assign]
        payers = {leaf.principal for leaf, _ in await ledger.balances()}
        assert ALICE in payers
        [name] = [one for one in payers if PSEUDONYM in one]
        done = await world.forget()
        assert (done.pseudonym, done.calls) == (name, 4)
        assert await _sums(ledger) == sums
        assert (await world.forget()) == Forgotten(name)
        assert not (await ledger.verify()).differences


# --- Beside the ledger -----------------------------------------------------------------------


def _notice(number: int, text: str) -> Notice:
    detail = msgspec.Raw(
        msgspec.json.encode({"message": text, "principal": ALICE, "number": number})
    )
    return Notice(
        id=f"n{number}",
        detail_type="Budget Threshold Crossed",
        detail=detail,
        state="announced",
        subject=f"principal/{ALICE}",
        due_at_ms=NOON,
        recorded_at_ms=NOON,
    )


@asynchronous
async def test_budgets_notices_records_and_the_audit_log_lose_the_name(open_world: Open) -> None:
    async with open_world() as world:
        state = world.state
        budget = Budget(
            name=f"user-{NAME}-monthly-1234",
            scope=Scope("principal", ALICE),
            limit_amount=10**12,
            period="monthly",
            thresholds=(100,),
            revision=1,
            created_at_ms=NOON,
        )
        other = msgspec.structs.replace(
            budget, name="bob", scope=Scope("principal", f"user/{ACCOUNT}/bob")
        )
        assert await state.budgets.put(budget)
        assert await state.budgets.put(other)
        await state.outbox.put([_notice(1, f"{NAME} spent $9 of $10 ({ARN})")])
        fact = {"subject": ALICE, "unique_id": UNIQUE, "state": "active", "by": NAME, "of": NAME}
        kept = [
            Record("d", ALICE, msgspec.json.encode(fact), 1, "directory", NOON),
            Record(f"t#{budget.name}", f"0020000#{ALICE}", b'{"state":"active"}', 1),
            Record("d", f"user/{ACCOUNT}/bob", msgspec.json.encode({"note": "of alice"}), 1),
        ]
        assert await state.records.write(kept)
        bobs = await state.records.get("d", f"user/{ACCOUNT}/bob")
        told = await world.audit.append(
            act="Key Made", actor=ARN, subject=ALICE, why=f"for {ALICE}"
        )
        await world.audit.append(act="Key Made", actor="x", subject=f"user/{ACCOUNT}/bob")

        done = await world.forget()
        alias = done.pseudonym
        assert (done.kept, done.audited) == (4, 1)
        said = await _everything(world)
        assert ALICE not in said.replace(f'"of":"{NAME}"', "")
        assert ARN not in said
        assert UNIQUE not in said
        [mine, same] = sorted(await state.budgets.budgets(), key=lambda one: one.name == "bob")
        assert (mine.scope.id, mine.limit_amount, same) == (alias, 10**12, other)
        assert NAME not in mine.name
        [notice] = await state.outbox.about(f"principal/{alias}")
        short = alias.rpartition("/")[2]
        told_now = msgspec.json.decode(bytes(notice.detail))
        arn = f"arn:aws:iam::{ACCOUNT}:user/{short}"
        assert told_now == {
            "message": f"{short} spent $9 of $10 ({arn})", "principal": alias, "number": 1
        }  # fmt: skip
        [fact_now] = await state.records.partition("d", alias)
        assert (fact_now.version, fact_now.queue, fact_now.due_at_ms) == (2, "directory", NOON)
        known = msgspec.json.decode(fact_now.body)
        assert (known["state"], known["by"], known["of"]) == ("active", short, NAME)
        assert known["unique_id"].startswith("AIDAFORGOTTEN")
        assert await state.records.get(f"t#{mine.name}", f"0020000#{alias}") is not None
        assert await state.records.get("d", f"user/{ACCOUNT}/bob") == bobs
        [entry] = [
            one async for page in world.audit.entries() for one in page if one.number == told.number
        ]
        assert entry.details == AuditDetails(arn, alias, f"for {alias}")
        check = await world.audit.check()
        assert (check.problems, check.replaced) == ((), 1)
        again = await world.forget()
        assert again == Forgotten(alias)


@asynchronous
async def test_who_is_suspended_or_still_at_it_or_nobody_is_refused(open_world: Open) -> None:
    async with open_world() as world:
        await book(world.ledger, POSTER, *SEEN)
        hold = Hold("daily", 20_000, 1, NOON, "spent too much")
        assert await world.suspensions.hold(ALICE, hold)
        with pytest.raises(ConfigurationError, match=f"ledgerock restore {ALICE}"):
            await world.forget()
        now = Still().now_ms()
        fresh = call(50, PLENTY, user="bob", at_ms=now - HOUR + 1)
        await book(world.ledger, POSTER, fresh)
        with pytest.raises(ConfigurationError, match="within the last hour"):
            await world.forget(f"user/{ACCOUNT}/bob")
        for wrong in (f"role/{ACCOUNT}/Bot", "alice", f"user/{ACCOUNT}", "agent/1/r/b", "user//"):
            with pytest.raises(ConfigurationError, match="not a person's identity"):
                await world.forget(wrong)
        assert await world.ledger.progress("forgotten") is None
        assert ALICE in {leaf.principal for leaf, _ in await world.ledger.balances()}


def test_nothing_of_the_name_is_left_in_the_file(tmp_path: Path) -> None:
    def read() -> bytes:
        return b"".join(one.read_bytes() for one in tmp_path.iterdir())

    @asynchronous
    async def forget_in_a_file() -> None:
        async with _world(f"sqlite:{tmp_path / 'ledger.db'}") as world:
            await book(world.ledger, POSTER, *SEEN[:6], call(6, PLENTY, user="bob"))
            await world.state.outbox.put([_notice(1, f"{NAME} spent $9 of $10")])
            assert NAME.encode() in read()
            await world.forget()
            assert (await world.ledger.verify()).entries == 7

    forget_in_a_file()
    left = read()
    assert b"bob" in left
    assert NAME.encode() not in left
    assert UNIQUE.encode() not in left


@asynchronous
async def test_nothing_of_the_name_is_left_in_the_tables() -> None:
    prefix = new_prefix()
    async with _world(f"dynamodb:{prefix}", local_endpoint()) as world:
        await book(world.ledger, POSTER, *SEEN[:6], call(6, PLENTY, user="bob"))
        await world.state.outbox.put([_notice(1, f"{NAME} spent $9 of $10")])
        assert NAME in await _tables(prefix)
        await world.forget()
        left = await _tables(prefix)
        assert "bob" in left
        assert NAME not in left
        assert UNIQUE not in left


async def _tables(prefix: str) -> str:
    async with client(local_endpoint()) as opened:
        found = [
            (await opened.scan(TableName=f"{prefix}-{name}"))["Items"]
            for name in ("entries", "balances", "state")
        ]
    return repr(found)
