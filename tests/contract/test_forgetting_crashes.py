"""Forgetting a person while others book, and with a process that dies at any step."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.calls import ACCOUNT, DAY, NOON, asynchronous, book, call, poster
from tests.contract.test_forgetting import (
    ALICE,
    NAME,
    POSTER,
    SEEN,
    Open,
    World,
    _alices,
    _everything,
    _made,
    _notice,
    _sums,
    _tables,
    _world,
)
from tests.dynamodb import client, local_endpoint, new_prefix
from tests.faults import FaultyClient
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.bootstrap import open_ledger, open_state
from worker.core.budget_terms import Budget, Scope
from worker.core.errors import TransientError
from worker.core.evidence import Counts
from worker.core.forgotten import NOTE, marks_in
from worker.forgetting import Forgotten
from worker.ports import Ledger
from worker.settings import Settings

PLENTY = Counts(1_000, 500)
STEPS = ("replace_progress", "keep_progress", "rebook", "purge", "rewrite", "append", "forget")
LATER = NOON + 8 * DAY
"""After the person was forgotten: whoever has the name then is somebody else."""


@pytest.fixture(params=["memory", "sqlite"])
def embedded(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Make worlds that are quick to make; that of a shared ledger is tried with faults."""
    is_file = request.param == "sqlite"
    return lambda: _world(f"sqlite:{tmp_path / 'ledger.db'}" if is_file else "memory")


async def _fill(world: World) -> None:
    await book(world.ledger, POSTER, *SEEN)
    budget = Budget(
        name=f"user-{NAME}-monthly-1234",
        scope=Scope("principal", ALICE),
        limit_amount=10**12,
        period="monthly",
        thresholds=(100,),
        revision=1,
        created_at_ms=NOON,
    )
    assert await world.state.budgets.put(budget)
    await world.state.outbox.put([_notice(1, f"{NAME} spent $9 of $10, {budget.name}")])
    await world.audit.append(act="Key Made", actor="x", subject=ALICE)


