"""`ledgerock worker --burst` as it is, and when it received first and settled last.

The command runs with the settings of its environment; all that is added are two looks at a
clock around what its source does.
"""

import resource
import runpy
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

from tests.bench.measuring import answer
from worker.adapters.sqs_source import SqsSource
from worker.core.results import DeliveryResult
from worker.ports import Delivery, Processed


class Watch:
    """When a source received first and settled last, and how much."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last = 0.0
        self.settled = 0

    @contextmanager
    def worn(self) -> Iterator[None]:
        """Have every source watched."""
        poll, settle = SqsSource._poll, SqsSource.settle

        async def watched_poll(source: SqsSource, seconds: int) -> list[Delivery]:
            if self.first is None:
                self.first = time.perf_counter()
            return await poll(source, seconds)

        async def watched_settle(source: SqsSource, processed: Sequence[Processed]) -> None:
            await settle(source, processed)
            self.settled += sum(one.result is not DeliveryResult.DEFERRED for one in processed)
            self.last = time.perf_counter()

        with (
            mock.patch.object(SqsSource, "_poll", watched_poll),
            mock.patch.object(SqsSource, "settle", watched_settle),
        ):
            yield


def main() -> None:
    """Run the command to its end and say what was seen."""
    watch = Watch()
    sys.argv = ["ledgerock", "worker", "--burst"]
    code: object = 0
    with watch.worn():
        try:
            runpy.run_module("worker", run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    usage = resource.getrusage(resource.RUSAGE_SELF)
    answer(
        {
            "code": code,
            "seconds": watch.last - (watch.first or 0.0),
            "deleted": watch.settled,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
        }
    )


if __name__ == "__main__":
    main()
