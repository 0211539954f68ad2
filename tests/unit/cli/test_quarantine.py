import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import ACCOUNT, ALICE, lines, log, write, write_month
from worker.adapters.clock import SystemClock
from worker.adapters.quarantine_files import FileQuarantine
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.core.evidence import Counts, Evidence, EvidenceRank, Facts, Observation, call_key
from worker.core.posting import Poster
from worker.core.results import POSTABLE, Malformed, Position
from worker.pipeline import Digester, EvidenceRecord


def items(run: Run) -> list[dict[str, Any]]:
    document = json.loads(run("quarantine", "list", "--json"))
    assert document["count"] == len(document["items"])
    found: list[dict[str, Any]] = document["items"]
    return found


def put_aside(folder: Path, *records: Malformed) -> list[str]:
    asyncio.run(SqliteLedger(folder / "ledgerock.db").close())
    quarantine = FileQuarantine(folder / "ledgerock.db.quarantine", SystemClock())
    return asyncio.run(quarantine.put(records))


def malformed(body: bytes, **changes: Any) -> Malformed:
    record = Malformed("$", "something else", "this", body, position=Position("old.json", 3))
    return msgspec.structs.replace(record, **changes)


def evidence(request_id: str) -> EvidenceRecord:
    """Return evidence of Claude 3 Sonnet, 1,000 in and 500 out: 0.0105."""
    facts = Facts(
        account=ACCOUNT,
        region="us-east-1",
        region_rank=28,
        model_id="anthropic.claude-3-sonnet-20240229-v1:0",
        model_id_rank=28,
        identity_arn=f"arn:aws:iam::{ACCOUNT}:user/alice",
        identity_arn_rank=28,
    )
    known = Evidence(facts, 1_790_856_000_000, 28, EvidenceRank.METERED, Counts(1_000, 500))
    return EvidenceRecord(call_key("aws", ACCOUNT, request_id), known)


def test_what_was_quarantined_is_listed_with_where_it_stood(run: Run, folder: Path) -> None:
    write_month(folder)
    run("replay", "logs")
    (item,) = items(run)
    assert item["source"] == str(Path("logs", "a.json.gz"))
    assert item["line"] == 4
    assert item["path"] == "$"
    assert item["reason"]
    text = run("quarantine", "list")
    assert item["id"] in text
    assert "a.json.gz:4" in text
    assert "1 record:" in text


def test_one_record_is_shown_with_its_body_by_the_beginning_of_its_id(
    run: Run, folder: Path
) -> None:
    write_month(folder)
    run("replay", "logs")
    (item,) = items(run)
    document = json.loads(run("quarantine", "show", item["id"][:6], "--json"))
    assert document["body"] == "not JSON at all"
    text = run("quarantine", "show", item["id"])
    assert "not JSON at all" in text
    assert "line:           4" in text
    run("quarantine", "show", "ffff", code=2, error="ffff: no such record in quarantine")


def test_bodies_cannot_command_the_terminal(run: Run, folder: Path) -> None:
    (item_id,) = put_aside(folder, malformed(b"\x1b[2J\xff\nsecond line", truncated=True))
    text = run("quarantine", "show", item_id)
    assert "\x1b" not in text
    assert "\\x1b[2J\\xff\nsecond line" in text
    assert "the beginning of it" in text
    assert json.loads(run("quarantine", "show", item_id, "--json"))["body_base64"]


def test_long_lists_are_cut_and_say_so(run: Run, folder: Path) -> None:
    put_aside(folder, *(malformed(f"record {number}".encode()) for number in range(5)))
    text = run("quarantine", "list", "--limit", "2")
    assert len([line for line in text.splitlines() if "old.json:3" in line]) == 2
    assert "and 3 more; --limit 5 shows them all" in text


