"""Packing: whatever calls there are, each transaction is one that the service takes."""

import itertools
import math
import re
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.dynamodb_items import balance_update
from worker.core.ledger import AMOUNT_FIELDS, Amounts, Leaf
from worker.core.transactions import (
    ADDITIONS_MAX,
    ITEMS_MAX,
    BalanceKey,
    CallWrite,
    Posted,
    balance_keys,
    pack,
)

EXPRESSION_BYTES = 4_096
OPERATORS = 300
"""What one expression may have (AWS documentation: "Quotas in Amazon DynamoDB")."""

FULL = Amounts(**dict.fromkeys(AMOUNT_FIELDS, 10**24))
ONE = Amounts(calls=1, cost_pico_usd=7, input_tokens=3)
FAILED = Amounts(calls=1, failed_calls=1)
TAKEN = Amounts()
TAKEN.subtract(FULL)


def leaf(number: int, *, payers: int, models: int, calendars: bool = False) -> Leaf:
    return Leaf(
        principal=f"payer-{number % payers}",
        identity=f"payer-{number % payers}",
        agent=f"agent-{number}",
        team=f"team-{number}",
        application=f"application-{number}",
        account=f"account-{number}",
        model=f"model-{number % models}",
        day=20_000,
        local_days=(("everything", 20_001), ("team", 19_999)) if calendars else (),
    )


def write(number: int, *postings: tuple[Leaf, Amounts]) -> CallWrite:
    return CallWrite(
        number.to_bytes(8, "big"),
        bytes(60),
        None,
        tuple((leaf, amounts, crc32(repr(leaf).encode())) for leaf, amounts in postings),
    )


KINDS = st.tuples(st.sampled_from((FULL, ONE, FAILED)), st.booleans())


@st.composite
def _calls(draw: st.DrawFn) -> list[CallWrite]:
    """Draw up to 150 calls of few or many payers, scopes and models; some move between leaves."""
    spread, payers, models = (draw(st.sampled_from((1, 40, 1_000))) for _ in range(3))
    calendars = draw(st.booleans())
    kinds = itertools.cycle(draw(st.lists(KINDS, min_size=1, max_size=4)))
    writes = []
    for number in range(draw(st.integers(0, 150))):
        amounts, moves = next(kinds)
        after = leaf(number % spread, payers=payers, models=models, calendars=calendars)
        before = leaf(number + spread, payers=payers, models=models)
        writes.append(write(number, *([(before, TAKEN)] if moves else []), (after, amounts)))
    return writes


@given(_calls())
def test_every_transaction_is_one_that_the_service_takes(writes: list[CallWrite]) -> None:
    packed = list(pack(writes))
    assert sorted(one.key for each in packed for one in each.writes) == [one.key for one in writes]
    for each in packed:
        postings: dict[BalanceKey, list[Posted]] = {}
        for one in each.writes:
            for posted in one.postings:
                for key in balance_keys(posted[0]):
                    postings.setdefault(key, []).append(posted)
        assert set(postings) == set(each.balances)
        assert len(each.writes) + len(postings) <= ITEMS_MAX
        for key, together in postings.items():
            update = balance_update(key, together, 31)
            if update is not None:
                expression = update[1]["UpdateExpression"]
                assert len(expression.encode()) < EXPRESSION_BYTES
                assert len(re.split("[, ]+", expression)) // 2 <= OPERATORS


def test_calls_of_many_agents_and_teams_are_put_into_few_transactions() -> None:
    writes = [write(n, (leaf(n, payers=1_000, models=3), ONE)) for n in range(60)]
    sizes = [len(each.writes) for each in pack(writes)]
    sums = 3 * 4  # of each call's agent, team, application and account, apart from shared ones
    assert len(sizes) <= math.ceil(60 * sums / (ADDITIONS_MAX - 3 * 4)) + 1


def test_calls_of_few_share_one_transaction() -> None:
    same = leaf(0, payers=1, models=1)
    [only] = pack([write(n, (same, ONE)) for n in range(ITEMS_MAX - 2)])
    assert len(only.writes) == ITEMS_MAX - 2


def test_one_call_always_fits() -> None:
    """Even one that moves to a leaf of which nothing is the same, each with every amount."""
    before = leaf(1, payers=1, models=1_000)
    after = leaf(2, payers=1, models=1_000)
    [only] = pack([write(1, (before, TAKEN), (after, FULL))])
    assert max(len(sums) for sums in only.balances.values()) <= ADDITIONS_MAX // 5
