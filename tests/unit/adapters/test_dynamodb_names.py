"""Names in parts: taken apart and put together again, nothing is lost; and kept within bounds."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.dynamodb_items import payer_key
from worker.adapters.dynamodb_names import (
    Names,
    Recent,
    join_facts,
    join_leaf,
    split_facts,
    split_leaf,
)
from worker.core.codec import intern_value
from worker.core.errors import LedgerCorruptError
from worker.core.evidence import Facts, OutputSums
from worker.core.ledger import Basis, Leaf

TEXT = st.text(max_size=12)
OUTPUTS = st.lists(
    st.tuples(TEXT, st.builds(OutputSums, *[st.integers(0, 9)] * 5)), max_size=2
).map(tuple)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple)
FACTS = st.builds(
    Facts,
    **{
        name: st.integers(0, 40) if name.endswith("_rank") else TEXT
        for name in Facts.__struct_fields__
    }
    | {"metadata": PAIRS, "outputs": OUTPUTS},
)


@given(FACTS)
def test_facts_are_the_same_after_being_taken_apart(facts: Facts) -> None:
    parts, route = split_facts(facts)
    assert join_facts(route, list(parts.caller)) == intern_value(facts).encoded


@pytest.mark.parametrize("pool", ["", "trials"])
def test_two_sessions_share_a_route_and_two_days_a_shape(pool: str) -> None:
    one = Facts("111122223333", "us-east-1", 29, "amazon.nova-pro-v1:0", 29, identity_arn="arn:a")
    other = msgspec.structs.replace(one, identity_arn="arn:b")
    assert split_facts(one)[1] == split_facts(other)[1]
    assert split_facts(one)[0] != split_facts(other)[0]
    leaf = Leaf("p", "i", "", "t", "", "a", "m", 20_000, (("team", 20_001),), pool)
    later = msgspec.structs.replace(leaf, day=20_007, local_days=(("team", 20_008),))
    assert split_leaf(leaf) == split_leaf(later)
    assert join_leaf(split_leaf(leaf), 20_007) == later


def test_names_that_do_not_fit_their_body_are_refused() -> None:
    names = Names()
    with pytest.raises(LedgerCorruptError, match="not at hand"):
        names.of_entry(1, 2)
    parts = names.take_apart({one.id: one.encoded for one in [intern_value(Basis("a", "b"))]})
    assert len(parts) == 1
    names.stored(parts)
    assert names.take_apart({one: parts[one] for one in parts}) == {}
    names.doubt()
    assert names.take_apart({one: parts[one] for one in parts}) == parts


def test_what_is_used_survives_what_is_new() -> None:
    recent: Recent[str] = Recent(per_generation=10)
    recent.keep({-1: "used", -2: "unused"})
    for number in range(100):
        recent.keep({number: "new"})
        assert recent.get(-1) == "used"
    assert recent.get(-2) is None
    assert sum(recent.get(number) is not None for number in range(100)) <= 24


def test_payers_of_any_length_have_keys_of_their_own() -> None:
    long = "session/111122223333/" + "é" * 1_500
    keys = {payer_key(f"{long}{end}") for end in "ab"} | {payer_key("user/1/alice")}
    assert len(keys) == 3
    assert all(len(key.encode()) <= 2_048 for key in keys)
    assert payer_key("user/1/alice") == "p#user/1/alice"
