"""One seeded generator of realistic Bedrock traffic, with its own exact sums.

Tests, the demo and the bench run on it. It imports nothing of the program that it checks: prices
come from a table of its own, and the sums are added while the records are made.

    sums = Traffic(demo_profile(seed=7)).write(Path("build/demo"))
"""

from worker.traffic.profile import TrafficProfile, bench_profile, demo_profile
from worker.traffic.sums import Total, TrafficSums
from worker.traffic.traffic import Traffic

__all__ = ["Total", "Traffic", "TrafficProfile", "TrafficSums", "bench_profile", "demo_profile"]
