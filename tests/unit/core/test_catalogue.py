import pickle
from fractions import Fraction

import pytest

from worker.core.catalogue import CARDS_CACHED_MAX, Catalogue
from worker.core.catalogue_rows import BEDROCK_LAUNCH_MS, ModelEntry, TierRule
from worker.core.catalogue_text import parse_instant, parse_rates
from worker.core.errors import ConfigurationError
from worker.core.evidence import Counts
from worker.core.money import format_atto_usd, format_pico_usd
from worker.core.pricing import GUARDRAIL_MODEL, TOKEN_UNITS, RateCard, charge

NOW = parse_instant("2026-11-22")
HALF = TierRule(tier="flex", multiplier=Fraction(1, 2), source="published")


def catalogue(rows: str, override: str = "", models: tuple[ModelEntry, ...] = ()) -> Catalogue:
    """A catalogue from `model unit usd [column=value ...]` lines, one row each."""
    parsed = parse_rates(table(rows), "rates.csv")
    if override:
        parsed += parse_rates(table(override), "override.csv", override=True)
    return Catalogue(parsed, models, (HALF,))


def table(rows: str) -> str:
    columns = ["model", "unit", "usd", "routing", "region", "tier", "above_input_tokens"]
    columns += ["effective_from", "effective_to", "per"]
    lines = [",".join(columns)]
    for row in rows.strip().splitlines():
        model, unit, usd, *rest = row.split()
        given = dict(pair.split("=", 1) for pair in rest)
        values = {"model": model, "unit": unit, "usd": usd} | given
        lines.append(",".join(values.get(column, "") for column in columns))
    return "\n".join(lines)


def card(
    prices: Catalogue,
    routing: str = "regional",
    region: str = "us-east-1",
    tier: str = "standard",
    at_ms: int = NOW,
) -> RateCard:
    found = prices.card("acme.m", routing, region, tier, at_ms)
    assert found is not None
    return found


def usd_per_million(found: RateCard, unit: str = "input_tokens") -> str | None:
    rate = found.tokens[TOKEN_UNITS.index(unit)]
    return None if rate is None else format_atto_usd(rate * 10**6)


def test_the_most_specific_place_wins() -> None:
    prices = catalogue("""
        acme.m input_tokens 1
        acme.m input_tokens 2 region=eu-*
        acme.m input_tokens 3 region=eu-west-1
        acme.m input_tokens 4 routing=regional region=us-gov-*
    """)
    regions = ("us-east-1", "eu-west-3", "eu-west-1", "us-gov-west-1", "")
    found = [usd_per_million(card(prices, region=region)) for region in regions]
    assert found == ["1", "2", "3", "4", "1"]


def test_a_row_of_the_routing_wins_over_one_of_any_routing() -> None:
    prices = catalogue("""
        acme.m input_tokens 1
        acme.m input_tokens 1.1 routing=regional
    """)
    assert usd_per_million(card(prices, "regional")) == "1.1"
    assert usd_per_million(card(prices, "global")) == "1"
    assert card(prices, "global").assumed_routing_reason is None


def test_the_other_routing_is_used_only_as_a_stated_assumption() -> None:
    prices = catalogue("acme.m input_tokens 1 routing=regional")
    found = card(prices, "global")
    assert usd_per_million(found) == "1"
    assert found.assumed_routing_reason == "no global rate is listed; the regional rate is used"
    assert charge(found, Counts(1)).assumed_reason == found.assumed_routing_reason


def test_a_tier_without_rows_is_the_standard_rate_times_the_multiplier() -> None:
    prices = catalogue("""
        acme.m input_tokens 3
        acme.m output_tokens 15
        acme.m output_tokens 8 tier=flex
    """)
    found = card(prices, tier="flex")
    assert usd_per_million(found) == "1.5"
    assert usd_per_million(found, "output_tokens") == "8"
    assert "times 1/2" in (found.assumed_tier_reason or "")
    assert charge(found, Counts(0, 1)).assumed_reason is None
    assert charge(found, Counts(1, 1)).assumed_reason == found.assumed_tier_reason


