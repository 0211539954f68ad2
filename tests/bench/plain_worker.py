"""A plain worker: the competitor on queues, as one writes it who batches nothing but SQS does.

It polls with as many receivers as ours, books every message in a transaction of its own, as many
at a time as ours, and deletes each receive's messages in one request. Decoding, pricing, the
items of a call, retries and duplicates are ours, so that only the way of working differs; each
call is a conditional put and additions to the payer's day and to the day's wide item. It looks
at no budgets, and is spared what it has no use for: reading entries first, and, as it reads all
names before the clock starts, meeting each of them for the first time.
"""

import asyncio
import os
import resource
import time
from pathlib import Path
from typing import Any, Final

from tests.bench.measuring import answer, request
from tests.workers import aws
from worker.adapters.dynamodb_ledger import CONCURRENCY, DynamoLedger
from worker.bootstrap import make_poster
from worker.core.decoders import Decoder
from worker.pipeline import Digester
from worker.settings import Settings, WorkerSettings

RECEIVED_MAX: Final = 10
POLL_SECONDS: Final = 20
LAST_POLL_SECONDS: Final = 1


class PlainWorker:
    """Works on a queue until it has settled as many messages as it was told."""

    def __init__(self, sqs: Any, queue: str, ledger: DynamoLedger, settings: Settings) -> None:
        self._sqs = sqs
        self._queue = queue
        self._ledger = ledger
        self._poster = make_poster(settings)
        self._decoder = Decoder()
        self._transactions = asyncio.Semaphore(CONCURRENCY)
        self._hidden_seconds = settings.worker.visibility_seconds
        self.deleted = 0

    async def run(self, receivers: int) -> float:
        """Return the seconds from the first receive to the last delete."""
        started = time.perf_counter()
        ends = await asyncio.gather(*(self._receive() for _ in range(receivers)))
        return max(ends) - started

    async def _receive(self) -> float:
        """Work until nothing comes; return when the last message was deleted."""
        ended = time.perf_counter()
        while True:
            # It knows that the queue is filled: a long poll then answers at once, as ours does.
            answered = await self._sqs.receive_message(
                QueueUrl=self._queue,
                MaxNumberOfMessages=RECEIVED_MAX,
                WaitTimeSeconds=LAST_POLL_SECONDS if self.deleted else POLL_SECONDS,
                VisibilityTimeout=self._hidden_seconds,
            )
            messages = answered.get("Messages", ())
            if not messages:
                return ended
            await asyncio.gather(*(self._book(one["Body"]) for one in messages))
            entries = [
                {"Id": str(number), "ReceiptHandle": one["ReceiptHandle"]}
                for number, one in enumerate(messages)
            ]
            deleted = await self._sqs.delete_message_batch(QueueUrl=self._queue, Entries=entries)
            self.deleted += len(deleted["Successful"])
            ended = time.perf_counter()

    async def _book(self, body: str) -> None:
        async with self._transactions:
            digester = Digester(self._poster)
            digester.add(self._decoder.decode(body.encode(), source="bench"))
            await self._ledger.commit(digester.digest().batch, self._poster)


async def main() -> None:
    """Work on what was asked for; the environment says where AWS is."""
    asked = request()
    settings = Settings(ledger="memory", registry=Path(asked["registry"]))
    ledger = DynamoLedger(asked["prefix"], prefetch=False)
    try:
        async with aws("sqs") as sqs:
            await ledger.balances()
            worker = PlainWorker(sqs, asked["queue"], ledger, settings)
            seconds = await worker.run(WorkerSettings().receivers)
    finally:
        await ledger.close()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    answer(
        {
            "seconds": seconds,
            "deleted": worker.deleted,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "process": os.getpid(),
        }
    )


if __name__ == "__main__":
    asyncio.run(main())
