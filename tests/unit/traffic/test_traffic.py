import gzip
import json
import tomllib
import tracemalloc
from collections import Counter, defaultdict
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.unit.traffic.recount import Recount, recount
from worker.traffic import Traffic, TrafficProfile, TrafficSums, bench_profile, demo_profile
from worker.traffic.sums import usd
from worker.traffic.traffic import COMMON, RARE, RARE_TIMES, scene_at

PICO = Decimal(10**12)


def small_bench(calls: int = 2_000) -> TrafficProfile:
    return replace(bench_profile(calls, seed=11), days=2)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrafficSums, Recount]:
    folder = tmp_path_factory.mktemp("demo")
    sums = Traffic(demo_profile(seed=7, calls=1_500)).write(folder)
    return folder, sums, recount(folder / "logs")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrafficSums, Recount]:
    folder = tmp_path_factory.mktemp("bench")
    sums = Traffic(small_bench()).write(folder)
    return folder, sums, recount(folder / "logs")


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("profile", [demo_profile(5, calls=400), small_bench(400)])
def test_a_seed_means_the_same_bytes_and_another_seed_others(
    profile: TrafficProfile, tmp_path: Path
) -> None:
    for name, seed in (("one", 5), ("again", 5), ("other", 6)):
        Traffic(replace(profile, seed=seed)).write(tmp_path / name)
    one = files(tmp_path / "one")
    assert one == files(tmp_path / "again")
    assert one.keys() != files(tmp_path / "other").keys()


def test_the_records_of_a_seed_never_change() -> None:
    lines = list(Traffic(bench_profile(3, seed=7)).lines())
    first = json.loads(lines[0])
    assert first["requestId"] == "52e6b438-4de4-42a7-937f-44c9c389a783"
    assert first["identity"]["arn"] == "arn:aws:iam::444455556666:user/luca.brandt"
    assert (first["input"]["inputTokenCount"], first["output"]["outputTokenCount"]) == (258, 17)


def test_a_slow_recount_of_the_demo_gives_the_same_sums(
    demo: tuple[Path, TrafficSums, Recount],
) -> None:
    _, sums, found = demo
    assert len(found.calls) == sums.calls
    assert found.records == sums.records == sums.calls + sums.duplicates + sums.companions
    assert found.malformed == sums.poison_lines == 10
    assert found.cost_usd() * PICO == sums.cost_pico_usd
    by_day: dict[str, Decimal] = defaultdict(Decimal)
    for call in found.calls.values():
        by_day[call.day] += call.cost_usd() * PICO
    assert by_day == {day: total.cost_pico_usd for day, total in sums.by_day.items()}


def test_a_slow_recount_of_the_bench_gives_the_same_sums(
    bench: tuple[Path, TrafficSums, Recount],
) -> None:
    _, sums, found = bench
    assert len(found.calls) == sums.calls == 2_000
    assert found.records == sums.records == sums.calls + sums.duplicates
    assert found.malformed == 0
    assert found.cost_usd() * PICO == sums.cost_pico_usd
    tokens = [sum(counts) for counts in zip(*(c.counts for c in found.calls.values()), strict=True)]
    total = sums.total
    assert tokens == [
        total.input_tokens,
        total.output_tokens,
        total.cache_read_tokens,
        total.cache_write_5m_tokens,
        total.cache_write_1h_tokens,
    ]
    # Everybody is one identity of one ARN, apart from the session names of roles.
    by_caller = Counter(
        call.arn.split("/")[1] for call in found.calls.values() if "user/" in call.arn
    )
    expected = {
        identity.rsplit("/", 1)[1]: group.calls
        for identity, group in sums.by_identity.items()
        if identity.startswith("user/")
    }
    assert by_caller == expected


@pytest.mark.parametrize("kind", ["demo", "bench"])
def test_every_grouping_adds_up_to_the_total(kind: str, request: pytest.FixtureRequest) -> None:
    _, sums, _ = request.getfixturevalue(kind)
    for groups in (
        sums.by_principal,
        sums.by_identity,
        sums.by_account,
        sums.by_model,
        sums.by_day,
    ):
        assert sum(group.cost_pico_usd for group in groups.values()) == sums.cost_pico_usd
        assert sum(group.calls for group in groups.values()) == sums.calls


def test_the_bench_workload_is_what_its_bars_are_measured_on(
    bench: tuple[Path, TrafficSums, Recount],
) -> None:
    _, sums, _ = bench
    assert (len(sums.by_model), len(sums.by_account), len(sums.by_team)) == (12, 3, 25)
    assert len(sums.by_principal) > 250
    busiest = max(group.calls for group in sums.by_principal.values())
    assert 0.12 < busiest / sums.calls < 0.20  # Zipf: 1 / (1 + 1/2 + ... + 1/300) = 0.16
    assert 0.08 < sums.duplicates / sums.records < 0.12
    with_body = [b"BodyJson" in line for line in Traffic(small_bench()).lines()]
    assert 0.08 < sum(with_body) / len(with_body) < 0.12


def test_lines_in_memory_are_those_of_the_files(bench: tuple[Path, TrafficSums, Recount]) -> None:
    folder, sums, _ = bench
    in_memory = TrafficSums()
    lines = Counter(Traffic(small_bench()).lines(in_memory))
    written = Counter(
        line
        for data in files(folder / "logs").values()
        for line in gzip.decompress(data).splitlines()
    )
    assert lines == written
    assert (in_memory.total, in_memory.records) == (sums.total, sums.records)


