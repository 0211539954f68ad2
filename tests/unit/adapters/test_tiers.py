"""Tiers in a file that changes, and in a tree of parameters."""

from pathlib import Path
from typing import Any

import pytest

from tests.calls import asynchronous
from worker.adapters.tiers_file import FileTiers
from worker.adapters.tiers_ssm import SsmTiers
from worker.bootstrap import open_tiers, team_tag
from worker.core.errors import ConfigurationError
from worker.core.tiers import NO_TIERS, TierBudget
from worker.settings import EnforcementSettings, Settings

USD = 10**12
FILE = """
on = ["credential", "tag"]
[tags]
team = "cost:team"
[defaults]
user = "standard"
[tiers.standard.budgets.monthly]
limit = "49.50"
thresholds = [50, 100]
grace_seconds = 900
forecast = true
[tiers.standard.budgets.fortnight]
limit = 20
period = "14-day"
anchor = 2026-01-05
[cap.monthly]
limit = 1000
"""
PARAMETERS = {
    "on": "credential,tag",
    "tags/team": "cost:team",
    "defaults/user": "standard",
    "tiers/standard/budgets/monthly/limit": "49.50",
    "tiers/standard/budgets/monthly/thresholds": "50, 100",
    "tiers/standard/budgets/monthly/grace_seconds": "900",
    "tiers/standard/budgets/monthly/forecast": "true",
    "tiers/standard/budgets/fortnight/limit": "20",
    "tiers/standard/budgets/fortnight/period": "14-day",
    "tiers/standard/budgets/fortnight/anchor": "2026-01-05",
    "cap/monthly/limit": "1000",
}


class Ssm:
    """Answers like the Parameter Store: three parameters a page, some pages empty."""

    def __init__(self, parameters: dict[str, str]) -> None:
        self.parameters = parameters
        self.asked: list[dict[str, Any]] = []

    async def get_parameters_by_path(self, **arguments: Any) -> dict[str, Any]:
        self.asked.append(arguments)
        listed = sorted(self.parameters.items())
        page = int(arguments.get("NextToken", "0"))
        start = page // 2 * 3
        some = [] if page % 2 else listed[start : start + 3]
        answer: dict[str, Any] = {
            "Parameters": [
                {"Name": f"{arguments['Path']}/{name}", "Value": value} for name, value in some
            ]
        }
        if start + 3 < len(listed):
            answer["NextToken"] = str(page + 1)
        return answer


@asynchronous
async def test_a_file_and_a_tree_of_parameters_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tiers.toml"
    path.write_text(FILE)
    ssm = Ssm(PARAMETERS)
    from_file = await FileTiers(path).tiers()
    source = SsmTiers("/ledgerock/tiers/", ssm)
    assert await source.tiers() == from_file
    await source.close()
    assert {one["Path"] for one in ssm.asked} == {"/ledgerock/tiers"}
    assert all(one["Recursive"] and one["WithDecryption"] for one in ssm.asked)
    assert from_file.cap == (TierBudget("monthly", 1_000 * USD, action="notify", grace_seconds=0),)


@asynchronous
async def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "tiers.toml"
    path.write_text(FILE)
    source = FileTiers(path)
    before = await source.tiers()
    assert await source.tiers() is before
    path.write_text(FILE.replace("49.50", "60"))
    [_, monthly] = (await source.tiers()).tiers["standard"]
    assert monthly.limit_amount == 60 * USD
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"cannot be read .* check the path"):
        await source.tiers()


@pytest.mark.parametrize(
    "parameters,complaint",
    [
        (
            {"tiers/a/budgets/b/limit": "many"},
            "parameter /lr/tiers/a/budgets/b/limit: expected an amount of USD, a whole number",
        ),
        (
            {"tiers/a/budgets/b/limit": "1", "tiers/a/budgets/b": "x"},
            "parameter /lr/tiers/a/budgets/b",
        ),
        ({"shape": "x"}, "parameter /lr/shape: expected one of the keys"),
        ({}, "LEDGEROCK_TIERS=ssm:/lr: there is no parameter under this path; put one there"),
    ],
)
@asynchronous
async def test_a_wrong_parameter_is_named(parameters: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await SsmTiers("/lr", Ssm(parameters)).tiers()
    assert str(caught.value).startswith(complaint)


@asynchronous
async def test_the_setting_says_where_tiers_are(tmp_path: Path) -> None:
    assert open_tiers(Settings()) is None
    assert await team_tag(Settings()) == "ledgerock:team"
    path = tmp_path / "tiers.toml"
    path.write_text(FILE)
    in_file = Settings(enforcement=EnforcementSettings(tiers=str(path)))
    assert await team_tag(in_file) == "cost:team"
    source = open_tiers(Settings(enforcement=EnforcementSettings(tiers="ssm:/ledgerock/tiers")))
    assert isinstance(source, SsmTiers)
    for wrong in ("ssm:ledgerock", "ssm:/"):
        with pytest.raises(ConfigurationError, match="a path begins with a slash"):
            open_tiers(Settings(enforcement=EnforcementSettings(tiers=wrong)))


@asynchronous
async def test_an_empty_file_is_no_tiers(tmp_path: Path) -> None:
    path = tmp_path / "tiers.toml"
    path.write_text("")
    assert await FileTiers(path).tiers() == NO_TIERS
