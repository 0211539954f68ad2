"""Whether the worker is alive and well, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from worker.ports import Stream
from worker.runtime.breaker import Breaker
from worker.runtime.holding import Holdings

CANNOT_COMMIT_SECONDS: Final = 30.0
"""How long commits may fail before the worker is unhealthy: faults pass in seconds."""


class Health:
    """Collects what the parts of the worker say of themselves.

    Args:
        breaker: Open, it makes the worker unhealthy.
        holdings: What is in hand, and since when.
        sources: Names of all sources; ready means that each was reached.
        lag_seconds_max: Beyond this age of the oldest delivery in hand it is not ready, nor when
            a stream is further behind.
        streams: Those of the sources that know how far behind they are.
    """

    def __init__(
        self,
        *,
        breaker: Breaker,
        holdings: Holdings,
        sources: tuple[str, ...],
        lag_seconds_max: int,
        streams: Sequence[Stream] = (),
    ) -> None:
        """Be well, and not ready yet."""
        self._breaker = breaker
        self._holdings = holdings
        self._sources = sources
        self._lag_seconds_max = lag_seconds_max
        self._streams = tuple(streams)
        self._faults: dict[str, str] = {}
        self._warnings: dict[str, str] = {}
        self._connected: set[str] = set()
        self._failing_since: float | None = None
        self._commit_fault = ""
        self.is_stopping = False

    def connected(self, source: str) -> None:
        """Note that a source was reached."""
        self._connected.add(source)
        self._faults.pop(source, None)

    def disconnected(self, source: str) -> None:
        """Note that a source cannot be reached for now."""
        self._connected.discard(source)

    def was_connected(self, source: str) -> bool:
        """Whether a source can be reached."""
        return source in self._connected

    def fault(self, part: str, reason: str | None) -> None:
        """Note that a part cannot work until somebody mends something; None: it can."""
        _note(self._faults, part, reason)

    def warning(self, part: str, reason: str | None) -> None:
        """Note that something is wrong that a restart would not mend; None: no longer."""
        _note(self._warnings, part, reason)

    def committed(self) -> None:
        """Note that something was committed."""
        self._failing_since = None
        self._faults.pop("ledger", None)

    def not_committed(self, now: float, reason: str) -> None:
        """Note that a commit failed."""
        if self._failing_since is None:
            self._failing_since = now
        self._commit_fault = reason

    @property
    def is_failing(self) -> bool:
        """Whether the last commit failed, or the ledger cannot be used."""
        return self._failing_since is not None or "ledger" in self._faults

    def lag_seconds(self, now_ms: int) -> float:
        """Return the age of the oldest delivery in hand; 0 if there is none."""
        oldest_ms = self._holdings.oldest_ms()
        return 0.0 if oldest_ms is None else max(0, now_ms - oldest_ms) / 1000

    def behind_seconds(self) -> dict[str, float]:
        """Return how far each stream is behind its newest record."""
        return {stream.name: stream.behind_ms / 1000 for stream in self._streams}

    def unhealthy(self, now: float) -> list[str]:
        """Return why the worker is not well; nothing if it is."""
        reasons = [f"{part}: {reason}" for part, reason in sorted(self._faults.items())]
        if self._breaker.state(now) != "closed":
            reasons.append(
                f"the breaker is {self._breaker.state(now)}: of the latest records "
                f"{self._breaker.share:.0%} were quarantined (`ledgerock quarantine list`)"
            )
        if self._failing_since is not None and now - self._failing_since > CANNOT_COMMIT_SECONDS:
            seconds = now - self._failing_since
            reasons.append(f"nothing could be committed for {seconds:.0f} s: {self._commit_fault}")
        return reasons

    def unready(self, now: float, now_ms: int) -> list[str]:
        """Return why the worker is not ready; nothing if it is."""
        reasons = self.unhealthy(now)
        reasons += [f"{part}: {reason}" for part, reason in sorted(self._warnings.items())]
        reasons += [
            f"{source}: not reached" for source in self._sources if source not in self._connected
        ]
        lag = self.lag_seconds(now_ms)
        if lag > self._lag_seconds_max:
            reasons.append(
                f"the oldest delivery in hand is {lag:.0f} s old, more than {self._lag_seconds_max}"
            )
        reasons += [
            f"{source}: {behind:.0f} s behind its newest record, more than {self._lag_seconds_max}"
            for source, behind in self.behind_seconds().items()
            if behind > self._lag_seconds_max
        ]
        if self.is_stopping:
            reasons.append("stopping")
        return reasons


def _note(notes: dict[str, str], part: str, reason: str | None) -> None:
    if reason is None:
        notes.pop(part, None)
    else:
        notes[part] = reason
