"""What one batch, or one caller, can do about the limits of expressions and items."""

import asyncio
from collections.abc import Iterable

import pytest

from tests.calls import ACCOUNT, MICRO, PRO, SONNET, asynchronous, call, evidence, fold, poster
from tests.dynamodb import ledger_at, local_endpoint, new_prefix
from worker.adapters import dynamodb_items as items
from worker.core.budget_terms import Scope, ScopeDays
from worker.core.errors import RefusedError
from worker.core.evidence import Counts
from worker.core.registry import Agent, PrincipalFact, Registry
from worker.core.transactions import BalanceKey, balance_keys

AGENTS = 60
ITEM_BYTES_MAX = 400 * 1_024
PLENTY = Counts(1_000, 500)
POSTER = poster()


def _agent(number: int) -> str:
    return f"agent/{ACCOUNT}/us-east-1/A{number:04}"


REGISTRY = Registry(
    agents=[
        Agent(_agent(number), f"a{number}", (f"arn:aws:iam::{ACCOUNT}:role/agent-{number}",))
        for number in range(AGENTS)
    ],
    principals=[
        PrincipalFact(_agent(number), team=f"team-{number % 25}") for number in range(AGENTS)
    ],
)


@asynchronous
async def test_one_call_each_of_many_agents_and_teams_is_booked() -> None:
    many = poster(registry=REGISTRY)
    seen = [
        call(
            number,
            PLENTY,
            model=(PRO, MICRO, SONNET)[number % 3],
            identity_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/agent-{number}/s",
        )
        for number in range(AGENTS)
    ]
    async with ledger_at(local_endpoint(), new_prefix()) as ledger:
        assert (await ledger.commit(fold(many, seen), many)).recorded == AGENTS
        assert len({leaf.agent for leaf, _ in await ledger.balances()}) == AGENTS
        assert not (await ledger.verify()).differences


@asynchronous
async def test_one_caller_of_many_models_is_booked() -> None:
    seen = [call(number, model=f"made-up.{number}", error_code="Denied") for number in range(98)]
    async with ledger_at(local_endpoint(), new_prefix()) as ledger:
        assert (await ledger.commit(fold(POSTER, seen), POSTER)).recorded == 98
        assert not (await ledger.verify()).differences


def _filling(key: items.Item) -> items.Item:
    """Return an item of which next to nothing is free."""
    taken = sum(len(value["S"]) + 2 for value in key.values()) + 20
    return {**key, "z": {"B": bytes(ITEM_BYTES_MAX - taken)}}


async def _filled(key: BalanceKey, shards: Iterable[int]) -> str:
    """Return the prefix of new tables in which items of a balance are full."""
    prefix = new_prefix()
    async with ledger_at(local_endpoint(), prefix) as ledger:
        await ledger.progress("")  # makes the tables
        for shard in shards:
            full = _filling(items.balance_item_key(key, shard))
            table = items.balances_table(prefix)
            await ledger._dynamo.call("put_item", TableName=table, Item=full)
    return prefix


PAYER, EVERYBODY = balance_keys(POSTER.post(evidence(PLENTY)).leaf)


@asynchronous
@pytest.mark.parametrize(
    "key,shards",
    [
        (PAYER, (0, items.PAYER_SHARDS_MAX)),
        (EVERYBODY, range(items.SHARDS_MAX)),
    ],
    ids=("payer", "everybody"),
)
async def test_a_balance_whose_items_are_full_goes_on_in_others(
    key: BalanceKey, shards: Iterable[int]
) -> None:
    batches = [
        fold(POSTER, [call(10 * batch + number, PLENTY) for number in range(5)])
        for batch in range(4)
    ]
    endpoint, prefix = local_endpoint(), await _filled(key, shards)
    async with ledger_at(endpoint, prefix) as one, ledger_at(endpoint, prefix) as other:
        done = await asyncio.gather(
            *(
                ledger.commit(batch, POSTER)
                for ledger, batch in zip((one, other, one, other), batches, strict=True)
            )
        )
        assert [each.recorded for each in done] == [5] * 4
        [(_, amounts)] = await one.balances()
        assert amounts.calls == 20
        assert not (await other.verify()).differences
        days = [ScopeDays(Scope("everything"), PAYER.day, PAYER.day)]
        assert [spend.calls for spend in await other.spend(days)] == [20]


@asynchronous
async def test_a_balance_that_is_full_for_good_is_refused() -> None:
    prefix = await _filled(PAYER, [items.shard_of(PAYER, 0, n) for n in range(items.LAYERS_MAX)])
    async with ledger_at(local_endpoint(), prefix) as ledger:
        with pytest.raises(RefusedError, match="maximum allowed size"):
            await ledger.commit(fold(POSTER, [call(1, PLENTY)]), POSTER)
        others = fold(POSTER, [call(2, PLENTY, user="bob")])
        assert (await ledger.commit(others, POSTER)).recorded == 1
        assert not (await ledger.verify()).differences
