"""The differential, against a stand-in for the package and against the package where installed."""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from worker.adapters.catalogue_files import load_catalogue
from worker.adapters.genai_prices_reference import PACKAGE, GenaiPricesReference
from worker.core.catalogue import Catalogue
from worker.core.catalogue_text import parse_instant, parse_rates
from worker.core.errors import ConfigurationError
from worker.core.evidence import Counts

NOW = parse_instant("2026-11-22")
CALLS: list[dict[str, Any]] = []


def calc_price(usage: SimpleNamespace, **call: Any) -> SimpleNamespace:
    """Prices of `m`: 3 in, 15 out, cached tokens as input; nothing else is known."""
    CALLS.append(call | {"usage": usage})
    if call["model_ref"] != "us.m":
        raise LookupError(call["model_ref"])
    total = Decimal(3 * usage.input_tokens + 15 * usage.output_tokens) / 10**6
    return SimpleNamespace(total_price=total)


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> GenaiPricesReference:
    CALLS.clear()
    package = SimpleNamespace(Usage=SimpleNamespace, calc_price=calc_price)
    monkeypatch.setitem(sys.modules, PACKAGE, package)
    version: Callable[[str], str] = lambda _: "9.9"  # noqa: E731
    monkeypatch.setattr(importlib.metadata, "version", version)
    return GenaiPricesReference()


def catalogue(*rows: str) -> Catalogue:
    header = "model,routing,unit,above_input_tokens,usd,sources"
    return Catalogue(parse_rates("\n".join([header, *rows]), "rates.csv"), (), ())


def test_cached_tokens_are_part_of_the_packages_input(reference: GenaiPricesReference) -> None:
    price = reference.price("us.m", Counts(1, 2, 30, 400, 5000), NOW)
    assert price == Decimal("0.016323")
    usage = CALLS[-1]["usage"]
    assert (usage.input_tokens, usage.cache_read_tokens) == (5431, 30)
    assert (usage.cache_write_tokens, usage.cache_write_1h_tokens) == (5400, 5000)
    assert CALLS[-1]["genai_request_timestamp"] == datetime(2026, 11, 22, tzinfo=UTC)
    assert reference.price("unknown", Counts(1), NOW) is None


def test_a_difference_names_the_rate_and_explains_what_the_package_lacks(
    reference: GenaiPricesReference,
) -> None:
    prices = catalogue(
        "m,regional,input_tokens,0,3,genai-prices 9.9",
        "m,regional,output_tokens,0,16,genai-prices 9.9",
        "m,regional,cache_read_tokens,0,0.3,litellm 1.1",
        "m,global,input_tokens,0,3,litellm 1.1",
        "n,regional,input_tokens,0,3,litellm 1.1",
        "p,regional,images,0,1,litellm 1.1",
    )
    outcome = reference.differential(prices, NOW)
    assert (outcome.version, outcome.probes) == ("9.9", 3)
    assert outcome.unknown == (("m", "global"), ("n", "regional"))
    output, cached = outcome.differences
    assert (output.model, output.routing, output.unit) == ("m", "regional", "output_tokens")
    assert (output.catalogue_usd, output.reference_usd) == ("0.016", "0.015")
    assert output.explanation is None
    assert (cached.catalogue_usd, cached.reference_usd) == ("0.0003", "0.003")
    assert cached.explanation == "litellm 1.1"


def test_every_bracket_is_probed(reference: GenaiPricesReference) -> None:
    prices = catalogue(
        "m,regional,input_tokens,0,3,genai-prices 9.9",
        "m,regional,input_tokens,1000,6,litellm 1.1",
    )
    (difference,) = reference.differential(prices, NOW).differences
    assert difference.above_input_tokens == 1000
    assert (difference.catalogue_usd, difference.reference_usd) == ("0.012006", "0.006003")
    assert difference.explanation == "litellm 1.1"


def test_a_missing_package_is_said_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'ledgerock\[prices\]'"):
        GenaiPricesReference()


@pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason="genai-prices is not installed"
)
def test_the_catalogue_differs_from_the_package_only_where_it_says_so() -> None:
    outcome = GenaiPricesReference().differential(load_catalogue(), NOW)
    assert outcome.probes > 400
    assert [d for d in outcome.differences if d.explanation is None] == []
