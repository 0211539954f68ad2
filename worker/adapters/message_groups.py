"""Deliveries of ordered groups on their way: what may be acknowledged, and what must come again.

In a FIFO queue nothing of a group may be deleted before what came earlier in that group: were
the earlier delivery deferred, it would come after the later one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Flight:
    """A delivery that is being worked on; `acknowledged` once it ended, held for earlier ones."""

    receipt: str
    ends_at: float
    acknowledged: bool = False


@dataclass(slots=True)
class Decisions:
    """What becomes of deliveries now.

    Attributes:
        acknowledge: Receipts that may be deleted.
        defer: Receipts that must come again, by group; in the order they were received.
    """

    acknowledge: list[str] = field(default_factory=list)
    defer: dict[str, list[str]] = field(default_factory=dict)


class MessageGroups:
    """Decides in which order deliveries of ordered groups are settled.

    An acknowledgement waits until everything earlier in its group has ended. When one is
    deferred, or runs out of time, everything later in its group that is on its way comes again
    as well, whatever its own end.

    Args:
        now: Tells the time, in seconds, on any clock that never goes back.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """Nothing is on its way."""
        self._now = now
        self._groups: dict[str, list[_Flight]] = {}
        self._group_of: dict[str, str] = {}
        self._broken: dict[str, float] = {}

    def add(self, group: str, receipt: str, ends_at: float) -> None:
        """Note that a delivery was received, and when it will be visible again.

        What ran out of time before in its group comes again, too: it is nobody's to wait for.
        """
        flights = self._groups.setdefault(group, [])
        now = self._now()
        lost = next((at for at, one in enumerate(flights) if one.ends_at <= now), len(flights))
        self._broken |= {one.receipt: one.ends_at for one in flights[lost:]}
        flights[lost:] = [_Flight(receipt, ends_at)]
        self._group_of[receipt] = group

    def extend(self, receipts: Iterable[str], ends_at: float) -> None:
        """Note that deliveries stay invisible for longer."""
        wanted = set(receipts)
        for group in {self._group_of[one] for one in wanted if one in self._group_of}:
            for flight in self._groups.get(group, ()):
                if flight.receipt in wanted:
                    flight.ends_at = ends_at
        for receipt in wanted & self._broken.keys():
            self._broken[receipt] = ends_at

    def waiting(self) -> list[str]:
        """Return what is acknowledged but waits for something earlier."""
        return [
            flight.receipt
            for flights in self._groups.values()
            for flight in flights
            if flight.acknowledged
        ]

    def settle(self, ended: Iterable[tuple[str, bool]]) -> Decisions:
        """Take in how deliveries ended (receipt, whether acknowledged); say what can be done.

        Receipts that are not known are nobody's order: they end as they are.
        """
        decisions = Decisions()
        results: dict[str, dict[str, bool]] = {}
        for receipt, acknowledged in ended:
            group = self._group_of.get(receipt)
            if group is not None and receipt not in self._broken:
                results.setdefault(group, {})[receipt] = acknowledged
                continue
            self._forget(receipt)
            if group is None and acknowledged:
                decisions.acknowledge.append(receipt)
            else:
                decisions.defer.setdefault(group or receipt, []).append(receipt)
        for group, of_group in results.items():
            self._settle_group(group, of_group, decisions)
        self._drop_expired()
        return decisions

    def _settle_group(self, group: str, results: dict[str, bool], decisions: Decisions) -> None:
        kept: list[_Flight] = []
        broken = False
        for flight in self._groups.get(group, ()):
            ended = flight.acknowledged or flight.receipt in results
            flight.acknowledged = flight.acknowledged or results.get(flight.receipt, False)
            broken = (
                broken
                or (ended and not flight.acknowledged)
                or (not ended and flight.ends_at <= self._now())
            )
            if broken and ended:
                decisions.defer.setdefault(group, []).append(flight.receipt)
                self._forget(flight.receipt)
            elif broken:
                self._broken[flight.receipt] = flight.ends_at
            elif ended and not kept:
                decisions.acknowledge.append(flight.receipt)
                self._forget(flight.receipt)
            else:
                kept.append(flight)
        if kept:
            self._groups[group] = kept
        else:
            self._groups.pop(group, None)

    def _forget(self, receipt: str) -> None:
        self._group_of.pop(receipt, None)
        self._broken.pop(receipt, None)

    def _drop_expired(self) -> None:
        now = self._now()
        for receipt in [one for one, ends_at in self._broken.items() if ends_at <= now]:
            self._forget(receipt)
