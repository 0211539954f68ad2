import asyncio
import multiprocessing
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.calls import DAY, NOON, documents, request_id
from tests.records import completion, event, log, poison, write, write_trail
from worker.adapters.quarantine_files import FileQuarantine
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.core.decoders import Decoder
from worker.core.errors import ConfigurationError, LedgerockError, TransientError
from worker.pipeline import Window
from worker.replay import ReplayFigures, ReplayProgress, replay, run
from worker.settings import Settings


def play(settings: Settings, *paths: Path, **options: Any) -> ReplayFigures:
    figures = asyncio.run(replay(settings, [str(path) for path in paths], **options))
    assert figures.records == (
        figures.recorded
        + figures.upgraded
        + figures.duplicates
        + figures.ignored
        + figures.quarantined
    )
    assert sum(figures.ignored_reasons.values()) == figures.ignored
    return figures


def results(figures: ReplayFigures) -> tuple[int, ...]:
    return (
        figures.recorded,
        figures.upgraded,
        figures.duplicates,
        figures.ignored,
        figures.quarantined,
    )


def read(path: Path) -> tuple[str, int]:
    async def reading() -> tuple[str, int]:
        ledger = SqliteLedger(path)
        verification = await ledger.verify()
        assert not verification.differences
        text = await documents(ledger)
        await ledger.close()
        return text, verification.entries

    return asyncio.run(reading())


def aside(folder: Path) -> list[Any]:
    async def reading() -> list[Any]:
        return [item.record async for item in FileQuarantine(folder, Still()).items()]

    return asyncio.run(reading())


class Still:
    def now_ms(self) -> int:
        return NOON


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(ledger=f"sqlite:{tmp_path}/books.db")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    write(folder / "1.json", log(1), log(2, user="bob"), log(2, user="bob"), poison(9))
    write(folder / "2.json.gz", log(3, None), log(3), log(1), b"not json at all")
    write_trail(folder / "trail" / "3.json.gz", event(1), event(4, (10, 10)), event(5, at_ms=NOON))
    write(folder / "trail" / "4.json", completion(5, (7, 7)), event(6, eventName="PutObject"))
    write(folder / "amazon-bedrock-logs-permission-check")
    return folder


@pytest.mark.parametrize("jobs", [1, 2])
def test_figures_add_up_and_a_rerun_books_nothing(
    settings: Settings, logs: Path, tmp_path: Path, jobs: int
) -> None:
    first = play(settings, logs, jobs=jobs)
    assert (first.deliveries, first.calls) == (5, 5)
    assert first.recorded == 5
    assert (first.quarantined, first.totals.calls) == (2, 5)
    assert sum(one.calls for one in first.by_principal.values()) == 5
    assert sum(one.cost_pico_usd for one in first.by_model.values()) == first.totals.cost_pico_usd
    assert first.bytes_read == sum(one.stat().st_size for one in logs.rglob("*") if one.is_file())
    before = read(tmp_path / "books.db")
    again = play(settings, logs, jobs=3 - jobs)
    assert (again.recorded, again.upgraded, again.totals.is_zero()) == (0, 0, True)
    assert (again.records, again.calls, again.quarantined) == (first.records, 5, 2)
    assert (again.by_principal, again.by_model) == ({}, {})
    assert read(tmp_path / "books.db") == before
    assert len(aside(tmp_path / "books.db.quarantine")) == 2


def test_children_book_what_one_process_books(logs: Path, tmp_path: Path) -> None:
    for number in range(70):  # more than one chunk of files
        write(logs / f"more-{number}.json", *(log(number * 100 + one) for one in range(10)))
    texts, figures = [], []
    for jobs in (1, 2, 3):
        figures.append(play(Settings(ledger=f"sqlite:{tmp_path}/{jobs}.db"), logs, jobs=jobs))
        texts.append(read(tmp_path / f"{jobs}.db"))
    assert texts[0] == texts[1] == texts[2]
    one, two, three = figures
    assert one.calls == two.calls == three.calls == texts[0][1]
    assert one.totals == two.totals == three.totals
    assert one.records == two.records == three.records
    assert one.ignored_reasons == two.ignored_reasons == three.ignored_reasons
    assert not multiprocessing.active_children()


