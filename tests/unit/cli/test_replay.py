import json
from pathlib import Path
from typing import Any

from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import ALICE, BEN, NOVA_PRO, SONNET_3, UNKNOWN, log, write, write_month


def replay(run: Run, *arguments: str, code: int = 0) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("replay", *arguments, "--json", code=code))
    return document


def test_json_is_the_contract_to_the_last_digit(run: Run, folder: Path) -> None:
    write_month(folder)
    done = replay(run, "logs")
    rows = {name: done.pop(name) for name in ("by_principal", "by_model")}
    assert done == {
        "deliveries": 2,
        "records": 7,
        "calls": 5,
        "recorded": 5,
        "upgraded": 0,
        "duplicates": 1,
        "ignored": 0,
        "quarantined": 1,
        "estimated": 0,
        "unpriced": 1,
        "unmetered": 0,
        "failed": 0,
        "cost_usd": "0.025075",
    }
    assert [(row["key"], row["cost_usd"]) for row in rows["by_principal"]] == [
        (ALICE, "0.021"),
        (BEN, "0.004075"),
    ]
    assert [(row["key"], row["cost_usd"]) for row in rows["by_model"]] == [
        (SONNET_3, "0.021"),
        (NOVA_PRO, "0.00376"),
        ("amazon.nova-micro-v1:0", "0.000315"),
        (UNKNOWN, "0"),
    ]
    assert rows["by_principal"][1] == {
        "key": BEN,
        "cost_usd": "0.004075",
        "calls": 3,
        "tokens": {
            "input_tokens": 6_510,
            "output_tokens": 1_820,
            "cache_read_tokens": 0,
            "cache_write_5m_tokens": 0,
            "cache_write_1h_tokens": 0,
        },
        "estimated_usd": "0",
        "estimated_calls": 0,
        "unpriced_calls": 1,
        "unmetered_calls": 0,
        "failed_calls": 0,
    }


def test_a_rerun_books_nothing_twice(run: Run, folder: Path) -> None:
    write_month(folder)
    replay(run, "logs")
    again = replay(run, "logs")
    assert again["cost_usd"] == "0"
    assert (again["recorded"], again["duplicates"], again["calls"]) == (0, 6, 5)
    assert again["by_principal"] == []


def test_a_dry_run_leaves_no_trace(run: Run, folder: Path) -> None:
    write_month(folder)
    assert replay(run, "logs", "--dry-run")["cost_usd"] == "0.025075"
    assert sorted(path.name for path in folder.iterdir()) == ["logs"]
    text = run("replay", "logs", "--dry-run")
    assert "$0.025075 would be booked in sqlite:ledgerock.db" in text
    assert "nothing was booked" in text


def test_strict_makes_quarantined_records_an_error(run: Run, folder: Path) -> None:
    write_month(folder)
    assert replay(run, "logs", "--strict", code=1)["quarantined"] == 1
    write(folder / "clean.json", log("r9"))
    assert replay(run, "clean.json", "--strict")["recorded"] == 1


def test_only_calls_in_the_window_are_booked(run: Run, folder: Path) -> None:
    write_month(folder)
    # r2 is on October 2nd; r4 in November.
    done = replay(run, "logs", "--since", "2026-10-02", "--until", "2026-11")
    assert (done["cost_usd"], done["recorded"], done["ignored"]) == ("0.0105", 1, 5)


def test_the_summary_says_what_was_booked_and_what_to_do_next(run: Run, folder: Path) -> None:
    write_month(folder)
    text = run("replay", "logs")
    assert "$0.025075 booked in sqlite:ledgerock.db: 7 records of 5 calls in 2 files" in text
    assert "5 recorded, 0 upgraded, 1 duplicate, 0 ignored, 1 quarantined" in text
    assert "1 call unpriced" in text
    assert "`ledgerock quarantine list`" in text
    assert "`ledgerock report`" in text
    alice, ben = (next(li for li in text.splitlines() if li.startswith(x)) for x in (ALICE, BEN))
    assert alice.split()[1:3] == ["$0.021000", "83.7%"]
    assert ben.split()[1:3] == ["$0.004075", "16.3%"]
    frontier = next(line for line in text.splitlines() if line.startswith(UNKNOWN))
    assert "unknown" in frontier
    assert "$0" not in frontier


