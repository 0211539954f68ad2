from pathlib import Path

import pytest

from worker.adapters import catalogue_files
from worker.adapters.catalogue_files import load_catalogue
from worker.core.catalogue_text import parse_instant
from worker.core.errors import ConfigurationError
from worker.core.evidence import Counts
from worker.core.money import format_pico_usd
from worker.core.pricing import charge

NOW = parse_instant("2026-11-22")


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A directory of small tables."""
    (tmp_path / "models.csv").write_text("model,kind,reason,aliases\nacme.m,text,,\n")
    (tmp_path / "tiers.csv").write_text("tier,multiplier,source\nflex,0.5,published\n")
    (tmp_path / "one.csv").write_text("model,unit,usd\nacme.m,input_tokens,3\n")
    (tmp_path / "two.csv").write_text("model,unit,usd\nacme.m,output_tokens,15\n")
    (tmp_path / "notes.txt").write_text("not a table")
    return tmp_path


def test_tables_and_the_operators_file_make_one_catalogue(tables: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("model,unit,usd\nacme.m,input_tokens,2\nacme.ours,requests,0.5\n")
    prices = load_catalogue(mine, tables)
    card = prices.card("acme.m", "regional", "us-east-1", "flex", NOW)
    assert card is not None
    # 1,000,000 x 2 / 2 + 1,000,000 x 15 / 2, per million
    assert format_pico_usd(charge(card, Counts(10**6, 10**6)).cost_pico_usd) == "8.5"
    assert prices.knows("acme.ours")
    assert load_catalogue(None, tables).revision != prices.revision


def test_an_override_of_a_packaged_model_wins(tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("model,unit,usd\nanthropic.claude-sonnet-4-5-20250929-v1:0,input_tokens,1\n")
    card = load_catalogue(mine).card(
        "anthropic.claude-sonnet-4-5", "regional", "eu-west-1", "standard", NOW
    )
    assert card is not None
    assert format_pico_usd(charge(card, Counts(1000, 1000)).cost_pico_usd) == "0.0175"


def test_a_wrong_row_names_the_operators_file(tables: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("model,unit,usd\nacme.m,input_tokens,three\n")
    with pytest.raises(ConfigurationError, match=r"mine\.csv:2: usd: found 'three', expected"):
        load_catalogue(mine, tables)


def test_files_that_cannot_be_read_say_why(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.csv: cannot be read \(No such file"):
        load_catalogue(tables / "absent.csv", tables)
    with pytest.raises(ConfigurationError, match=r"nowhere: cannot list the price tables"):
        load_catalogue(None, tables / "nowhere")
    (tables / "binary.csv").write_bytes(b"model,unit,usd\nacme.m,input_tokens,\xff\n")
    with pytest.raises(ConfigurationError, match=r"binary\.csv: not UTF-8 text at byte 35"):
        load_catalogue(None, tables)
    monkeypatch.setattr(catalogue_files, "FILE_BYTES_MAX", 10)
    with pytest.raises(ConfigurationError, match=r"larger than 10 bytes"):
        load_catalogue(None, tables)