def _owner(world: World, step: str) -> Any:
    if step == "rewrite":
        return world.state.texts
    return world.audit if step in {"append", "forget"} else world.ledger


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
@asynchronous
async def test_a_crash_at_any_step_is_healed_by_forgetting_again(
    embedded: Open, step: str, after: bool
) -> None:
    async with embedded() as world:
        await _fill(world)
        sums = await _sums(world.ledger)
        owner = _owner(world, step)
        real: Callable[..., Awaitable[Any]] = getattr(owner, step)
        left = 1

        async def dying(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            if left:
                left -= 1
                if after:
                    await real(*arguments, **named)
                raise TransientError("killed")
            return await real(*arguments, **named)

        setattr(owner, step, dying)
        with pytest.raises(TransientError, match="killed"):
            await world.forget()
        assert await _sums(world.ledger) == sums
        done = await world.forget()
        assert await _sums(world.ledger) == sums
        said = (await _everything(world)).replace(f"{NAME}2", "").replace(f"x-{NAME}", "")
        assert NAME not in said
        assert (await world.ledger.totals("principal"))[done.pseudonym].calls == 6
        assert not (await world.ledger.verify()).differences
        assert (await world.audit.check()).problems == ()


@asynchronous
async def test_of_several_people_who_are_forgotten_at_once_all_are(embedded: Open) -> None:
    people = ("bob", "carol", "dora")
    names = [f"user/{ACCOUNT}/{one}" for one in people]
    async with embedded() as world:
        seen = [call(number, PLENTY, user=one) for number, one in enumerate(people)]
        await book(world.ledger, POSTER, *seen)
        real = world.ledger.progress

        async def slow(name: str) -> str | None:
            note = await real(name)
            await asyncio.sleep(0)
            return note

        world.ledger.progress = slow  # type: ignore[method-assign]
        done = await asyncio.gather(*(world.forget(one) for one in names))
        marks = marks_in(await real(NOTE))
        assert marks is not None
        assert len(marks.people) == len(names)
        for one, forgotten in zip(names, done, strict=True):
            mark = marks.of(one)
            assert mark is not None
            assert forgotten.pseudonym.endswith(mark.name)
            assert forgotten.calls == 1
        totals = await world.ledger.totals("principal")
        assert set(totals) == {one.pseudonym for one in done}


async def _books_meanwhile(world: World, writer: Ledger, hear: Callable[[], None]) -> None:
    """Forget while another process books that has heard of nothing, and goes on afterwards."""
    await book(writer, POSTER, *SEEN)
    forgetting, waits = world.forgetting, world.forgetting._pause

    async def pause(seconds: float) -> None:
        await book(writer, POSTER, _alices(30))
        hear()
        await waits(seconds)

    forgetting._pause = pause
    done = await world.forget()
    await book(writer, POSTER, _alices(31))
    expected = 8 if world.waited else 7
    totals = await world.ledger.totals("principal")
    assert totals[done.pseudonym].calls == expected
    assert ALICE not in totals
    # The name is used again: what the writer stored of it before is gone, and written anew.
    await book(writer, POSTER, _alices(40, at_ms=LATER), _alices(41, at_ms=LATER + 1))
    assert (await world.ledger.totals("principal"))[ALICE].calls == 2
    again = await writer.verify()
    assert (again.differences, again.unsettled) == ((), ())
    assert len([one async for page in world.ledger.scan() for one in page]) == expected + 5


@asynchronous
async def test_others_that_book_into_a_file_meanwhile_lose_nothing(tmp_path: Path) -> None:
    settings = Settings(ledger=f"sqlite:{tmp_path / 'ledger.db'}")
    world = _made(open_ledger(settings), open_state(settings))
    writer = SqliteLedger(tmp_path / "ledger.db")
    await _books_meanwhile(world, writer, lambda: None)
    for opened in (writer, world.ledger, world.state):
        await opened.close()


@asynchronous
async def test_others_that_book_into_tables_meanwhile_lose_nothing() -> None:
    prefix = new_prefix()
    settings = Settings(ledger=f"dynamodb:{prefix}", create_tables=True)
    async with client(local_endpoint()) as opened:
        dynamo = Dynamo(opened)
        world = _made(open_ledger(settings, dynamo=dynamo), open_state(settings, dynamo=dynamo))
        writer = DynamoLedger(prefix, dynamo=Dynamo(opened), create_tables=True)

        def hear() -> None:
            writer._heard_until = 0.0

        await _books_meanwhile(world, writer, hear)


async def _stubborn(world: World) -> Forgotten:
    for _ in range(20):
        with contextlib.suppress(TransientError):
            return await world.forget()
    return await world.forget()


@asynchronous
async def test_a_person_is_forgotten_through_faults_of_the_tables() -> None:
    prefix, expected = new_prefix(), poster()
    settings = Settings(ledger=f"dynamodb:{prefix}", create_tables=True)
    async with client(local_endpoint()) as opened:
        faulty = Dynamo(FaultyClient(opened, seed=5, share=0.2))
        plain = Dynamo(opened)
        world = _made(open_ledger(settings, dynamo=plain), open_state(settings, dynamo=plain))
        await _fill(world)
        await book(world.ledger, expected, call(50, PLENTY, user="carol"))
        sums = await _sums(world.ledger)
        shaky = _made(open_ledger(settings, dynamo=faulty), open_state(settings, dynamo=faulty))
        done = await _stubborn(shaky)
        assert await _sums(world.ledger) == sums
        assert (await world.ledger.totals("principal"))[done.pseudonym].calls == 6
        assert not (await world.ledger.verify()).differences
        left = (await _tables(prefix)).replace(f"{NAME}2", "").replace(f"x-{NAME}", "")
        assert f"user/{ACCOUNT}/carol" in left
        assert NAME not in left