def test_a_tier_without_rows_or_multiplier_is_the_standard_rate_and_says_so() -> None:
    found = card(catalogue("acme.m input_tokens 3"), tier="turbo")
    assert usd_per_million(found) == "3"
    assert "no multiplier is known" in (found.assumed_tier_reason or "")


def test_a_region_with_its_own_standard_rate_does_not_take_the_general_rate_of_a_tier() -> None:
    prices = catalogue("""
        acme.m input_tokens 3
        acme.m input_tokens 1.5 tier=flex
        acme.m input_tokens 4 region=eu-*
    """)
    assert usd_per_million(card(prices, tier="flex")) == "1.5"
    european = card(prices, region="eu-west-1", tier="flex")
    assert usd_per_million(european) == "2"
    assert european.assumed_tier_reason is not None


def test_the_reserved_tier_has_no_card_and_default_means_standard() -> None:
    prices = catalogue("acme.m input_tokens 3")
    assert prices.card("acme.m", "regional", "us-east-1", "reserved", NOW) is None
    assert prices.card("acme.m", "regional", "us-east-1", "default", NOW) is card(prices)
    assert prices.card("acme.m", "regional", "us-east-1", "", NOW) is card(prices)


def test_a_rate_holds_from_its_first_instant_until_its_last() -> None:
    prices = catalogue("""
        acme.m input_tokens 5 effective_to=2026-08-21
        acme.m input_tokens 4 effective_from=2026-08-21 effective_to=2026-10-01T12:00:00+02:00
    """)
    change = parse_instant("2026-08-21T00:00:00Z")
    end = parse_instant("2026-10-01T10:00:00Z")
    assert usd_per_million(card(prices, at_ms=change - 1)) == "5"
    assert usd_per_million(card(prices, at_ms=change)) == "4"
    assert usd_per_million(card(prices, at_ms=end - 1)) == "4"
    assert prices.card("acme.m", "regional", "us-east-1", "standard", end) is None
    before = BEDROCK_LAUNCH_MS - 1
    assert prices.card("acme.m", "regional", "us-east-1", "standard", before) is None
    assert prices.boundaries_ms == (BEDROCK_LAUNCH_MS, change, end)


@pytest.mark.parametrize(
    "second",
    [
        "acme.m input_tokens 4 effective_from=2026-08-20",
        "acme.m input_tokens 4",
        "acme.m input_tokens 5 effective_to=2026-08-21",
        "alias input_tokens 5 effective_from=2026-01-01 effective_to=2026-01-02",
    ],
)
def test_rows_of_one_key_must_not_overlap(second: str) -> None:
    rows = f"acme.m input_tokens 5 effective_to=2026-08-21\n{second}"
    with pytest.raises(ConfigurationError, match=r"rates\.csv:[23]: overlaps in time with"):
        catalogue(rows, models=(ModelEntry("acme.m", "text", "", ("alias",)),))


def test_an_operators_row_wins_wherever_it_matches_and_only_while_it_is_in_effect() -> None:
    prices = catalogue(
        """
        acme.m input_tokens 3.3 routing=regional
        acme.m input_tokens 3.9 routing=regional region=eu-west-1
        acme.m input_tokens 1.65 routing=regional tier=flex
        acme.m output_tokens 16.5 routing=regional
        """,
        override="acme.m input_tokens 2 effective_from=2026-06-01 effective_to=2027-01-01",
    )
    assert usd_per_million(card(prices)) == "2"
    assert usd_per_million(card(prices, region="eu-west-1")) == "2"
    assert usd_per_million(card(prices, "global")) == "2"
    assert usd_per_million(card(prices), "output_tokens") == "16.5"
    assert usd_per_million(card(prices, at_ms=parse_instant("2026-05-31"))) == "3.3"
    assert usd_per_million(card(prices, at_ms=parse_instant("2027-01-01"))) == "3.3"
    # Half of the operator's rate while there is one, the table's own rate outside that time.
    flex = card(prices, tier="flex")
    assert usd_per_million(flex) == "1"
    assert flex.assumed_tier_reason == "no flex rate is listed; the standard rate times 1/2 is used"
    earlier = card(prices, tier="flex", at_ms=parse_instant("2026-05-31"))
    assert (usd_per_million(earlier), earlier.assumes) == ("1.65", True)
    assert earlier.rates["input_tokens", 0].assumed is None


