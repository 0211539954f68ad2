import json
from pathlib import Path
from typing import Any

import pytest

from tests.price_products import marketplace, product
from tests.unit.cli.conftest import Run
from worker.core.catalogue_text import RATE_COLUMNS

HEADER = ",".join(RATE_COLUMNS) + "\n"
NOVA_PRO = "amazon.nova-pro-v1:0"
SONNET_4_5 = "anthropic.claude-sonnet-4-5-20250929-v1:0"

# The packaged catalogue has 0.84 (one table) for Nova Pro in ap-*, 4.2 (one table) in eu-*, 0.8
# confirmed elsewhere, and 3.3 confirmed for Sonnet 4.5.
PRODUCTS = [
    product(
        "CHANGED",
        "0.0009600000",
        region="ap-northeast-1",
        model="Nova Pro",
        inferenceType="Input tokens",
        usagetype="APN1-NovaPro-input-tokens",
    ),
    product("SAME", "0.0008", usagetype="USE1-NovaPro-input-tokens"),
    product("CONFIRMED", "0.0042", region="eu-west-1", usagetype="EU-NovaPro-output-tokens"),
    marketplace("CLAUDE", "3.3", "Claude Sonnet 4.5", "USE1-MP:USE1_InputTokenCount_Batch-Units")
    | {"terms": {}},
    product("RESERVED", "0.07", usagetype="USE1-MP:USE1_Reserved_1Month_InputTPM_Geo-Units"),
]
KNOWN = [PRODUCTS[0], PRODUCTS[1], PRODUCTS[2], PRODUCTS[4]]

CHANGED_ROW = (
    f"{NOVA_PRO},regional,ap-northeast-1,standard,input_tokens,0,0.96,1000000,2026-06-01,,"
    "single-source,AWS Price List (SKU CHANGED),\n"
)
CONFIRMED_ROW = (
    f"{NOVA_PRO},regional,eu-west-1,standard,output_tokens,0,4.2,1000000,2026-06-01,,"
    "confirmed,litellm 1.109.1 (2026-11-22); AWS Price List (SKU CONFIRMED),\n"
)


@pytest.fixture
def saved(folder: Path) -> Path:
    return save(folder, KNOWN)


def save(folder: Path, products: list[dict[str, Any]]) -> Path:
    file = folder / "saved.json"
    file.write_text(json.dumps({"PriceList": [json.dumps(item) for item in products]}))
    return file


def update(run: Run, *arguments: str, code: int = 0) -> dict[str, Any]:
    command = ("prices", "update", "--from-file", "saved.json", "--prices", "ours.csv", "--json")
    document: dict[str, Any] = json.loads(run(*command, *arguments, code=code))
    return document


def test_the_difference_is_shown_and_nothing_is_written(
    run: Run, saved: Path, folder: Path
) -> None:
    document = update(run)
    assert (document["products"], document["rates"], document["unchanged"]) == (4, 3, 1)
    changed, confirmed = document["changes"]
    assert changed == {
        "action": "changed",
        "model": NOVA_PRO,
        "routing": "regional",
        "region": "ap-northeast-1",
        "service_tier": "standard",
        "unit": "input_tokens",
        "above_input_tokens": 0,
        "usd_before": "0.84",
        "usd": "0.96",
        "per": 1000000,
        "effective_from": "2026-06-01",
        "effective_to": None,
        "confidence": "single-source",
        "source": "AWS Price List (SKU CHANGED)",
        "before": changed["before"],
        "ends_before": False,
    }
    assert changed["before"].startswith("amazon.csv:")
    assert (confirmed["action"], confirmed["usd_before"], confirmed["usd"]) == (
        "confirmed",
        "4.2",
        "4.2",
    )
    assert document["skipped"][0]["products"] == 1
    assert document["written"] is None
    assert not (folder / "ours.csv").exists()
    text = run("prices", "update", "--from-file", "saved.json", error="nothing is written yet")
    assert "4 products, 3 rates: 1 as they are, 2 to write" in text
    row = next(line for line in text.splitlines() if line.startswith("changed"))
    assert row.split()[1:9] == [
        *(NOVA_PRO, "regional", "ap-northeast-1", "standard", "input_tokens", "0.84", "0.96"),
        "1M",
    ]


def test_what_is_written_prices_both_sides_of_the_date(run: Run, saved: Path, folder: Path) -> None:
    document = update(run, "--write")
    assert document["written"] == "ours.csv"
    assert document["check"]["errors"] == 0
    assert document["next"][1] == "ledgerock rebook --prices ours.csv --dry-run"
    assert (folder / "ours.csv").read_text() == HEADER + CHANGED_ROW + CONFIRMED_ROW
    show = ("prices", "show", NOVA_PRO, "--region", "ap-northeast-1", "--json")
    prices = [
        next(
            rate["usd_per_million"]
            for rate in json.loads(run(*show, "--prices", "ours.csv", "--at", day))["rates"]
            if rate["unit"] == "input_tokens"
        )
        for day in ("2026-05-31", "2026-06-01")
    ]
    assert prices == ["0.84", "0.96"]
    run("prices", "check", "--prices", "ours.csv")


def test_a_second_run_changes_nothing(run: Run, saved: Path, folder: Path) -> None:
    update(run, "--write")
    first = (folder / "ours.csv").stat().st_mtime_ns
    document = update(run, "--write")
    assert (document["changes"], document["unchanged"]) == ([], 3)
    assert document["written"] is None
    assert (folder / "ours.csv").stat().st_mtime_ns == first
    command = ("prices", "update", "--from-file", "saved.json", "--prices", "ours.csv", "--write")
    assert "nothing to write" in run(*command)