def test_small_digests_give_the_same_books(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(Settings(ledger=f"sqlite:{tmp_path}/large.db"), logs, jobs=1)
    monkeypatch.setattr("worker.replay.decoding.BATCH_CALLS", 1)
    monkeypatch.setattr("worker.replay.decoding.BATCH_MALFORMED", 1)
    monkeypatch.setattr("worker.replay.distinct.KEYS_IN_MEMORY_MAX", 1)
    small = play(Settings(ledger=f"sqlite:{tmp_path}/small.db"), logs, jobs=1)
    assert small.calls == 5
    assert read(tmp_path / "small.db") == read(tmp_path / "large.db")


def test_progress_goes_up_to_everything(settings: Settings, logs: Path) -> None:
    seen: list[ReplayProgress] = []
    figures = play(settings, logs, jobs=1, on_progress=seen.append)
    last = seen[-1]
    assert (last.files_done, last.files_total) == (5, 5)
    assert last.bytes_done == last.bytes_total == figures.bytes_read
    assert last.records == figures.records


def test_a_window_books_only_what_lies_in_it(settings: Settings, tmp_path: Path) -> None:
    path = write(
        tmp_path / "l.json",
        *(log(n, at_ms=NOON + at) for n, at in enumerate((-1, 0, DAY - 1, DAY))),
    )
    figures = play(settings, path, window=Window(NOON, NOON + DAY))
    assert results(figures) == (2, 0, 0, 2, 0)
    assert figures.calls == 2
    assert results(play(settings, path)) == (2, 0, 2, 0, 0)


@pytest.mark.parametrize("exists", [False, True])
def test_a_dry_run_changes_nothing_and_foretells_everything(
    settings: Settings, logs: Path, tmp_path: Path, exists: bool
) -> None:
    def dump() -> list[str] | None:
        if not (tmp_path / "books.db").exists():
            return None
        with closing(sqlite3.connect(tmp_path / "books.db")) as connection:
            return list(connection.iterdump())

    if exists:
        play(settings, logs / "1.json")
        write(logs / "1.json", log(1), log(7))
    before, quarantined = dump(), aside(tmp_path / "books.db.quarantine")
    foretold = play(settings, logs, dry_run=True)
    assert (dump(), aside(tmp_path / "books.db.quarantine")) == (before, quarantined)
    done = play(settings, logs)
    assert results(foretold) == results(done)
    assert (foretold.totals, foretold.by_principal) == (done.totals, done.by_principal)


def test_nothing_to_replay_is_nothing(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for jobs in (None, 2):
        figures = play(settings, tmp_path / "empty", jobs=jobs)
        assert (figures.deliveries, figures.records, figures.calls) == (0, 0, 0)


# --- Files that are not what they should be --------------------------------------------------


def test_the_ledgers_own_files_are_passed_over(tmp_path: Path) -> None:
    """Replaying a folder that holds the ledger must not put its files into quarantine."""
    settings = Settings(ledger=f"sqlite:{tmp_path}/books.db")
    write(tmp_path / "l.json", log(1), poison(2))
    first = play(settings, tmp_path)
    assert results(first)[:3] + results(first)[4:] == (1, 0, 0, 1)
    for _ in range(2):
        again = play(settings, tmp_path)
        assert (again.duplicates, again.quarantined) == (1, 1)
        assert any("of the ledger itself" in reason for reason in again.ignored_reasons)
    assert len(aside(tmp_path / "books.db.quarantine")) == 1


def test_what_is_no_file_is_ignored_and_what_cannot_be_read_is_quarantined(
    settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    write(folder / "1.json", log(1))
    os.mkfifo(folder / "pipe")
    (folder / "circle").symlink_to(folder)
    (folder / "broken").symlink_to(folder / "nowhere")
    figures = play(settings, folder)
    assert results(figures) == (1, 0, 0, 2, 1)
    assert "not a regular file" in figures.ignored_reasons
    [record] = aside(tmp_path / "books.db.quarantine")
    assert (record.position.source, record.found) == (
        str(folder / "broken"),
        "No such file or directory",
    )


def test_a_folder_that_cannot_be_listed_is_quarantined(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "logs"
    write(folder / "1.json", log(1))
    (folder / "closed").mkdir()
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert results(play(settings, folder)) == (1, 0, 0, 0, 1)
    [record] = aside(tmp_path / "books.db.quarantine")
    assert record.position.source == str(folder / "closed")
    assert record.expected == "a readable folder"


def test_names_that_are_no_unicode_are_read_and_quarantined(
    settings: Settings, tmp_path: Path
) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/logs/caf\xe9.json")
    try:
        write(Path(name), log(1), poison(2))
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    assert results(play(settings, tmp_path / "logs")) == (1, 0, 0, 0, 1)


def test_a_file_that_a_decoder_breaks_on_is_quarantined(
    settings: Settings, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Decoder.decode_stream

    def decode_stream(self: Decoder, chunks: Any, *, source: str) -> Any:
        if source.endswith("1.json"):
            raise EOFError("a bug")
        return real(self, chunks, source=source)

    monkeypatch.setattr(Decoder, "decode_stream", decode_stream)
    figures = play(settings, logs, jobs=1)
    assert figures.deliveries == 5
    assert figures.quarantined == 2


# --- Faults ----------------------------------------------------------------------------------


def _failing(times: int) -> Callable[..., Any]:
    real, left = SqliteLedger.commit, [times]

    async def commit(self: SqliteLedger, *arguments: Any, **options: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise TransientError("the disk is busy")
        return await real(self, *arguments, **options)

    return commit


def test_passing_faults_are_tried_again(
    settings: Settings, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "RETRY_SECONDS", 0)
    monkeypatch.setattr(SqliteLedger, "commit", _failing(run.COMMIT_ATTEMPTS - 1))
    assert play(settings, logs).recorded == 5


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_fault_that_does_not_pass_ends_the_replay_and_its_children(
    settings: Settings, logs: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    monkeypatch.setattr(run, "RETRY_SECONDS", 0)
    monkeypatch.setattr(SqliteLedger, "commit", _failing(10**6))
    with pytest.raises(TransientError, match="the disk is busy"):
        play(settings, logs, jobs=jobs)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("jobs", [1, 2])
def test_settings_that_are_wrong_are_said_to_be(logs: Path, tmp_path: Path, jobs: int) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text("model,unit,usd\nx,input_tokens,much\n")
    with pytest.raises(ConfigurationError, match=r"prices\.csv"):
        play(Settings(ledger=f"sqlite:{tmp_path}/l.db", prices=prices), logs, jobs=jobs)
    with pytest.raises(ConfigurationError, match="no such file or folder"):
        play(Settings(ledger=f"sqlite:{tmp_path}/l.db"), tmp_path / "nowhere", jobs=jobs)
    assert not multiprocessing.active_children()


def test_a_decoder_process_that_dies_is_reported(
    settings: Settings, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run._Child.give

    def give(self: Any, files: Any) -> None:
        self.process.kill()
        self.process.join()
        real(self, files)

    monkeypatch.setattr(run._Child, "give", give)
    with pytest.raises(LedgerockError, match=r"ended early \(exit code -9\).*run the same replay"):
        play(settings, logs, jobs=2)
    assert not multiprocessing.active_children()


def test_a_quarantine_that_fails_once_does_not_change_the_figures(
    settings: Settings, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "RETRY_SECONDS", 0)
    real, left = FileQuarantine.put, [1]

    async def put(self: FileQuarantine, records: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise TransientError("the disk is full")
        return await real(self, records)

    monkeypatch.setattr(FileQuarantine, "put", put)
    figures = play(settings, logs)
    assert (figures.recorded, figures.totals.calls) == (5, 5)


def test_entries_name_their_calls(settings: Settings, logs: Path, tmp_path: Path) -> None:
    play(settings, logs)

    async def find() -> Any:
        ledger = SqliteLedger(tmp_path / "books.db")
        found = await ledger.find(request_id(5))
        await ledger.close()
        return found

    [entry] = asyncio.run(find())
    # The completion's tokens, and the event's caller.
    assert entry.evidence.counts.input_tokens == 7
    assert entry.evidence.facts.principal_id == "AIDAALICE"
    assert stat.S_ISREG((tmp_path / "books.db").stat().st_mode)