def test_an_operators_row_adds_a_model() -> None:
    prices = catalogue("acme.m input_tokens 3", override="acme.mine requests 0.25")
    found = prices.card("acme.mine", "regional", "us-east-1", "standard", NOW)
    assert found is not None
    result = charge(found, Counts(units=(("requests", 3),)))
    assert format_pico_usd(result.cost_pico_usd) == "0.75"
    assert prices.kind("acme.mine") is None
    assert prices.knows("acme.mine")


def test_an_operators_row_for_a_tier_wins_and_decides_that_tier_alone() -> None:
    prices = catalogue(
        """
        acme.m input_tokens 3
        acme.m input_tokens 1.5 tier=flex
        """,
        override="""
        acme.m input_tokens 2
        acme.m input_tokens 0.7 tier=flex
        """,
    )
    assert (usd_per_million(card(prices)), usd_per_million(card(prices, tier="flex"))) == (
        "2",
        "0.7",
    )
    assert not card(prices, tier="flex").assumes
    tier_only = catalogue("acme.m input_tokens 3", override="acme.m input_tokens 0.7 tier=flex")
    assert usd_per_million(card(tier_only)) == "3"
    assert usd_per_million(card(tier_only, tier="flex")) == "0.7"


def test_a_listed_tier_without_a_multiplier_stays_beside_an_operators_standard_rate() -> None:
    prices = catalogue(
        """
        acme.m input_tokens 3
        acme.m input_tokens 12 tier=ultrafast
        acme.m output_tokens 15
        """,
        override="""
        acme.m input_tokens 2
        acme.m output_tokens 10
        """,
    )
    found = card(prices, tier="ultrafast")
    assert (usd_per_million(found), usd_per_million(found, "output_tokens")) == ("12", "10")
    assert found.rates["input_tokens", 0].assumed is None
    assert "no multiplier is known" in (found.rates["output_tokens", 0].assumed or "")


def test_an_operators_rate_holds_for_every_length_of_context() -> None:
    listed = """
        acme.m input_tokens 3
        acme.m output_tokens 15
        acme.m input_tokens 6 above_input_tokens=200000
        acme.m output_tokens 22.5 above_input_tokens=200000
        acme.m input_tokens 3 tier=flex above_input_tokens=200000
    """
    prices = catalogue(listed, override="acme.m input_tokens 2 effective_to=2027-01-01")
    found = card(prices)
    assert ("input_tokens", 200_000) not in found.rates
    # (200,001 x 2 + 10 x 22.5) / 1,000,000: the output keeps its long-context rate.
    long = charge(found, Counts(200_001, 10))
    assert (format_pico_usd(long.cost_pico_usd), long.assumed_reason) == ("0.400227", None)
    flex = charge(card(prices, tier="flex"), Counts(200_001))
    assert format_pico_usd(flex.cost_pico_usd) == "0.200001"
    after = card(prices, at_ms=parse_instant("2027-01-01"))
    assert format_pico_usd(charge(after, Counts(200_001)).cost_pico_usd) == "1.200006"