def test_the_next_change_ends_the_row_before_it(run: Run, saved: Path, folder: Path) -> None:
    update(run, "--write")
    save(
        folder,
        [
            product(
                "LATER",
                "0.0009",
                region="ap-northeast-1",
                usagetype="APN1-NovaPro-input-tokens",
                effective="2026-09-01T00:00:00Z",
            )
        ],
    )
    (change,) = update(run, "--write")["changes"]
    assert change["ends_before"] is True
    assert change["before"] == "ours.csv:2"
    assert (folder / "ours.csv").read_text() == (
        HEADER
        + CHANGED_ROW.replace("2026-06-01,,", "2026-06-01,2026-09-01,")
        + CONFIRMED_ROW
        + CHANGED_ROW.replace("0.96", "0.9")
        .replace("2026-06-01", "2026-09-01")
        .replace("CHANGED", "LATER")
    )


def test_another_file_can_be_written(run: Run, saved: Path, folder: Path) -> None:
    (folder / "ours.csv").write_text("model,unit,usd\nacme.x,input_tokens,1\n")
    update(run, "--write", "--output", "new.csv")
    assert (folder / "ours.csv").read_text() == "model,unit,usd\nacme.x,input_tokens,1\n"
    lines = (folder / "new.csv").read_text().splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("acme.x,input_tokens,1,")


def test_an_unknown_product_fails_and_nothing_is_written(run: Run, folder: Path) -> None:
    usages = ("USE1-NovaNine-input-tokens", "APN1-NovaNine-input-tokens", "USE1-NovaPro-thoughts")
    strange = [
        product(f"S{n}", "1", usagetype=usage, description=f"${n} per thing")
        for n, usage in enumerate(usages)
    ]
    save(folder, [*PRODUCTS, *strange])
    document = update(run, "--write", code=1)
    assert document["written"] is None
    assert not (folder / "ours.csv").exists()
    said = [(u["problem"], u["skus"], u["description"]) for u in document["unknown"]]
    assert said == [
        ("has 0 on-demand offers, expected one", ["CLAUDE"], None),
        ("no model is named 'novanine' in the map", ["S0", "S1"], "$0 per thing"),
        (
            "usagetype 'USE1-NovaPro-thoughts': counts nothing that is in the map",
            ["S2"],
            "$2 per thing",
        ),
    ]
    text = run(
        *("prices", "update", "--from-file", "saved.json", "--prices", "ours.csv", "--write"),
        code=1,
        error="4 products are not understood, so nothing is written",
    )
    assert "SKU S0, S1" in text
    assert "usagetype='USE1-NovaNine-input-tokens'" in text


def test_the_known_can_be_written_without_the_unknown(run: Run, folder: Path) -> None:
    save(folder, PRODUCTS)
    document = update(run, "--write", "--known-only", code=1)
    assert document["written"] == "ours.csv"
    assert (folder / "ours.csv").read_text() == HEADER + CHANGED_ROW + CONFIRMED_ROW


def test_a_map_of_ones_own_explains_the_unknown(run: Run, folder: Path) -> None:
    save(folder, [product("S1", "0.002", usagetype="USE1-NovaNine-input-tokens")])
    (folder / "ours.toml").write_text('[names]\n"Nova Nine" = "acme.nova-nine-v1:0"\n')
    document = update(run, "--map", "ours.toml", "--write")
    assert document["check"]["errors"] == 0
    assert (folder / "ours.csv").read_text() == HEADER + (
        "acme.nova-nine-v1:0,regional,us-east-1,standard,input_tokens,0,2,1000000,2026-06-01,,"
        "operator,AWS Price List (SKU S1),\n"
    )


def test_a_price_without_a_date_holds_from_the_day_that_is_given(run: Run, folder: Path) -> None:
    save(folder, [product("S1", "0.001", usagetype="USE1-NovaPro-input-tokens", effective="")])
    (change,) = update(run, "--effective-from", "2026-10-01")["changes"]
    assert change["effective_from"] == "2026-10-01"


def test_rows_of_ones_own_stay(run: Run, saved: Path, folder: Path) -> None:
    own = f"model,unit,usd\n{NOVA_PRO},input_tokens,0.5\n"
    (folder / "ours.csv").write_text(own)
    document = update(run)
    assert [kept["usd_kept"] for kept in document["kept"]] == ["0.5", "0.5"]
    assert [kept["row"] for kept in document["kept"]] == ["ours.csv:2", "ours.csv:2"]
    text = run("prices", "update", "--from-file", "saved.json", "--prices", "ours.csv")
    assert "kept ours.csv:2" in text


def test_writing_needs_a_file(run: Run, saved: Path) -> None:
    command = ("prices", "update", "--from-file", "saved.json", "--write")
    run(*command, code=2, error="--write needs a file for the rows: --prices FILE")


def test_without_a_file_aws_is_asked_where_it_is_told(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    class Client:
        def __init__(self, region: str) -> None:
            self.region = region

        def get_products(self, **arguments: Any) -> dict[str, Any]:
            asked.append((self.region, arguments["ServiceCode"]))
            first = arguments["ServiceCode"] == "AmazonBedrock"
            return {"PriceList": [json.dumps(item) for item in KNOWN] if first else []}

    monkeypatch.setattr("worker.adapters.price_list.pricing_client", Client)
    command = ("prices", "update", "--region-endpoint", "eu-central-1", "--json")
    assert json.loads(run(*command))["products"] == 4
    assert asked == [
        ("eu-central-1", "AmazonBedrock"),
        ("eu-central-1", "AmazonBedrockService"),
        ("eu-central-1", "AmazonBedrockFoundationModels"),
    ]
