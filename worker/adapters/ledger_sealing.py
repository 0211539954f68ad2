"""What ledger adapters share of sealing: what is sealed, what that adds up to, what may go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from worker.core.codec import Bodies
from worker.core.ledger import MS_PER_DAY, Amounts
from worker.core.seal import Seal, SealedSum


def sealed_among(known: Mapping[bytes, bytes], seal: Seal, decoder: Bodies) -> set[bytes]:
    """Return the stored keys of known calls, given with their bodies, that are sealed."""
    if not seal.day:
        return set()
    return {key for key, body in known.items() if seal.holds(decoder.day(body))}


def sums_between(
    bodies: Iterable[bytes],
    decoder: Bodies,
    first_day: int,
    end_day: int,
    on_progress: Callable[[int], None] | None,
) -> dict[int, Amounts]:
    """Add up the calls of a half-open range of days, day 0 left out, by leaf id."""
    sums: dict[int, Amounts] = {}
    looked_at = 0
    for body in bodies:
        looked_at += 1
        if max(1, first_day) <= decoder.day(body) < end_day:
            leaf_id, amounts = decoder.amounts(body)
            sums.setdefault(leaf_id, Amounts()).add(amounts)
    if on_progress is not None:
        on_progress(looked_at)
    return sums


def expires_before_ms(seal: Seal, after_days: int, now_ms: int) -> int:
    """Return before which instant entries may be gone now, epoch milliseconds UTC."""
    return min(seal.may_go_before_day * MS_PER_DAY, now_ms - after_days * MS_PER_DAY)


def with_expired(seal: Seal, before_ms: int) -> Seal:
    """Return a seal that tells that entries before an instant may be gone."""
    day = max(seal.expired_day, -(-before_ms // MS_PER_DAY))
    return msgspec.structs.replace(seal, expired_day=day, changes=seal.changes + 1)


def joined(one: SealedSum | None, other: SealedSum) -> SealedSum:
    """Return the sum of two leaves that are one by now, since both are of a forgotten person."""
    if one is None:
        return other
    amounts = Amounts()
    amounts.add(one.amounts)
    amounts.add(other.amounts)
    return SealedSum(amounts, max(one.day, other.day))