def test_an_operators_own_bracket_covers_longer_contexts_too() -> None:
    prices = catalogue(
        """
        acme.m input_tokens 3 region=us-*
        acme.m input_tokens 6 above_input_tokens=200000
        """,
        override="acme.m input_tokens 4 above_input_tokens=100000",
    )
    found = card(prices)
    costs = [charge(found, Counts(tokens)) for tokens in (100_000, 100_001, 200_001)]
    # x 3, then x 4, per million: 6 is the table's rate of a length that the operator's row covers.
    assert [format_pico_usd(cost.cost_pico_usd) for cost in costs] == [
        "0.3",
        "0.400004",
        "0.800004",
    ]
    assert {cost.assumed_reason for cost in costs} == {None}


def test_an_unlisted_model_with_rates_in_and_out_makes_text() -> None:
    prices = catalogue(
        "acme.m input_tokens 3",
        override="""
        acme.talker input_tokens 1
        acme.talker output_tokens 5
        acme.vector input_tokens 1
        """,
    )
    kinds = {}
    for name in ("acme.talker", "acme.vector"):
        found = prices.card(name, "regional", "us-east-1", "standard", NOW)
        assert found is not None
        kinds[name] = (found.kind, prices.kind(name))
    assert kinds == {"acme.talker": ("text", "text"), "acme.vector": ("", None)}


def test_a_general_rate_is_an_assumption_in_another_partition_of_a_model_priced_by_region() -> None:
    prices = catalogue("""
        acme.m input_tokens 3
        acme.m input_tokens 4 region=us-gov-west-1
    """)
    for region in ("cn-north-1", "us-gov-east-1", "us-iso-east-1", "us-isob-east-1"):
        found = charge(card(prices, region=region), Counts(10))
        assert found.assumed_reason == f"no rate for Region {region}; the general one is used"
        assert format_pico_usd(found.cost_pico_usd) == "0.00003"
    for region in ("us-gov-west-1", "eu-west-1", "us-east-1", ""):
        assert not card(prices, region=region).assumes
    assert not card(catalogue("acme.m input_tokens 3"), region="cn-north-1").assumes
    mine = catalogue("acme.m input_tokens 3 region=eu-*", override="acme.m input_tokens 2")
    assert not card(mine, region="cn-north-1").assumes


def test_the_launch_is_a_boundary_so_that_no_rate_before_it_is_kept_for_after() -> None:
    prices = catalogue("acme.m input_tokens 3")
    assert prices.boundaries_ms == (BEDROCK_LAUNCH_MS,)
    before = prices.card("acme.m", "regional", "us-east-1", "standard", BEDROCK_LAUNCH_MS - 1)
    assert before is None
    assert usd_per_million(card(prices, at_ms=BEDROCK_LAUNCH_MS)) == "3"


def test_aliases_and_context_suffixes_mean_the_canonical_model() -> None:
    entries = (
        ModelEntry("m-v1:0", "text", "", ("m", "m-v1")),
        ModelEntry("reel", "video", "no table lists it", ()),
    )
    prices = catalogue("m-v1:0 input_tokens 1", models=entries)
    for name in ("m-v1:0", "m", "m-v1", "m-v1:0:300k"):
        assert prices.canonical(name) == "m-v1:0"
        assert prices.card(name, "regional", "us-east-1", "standard", NOW) is not None
    assert prices.canonical("other:0:300k") == "other:0:300k"
    assert not prices.knows("other")
    assert (prices.kind("m"), prices.reason("m")) == ("text", None)
    assert (prices.kind("reel"), prices.reason("reel")) == ("video", "no table lists it")
    assert prices.card("reel", "regional", "us-east-1", "standard", NOW) is None
    assert (prices.kind("other"), prices.reason("other")) == (None, None)
    assert len(prices.model_rows("m")) == 1


@pytest.mark.parametrize("aliases", [("a", "b"), ("b", "a")])
def test_an_alias_means_one_model(aliases: tuple[str, str]) -> None:
    entries = (ModelEntry("a", "text", "", ()), ModelEntry("x", "text", "", aliases))
    with pytest.raises(ConfigurationError, match=r"alias 'a' of 'x' already means 'a'"):
        Catalogue((), entries, ())
    twice = (ModelEntry("x", "text", "", ("b",)), ModelEntry("y", "text", "", ("b",)))
    with pytest.raises(ConfigurationError, match=r"alias 'b' of 'y' already means 'x'"):
        Catalogue((), twice, ())