def test_copies_come_soon_and_in_later_files_and_time_runs_forward(
    bench: tuple[Path, TrafficSums, Recount],
) -> None:
    folder, sums, _ = bench
    where: dict[str, set[str]] = defaultdict(set)
    for name, data in files(folder / "logs").items():
        for line in gzip.decompress(data).splitlines():
            where[json.loads(line)["requestId"]].add(name)
    across = sum(len(names) > 1 for names in where.values())
    assert sums.duplicates / 3 < across < sums.duplicates
    no_copies = replace(small_bench(), duplicate_share=0.0)
    times = [json.loads(line)["timestamp"] for line in Traffic(no_copies).lines()]
    assert times == sorted(times)


def test_the_demo_covers_every_shape(demo: tuple[Path, TrafficSums, Recount]) -> None:
    folder, sums, _ = demo
    total = sums.total
    counts = (
        total.estimated_calls,
        total.unpriced_calls,
        total.unmetered_calls,
        total.failed_calls,
    )
    assert all(counts)
    assert sums.corrupt_files == RARE_TIMES
    assert sums.ignored_files == 4 * RARE_TIMES
    operations = Counter(
        json.loads(line)["operation"] for line in everything(folder) if b'"operation"' in line
    )
    assert set(operations) == {
        "InvokeModel",
        "InvokeModelWithResponseStream",
        "Converse",
        "ConverseStream",
    }
    kinds = {identity.split("/")[0] for identity in sums.by_identity}
    assert kinds == {"user", "role", "session", "federated", "root"}
    assert {principal.split("/")[0] for principal in sums.by_principal} == {*kinds, "agent", "app"}


def everything(folder: Path) -> list[bytes]:
    lines = []
    for path in (folder / "logs").rglob("*Z_*.json.gz"):
        if "CloudTrail" not in path.name and path.stat().st_size:
            try:
                lines += gzip.decompress(path.read_bytes()).splitlines()
            except EOFError:  # the objects that break off
                continue
    return [line for line in lines if line.endswith(b"}") and line.startswith(b"{")]


def test_an_agent_pays_from_the_day_it_is_registered(
    demo: tuple[Path, TrafficSums, Recount],
) -> None:
    folder, sums, _ = demo
    registry = tomllib.loads((folder / "registry.toml").read_text())
    (late,) = [agent for agent in registry["agents"] if "effective_from" in agent]
    assert late["effective_from"].isoformat() == "2026-10-09T00:00:00+00:00"
    role = "role/444455556666/ResearchAgentRole"
    assert sums.by_principal[role].calls + sums.by_principal[late["id"]].calls == (
        sums.by_identity[role].calls
    )


def test_the_registry_names_the_team_of_everybody_who_has_one(
    demo: tuple[Path, TrafficSums, Recount], bench: tuple[Path, TrafficSums, Recount]
) -> None:
    for folder, sums, _ in (demo, bench):
        registry = tomllib.loads((folder / "registry.toml").read_text())
        team_of = {entry["match"]: entry["team"] for entry in registry["principals"]}
        cost: dict[str, int] = defaultdict(int)
        for principal, group in sums.by_principal.items():
            if principal in team_of:
                cost[team_of[principal]] += group.cost_pico_usd
        assert cost == {team: group.cost_pico_usd for team, group in sums.by_team.items()}


def test_expected_json_is_written_outside_the_logs(
    demo: tuple[Path, TrafficSums, Recount],
) -> None:
    folder, sums, _ = demo
    expected = json.loads((folder / "expected.json").read_text())
    assert expected["total"]["cost_pico_usd"] == sums.cost_pico_usd
    assert Decimal(expected["total"]["cost_usd"]) * PICO == sums.cost_pico_usd
    assert expected["by_day"].keys() == sums.by_day.keys()


def test_every_scene_is_played_and_the_rare_ones_twice() -> None:
    played = Counter(scene_at(position, 450) for position in range(450))
    assert played.keys() == {*COMMON, *RARE}
    assert {played[scene] for scene in RARE} == {RARE_TIMES}


def test_memory_does_not_grow_with_the_number_of_records() -> None:
    def peak(calls: int) -> int:
        tracemalloc.start()
        for _ in Traffic(replace(bench_profile(calls, seed=3), body_share=0.0)).lines():
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    # Seven thousand more lines of 500 bytes would be 3.5 MB.
    few, many = peak(1_000), peak(8_000)
    assert many < few + 1_000_000


def test_logs_are_never_mixed_with_older_ones(tmp_path: Path) -> None:
    Traffic(small_bench(10)).write(tmp_path)
    with pytest.raises(FileExistsError, match="is not empty: remove it"):
        Traffic(small_bench(10)).write(tmp_path)


def test_a_full_log_object_is_followed_by_another(tmp_path: Path) -> None:
    profile = replace(small_bench(600), lines_per_file_max=5)
    sums = Traffic(profile).write(tmp_path)
    sizes = [len(gzip.decompress(data).splitlines()) for data in files(tmp_path / "logs").values()]
    assert max(sizes) == 5
    assert (sum(sizes), len(sizes)) == (sums.records, sums.files)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"days": 0}, "days must be at least 1, not 0"),
        ({"calls": -1}, "calls must not be negative, not -1"),
        ({"body_share": 1.0}, "body_share must be in"),
        ({"start": "yesterday"}, "Invalid isoformat"),
    ],
)
def test_a_profile_that_cannot_be_made_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(bench_profile(10, seed=1), **change)  # type: ignore[arg-type]


def test_more_callers_than_the_table_holds_are_refused() -> None:
    profile = replace(bench_profile(10, seed=1), principals=70_000)
    with pytest.raises(ValueError, match="ask for fewer principals"):
        next(Traffic(profile).lines())


@pytest.mark.parametrize(
    "pico,text",
    [(0, "0"), (1, "0.000000000001"), (10_500_000_000, "0.0105"), (3 * 10**12, "3")],
)
def test_usd_is_exact_and_plain(pico: int, text: str) -> None:
    assert usd(pico) == text
