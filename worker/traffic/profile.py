"""How much traffic, of what kind, from which seed."""

from dataclasses import dataclass
from datetime import date
from typing import Final

SHARE_MAX: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficProfile:
    """Everything that decides the traffic: equal profiles make equal records.

    Attributes:
        name: For people.
        seed: Of the random numbers.
        calls: Distinct calls.
        start: First day, ISO date, UTC.
        days: Number of days.
        principals: Number of made-up callers; ignored with `scenes`, which has a fixed cast.
        models: How many of the everyday models are used.
        accounts: How many accounts call.
        teams: How many teams the callers belong to.
        body_share: Share of the calls that are logged with their bodies.
        duplicate_share: Share of the invocation-log records that repeat an earlier one, half of
            them soon, half of them much later and usually in another file.
        scenes: Mix in every special shape: CloudTrail, images, failures, envelopes, poison.
        scene_share: Share of the calls that are such scenes.
        lines_per_file_max: A log object ends with its hour or when it has that many lines.
    """

    name: str
    seed: int
    calls: int
    start: str
    days: int
    principals: int = 300
    models: int = 12
    accounts: int = 3
    teams: int = 25
    body_share: float = 0.10
    duplicate_share: float = 0.10
    scenes: bool = False
    scene_share: float = 0.30
    lines_per_file_max: int = 10_000

    def __post_init__(self) -> None:
        """Refuse what cannot be made.

        Raises:
            ValueError: A figure is out of its range.
        """
        date.fromisoformat(self.start)
        for name in ("days", "principals", "models", "accounts", "teams", "lines_per_file_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.calls < 0:
            raise ValueError(f"calls must not be negative, not {self.calls}")
        for name in ("body_share", "duplicate_share", "scene_share"):
            if not 0 <= getattr(self, name) < SHARE_MAX:
                raise ValueError(f"{name} must be in [0, 1), not {getattr(self, name)}")


def bench_profile(calls: int, seed: int) -> TrafficProfile:
    """Return the workload that speeds are measured on: 300 callers, 12 models, 3 accounts."""
    return TrafficProfile(name="bench", seed=seed, calls=calls, start="2026-10-05", days=10)


def demo_profile(seed: int, calls: int = 3_000) -> TrafficProfile:
    """Return a small company's fortnight, with every shape that AWS delivers."""
    return TrafficProfile(
        name="demo", seed=seed, calls=calls, start="2026-10-05", days=10, scenes=True, models=12
    )
