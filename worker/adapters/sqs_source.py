"""Deliveries from an Amazon SQS queue, standard or FIFO.

Needs `sqs:ReceiveMessage`, `sqs:DeleteMessage` and `sqs:ChangeMessageVisibility`; the batch
operations have no permissions of their own (AWS documentation: "Amazon SQS API permissions").
"""

from __future__ import annotations

import asyncio
import random
import re
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from worker.adapters.aws_client import FAULTS, AwsClient
from worker.adapters.aws_errors import error_code, explained
from worker.adapters.message_groups import MessageGroups
from worker.core.errors import ConfigurationError, LedgerockError
from worker.core.results import DeliveryResult
from worker.ports import Delivery, Processed

RECEIVE_MAX: Final = 10
"""Messages in one request of any kind, at most (API reference: ReceiveMessage, ...Batch)."""
POLL_SECONDS: Final = 20
"""The longest that a receive may wait."""
DRAINED_POLL_SECONDS: Final = 1
DRAINED_POLLS: Final = 2
INVISIBLE_SECONDS_MAX: Final = 12 * 60 * 60
"""From when it was received, a message stays invisible no longer, however often prolonged."""
DEFER_FIRST_SECONDS: Final = 2
DEFER_LAST_SECONDS: Final = 15 * 60
DEFER_LAST_SECONDS_FIFO: Final = 20
"""A deferred message holds up its whole group."""
BATCH_ATTEMPTS_MAX: Final = 5
BATCH_BACKOFF_SECONDS: Final = 0.1
BATCH_BACKOFF_LAST_SECONDS: Final = 2.0

_STALE_CODES: Final = frozenset(
    {
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "MessageNotInflight",
        "ReceiptHandleIsInvalid",
    }
)
"""The message was received by somebody else meanwhile, was deleted, or is visible again."""

_REGION: Final = re.compile(r"https?://sqs(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-\d)\.")
_ADVICE: Final = "check LEDGEROCK_QUEUES, AWS_REGION and the permissions on the queue"


