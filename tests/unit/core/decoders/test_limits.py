import pytest

from worker.core.decoders import Limits


def test_bounds_that_nothing_could_meet_are_refused() -> None:
    with pytest.raises(ValueError, match="records_max must be at least 1, not 0"):
        Limits(records_max=0)


def test_a_block_may_not_be_longer_than_a_line() -> None:
    with pytest.raises(ValueError, match="block_bytes must be at most line_bytes_max"):
        Limits(line_bytes_max=1_000, block_bytes=1_001)
