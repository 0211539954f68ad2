import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import UNKNOWN

SONNET_4_5 = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:eu-west-1:111122223333:inference-profile"


def show(run: Run, *arguments: str, code: int = 0) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("prices", "show", *arguments, "--json", code=code))
    return document


def usd(answer: dict[str, Any], unit: str, above: int = 0) -> str:
    (rate,) = [
        rate
        for rate in answer["rates"]
        if (rate["unit"], rate["above_input_tokens"]) == (unit, above)
    ]
    price: str = rate["usd_per_million"] or rate["usd_per_unit"]
    return price


@pytest.mark.parametrize(
    "model_id, routing, region, price",
    [
        # AWS documentation: "Amazon Bedrock pricing"; regional is 1.1 x global.
        (SONNET_4_5, "regional", None, "3.3"),
        (f"us.{SONNET_4_5}", "regional", None, "3.3"),
        (f"global.{SONNET_4_5}", "global", None, "3"),
        (f"{PROFILE}/eu.{SONNET_4_5}", "regional", "eu-west-1", "3.3"),
    ],
)
def test_any_form_of_a_model_id_finds_its_rates(
    run: Run, model_id: str, routing: str, region: str | None, price: str
) -> None:
    answer = show(run, model_id)
    assert (answer["model"], answer["routing"], answer["region"]) == (SONNET_4_5, routing, region)
    assert usd(answer, "input_tokens") == price
    assert all(rate["source"] and rate["confidence"] for rate in answer["rates"])


def test_routing_tier_region_and_time_can_be_asked_for(run: Run) -> None:
    assert usd(show(run, SONNET_4_5, "--routing", "global"), "output_tokens") == "15"
    batch = show(run, "amazon.nova-pro-v1:0", "--tier", "batch", "--region", "us-east-1")
    assert usd(batch, "input_tokens") == "0.4"
    before = show(run, SONNET_4_5, "--at", "2023-01-01")
    assert before["rates"] == []
    assert before["reason"] == f"no rate for model {SONNET_4_5} at 2023-01-01T00:00:00Z"


def test_the_table_names_units_dates_and_sources(run: Run) -> None:
    text = run("prices", "show", "amazon.nova-micro-v1:0", "--region", "us-east-1")
    row = next(line for line in text.splitlines() if line.startswith("input_tokens "))
    assert row.split()[1:6] == ["0.035", "1M", "tokens", "from", "2023-09-28"]
    assert "prices show amazon.bedrock-guardrail" in text
    assert "guardrail_topic_units" not in text
    assert "guardrail_topic_units" in run("prices", "show", "amazon.bedrock-guardrail")


def test_rates_of_ones_own_win_and_end_when_they_say(run: Run, folder: Path) -> None:
    (folder / "ours.csv").write_text(
        "model,unit,usd,effective_from,effective_to,note\n"
        f"{UNKNOWN},input_tokens,1.5,2026-01-01,2026-07-01,agreed in January\n"
        f"{UNKNOWN},input_tokens,2,2026-07-01,,\n"
    )
    arguments = (UNKNOWN, "--prices", "ours.csv", "--at")
    (first,) = [r for r in show(run, *arguments, "2026-06-30")["rates"] if r["unit"][0] == "i"]
    assert (first["usd_per_million"], first["confidence"]) == ("1.5", "operator")
    assert first["effective_to"] == "2026-07-01T00:00:00Z"
    assert first["note"] == "agreed in January"
    assert usd(show(run, *arguments, "2026-07"), "input_tokens") == "2"
    text = run("prices", "show", *arguments, "2026-06-30")
    assert "from 2026-01-01 until 2026-07-01" in text
    assert "agreed in January" in text


def test_a_rate_of_ones_own_is_shown_for_every_length_and_tier(run: Run, folder: Path) -> None:
    sonnet = "anthropic.claude-sonnet-4-20250514-v1:0"
    assert usd(show(run, sonnet), "input_tokens", 200_000) == "6"
    (folder / "ours.csv").write_text(f"model,unit,usd\n{sonnet},input_tokens,2\n")
    answer = show(run, sonnet, "--prices", "ours.csv")
    places = {(rate["unit"], rate["above_input_tokens"]) for rate in answer["rates"]}
    assert usd(answer, "input_tokens") == "2"
    assert ("input_tokens", 200_000) not in places
    assert ("output_tokens", 200_000) in places
    batch = show(run, sonnet, "--prices", "ours.csv", "--tier", "batch")
    assert usd(batch, "input_tokens") == "1"
    assert "assumed: no batch rate is listed; the standard rate times 1/2 is used" in run(
        "prices", "show", sonnet, "--prices", "ours.csv", "--tier", "batch"
    )


