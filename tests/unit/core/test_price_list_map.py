import pytest

from worker.adapters.catalogue_files import load_catalogue
from worker.adapters.price_list import load_price_map
from worker.core.catalogue_text import parse_rates
from worker.core.errors import ConfigurationError
from worker.core.price_list_map import parse_map


def test_every_model_of_the_packaged_map_is_in_the_catalogue() -> None:
    catalogue = load_catalogue()
    unknown = {model for model in load_price_map().names.values() if not catalogue.knows(model)}
    assert not unknown


def test_every_unit_and_tier_of_the_packaged_map_can_be_a_row() -> None:
    price_map = load_price_map()
    tiers = {modifier.tier or "standard" for modifier in price_map.modifiers.values()}
    rows = [f"m,{tier},{u}" for tier in tiers for u in set(price_map.dimensions.values())]
    text = "\n".join(f"{row},1" for row in rows)
    assert len(parse_rates(f"model,tier,unit,usd\n{text}\n", "test")) == len(rows)


def test_the_first_file_that_says_something_wins() -> None:
    price_map = parse_map(
        [
            ('[names]\n"Nova-Pro" = "ours"\n[units]\n"1K Tokens" = 1024', "own"),
            ('[names]\n"nova pro" = "theirs"\n[units]\n"1k tokens" = 1000', "packaged"),
        ]
    )
    assert price_map.names == {"novapro": "ours"}
    assert price_map.units == {("1k", "tokens"): 1024}


@pytest.mark.parametrize(
    "text, problem",
    [
        ("names = [", "own.toml: not valid TOML"),
        ("[nmaes]", "own.toml: Object contains unknown field `nmaes`"),
        ('[modifiers]\nx = { routing = "local" }', "own.toml: Invalid enum value 'local'"),
        ('[names]\n"--" = "m"', "own.toml: '--': has no letters or digits"),
        ("[units]\nx = 0", "own.toml: units: 'x': found 0, expected at least 1"),
        (
            '[[skip]]\nfield = "colour"\npattern = "x"\nreason = "y"',
            "own.toml: skip: field: found 'colour', expected one of sku,",
        ),
        (
            '[[skip]]\nfield = "sku"\npattern = "("\nreason = "y"',
            r"own.toml: skip: '\(' is no regular expression",
        ),
        ('[[row]]\nmatch = {}\nmodel = "m"\nunit = "u"', "own.toml: row: match: found nothing"),
    ],
)
def test_a_map_that_is_none_says_where(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        parse_map([(text, "own.toml")])
