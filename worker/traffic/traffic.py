"""The whole of it: the everyday stream and the scenes, written as files with their sums."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from worker.traffic import scenes_logs as logs
from worker.traffic import scenes_trail as trail
from worker.traffic import scenes_transport as transport
from worker.traffic.people import Caller, cast, crowd
from worker.traffic.prices import MODELS
from worker.traffic.profile import TrafficProfile
from worker.traffic.registry import registry_toml
from worker.traffic.stage import Stage
from worker.traffic.stream import EverydayStream, hourly_calls
from worker.traffic.sums import TrafficSums
from worker.traffic.writer import BucketWriter, to_json

Scene = Callable[[Stage], None]

COMMON: Final[tuple[Scene, ...]] = (
    logs.stream_of_chunks,
    logs.cache_split,
    trail.log_and_event,
    logs.model_names,
    logs.embedding,
    logs.responses_twins,
    trail.log_and_completion,
    logs.service_tier,
    logs.images,
    logs.application_profile,
    logs.cache_write_of_unknown_life,
    trail.event_only,
    logs.rerank,
    logs.failure,
    trail.call_and_completion,
    logs.guardrail_blocks_output,
    logs.unknown_model,
    logs.guardrail_blocks_stream,
    trail.completion_only,
    logs.aborted_stream,
)
"""Scenes that happen all the time, in turn."""

RARE: Final[tuple[Scene, ...]] = (
    transport.subscription_file,
    transport.permission_check,
    logs.unresolved_profile,
    transport.queue_event,
    logs.images_without_body,
    transport.side_object,
    *transport.POISON,
    transport.kinesis_event,
    logs.provisioned,
    transport.control_message,
    logs.guardrail_blocks_call,
    transport.logs_event,
    transport.digest,
    trail.sighting,
    transport.account_subscription_file,
    transport.empty_object,
    transport.bus_event,
    logs.half_counted,
    transport.truncated_object,
)
"""Scenes that happen now and then."""

RARE_TIMES: Final = 2
"""How often each of the rare scenes happens."""


class Traffic:
    """Traffic of one profile. Every use of it starts again and makes the same records."""

    def __init__(self, profile: TrafficProfile) -> None:
        """Take the profile; nothing is made yet."""
        self.profile = profile

    def callers(self) -> tuple[Caller, ...]:
        """Return everybody who calls, the busiest first."""
        profile = self.profile
        if profile.scenes:
            return cast(profile.start)
        return crowd(principals=profile.principals, accounts=profile.accounts, teams=profile.teams)

    def registry(self) -> str:
        """Return the registry file that the sums presume, as TOML."""
        return registry_toml(self.callers(), scenes=self.profile.scenes)

    def lines(self, sums: TrafficSums | None = None) -> Iterator[bytes]:
        """Yield the everyday stream's log lines in memory, for measurements without files.

        Copies of late deliveries come where their later file would be. Scenes are left out.

        Args:
            sums: Where the expected totals are added; complete once the iterator is exhausted.
        """
        everyday = self._everyday(self.profile.calls, TrafficSums() if sums is None else sums)
        for hour in range(len(everyday.shares)):
            for line in everyday.hour(hour):
                yield line.text.encode()
        for line in everyday.finish():
            yield line.text.encode()

    def write(self, directory: Path) -> TrafficSums:
        """Write the files below a folder and return what they should add up to.

        Args:
            directory: `logs/`, `registry.toml` and `expected.json` are put there.

        Raises:
            FileExistsError: There are logs already, which would be counted too.
        """
        root = directory / "logs"
        if root.exists() and any(root.iterdir()):
            raise FileExistsError(f"{root} is not empty: remove it or name another folder")
        root.mkdir(parents=True, exist_ok=True)
        sums = TrafficSums()
        bucket = BucketWriter(root, self.profile, sums)
        if self.profile.scenes:
            self._write_with_scenes(bucket, sums)
        else:
            self._write_everyday(bucket, sums)
        (directory / "registry.toml").write_text(self.registry(), encoding="utf-8")
        (directory / "expected.json").write_text(f"{to_json(sums.document())}\n", encoding="utf-8")
        return sums

    def _everyday(self, calls: int, sums: TrafficSums) -> EverydayStream:
        models = MODELS[: self.profile.models]
        return EverydayStream(self.profile, self.callers(), models, calls, sums)

    def _write_everyday(self, bucket: BucketWriter, sums: TrafficSums) -> None:
        everyday = self._everyday(self.profile.calls, sums)
        for hour in range(len(everyday.shares)):
            for line in everyday.hour(hour):
                bucket.line(line)
        for line in everyday.finish():
            bucket.line(line)
        bucket.close()

    def _write_with_scenes(self, bucket: BucketWriter, sums: TrafficSums) -> None:
        scenes = round(self.profile.calls * self.profile.scene_share)
        everyday = self._everyday(self.profile.calls - scenes, sums)
        stage = Stage(self.profile, self.callers(), bucket, sums)
        played = 0
        for hour, share in enumerate(hourly_calls(self.profile, scenes)):
            stage.begin_hour(hour)
            for line in everyday.hour(hour):
                bucket.line(line)
            for position in range(played, played + share):
                scene_at(position, scenes)(stage)
            played += share
        stage.finish()
        for line in everyday.finish():
            bucket.line(line)
        bucket.close()


def scene_at(position: int, scenes: int) -> Scene:
    """Return the scene to play: the common ones in turn, the rare ones spread evenly between."""
    rare = len(RARE) * RARE_TIMES
    turn = -(-position * rare // scenes)
    if turn < rare and turn * scenes // rare == position:
        return RARE[turn % len(RARE)]
    return COMMON[position % len(COMMON)]