def test_rows_that_no_call_would_use_are_refused_or_warned_of(run: Run, folder: Path) -> None:
    check = ("prices", "check", "--prices", "ours.csv")
    ours = folder / "ours.csv"
    ours.write_text(f"model,unit,usd\n{UNKNOWN},input_token,1\n")
    run(*check, code=2, error="ours.csv:2: unit: found 'input_token', expected one of input_tokens")
    ours.write_text(f"model,unit,usd\nus.{UNKNOWN},input_tokens,1\n")
    run(*check, code=2, error=f"expected '{UNKNOWN}': the model's id alone")
    ours.write_text(f"model,unit,usd,region\n{UNKNOWN},input_tokens,1,us-esat-1\n")
    found = json.loads(run(*check, "--json"))["findings"]
    assert ["us-esat-1" in item["message"] for item in found if item["rule"] == "known Region"] == [
        True
    ]


def test_an_unknown_model_gets_suggestions_and_exit_code_1(run: Run) -> None:
    answer = show(run, "amazon.nova-por", code=1)
    assert answer["known"] is False
    assert "amazon.nova-pro-v1:0" in answer["suggestions"]
    text = run("prices", "show", "amazon.nova-por", code=1)
    assert "did you mean: amazon.nova-pro-v1:0" in text
    assert "--prices FILE" in run("prices", "show", "zzz.qqqqqq", code=1)


def test_part_of_a_name_is_enough_for_suggestions(run: Run) -> None:
    assert SONNET_4_5 in show(run, "sonnet-4-5", code=1)["suggestions"]


def test_what_is_not_billed_by_token_is_an_answer(run: Run) -> None:
    answer = show(run, "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abc123")
    assert answer["rates"] == []
    assert "billed by the hour" in answer["reason"]
    reserved = show(run, SONNET_4_5, "--tier", "reserved")
    assert "committed tokens" in reserved["reason"]


def test_an_assumed_rate_says_what_it_assumes(run: Run) -> None:
    text = run("prices", "show", "amazon.nova-micro-v1:0", "--routing", "global")
    assert "assumed: no global rate is listed" in text


def test_wrong_choices_are_argument_errors(run: Run) -> None:
    run("prices", "show", SONNET_4_5, "--tier", "gold", code=2, error="--tier 'gold': give one of")
    run("prices", "show", SONNET_4_5, "--routing", "local", code=2, error="--routing 'local'")
    run("prices", "show", SONNET_4_5, "--at", "now", code=2, error="'--at': 'now' is no time")


def test_the_packaged_catalogue_passes_its_own_check(run: Run) -> None:
    document = json.loads(run("prices", "check", "--json"))
    assert document["errors"] == 0
    assert document["coverage"]["models"] > 100
    covered = document["coverage"]
    assert covered["models_with_rates"] + covered["models_with_reason"] == covered["models"]
    text = run("prices", "check")
    assert "0 errors" in text
    assert "genai-prices" in text


def test_a_rate_that_must_be_wrong_fails_the_check(run: Run, folder: Path) -> None:
    (folder / "ours.csv").write_text(f"model,unit,usd\n{UNKNOWN},input_tokens,0\n")
    text = run("prices", "check", "--prices", "ours.csv", code=1)
    row = next(line for line in text.splitlines() if line.startswith("error"))
    assert UNKNOWN in row
    assert "ours.csv:2" in row


def test_the_check_runs_without_the_reference_and_says_how_to_get_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    text = run("prices", "check")
    assert "0 errors" in text
    assert "not compared with genai-prices: that package is not installed; `make setup`" in text
    assert "`pip install genai-prices`" in text
    document = json.loads(run("prices", "check", "--json"))
    assert document["differential"]["ran"] is False


def test_a_note_on_several_rates_is_shown_once(run: Run, folder: Path) -> None:
    (folder / "ours.csv").write_text(
        "model,unit,usd,note\n"
        f"{UNKNOWN},input_tokens,1.5,agreed in January\n"
        f"{UNKNOWN},output_tokens,2,agreed in January\n"
        f"{UNKNOWN},images,2,a guess\n"
    )
    text = run("prices", "show", UNKNOWN, "--prices", "ours.csv")
    assert "* input_tokens, output_tokens: agreed in January\n" in text
    assert "* images: a guess\n" in text