def test_a_record_that_is_understood_now_is_booked_and_taken_out(run: Run, folder: Path) -> None:
    (item_id,) = put_aside(folder, malformed(json.dumps(log("r1")).encode()))
    done = json.loads(run("quarantine", "redrive", item_id[:8], "--json"))
    assert done == {
        "booked": 1,
        "ignored": 0,
        "quarantined": 0,
        "items": [
            {
                "id": item_id,
                "result": "Booked",
                "recorded": 1,
                "upgraded": 0,
                "duplicates": 0,
                "reason": "",
            }
        ],
    }
    total = json.loads(run("report", "--format", "json"))["total"]
    assert total["cost_usd"] == "0.0105"
    assert items(run) == []
    assert "nothing is in quarantine" in run("quarantine", "redrive", "--all")


def test_a_redriven_call_that_is_booked_already_is_a_duplicate(run: Run, folder: Path) -> None:
    write(folder / "one.json", log("r1"))
    run("replay", "one.json")
    put_aside(folder, malformed(json.dumps(log("r1")).encode()))
    (item,) = json.loads(run("quarantine", "redrive", "--all", "--json"))["items"]
    assert (item["result"], item["recorded"], item["duplicates"]) == ("Booked", 0, 1)
    assert json.loads(run("report", "--format", "json"))["total"]["cost_usd"] == "0.0105"


def test_what_is_still_not_understood_stays_once(run: Run, folder: Path) -> None:
    write_month(folder)
    run("replay", "logs")
    (item,) = items(run)
    text = run("quarantine", "redrive", "--all")
    assert "0 booked, 0 ignored, 1 still in quarantine" in text
    assert [left["id"] for left in items(run)] == [item["id"]]


def test_the_good_part_of_a_record_is_booked_while_the_rest_keeps_it(
    run: Run, folder: Path
) -> None:
    body = json.dumps([log("r1"), log("r2", tokens=(-1, 5))]).encode()
    put_aside(folder, malformed(body))
    (item,) = json.loads(run("quarantine", "redrive", "--all", "--json"))["items"]
    assert (item["result"], item["recorded"]) == ("Quarantined", 1)
    assert "inputTokenCount" in item["reason"]
    assert len(items(run)) == 1
    assert json.loads(run("report", "--format", "json"))["total"]["cost_usd"] == "0.0105"


def test_a_cut_body_is_never_redriven(run: Run, folder: Path) -> None:
    put_aside(folder, malformed(json.dumps(log("r1")).encode(), truncated=True))
    (item,) = json.loads(run("quarantine", "redrive", "--all", "--json"))["items"]
    assert item["result"] == "Quarantined"
    assert "replay old.json instead" in item["reason"]
    assert len(items(run)) == 1


def test_a_record_that_turns_out_to_be_no_call_is_taken_out(run: Run, folder: Path) -> None:
    body = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"}).encode()
    put_aside(folder, malformed(body))
    text = run("quarantine", "redrive", "--all")
    assert "0 booked, 1 ignored, 0 still in quarantine" in text
    assert items(run) == []


def test_a_notification_of_an_object_stays_until_the_object_was_replayed(
    run: Run, folder: Path
) -> None:
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "logs"}, "object": {"key": "AWSLogs/a.json.gz", "size": 9}},
    }
    put_aside(folder, malformed(json.dumps({"Records": [record]}).encode()))
    (item,) = json.loads(run("quarantine", "redrive", "--all", "--json"))["items"]
    assert item["result"] == "Quarantined"
    assert "s3://logs/AWSLogs/a.json.gz" in item["reason"]
    assert len(items(run)) == 1


def test_a_call_that_could_not_be_posted_is_redriven_from_its_evidence(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Poster):
        def rate(self, _evidence: Evidence) -> Any:
            raise RuntimeError("a bug in a price rule")

    kept = evidence("r1")
    broken = Broken.__new__(Broken)
    digester = Digester(broken)
    digester.add([Observation(kept.key, kept.evidence)])
    put_aside(folder, *digester.digest().malformed)
    run("quarantine", "redrive", "--all")
    assert items(run) == []
    row = json.loads(run("report", "--format", "json"))["rows"][0]
    assert (row["key"], row["cost_usd"]) == (ALICE, "0.0105")


