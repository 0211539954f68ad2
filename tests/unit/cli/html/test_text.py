import pytest

from worker.cli.html.text import MINUS, Name, change_percent, exact_usd, name_of, short_usd


@pytest.mark.parametrize(
    "by, key, short, detail",
    [
        ("principal", "user/1/ben", "ben", "user · 1"),
        ("principal", "agent/1/us-east-1/ABC", "ABC", "agent · us-east-1 · 1"),
        (
            "principal",
            "session/1/AWSReservedSSO_DataScientist_ab12cd34ef56ab78/alice%40example.com",
            "alice@example.com",
            "session · DataScientist · 1",
        ),
        ("principal", "root/1", "1", "root of account"),
        ("principal", "app/acme/chat", "chat", "application · acme"),
        ("principal", "user/1/%3Cb%3E%E2%80%AEx", "<b>\\u202ex", "user · 1"),
        ("model", "anthropic.claude-x-v1:0", "claude-x-v1:0", "anthropic"),
        ("model", "imported-model/a.b", "imported-model/a.b", ""),
        ("model", "x\x00y", "x\\x00y", ""),
        ("team", "user/x", "user/x", ""),
        ("account", "1", "1", ""),
        ("team", "", "no team", ""),
    ],
)
def test_names_are_read_from_the_particular_to_the_general(
    by: str, key: str, short: str, detail: str
) -> None:
    name = name_of(by, key)
    assert (name.short, name.detail) == (short, detail)
    assert name.full.isprintable()


def test_a_name_keeps_its_key() -> None:
    assert name_of("principal", "user/1/a%20b") == Name("a b", "user · 1", "user/1/a%20b")


@pytest.mark.parametrize(
    "pico, short, exact",
    [
        (0, "$0.00", "$0.00"),
        (1, "<$0.01", "$0.000000000001"),
        (4_999_999_999, "<$0.01", "$0.004999999999"),
        (5_000_000_001, "$0.01", "$0.005000000001"),
        (10_500_000_000, "$0.01", "$0.0105"),
        (1_234_565_000_000_000, "$1,234.56", "$1,234.565"),
        (1_234_575_000_000_000, "$1,234.58", "$1,234.575"),
        (-2_000_000_000_000, f"{MINUS}$2.00", f"{MINUS}$2.00"),
        (-1, f"{MINUS}<$0.01", f"{MINUS}$0.000000000001"),
    ],
)
def test_amounts_are_short_but_never_read_as_nothing(pico: int, short: str, exact: str) -> None:
    assert (short_usd(pico), exact_usd(pico)) == (short, exact)


@pytest.mark.parametrize(
    "now, before, said",
    [
        (112, 100, "+12.0 %"),
        (875, 1_000, f"{MINUS}12.5 %"),
        (5, 0, "new"),
        (0, 5, "gone"),
        (5, 5, "unchanged"),
        (0, 0, "unchanged"),
        (1_200, 100, "\N{MULTIPLICATION SIGN}12"),
    ],
)
def test_changes_are_said_in_per_cent(now: int, before: int, said: str) -> None:
    assert change_percent(now, before) == said
