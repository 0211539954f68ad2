"""Finding objects, fetching them ahead, and decoding them; the store is in memory."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.cli.logs import lines, log
from worker.adapters.memory_objects import MemoryObjectStore
from worker.core.errors import ConfigurationError, TransientError, UnreadableObjectError
from worker.pipeline import Window
from worker.ports import Folder, StoredObject
from worker.replay import objects as objects_module
from worker.replay.decoding import FileDecoder
from worker.replay.files import Listing, LogFile, find_files
from worker.replay.objects import AHEAD, AHEAD_BYTES_MAX, ReadAhead, find_objects
from worker.settings import Settings

ROOT = "s3://trail/team"
LOGS = f"{ROOT}/AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1"
TRAIL = f"{ROOT}/AWSLogs/111122223333/CloudTrail/us-east-1"


class CountingStore(MemoryObjectStore):
    """Writes down what it was asked for."""

    def __init__(self, *names: str) -> None:
        super().__init__(dict.fromkeys(names, b"{}"))
        self.asked: list[str] = []

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        self.asked.append(f"all {prefix}")
        return super().objects(prefix)

    def level(self, prefix: str) -> Iterator[StoredObject | Folder]:
        self.asked.append(f"level {prefix}")
        return super().level(prefix)


def window(since: str | None, until: str | None) -> Window:
    return Window(*((text and _ms(text)) or None for text in (since, until)))


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def found(store: MemoryObjectStore, name: str = ROOT, within: Window | None = None) -> list[str]:
    return [one.name for one in find_objects(name, store, within or Window())]


DAYS = [
    f"{folder}/{year}/{month}/{day}{hour}/x.json.gz"
    for folder, hour in ((LOGS, "/07"), (TRAIL, ""))
    for year in ("2025", "2026")
    for month in ("09", "10")
    for day in ("01", "15", "30")
]
OTHER = f"{ROOT}/batch/abcdefghwxyz/manifest.json.out"


def test_without_a_window_one_listing_finds_everything() -> None:
    store = CountingStore(*DAYS, OTHER, f"{ROOT}-old/x.json")
    assert found(store, f"{ROOT}/") == sorted([*DAYS, OTHER])
    assert store.asked == [f"all {ROOT}/"]


def test_a_window_lists_only_folders_that_may_hold_it() -> None:
    store = CountingStore(*DAYS, OTHER)
    october = window("2026-10-01", "2026-10-16")
    expected = [
        f"{folder}/2026/{day}{hour}/x.json.gz"
        for folder, hour in ((LOGS, "/07"), (TRAIL, ""))
        for day in ("09/30", "10/01", "10/15")
    ]
    assert sorted(found(store, ROOT, october)) == sorted([*expected, OTHER])
    # Years, months and days outside of it were not even asked for.
    asked = " ".join(store.asked)
    assert "/2025/" not in asked
    assert "/2026/10/30/" not in asked
    assert "/2026/09/15/" not in asked
    assert f"all {LOGS}/2026/10/15/" in asked


@pytest.mark.parametrize(
    "name", [f"{LOGS}/2026", f"{LOGS}/2026/10/15", f"{LOGS}/2026/10/15/07/x.json.gz", "s3://trail"]
)
def test_any_level_can_be_named(name: str) -> None:
    store = CountingStore(*DAYS)
    within = found(store, name, window("2026-10-15", "2026-10-16"))
    assert f"{LOGS}/2026/10/15/07/x.json.gz" in within
    assert not any("/10/01" in one for one in within)
    assert set(within) < set(found(store, "s3://trail/"))


def test_wide_levels_are_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects_module, "LEVEL_MAX", 1)
    store = CountingStore(*DAYS)
    within = window("2026-10-15", "2026-10-16")
    assert found(store, f"{ROOT}/", within) == sorted(
        name for name in DAYS if "/2026/10/15" in name
    )


def test_a_name_is_an_object_a_folder_or_both_and_never_a_mere_beginning() -> None:
    store = CountingStore(f"{ROOT}/a", f"{ROOT}/a/1", f"{ROOT}/ab")
    assert found(store, f"{ROOT}/a") == [f"{ROOT}/a", f"{ROOT}/a/1"]
    assert found(store, f"{ROOT}/ab") == [f"{ROOT}/ab"]
    with pytest.raises(ConfigurationError, match=f"{ROOT}/x: no object"):
        found(store, f"{ROOT}/x")


def test_a_window_that_leaves_nothing_is_no_error() -> None:
    assert found(CountingStore(*DAYS), ROOT, window("2030-01-01", None)) == []


def test_a_listing_keeps_names_of_any_kind(tmp_path: Path) -> None:
    odd = ["s3://trail/ü\n 1", "caf\udce9/x", *(f"s3://trail/{n:0400d}" for n in range(3_000))]
    with Listing(LogFile(name, 2) for name in odd) as listing:
        assert (listing.files, listing.size_bytes) == (3_002, 6_004)
        assert [file.path for file in listing] == odd
        assert sum(1 for _ in listing) == 3_002


def test_files_and_objects_mix(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"{}")
    store = MemoryObjectStore({f"{ROOT}/a.json": b"{}"})
    paths = [f"{ROOT}/a.json", str(tmp_path), ROOT]
    assert [file.path for file in find_files(paths, store=lambda: store)] == [
        f"{ROOT}/a.json",
        str(tmp_path / "x.json"),
        f"{ROOT}/a.json",
    ]


# --- Reading ---------------------------------------------------------------------------------


def test_objects_are_read_in_order_and_few_ahead() -> None:
    names = [f"{ROOT}/{number}" for number in range(40)]
    store = MemoryObjectStore({name: name.encode() for name in names})
    taken = 0

    def wanted() -> Iterator[tuple[str, int]]:
        nonlocal taken
        for name in names:
            taken += 1
            yield name, AHEAD_BYTES_MAX + 1 if name.endswith("5") else 9

    read = []
    for name, content in ReadAhead(lambda: store).read(wanted()):
        read.append(name)
        assert b"".join(content) == name.encode()
        assert taken <= len(read) + AHEAD
    assert read == names


class FailingStore(MemoryObjectStore):
    def __init__(self, error: Exception) -> None:
        super().__init__({f"{ROOT}/{number}": record(number) for number in range(3)})
        self.error = error

    def open(self, name: str) -> Iterator[bytes]:
        content = next(super().open(name))
        if name.endswith("1"):
            yield content[:-3]
            raise self.error
        yield content


def record(number: int) -> bytes:
    return lines(log(f"r{number}"), log(f"s{number}"))


@pytest.mark.parametrize("size_bytes", [0, 9])
def test_an_object_that_cannot_be_read_is_put_aside_alone(size_bytes: int) -> None:
    error = UnreadableObjectError(f"{ROOT}/1", "nothing: it was deleted")
    decoder = FileDecoder(Settings(ledger="memory"), Window(), lambda: FailingStore(error))
    files = [LogFile(f"{ROOT}/{number}", size_bytes) for number in range(3)]
    assert not list(decoder.decode(files))
    progress = decoder.flush()
    assert progress.files == 3
    assert progress.digest.batch.records == 4
    (refused,) = progress.digest.malformed
    assert refused.position.source == f"{ROOT}/1"
    assert refused.found == "nothing: it was deleted"
    assert refused.truncated


@pytest.mark.parametrize("size_bytes", [0, 9])
@pytest.mark.parametrize("error", [ConfigurationError("denied"), TransientError("lost")])
def test_what_concerns_all_objects_ends_the_replay(error: Exception, size_bytes: int) -> None:
    decoder = FileDecoder(Settings(ledger="memory"), Window(), lambda: FailingStore(error))
    files = [LogFile(f"{ROOT}/{number}", size_bytes) for number in range(3)]
    with pytest.raises(type(error), match=str(error)):
        list(decoder.decode(files))


def test_objects_that_hold_no_records_are_not_fetched() -> None:
    names = [f"{LOGS}/2026/10/05/13/data/r1_input.json.gz", f"{ROOT}/aws-logs-write-test"]
    decoder = FileDecoder(Settings(ledger="memory"), Window(), lambda: MemoryObjectStore({}))
    assert not list(decoder.decode([LogFile(name, 9) for name in names]))
    progress = decoder.flush()
    assert (progress.digest.ignored, progress.digest.malformed) == (2, [])


def test_records_are_placed_in_their_object() -> None:
    name = f"{ROOT}/a.json.gz"
    store = MemoryObjectStore({name: gzip.compress(record(1) + b"nonsense\n")})
    decoder = FileDecoder(Settings(ledger="memory"), Window(), lambda: store)
    assert not list(decoder.decode([LogFile(name, 9)]))
    progress = decoder.flush()
    (refused,) = progress.digest.malformed
    assert (refused.position.source, refused.position.line) == (name, 3)
    assert progress.bytes_read == len(store.contents[name])