def test_evidence_of_another_version_stays(run: Run, folder: Path) -> None:
    put_aside(folder, malformed(b'{"key": 1}', expected=POSTABLE))
    (item,) = json.loads(run("quarantine", "redrive", "--all", "--json"))["items"]
    assert item["result"] == "Quarantined"
    assert "evidence as this version keeps it" in item["reason"]


def test_a_payload_that_only_looks_like_evidence_is_not_believed(run: Run, folder: Path) -> None:
    forged = msgspec.json.encode(evidence("r1"))
    (folder / "forged.json").write_bytes(forged)
    run("replay", "forged.json")
    assert len(items(run)) == 1
    done = json.loads(run("quarantine", "redrive", "--all", "--json"))
    assert (done["booked"], done["quarantined"]) == (0, 1)
    assert json.loads(run("report", "--format", "json"))["rows"] == []


def test_arguments_that_make_no_sense_are_refused(run: Run, folder: Path) -> None:
    put_aside(folder)
    run("quarantine", "redrive", code=2, error="give the ids of records, or --all")
    run("quarantine", "redrive", "ab", "--all", code=2, error="or --all")
    run("quarantine", "redrive", "abcd", code=2, error="abcd: no such record")
    run("quarantine", "list", "--ledger", "memory", code=2, error="--quarantine DIR")


def test_hints_name_the_ledger_and_quarantine_that_were_given(run: Run, folder: Path) -> None:
    write_month(folder)
    options = ("--ledger", "sqlite:b.db", "--quarantine", "aside")
    run("replay", "logs", *options)
    text = run("quarantine", "list", *options)
    assert "redrive --all --ledger sqlite:b.db --quarantine aside`" in text


ON_ITEMS = (("list",), ("show", "ab"), ("redrive", "--all"), ("drop", "ab"))


@pytest.mark.parametrize("words", ON_ITEMS, ids=" ".join)
def test_a_ledger_that_is_not_there_is_no_empty_quarantine(
    run: Run, folder: Path, words: tuple[str, ...]
) -> None:
    assert (
        run("quarantine", *words, "--ledger", "sqlite:typo.db", code=2, error="no such file") == ""
    )
    (folder / "torn.db").write_bytes(b"torn" * 1_000)
    run("quarantine", *words, "--ledger", "sqlite:torn.db", code=2, error="torn.db: ")
    assert [path.name for path in folder.iterdir()] == ["torn.db"]


def test_a_ledger_that_nothing_was_put_aside_of_has_an_empty_quarantine(
    run: Run, folder: Path
) -> None:
    put_aside(folder)
    assert items(run) == []
    assert "nothing is in quarantine" in run("quarantine", "redrive", "--all")


def test_a_quarantine_of_its_own_is_listed_without_a_ledger(run: Run, folder: Path) -> None:
    write_month(folder)
    text = run("replay", "logs", "--ledger", "memory", "--quarantine", "my aside")
    assert "`ledgerock quarantine list --quarantine 'my aside'`" in text
    assert "1 record:" in run("quarantine", "list", "--quarantine", "my aside")
    arguments = ("redrive", "--all", "--quarantine", "my aside")
    run("quarantine", *arguments, code=2, error="no such file")
    run("quarantine", *arguments, "--ledger", "memory", code=2, error="one replay only")
    assert not (folder / "ledgerock.db").exists()


def test_something_else_is_no_quarantine(run: Run, folder: Path) -> None:
    (folder / "notes").write_text("x")
    arguments = ("quarantine", "list", "--quarantine", "notes")
    run(*arguments, code=2, error="notes: not a readable quarantine")


