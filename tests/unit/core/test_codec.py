import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calls import ACCOUNT, NOON, PRO, call, evidence, poster, request_id
from worker.core.codec import (
    Bodies,
    decode_key,
    encode_body,
    encode_key,
    encode_request_id,
    intern_value,
)
from worker.core.errors import LedgerCorruptError
from worker.core.evidence import Counts, Evidence
from worker.core.ledger import Basis, Leaf, Rated, Status, amounts_of

UUID = "0a1b2c3d-0000-4000-8000-00000000beef"
POSTER = poster()


def stored(evidence_: Evidence, cost_pico_usd: int | None = None) -> tuple[bytes, Bodies]:
    rated = POSTER.rate(evidence_)
    if cost_pico_usd is not None:
        rated = Rated(rated.route, cost_pico_usd, rated.status, rated.reason)
    route = rated.route
    values = {one.id: one.encoded for one in (route.facts, route.leaf, route.basis)}
    return encode_body(evidence_, rated), Bodies(values.get)


# --- Keys ------------------------------------------------------------------------------------


def test_a_uuid_key_is_short() -> None:
    assert len(encode_key(f"aws/{ACCOUNT}/{UUID}")) == 24


@pytest.mark.parametrize(
    "request_id_",
    [
        UUID,
        UUID.upper(),
        UUID.replace("-", ""),
        "--1b2c3d-0000-4000-8000-00000000beef",
        "0a1b2c3d-----------------00000000bee",
        "0a1b2c3d-0000-4000-8000-0000000 beef",
        "\t0a1b2c3-0000-4000-8000-00000000beef"[:36],
        "x",
        "a/b//c",
        "ÿ\u0100𝄞",
        "u" * 128,
        "arn:aws:bedrock:us-east-1:111122223333:model-invocation-job/abc",
    ],
)
@pytest.mark.parametrize("account", [ACCOUNT, "000000000000", "999999999999", "1", "n", "١٢٣"])
@pytest.mark.parametrize("namespace", ["aws", "batch", "api"])
def test_keys_survive(request_id_: str, account: str, namespace: str) -> None:
    key = f"{namespace}/{account}/{request_id_}"
    assert decode_key(encode_key(key)) == key
    assert encode_key(key).startswith(encode_request_id(request_id_))


nearly_uuids = st.text("0aA- -", min_size=36, max_size=36).map(
    lambda text: "-".join((text[:8], text[9:13], text[14:18], text[19:23], text[24:]))
)
ids = st.one_of(
    st.uuids().map(str), nearly_uuids, st.text(min_size=1, max_size=40).filter(str.isprintable)
)
accounts = st.sampled_from([ACCOUNT, "000000000001", "1", "self-hosted", "tn"])


@given(st.tuples(ids, accounts), st.tuples(ids, accounts))
def test_no_two_keys_share_a_stored_form(left: tuple[str, str], right: tuple[str, str]) -> None:
    for request_id_, account in (left, right):
        key = f"aws/{account}/{request_id_}"
        assert decode_key(encode_key(key)) == key
    # An id's form is never the beginning of another id's, so that a prefix finds one call.
    one, other = encode_request_id(left[0]), encode_request_id(right[0])
    assert (one == other) == (left[0] == right[0])
    assert left[0] == right[0] or not one.startswith(other)


# --- Interned values -------------------------------------------------------------------------


def test_equal_values_have_equal_ids_and_others_do_not() -> None:
    leaf = Leaf("p", "i", "", "", "", ACCOUNT, PRO, 1)
    same = Leaf("p", "i", "", "", "", ACCOUNT, PRO, 1)
    other = msgspec.structs.replace(leaf, local_days=(("everything", 2),))
    assert intern_value(leaf) == intern_value(same)
    assert intern_value(leaf).id != intern_value(other).id
    assert -(2**63) <= intern_value(leaf).id < 2**63
    assert intern_value(Basis("a", "b")).encoded[:1] == b"B"


