"""A checkpoint never passes a record that is not settled, and nothing keeps it back but those."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.kinesis_checkpoint import SHARD_END, TRIM_HORIZON, Tracker

STEPS = st.lists(st.tuples(st.sampled_from(["read", "settle", "crash"]), st.integers(0, 10**6)))


@given(steps=STEPS, closed=st.booleans(), chance=st.randoms(use_true_random=False))
def test_any_order_of_settling_and_crashing(
    steps: list[tuple[str, int]], closed: bool, chance: Random
) -> None:
    shard = [str(number * 7 + 100) for number in range(40)]
    settled: set[str] = set()  # what was settled by anybody, ever
    kept = TRIM_HORIZON
    tracker, at, open_ = Tracker(kept), 0, list[str]()

    def highest() -> str:
        """The plain definition: settled, and so is all before it."""
        contiguous = TRIM_HORIZON
        for sequence in shard[:at]:
            if sequence in open_:
                break
            contiguous = sequence
        return contiguous

    for step, number in steps:
        if step == "read" and at < len(shard):
            assert tracker.read(shard[at])
            assert not tracker.read(shard[at])  # an iterator that was renewed may read it twice
            open_.append(shard[at])
            at += 1
        elif step == "settle" and open_:
            sequence = open_.pop(number % len(open_))
            settled.add(sequence)
            assert tracker.settle(sequence)
            assert not tracker.settle(sequence)
        elif step == "crash":
            kept = tracker.checkpoint
            before = shard[: shard.index(kept) + 1] if kept != TRIM_HORIZON else []
            assert settled.issuperset(before)
            tracker, at, open_ = Tracker(kept), len(before), []
        assert tracker.checkpoint == highest()
        assert tracker.unsettled == len(open_)
        assert tracker.span >= tracker.unsettled

    while at < len(shard):
        tracker.read(shard[at])
        open_.append(shard[at])
        at += 1
    if closed:
        tracker.end()
    chance.shuffle(open_)
    for sequence in open_:
        assert tracker.checkpoint != SHARD_END
        tracker.settle(sequence)
    assert tracker.checkpoint == (SHARD_END if closed else shard[-1])
    assert tracker.span == tracker.unsettled == 0


def test_a_closed_shard_without_records_is_at_its_end() -> None:
    tracker = Tracker(TRIM_HORIZON)
    assert tracker.checkpoint == TRIM_HORIZON
    tracker.end()
    assert tracker.checkpoint == SHARD_END


def test_what_was_never_read_is_not_settled() -> None:
    tracker = Tracker("100")
    assert not tracker.settle("101")
    assert tracker.checkpoint == "100"