def test_hints_name_the_ledger_and_quarantine_that_were_given(run: Run, folder: Path) -> None:
    write_month(folder)
    text = run("replay", "logs", "--ledger", "sqlite:b.db", "--quarantine", "aside")
    assert "`ledgerock report --ledger sqlite:b.db`" in text
    assert "`ledgerock quarantine list --quarantine aside`" in text
    assert list((folder / "aside").glob("??/*.json"))


def test_what_was_ignored_is_listed_by_reason(run: Run, folder: Path) -> None:
    write(folder / "one.json", log("r1"), log("r2", at="2026-12-01T00:00:00Z"))
    text = run("replay", "one.json", "--until", "2026-12", "--ledger", "memory")
    assert "* 1 ignored: outside of --since and --until" in text
    assert "ledgerock report" not in text


def test_only_the_top_spenders_are_shown(run: Run, folder: Path) -> None:
    records = [log(f"r{number}", user=f"person-{number:02}") for number in range(12)]
    write(folder / "one.json", *records)
    text = run("replay", "one.json")
    assert "and 2 more; `ledgerock report --by principal`" in text


def test_paths_and_options_that_cannot_be_used_are_said(run: Run) -> None:
    run("replay", code=2, error="PATH")
    run("replay", "nowhere", code=2, error="nowhere: no such file or folder")
    run("replay", "s3://", code=2, error="give s3://BUCKET/PREFIX")
    run("replay", ".", "--jobs", "0", code=2, error="--jobs")
    run("replay", ".", "--since", "soon", code=2, error="'--since': 'soon' is no time")


def test_what_the_memory_ledger_forgets_is_not_offered(run: Run, folder: Path) -> None:
    write_month(folder)
    text = run("replay", "logs", "--ledger", "memory")
    assert "1 record not understood; `ledgerock explain FILE` says why" in text
    assert "`ledgerock replay PATH --ledger memory --prices FILE --registry FILE`" in text
    assert "quarantine list" not in text
    assert "rebook" not in text
    for command in ("report", "verify", "rebook"):
        run(command, "--ledger", "memory", code=2, error="lives for one replay only")


def test_a_quarantine_that_can_never_be_written_is_a_configuration_error(
    run: Run, folder: Path
) -> None:
    write_month(folder)
    (folder / "file").write_text("x")
    arguments = ("replay", "logs", "--quarantine", "file/aside")
    run(*arguments, code=2, error="ledgerock: file/aside: quarantined records cannot be written")


PROFILE = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2"


def test_a_profile_that_is_told_of_later_prices_the_calls_before(run: Run, folder: Path) -> None:
    write(folder / "logs" / "1.json", log("r1", modelId=PROFILE), log("r2"))
    document = json.loads(run("replay", "logs", "--json"))
    assert (document["unpriced"], document["cost_usd"]) == (1, "0.0105")
    created = {
        "eventVersion": "1.11",
        "eventSource": "bedrock.amazonaws.com",
        "eventName": "CreateInferenceProfile",
        "eventTime": "2026-10-01T09:00:00Z",
        "requestParameters": {
            "inferenceProfileName": "checkout",
            "modelSource": {"copyFrom": log("r1")["modelId"]},
        },
        "responseElements": {"inferenceProfileArn": PROFILE},
    }
    write(folder / "trail" / "1.json", {"Records": [created]})
    document = json.loads(run("replay", "trail", "--json"))
    assert (document["recorded"], document["unpriced"], document["cost_usd"]) == (0, -1, "0.0105")
    run("verify")
    # The order of the files makes no difference, nor does a second time.
    for ledger in ("memory", "sqlite:other.db", "sqlite:other.db"):
        again = json.loads(run("replay", "trail", "logs", "--json", "--ledger", ledger))
        fresh = again["recorded"] > 0
        assert again["cost_usd"] == ("0.021" if fresh else "0")
    rows = json.loads(run("report", "--by", "application", "--format", "json"))["rows"]
    assert {row["key"]: row["cost_usd"] for row in rows}["checkout"] == "0.0105"
    # A rebooking knows the profile too.
    assert json.loads(run("rebook", "--json"))["rebooked"] == 0