def test_a_leaf_of_before_there_were_pools_keeps_its_id() -> None:
    leaf = Leaf("p", "i", "", "t", "", ACCOUNT, PRO, 1, (("team", 2),))
    assert intern_value(leaf).id == -2_696_213_546_372_506_035
    pooled = msgspec.structs.replace(leaf, pool="trials")
    interned = intern_value(pooled)
    assert interned.id != intern_value(leaf).id
    assert Bodies({interned.id: interned.encoded}.get).leaf(interned.id) == pooled


# --- Bodies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "counts",
    [
        Counts(),
        Counts(None, 5),
        Counts(5, None),
        Counts(0, 0),
        Counts(1, 2, 3, 4, 5, True, (("images/512x512", 1), ("requests", 2))),
        Counts(10**12, 10**12, 10**12, 10**12, 10**12),
    ],
)
def test_bodies_survive(counts: Counts) -> None:
    one = evidence(counts, metadata=(("k", "v"),), metadata_rank=3)
    body, bodies = stored(one)
    entry = bodies.entry("aws/1/x", body)
    assert entry.evidence == one
    assert entry.posting == POSTER.post(one)
    leaf_id, amounts = bodies.amounts(body)
    assert bodies.leaf(leaf_id) == entry.posting.leaf
    assert amounts == amounts_of(one, entry.posting.cost_pico_usd, entry.posting.status)


@pytest.mark.parametrize("cost", [0, 2**63 - 1, 2**63, 2**64, 10**24 + 1])
def test_a_charge_of_any_size_survives(cost: int) -> None:
    body, bodies = stored(evidence(Counts(1, 1)), cost)
    assert bodies.entry("aws/1/x", body).posting.cost_pico_usd == cost
    assert bodies.amounts(body)[1].cost_pico_usd == cost


@pytest.mark.parametrize("status", list(Status))
def test_amounts_read_from_a_body_are_those_of_the_entry(status: Status) -> None:
    one = evidence(Counts(1, 2, 3, 4, 5))
    route = POSTER.rate(one).route
    body = encode_body(one, Rated(route, 7, status, "why"))
    _, bodies = stored(one)
    assert bodies.amounts(body) == (route.leaf.id, amounts_of(one, 7, status))


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xc1",
        b"\x90",
        msgspec.msgpack.encode({}),
        msgspec.msgpack.encode([None] * 18),
        msgspec.msgpack.encode([1] * 16),
    ],
)
def test_a_damaged_body_is_corruption_not_a_crash(damage: bytes) -> None:
    _, bodies = stored(evidence(Counts(1, 1)))
    with pytest.raises(LedgerCorruptError, match=r"cannot be read|is missing"):
        bodies.entry("aws/1/x", damage)
    with pytest.raises(LedgerCorruptError, match="cannot be read"):
        bodies.amounts(damage)


def test_a_missing_or_damaged_value_is_corruption() -> None:
    body, _ = stored(evidence(Counts(1, 1)))
    nothing: dict[int, bytes] = {}
    with pytest.raises(LedgerCorruptError, match="is missing"):
        Bodies(nothing.get).entry("aws/1/x", body)
    for content in (b"", b"F\x90", b"L\xc1", b"L\x91\x01"):
        with pytest.raises(LedgerCorruptError):
            Bodies({5: content}.get).leaf(5)


def test_the_cache_of_values_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.core.codec.INTERN_CACHE_MAX", 3)
    leaves = [Leaf("p", "i", "", "", "", ACCOUNT, PRO, day) for day in range(10)]
    values = {intern_value(leaf).id: intern_value(leaf).encoded for leaf in leaves}
    bodies = Bodies(values.get)
    assert [bodies.leaf(value_id) for value_id in values] == leaves
    assert len(bodies._leaves) <= 3


def test_observations_of_equal_calls_encode_equally() -> None:
    assert stored(call(1, Counts(1, 1)).evidence)[0] == stored(call(2, Counts(1, 1)).evidence)[0]
    assert stored(evidence(Counts(1, 1), at_ms=NOON + 1))[0] != stored(evidence(Counts(1, 1)))[0]
    assert request_id(1) != request_id(2)