@dataclass(frozen=True, slots=True)
class _Flight:
    """What is known of a message that was received: when, how often, and its ordered group."""

    received_at: float
    attempts: int
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How a source waits; tests make it impatient.

    Attributes:
        poll_seconds: How long a receive waits for messages, 0 to 20.
        now: Tells the time in seconds, on a clock that never goes back.
        jitter: Returns a number from 0 up to 1.
        sleep: Waits between attempts.
    """

    poll_seconds: int = POLL_SECONDS
    now: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep


class SqsSource:
    """A `worker.ports.Source` of one queue.

    What is deferred becomes visible again after 1 to 2 seconds, then 2 to 4, and so on up to
    15 minutes (20 seconds in a FIFO queue, where it holds up its group). In a FIFO queue,
    deliveries of a group are deleted in their order only, and what is deferred takes everything
    later of its group along: see `MessageGroups`.

    A receipt that is no longer good (the message became visible and somebody else got it) is
    given up: the message comes again, and booking it again adds nothing.

    Attributes:
        given_up: How many receipts could not be settled or extended, by error code.

    Args:
        queue_url: The queue's URL.
        visibility_seconds: For how long what is received stays invisible.
        client: A client of SQS; by default one is made for the Region that the URL names.
        times: How to wait.
    """

    def __init__(
        self,
        queue_url: str,
        *,
        visibility_seconds: int = 60,
        client: AwsClient | None = None,
        times: Times | None = None,
    ) -> None:
        """Connect to nothing yet.

        Raises:
            ConfigurationError: It is no URL of a queue, or the time is out of range.
        """
        queue = queue_url.rstrip("/").rpartition("/")[2]
        if not queue_url.startswith(("https://", "http://")) or not queue:
            message = (
                f"LEDGEROCK_QUEUES: {queue_url!r} is no URL of an SQS queue; give "
                "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"
            )
            raise ConfigurationError(message)
        if not 1 <= visibility_seconds <= INVISIBLE_SECONDS_MAX:
            message = (
                f"LEDGEROCK_VISIBILITY_SECONDS={visibility_seconds}: give 1 to "
                f"{INVISIBLE_SECONDS_MAX}, 12 hours being all that SQS allows"
            )
            raise ConfigurationError(message)
        self._url = queue_url
        self._queue = queue
        self._is_fifo = queue.endswith(".fifo")
        self._visibility_seconds = visibility_seconds
        self._times = times or Times()
        self._client = client or make_client(queue_url, self._times.poll_seconds)
        self._flights: dict[str, _Flight] = {}
        self._groups = MessageGroups(self._times.now)
        self._kept: list[Delivery] = []
        self._is_kept = asyncio.Event()
        self._polls: list[asyncio.Task[list[Delivery]]] = []
        """Polls whose `receive` returned what was kept instead; the next ones wait for them."""
        self.given_up: Counter[str] = Counter()

    @property
    def name(self) -> str:
        """`sqs:QUEUE`."""
        return f"sqs:{self._queue}"

    async def receive(self) -> Sequence[Delivery]:
        """Wait up to 20 seconds for up to ten messages.

        Raises:
            TransientError: The queue cannot be reached, or too much is in flight.
            ConfigurationError: There is no such queue, or no permission.
        """
        if self._kept:
            return self._take_kept()
        if self._polls:
            poll = self._polls.pop(0)
        else:
            poll = asyncio.create_task(self._poll(self._times.poll_seconds))
        keeping = asyncio.create_task(self._is_kept.wait())
        try:
            await asyncio.wait((poll, keeping), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._kept += await _cancelled(poll)
            raise
        finally:
            keeping.cancel()
        if poll.done():
            return poll.result()
        # Not cancelled: what it is being handed would stay invisible, and be nobody's.
        self._polls.append(poll)
        return self._take_kept()

    def _take_kept(self) -> list[Delivery]:
        kept, self._kept = self._kept, []
        self._is_kept.clear()
        return kept

    async def _poll(self, seconds: int) -> list[Delivery]:
        # A retry of the SDK's then gets the very messages whose answer was lost; otherwise
        # their groups would be held up until they are visible again.
        again = {"ReceiveRequestAttemptId": uuid.uuid4().hex} if self._is_fifo else {}
        asked_at = self._times.now()
        answer = await self._client.call(
            "receive_message",
            subject=self._url,
            action="sqs:ReceiveMessage",
            advice=_ADVICE,
            QueueUrl=self._url,
            MaxNumberOfMessages=RECEIVE_MAX,
            WaitTimeSeconds=seconds,
            VisibilityTimeout=self._visibility_seconds,
            MessageSystemAttributeNames=[
                "ApproximateReceiveCount",
                "SentTimestamp",
                "MessageGroupId",
            ],
            **again,
        )
        self._forget_ancient()
        return [self._delivery(message, asked_at) for message in answer.get("Messages", ())]

    def _delivery(self, message: Mapping[str, Any], asked_at: float) -> Delivery:
        attributes = message.get("Attributes", {})
        receipt = message["ReceiptHandle"]
        attempts = int(attributes.get("ApproximateReceiveCount", 1))
        # In a standard queue a group is about fair shares, not about order.
        group = attributes.get("MessageGroupId", "") if self._is_fifo else ""
        self._flights[receipt] = _Flight(asked_at, attempts, group)
        if group:
            self._groups.add(group, receipt, self._times.now() + self._visibility_seconds)
        return Delivery(
            body=message.get("Body", "").encode(),
            receipt=receipt,
            name=f"{self.name}/{message['MessageId']}",
            group=group,
            attempts=attempts,
            sent_at_ms=int(attributes.get("SentTimestamp", 0)),
            source=self.name,
        )

    def _forget_ancient(self) -> None:
        """Forget what was received and never settled, once its receipt is surely void."""
        before = self._times.now() - INVISIBLE_SECONDS_MAX
        while self._flights:
            receipt, flight = next(iter(self._flights.items()))
            if flight.received_at > before:
                return
            del self._flights[receipt]

    async def settle(self, processed: Sequence[Processed]) -> None:
        """Delete what ended, and make visible again, after a while, what was deferred.

        Raises:
            ConfigurationError: There is no such queue (any more), or no permission.
        """
        decisions = self._groups.settle(
            (one.receipt, one.result is not DeliveryResult.DEFERRED) for one in processed
        )
        hidden: dict[str, int] = {}
        for receipts in decisions.defer.values():
            # The whole group at once; in a standard queue every delivery is its own group.
            seconds = self._defer_seconds(receipts[0])
            hidden |= {one: min(seconds, self._seconds_left(one)) for one in receipts}
        for receipt in (*decisions.acknowledge, *hidden):
            self._flights.pop(receipt, None)
        await self._all(
            [
                *self._batches(
                    "delete_message_batch",
                    "sqs:DeleteMessage",
                    [{"ReceiptHandle": receipt} for receipt in decisions.acknowledge],
                ),
                *self._hide(hidden),
            ]
        )

    async def extend(self, receipts: Sequence[str]) -> None:
        """Keep messages invisible for as long again, within the 12 hours that SQS allows.

        Raises:
            ConfigurationError: There is no such queue (any more), or no permission.
        """
        wanted = dict.fromkeys((*receipts, *self._groups.waiting()))
        left = {one: min(self._visibility_seconds, self._seconds_left(one)) for one in wanted}
        possible = {receipt: seconds for receipt, seconds in left.items() if seconds > 0}
        self._groups.extend(possible, self._times.now() + self._visibility_seconds)
        await self._all(self._hide(possible))

    async def is_drained(self) -> bool:
        """Whether two receives in a row, of a second each, brought nothing.

        A receive that waits asks all servers of a queue, so it misses nothing that is visible
        (AWS documentation: "Amazon SQS short and long polling"). The counts of
        `GetQueueAttributes` lag behind by up to a minute, and what others hold or what was
        deferred is not there to receive right now: neither is looked at. What a poll does bring
        is handed over by a `receive` that waits, or by the next one.
        """
        for _ in range(DRAINED_POLLS):
            if self._kept:
                return False
            poll_seconds = min(DRAINED_POLL_SECONDS, self._times.poll_seconds)
            found = await self._poll(poll_seconds)
            if found:
                self._kept += found
                self._is_kept.set()
        return not self._kept

    async def close(self) -> None:
        """Make visible what was received and nobody took; close the connections."""
        kept = self._take_kept()
        for poll in self._polls:
            kept += await _cancelled(poll)
        self._polls.clear()
        try:
            await self._all(self._hide({one.receipt: 0 for one in kept}))
        except LedgerockError:
            self.given_up["closed"] += len(kept)
        finally:
            await self._client.close()

    def _defer_seconds(self, receipt: str) -> int:
        flight = self._flights.get(receipt)
        attempts = 1 if flight is None else flight.attempts
        last = DEFER_LAST_SECONDS_FIFO if self._is_fifo else DEFER_LAST_SECONDS
        bound = min(last, DEFER_FIRST_SECONDS << min(attempts - 1, 20))
        return max(1, round(bound * (0.5 + self._times.jitter() / 2)))

    def _seconds_left(self, receipt: str) -> int:
        """Return for how long a message may stay invisible at most; 0 when its time is up."""
        flight = self._flights.get(receipt)
        if flight is None:
            return INVISIBLE_SECONDS_MAX
        age = self._times.now() - flight.received_at
        return max(0, int(INVISIBLE_SECONDS_MAX - age) - 1)

    def _hide(self, seconds: Mapping[str, int]) -> list[Awaitable[None]]:
        return self._batches(
            "change_message_visibility_batch",
            "sqs:ChangeMessageVisibility",
            [
                {"ReceiptHandle": receipt, "VisibilityTimeout": timeout}
                for receipt, timeout in seconds.items()
            ],
        )

    def _batches(
        self, operation: str, action: str, entries: Sequence[dict[str, Any]]
    ) -> list[Awaitable[None]]:
        named = [{"Id": str(number), **entry} for number, entry in enumerate(entries)]
        return [
            self._batch(operation, action, named[at : at + RECEIVE_MAX])
            for at in range(0, len(named), RECEIVE_MAX)
        ]

    async def _all(self, requests: Iterable[Awaitable[None]]) -> None:
        """Wait for all requests, also when one fails; then say so."""
        for outcome in await asyncio.gather(*requests, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _batch(self, operation: str, action: str, entries: list[dict[str, Any]]) -> None:
        """Make one request of a batch, and again for the entries that failed and may not."""
        code = ""
        for attempt in range(BATCH_ATTEMPTS_MAX):
            if attempt:
                bound = min(BATCH_BACKOFF_LAST_SECONDS, BATCH_BACKOFF_SECONDS * 2**attempt)
                await self._times.sleep(bound * self._times.jitter())
            try:
                answer = await self._client.request(operation, QueueUrl=self._url, Entries=entries)
            except FAULTS as error:
                code = error_code(error) or type(error).__name__
                if code in _STALE_CODES:
                    break
                fault = explained(error, subject=self._url, action=action, advice=_ADVICE)
                if isinstance(fault, ConfigurationError):
                    raise fault from error
                continue
            entries, code = self._failed(entries, answer)
            if not entries:
                return
        self.given_up[code] += len(entries)

    def _failed(
        self, entries: Sequence[dict[str, Any]], answer: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], str]:
        """Return the entries to try again, and the last error code among them."""
        again: set[str] = set()
        code = ""
        for failed in answer.get("Failed", ()):
            if failed.get("SenderFault"):
                self.given_up[str(failed.get("Code", ""))] += 1
            else:
                again.add(failed["Id"])
                code = str(failed.get("Code", ""))
        return [entry for entry in entries if entry["Id"] in again], code


def make_client(queue_url: str, poll_seconds: int = POLL_SECONDS) -> AwsClient:
    """Return a client for a queue, of the Region that its URL names."""
    found = _REGION.match(queue_url)
    return AwsClient(
        "sqs",
        region=cast("str", found[1]) if found else None,
        read_seconds=poll_seconds + 15.0,
    )


async def _cancelled(poll: asyncio.Task[list[Delivery]]) -> list[Delivery]:
    """End a poll that nobody waits for; return what it had brought by then."""
    poll.cancel()
    await asyncio.wait((poll,))
    return [] if poll.cancelled() or poll.exception() else poll.result()
