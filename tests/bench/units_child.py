"""Write units a call by batch size, for one population: booked into a store that counts.

Measured is the middle of a day: earlier batches have made what is made once. One writer meets
the workload in time order with its duplicates; two writers that are handed every record both,
at once, show what cancelled transactions cost. Of old calls, each transaction checks the seal.
"""

import asyncio
from itertools import islice
from typing import Any, Final

from tests.bench.dynamodb_child import CALLS, folded_lines, poster_of
from tests.bench.measuring import answer, request
from tests.bench.workload import SEED, StillClock
from tests.bench.write_units import CountingStore
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.core.posting import Poster
from worker.core.seal import LATE_DAYS
from worker.traffic.profile import TrafficProfile
from worker.traffic.traffic import Traffic

WARM_RECORDS: Final = 20_000
WARM_SIZE: Final = 2_000
RECORDS: Final = 8_000


async def measure(
    traffic: Traffic, poster: Poster, size: int, writers: int, days_later: int = 0
) -> dict[str, Any]:
    """Book and count; so many days later calls are old enough to be sealed by somebody."""
    store = CountingStore("bench")
    ledgers = [
        DynamoLedger("bench", dynamo=Dynamo(store), clock=StillClock(days_later))
        for _ in range(writers)
    ]
    lines = traffic.lines()
    for batch in folded_lines(list(islice(lines, WARM_RECORDS)), WARM_SIZE, poster):
        await ledgers[0].commit(batch, poster)
    store.reset()
    calls = 0
    for batch in folded_lines(list(islice(lines, RECORDS)), size, poster):
        done = await asyncio.gather(*(ledger.commit(batch, poster) for ledger in ledgers))
        calls += sum(one.recorded for one in done)
    made, cancelled = store.transactions["made"], store.transactions["cancelled"]
    return {
        "batch": size,
        "writers": writers,
        "booked_days_later": days_later,
        "calls": calls,
        "calls_per_transaction": round(calls / made, 1),
        "cancelled_transactions": cancelled,
        "write_units": f"{sum(store.write_units.values()) / calls:.2f}",
        "read_units": f"{sum(store.read_units.values()) / calls:.2f}",
        "write_units_by_what": {
            what: round(billed / calls, 3) for what, billed in sorted(store.write_units.items())
        },
        "largest_item_bytes": store.largest,
    }


def main() -> None:
    """Measure what was asked."""
    asked = request()
    traffic = Traffic(
        TrafficProfile(
            name="units",
            seed=SEED,
            calls=CALLS,
            start="2026-10-05",
            days=10,
            principals=asked["principals"],
        )
    )
    poster = poster_of(traffic)
    table = [
        asyncio.run(measure(traffic, poster, size, writers))
        for size in asked["sizes"]
        for writers in (1, 2)
    ]
    table += [asyncio.run(measure(traffic, poster, size, 1, LATE_DAYS)) for size in asked["sizes"]]
    answer({"table": [{"principals": asked["principals"], **row} for row in table]})


if __name__ == "__main__":
    main()