def test_brackets_resolve_by_place_and_say_when_they_are_too_general() -> None:
    prices = catalogue("""
        acme.m input_tokens 3
        acme.m output_tokens 15
        acme.m input_tokens 6 above_input_tokens=200000
        acme.m input_tokens 4 region=eu-*
    """)
    american = card(prices)
    assert [threshold for threshold, _ in american.long_context] == [200_000]
    # 200,001 x 6 + 10 x 15, per million: the bracket lists no output rate of its own.
    assert format_pico_usd(charge(american, Counts(200_001, 10)).cost_pico_usd) == "1.200156"
    european = card(prices, region="eu-west-1")
    assert charge(european, Counts(200_000)).assumed_reason is None
    reason = charge(european, Counts(200_001)).assumed_reason
    assert reason == "no long-context rate is listed for eu-*; the general one is used"
    closer = catalogue("""
        acme.m input_tokens 3
        acme.m input_tokens 6 region=eu-* above_input_tokens=200000
    """)
    assert charge(card(closer, region="eu-west-1"), Counts(200_001)).assumed_reason is None


def test_guardrail_units_are_rated_beside_any_model_at_one_price_for_every_tier() -> None:
    prices = catalogue(f"""
        acme.m input_tokens 3
        acme.m input_tokens 1.5 tier=flex
        {GUARDRAIL_MODEL} guardrail_topic_units 0.00015 effective_to=2026-12-01
        {GUARDRAIL_MODEL} guardrail_topic_units 0.0002 effective_from=2026-12-01
    """)
    counts = Counts(1000, units=(("guardrail_topic_units", 2),))
    result = charge(card(prices, tier="flex"), counts)
    assert format_pico_usd(result.cost_pico_usd) == "0.0018"
    assert result.assumed_reason is None
    later = card(prices, at_ms=parse_instant("2026-12-01"))
    assert format_pico_usd(charge(later, counts).cost_pico_usd) == "0.0034"


def test_the_revision_follows_content_and_not_order_or_wording() -> None:
    rows = ["acme.m input_tokens 3", "acme.m output_tokens 15", "acme.n input_tokens 1 region=eu-*"]
    forwards, backwards = catalogue("\n".join(rows)), catalogue("\n".join(reversed(rows)))
    assert forwards.revision == backwards.revision
    assert catalogue("\n".join(rows[:2])).revision != forwards.revision
    assert catalogue("\n".join([*rows[:2], "acme.n input_tokens 1"])).revision != forwards.revision
    operators = catalogue("\n".join(rows[:2]), override=rows[2])
    assert operators.revision != forwards.revision
    noted = parse_rates("model,unit,usd,note\nm,input_tokens,3,why\n", "other.csv")
    plain = parse_rates("model,unit,usd\nm,input_tokens,3.0\n", "rates.csv")
    assert Catalogue(noted, (), ()).revision == Catalogue(plain, (), ()).revision


def test_the_cache_of_cards_is_bounded() -> None:
    prices = catalogue("acme.m input_tokens 3")
    for number in range(CARDS_CACHED_MAX + 10):
        prices.card("acme.m", "regional", f"made-up-{number}", "standard", NOW)
        prices.card(f"unknown-{number}", "regional", "us-east-1", "standard", NOW)
    assert len(prices._cards) <= CARDS_CACHED_MAX
    assert card(prices) is card(prices)


def test_a_catalogue_can_be_sent_to_another_process() -> None:
    prices = catalogue("acme.m input_tokens 3")
    copy: Catalogue = pickle.loads(pickle.dumps(prices))
    assert copy.revision == prices.revision
    assert usd_per_million(card(copy, tier="flex")) == "1.5"
