import pytest

from worker.core.catalogue import Catalogue
from worker.core.catalogue_check import check_catalogue, coverage
from worker.core.catalogue_rows import ModelEntry
from worker.core.catalogue_text import parse_rates, parse_tiers

TIERS = parse_tiers("tier,multiplier\nflex,0.5\npriority,1.75\n", "tiers.csv")
CLAUDE = "anthropic.claude-x"


def catalogue(*rows: str, kind: str = "text", reason: str = "") -> Catalogue:
    """A catalogue from `model unit usd [routing [region [tier]]]` lines."""
    lines = ["model,unit,usd,routing,region,tier,effective_to,note"]
    for row in rows:
        fields, _, note = row.partition("|")
        values = [*fields.split(), "", "", "", ""][:7]
        lines.append(",".join([*values, note]))
    parsed = parse_rates("\n".join(lines), "rates.csv")
    names = dict.fromkeys(row.model for row in parsed)
    return Catalogue(parsed, [ModelEntry(name, kind, reason, ()) for name in names], TIERS)


def found(prices: Catalogue) -> list[tuple[str, str, str]]:
    return [(f.severity, f.rule, f.origin) for f in check_catalogue(prices)]


def test_rates_that_keep_the_published_ratios_raise_no_finding() -> None:
    prices = catalogue(
        f"{CLAUDE} input_tokens 3.3 regional * standard",
        f"{CLAUDE} input_tokens 3 global * standard",
        f"{CLAUDE} input_tokens 1.65 regional * flex",
        f"{CLAUDE} cache_read_tokens 0.33 regional * standard",
        f"{CLAUDE} cache_write_5m_tokens 4.125 regional * standard",
        f"{CLAUDE} cache_write_1h_tokens 6.6 regional * standard",
        f"{CLAUDE} output_tokens 16.5 regional * standard",
    )
    assert found(prices) == []


@pytest.mark.parametrize(
    "row,rule",
    [
        (f"{CLAUDE} input_tokens 3 global * standard", "regional over global"),
        (f"{CLAUDE} cache_read_tokens 0.4 regional * standard", "cache_read_tokens over"),
        (f"{CLAUDE} cache_write_5m_tokens 3 regional * standard", "cache_write_5m_tokens over"),
        (f"{CLAUDE} cache_write_1h_tokens 3.75 regional * standard", "cache_write_1h_tokens over"),
        (f"{CLAUDE} output_tokens 2.9 regional * standard", "output at least input"),
        (f"{CLAUDE} input_tokens 3 regional * priority", "priority over standard"),
        (f"{CLAUDE} input_tokens 31 regional eu-* standard", "Region spread"),
    ],
)
def test_a_rate_that_breaks_a_rule_is_a_warning_and_info_if_its_note_owns_up(
    row: str, rule: str
) -> None:
    base = f"{CLAUDE} input_tokens 3 regional * standard"
    ((severity, name, _),) = found(catalogue(base, row))
    assert (severity, name.startswith(rule)) == ("warning", True)
    unrelated = catalogue(f"{base}|deviates", f"{row}|deviates as published")
    assert {severity for severity, _, _ in found(unrelated)} == {"info"}


def test_a_note_about_something_else_excuses_nothing() -> None:
    prices = catalogue(
        f"{CLAUDE} input_tokens 3 regional * standard",
        f"{CLAUDE} cache_read_tokens 0.4 regional * standard|another table lists 0.3",
    )
    assert [severity for severity, _, _ in found(prices)] == ["warning"]


def test_a_rate_of_zero_is_an_error_unless_it_is_noted_as_free() -> None:
    assert found(catalogue("m input_tokens 0")) == [("error", "above zero", "rates.csv:2")]
    assert found(catalogue("m words 0|listed at no charge")) == [
        ("info", "above zero", "rates.csv:2")
    ]


def test_a_tier_price_that_is_only_rounded_is_information() -> None:
    prices = catalogue("m input_tokens 0.15", "m input_tokens 0.07 * * flex")
    assert found(prices) == [("info", "flex over standard", "rates.csv:3")]


def test_nova_cache_reads_are_a_quarter_of_the_input() -> None:
    prices = catalogue("amazon.nova-x input_tokens 0.8", "amazon.nova-x cache_read_tokens 0.08")
    assert [rule for _, rule, _ in found(prices)] == ["cache_read_tokens over input_tokens"]


def test_every_model_has_rates_or_a_reason_but_not_both() -> None:
    both = catalogue("m input_tokens 1", reason="none")
    assert found(both) == [("error", "resolves", "models.csv")]
    neither = Catalogue((), [ModelEntry("m", "text", "", ())], ())
    assert found(neither) == [("error", "resolves", "models.csv")]
    rows = parse_rates("model,unit,usd\nm,input_tokens,1\n", "rates.csv")
    assert found(Catalogue(rows, (), ())) == [("error", "resolves", "rates.csv:2")]
    mine = parse_rates("model,unit,usd\nacme.m,input_tokens,1\n", "mine.csv", override=True)
    assert found(Catalogue(mine, (), ())) == [("info", "resolves", "mine.csv:2")]


def test_an_operators_region_that_nobody_lists_is_a_warning() -> None:
    regions = ("us-esat-1", "us-east-1", "ue-*", "us-gov-*", "eusc-de-*", "zz-west-9", "*")
    lines = [f"acme.m,input_tokens,1,{region}" for region in regions]
    mine = parse_rates("\n".join(["model,unit,usd,region", *lines]), "mine.csv", override=True)
    listed = parse_rates("model,unit,usd,region\nx,input_tokens,1,zz-west-9\n", "rates.csv")
    entries = [ModelEntry(name, "text", "", ()) for name in ("acme.m", "x")]
    findings = check_catalogue(Catalogue([*listed, *mine], entries, ()))
    assert [(f.severity, f.rule, f.origin) for f in findings] == [
        ("warning", "known Region", "mine.csv:2"),
        ("warning", "known Region", "mine.csv:4"),
    ]
    assert findings[0].message.startswith("us-esat-1 is not a known Region")


def test_coverage_counts_models_and_confidence() -> None:
    rows = parse_rates(
        "model,unit,usd,confidence\na,input_tokens,1,confirmed\na,output_tokens,2,\nb,images,1,\n",
        "rates.csv",
    )
    entries = [
        ModelEntry("a", "text", "", ()),
        ModelEntry("b", "image", "", ()),
        ModelEntry("c", "video", "no table lists it", ()),
    ]
    counted = coverage(Catalogue(rows, entries, ()))
    assert (counted.models, counted.models_with_rates, counted.models_with_reason) == (3, 2, 1)
    assert counted.rows == 3
    assert counted.rows_by_confidence == {"confirmed": 1, "single-source": 2}