def test_records_can_be_given_up(run: Run, folder: Path) -> None:
    write_month(folder)
    run("replay", "logs")
    (kept, other) = put_aside(folder, malformed(b"kept"), malformed(b"other"))
    (poison,) = [item["id"] for item in items(run) if item["line"] == 4]
    run("quarantine", "drop", poison, "ffff", code=2, error="ffff: no such record")
    run("quarantine", "drop", "", code=2, error="an empty id: no such record")
    assert len(items(run)) == 3
    text = run("quarantine", "drop", poison, poison[:12])
    assert f"dropped {poison}: {Path('logs', 'a.json.gz')}:4: $: expected" in text
    assert "1 record dropped" in text
    document = json.loads(run("quarantine", "drop", other, "--json"))
    assert (document["dropped"], document["items"][0]["id"]) == (1, other)
    assert [item["id"] for item in items(run)] == [kept]


def test_a_file_that_was_cut_off_is_redriven_once_it_is_whole(run: Run, folder: Path) -> None:
    whole = gzip.compress(lines(*(log(f"r{number}") for number in range(3))))
    (folder / "log.json.gz").write_bytes(whole[:-20])
    run("replay", "log.json.gz")
    (item,) = items(run)
    assert item["truncated"]
    (still,) = json.loads(run("quarantine", "redrive", "--all", "--json"))["items"]
    assert (still["result"], still["reason"]) == ("Quarantined", item["reason"])

    (folder / "log.json.gz").write_bytes(whole)
    (done,) = json.loads(run("quarantine", "redrive", "--all", "--json"))["items"]
    assert done["result"] == "Booked"
    assert items(run) == []
    total = json.loads(run("report", "--format", "json"))["total"]
    assert (total["calls"], total["cost_usd"]) == (3, "0.0315")


def test_what_else_is_wrong_in_a_file_that_is_read_again_is_put_aside(
    run: Run, folder: Path
) -> None:
    write(folder / "log.json", log("r1"), "not JSON at all")
    unreadable = malformed(b"", expected="a readable file", truncated=True)
    position = Position(str(Path("log.json")))
    (item_id,) = put_aside(folder, msgspec.structs.replace(unreadable, position=position))
    (done,) = json.loads(run("quarantine", "redrive", "--all", "--json"))["items"]
    assert (done["id"], done["result"], done["recorded"]) == (item_id, "Booked", 1)
    (left,) = items(run)
    assert (left["line"], left["body_bytes"]) == (2, 15)


def test_a_cut_record_stays_while_it_is_not_understood_or_cannot_be_seen(
    run: Run, folder: Path
) -> None:
    long = json.dumps(log("r2", tokens=(-1, 5)) | {"inferenceRegion": "x" * 300_000})
    write(folder / "log.json", log("r1"), long)
    run("replay", "log.json")
    (item,) = items(run)
    assert (item["truncated"], item["line"]) == (True, 2)
    (still,) = json.loads(run("quarantine", "redrive", "--all", "--json"))["items"]
    assert (still["result"], still["duplicates"]) == ("Quarantined", 1)
    assert still["reason"] == item["reason"]
    (folder / "log.json").write_bytes(b"")
    (gone,) = json.loads(run("quarantine", "redrive", "--all", "--json"))["items"]
    assert "log.json holds no such record now" in gone["reason"]
    write(folder / "log.json", log("r1"), log("r2"))
    assert "1 booked" in run("quarantine", "redrive", "--all")
    assert items(run) == []


def test_a_folder_that_could_not_be_listed_is_read_again(run: Run, folder: Path) -> None:
    write_month(folder)
    record = malformed(b"", expected="a readable folder", truncated=True)
    put_aside(folder, msgspec.structs.replace(record, position=Position("logs")))
    (done,) = json.loads(run("quarantine", "redrive", "--all", "--json"))["items"]
    assert (done["result"], done["recorded"]) == ("Booked", 5)
    assert [item["line"] for item in items(run)] == [4]
