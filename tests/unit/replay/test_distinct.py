import random
from pathlib import Path

import pytest

from tests.calls import request_id
from worker.core.codec import encode_key
from worker.replay import distinct
from worker.replay.distinct import DistinctKeys

KEYS = [
    encode_key(f"aws/{account}/{text}")
    for account in ("111122223333", "1")
    for text in (*map(request_id, range(300)), "a", "ü", "x" * 128, "u", "t")
]


@pytest.mark.parametrize("in_memory_max", [0, 1, 7, 500, 10_000])
def test_every_key_counts_once_however_often_and_wherever_it_waits(in_memory_max: int) -> None:
    dice = random.Random(1)
    with DistinctKeys(in_memory_max) as keys:
        for _ in range(3):
            shuffled = dice.sample(KEYS, len(KEYS))
            for first in range(0, len(shuffled), 50):
                keys.add(shuffled[first : first + 50])
        assert keys.count() == len(KEYS)
        keys.add(KEYS)
        keys.add([b"one more"])
        assert keys.count() == len(KEYS) + 1
        assert keys.count() == len(KEYS) + 1


def test_counted_up_ids_spread_over_the_partitions(tmp_path: Path) -> None:
    with DistinctKeys(0) as keys:
        keys.add(encode_key(f"aws/111122223333/{request_id(number)}") for number in range(6_400))
        keys.count()
        assert keys._folder is not None
        sizes = [path.stat().st_size for path in Path(keys._folder.name).iterdir()]
    assert len(sizes) == distinct.PARTITIONS
    assert max(sizes) < 5 * sum(sizes) / len(sizes)


def test_temporary_files_are_removed() -> None:
    with DistinctKeys(0) as keys:
        keys.add(KEYS)
        assert keys._folder is not None
        folder = Path(keys._folder.name)
        assert folder.exists()
    assert not folder.exists()


def test_nothing_is_nothing() -> None:
    with DistinctKeys() as keys:
        assert keys.count() == 0
