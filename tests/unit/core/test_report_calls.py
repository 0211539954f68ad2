"""Figures in pico-USD, worked out from the prices of `tests.calls`."""

import random

from tests.calls import MICRO, SONNET, call, evidence, poster
from worker.core.evidence import Counts
from worker.core.ledger import Amounts, Entry, Leaf
from worker.core.posting import Poster
from worker.core.pricing import RateCard
from worker.core.report_calls import CacheUse, Survey, cache_use, cache_use_of_balances

MILLION = 1_000_000
CENT = 10**10


def card(model: str = SONNET) -> RateCard | None:
    return poster().terms(evidence(Counts(1, 1), model=model)).card


def test_a_cached_read_saves_the_difference_to_the_price_of_input() -> None:
    # 3.30 a million as input, 0.33 from the cache.
    use = cache_use(card(), Counts(10, 20, cache_read_tokens=MILLION))
    assert use == CacheUse(read_tokens=MILLION, saved_pico_usd=297 * CENT)
    assert use.net_pico_usd == 297 * CENT


def test_a_cache_write_costs_a_premium() -> None:
    # 4.125 and 6.60 a million for five minutes and one hour: 0.825 and 3.30 more than input.
    counts = Counts(10, 20, 0, MILLION, MILLION, cache_write_ttl_known=True)
    use = cache_use(card(), counts)
    assert (use.saved_pico_usd, use.premium_pico_usd) == (0, 412_500_000_000 * 10)
    assert use.net_pico_usd == -4_125_000_000_000


def test_without_a_rate_the_saving_is_unknown_and_not_zero() -> None:
    counts = Counts(10, 20, cache_read_tokens=500, cache_write_5m_tokens=7)
    assert cache_use(None, counts) == CacheUse(unrated_tokens=507)
    assert cache_use(card(MICRO), counts) == CacheUse(unrated_tokens=507)
    assert cache_use(None, Counts(10, 20)).is_zero()


def entry(posted: Poster, number: int, counts: Counts, **more: str) -> Entry:
    one = call(number, counts, **more)
    return Entry(one.key, one.evidence, posted.post(one.evidence))


def test_the_dearest_calls_are_kept_whatever_the_order() -> None:
    posted = poster()
    entries = [entry(posted, number, Counts(100 * (number // 2), 1)) for number in range(40)]
    entries += [entry(posted, 100 + number, Counts(5_000, 1), user="ben") for number in range(5)]
    found = []
    for seed in range(3):
        random.Random(seed).shuffle(entries)
        survey = Survey(["user/111122223333/alice"], lambda _: None, calls_max=5)
        survey.add(entries[:20])
        survey.add(entries[20:])
        found.append(survey.calls("user/111122223333/alice"))
        assert survey.calls("user/111122223333/ben") == ()
    assert found[0] == found[1] == found[2]
    assert [line.input_tokens for line in found[0]] == [1_900, 1_900, 1_800, 1_800, 1_700]
    # Of equally dear calls the first by key is named first, and is the one that is kept.
    assert [line.key for line in found[0]][:2] == sorted(line.key for line in found[0][:2])
    assert found[0][4].request_id.startswith(f"{34:08x}")


def test_calls_without_a_cost_are_not_dear() -> None:
    posted = poster()
    survey = Survey(["user/111122223333/alice"], lambda _: None)
    survey.add([entry(posted, 1, Counts(10, 10), model="acme.unknown-v1:0")])
    assert survey.calls("user/111122223333/alice") == ()


def test_a_survey_and_balances_agree_where_rates_are_the_same() -> None:
    posted = poster()
    entries = [
        entry(posted, number, Counts(10, 20, 1_000 * number, 300), model=SONNET)
        for number in range(1, 6)
    ]
    survey = Survey([], lambda one: posted.terms(one).card)
    survey.add(entries)
    leaf, amounts = entries[0].posting.leaf, Amounts()
    for one in entries:
        counts = one.evidence.counts
        amounts.add(
            Amounts(
                calls=1,
                input_tokens=10,
                output_tokens=20,
                cache_read_tokens=counts.cache_read_tokens,
                cache_write_5m_tokens=300,
            )
        )
    nothing = (Leaf("p", "p", "", "", "", "1", MICRO, leaf.day), Amounts(1, 5))
    by_model = cache_use_of_balances([(leaf, amounts), nothing], lambda model, _: card(model))
    assert survey.cache == by_model
    # 15,000 reads at 3.30 less 0.33 a million.
    assert by_model[SONNET].saved_pico_usd == 44_550_000_000
