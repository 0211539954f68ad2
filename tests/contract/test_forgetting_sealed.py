"""Forgetting a person whose calls are sealed, with their entries there or gone."""

from typing import Any

import pytest

from tests.calls import ACCOUNT, DAY, HOUR, MICRO, NOON, asynchronous, book, call
from tests.contract.test_forgetting import (
    ALICE,
    ARN,
    NAME,
    POSTER,
    Open,
    World,
    _alices,
    _everything,
    _sums,
    open_world,
)
from tests.sealing import TODAY, client_of, let_go, long_after, told
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.core.errors import TransientError
from worker.core.evidence import Counts
from worker.core.seal import KEPT_DAYS

__all__ = ["long_after", "open_world"]

PLENTY = Counts(1_000, 500)
LONG_AGO = NOON - (KEPT_DAYS + 2) * DAY
NOW = NOON + 7 * DAY

SEEN = [
    *(_alices(number, at_ms=LONG_AGO + number * HOUR) for number in range(3)),
    _alices(3, model=MICRO, at_ms=LONG_AGO),
    _alices(4, at_ms=NOON - DAY),
    _alices(5, at_ms=NOON),
    call(6, PLENTY, user="bob", at_ms=LONG_AGO),
    call(7, PLENTY, user=f"{NAME}2", at_ms=LONG_AGO),
]


async def _sealed(world: World) -> None:
    ledger = world.ledger
    if isinstance(ledger, DynamoLedger):
        ledger._settle_seconds = 0
    await book(ledger, POSTER, *SEEN)
    await ledger.seal(TODAY)


async def _is_forgotten(world: World, pseudonym: str, sums: Any) -> None:
    ledger = world.ledger
    assert await _sums(ledger) == sums
    assert (await ledger.totals("principal"))[pseudonym].calls == 6
    stored = await ledger.sealed_sums()
    assert sum(one.amounts.calls for one in stored.values()) == 7
    mine = [one for leaf, one in stored.items() if leaf.principal == pseudonym]
    assert sum(one.amounts.calls for one in mine) == 5
    said = await _everything(world) + repr(stored)
    for name in (f"'{ALICE}'", ARN, f"'{NAME}'"):
        assert name not in said
    assert f"user/{ACCOUNT}/{NAME}2" in said
    verification = await ledger.verify()
    assert (verification.differences, verification.unsettled) == ((), ())
    assert verification.sealed == len(stored)


@asynchronous
async def test_sums_of_seals_lose_the_name_too(open_world: Open) -> None:
    async with open_world() as world:
        await _sealed(world)
        sums = await _sums(world.ledger)
        done = await world.forget()
        assert done.calls == 6
        await _is_forgotten(world, done.pseudonym, sums)
        again = await world.forget()
        assert (again.pseudonym, again.calls) == (done.pseudonym, 0)
        await _is_forgotten(world, done.pseudonym, sums)
        [late] = await book(world.ledger, POSTER, SEEN[0], _alices(9, at_ms=LONG_AGO))
        assert told(late) == (0, 0, 0, 2)


@asynchronous
async def test_a_name_is_forgotten_of_calls_whose_entries_are_gone(open_world: Open) -> None:
    async with open_world() as world:
        await _sealed(world)
        await world.ledger.expire(0, NOW)
        await let_go(world.ledger, client_of(world.ledger), NOW)
        sums = await _sums(world.ledger)
        done = await world.forget()
        assert done.calls == 2  # there are no more
        await _is_forgotten(world, done.pseudonym, sums)
        assert (await world.ledger.verify()).gone == 6


@asynchronous
async def test_entries_that_are_about_to_go_still_do_so(open_world: Open) -> None:
    async with open_world() as world:
        await _sealed(world)
        if not isinstance(world.ledger, DynamoLedger):
            return  # others let entries go at once
        await world.ledger.expire(0, NOW)
        sums = await _sums(world.ledger)
        done = await world.forget()
        assert done.calls == 6
        assert await let_go(world.ledger, client_of(world.ledger), NOW) == 6
        await _is_forgotten(world, done.pseudonym, sums)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@asynchronous
async def test_a_crash_while_names_move_is_healed_by_forgetting_again(
    open_world: Open, after: bool
) -> None:
    """At the first write that moves a sum of a seal, of a ledger that has several."""
    async with open_world() as world:
        await _sealed(world)
        if not isinstance(world.ledger, DynamoLedger):
            return  # one transaction
        await world.ledger.expire(0, NOW)
        await let_go(world.ledger, client_of(world.ledger), NOW)
        sums = await _sums(world.ledger)
        dynamo: Dynamo = world.ledger._dynamo
        real, deaths = dynamo.transact, 0

        async def dying(items: Any) -> Any:
            nonlocal deaths
            if deaths < 3 and any(_is_sum(item) for item in items):
                deaths += 1
                if after:
                    await real(items)
                raise TransientError("killed")
            return await real(items)

        dynamo.transact = dying  # type: ignore[method-assign]
        for _ in range(3):
            with pytest.raises(TransientError, match="killed"):
                await world.forget()
            assert await _sums(world.ledger) == sums
        done = await world.forget()
        await _is_forgotten(world, done.pseudonym, sums)


def _is_sum(item: dict[str, Any]) -> bool:
    return bool(item.get("Put", {}).get("Item", {}).get("pk") == {"S": "s#sums"})
