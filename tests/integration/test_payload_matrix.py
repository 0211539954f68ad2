"""Every source of the worker, with every kind of payload that can arrive there, in one run.

Each combination calls under a name of its own, so that the books say what was lost where.
"""

import base64
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.calls import ACCOUNT, HOUR, MICRO, NOON, UNLISTED, asynchronous
from tests.dynamodb import local_endpoint
from tests.integration.emulator import (
    Place,
    TickingClock,
    place_at,
    running,
    settings_of,
    until,
    use,
)
from tests.integration.test_sqs_s3 import (
    Cloud,
    notify_directly,
    notify_through_eventbridge,
    notify_through_sns,
)
from tests.records import completion, event, line, log, poison
from tests.unit.core.decoders.payloads import (
    aggregate,
    batch_job_created,
    batch_job_event,
    batch_line,
    batch_manifest,
    bridge_event,
    notification,
    payload,
    subscription,
)
from worker.core.budget_terms import Budget, Scope
from worker.core.events import (
    USAGE_QUARANTINED,
    USAGE_UNMETERED,
    USAGE_UNPRICED,
)
from worker.core.ledger import Amounts

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

TOKENS: Final = (1_000, 500)
CALL_PICO_USD: Final = 2_400_000_000
"""1,000 tokens in, 500 out, at 0.8 and 3.2 USD per million."""
JOB_PICO_USD: Final = 12_000_000_000
"""10,000 tokens in, 5,000 out, at half of that."""
JOB_LINES: Final = 4
GZIP_WINDOW_BITS: Final = 31


@dataclass(frozen=True, slots=True)
class Figures:
    """What the calls of one source and kind come to."""

    calls: int = 0
    cost_pico_usd: int = 0
    estimated: int = 0
    unpriced: int = 0
    unmetered: int = 0


class Plan:
    """Who calls, and what must come of it.

    Attributes:
        expected: Figures of each source and kind, by the user that calls under its name.
        poison: Number of each poisoned record, with its source and kind.
        damaged: How many payloads break off.
        jobs: Ids of batch jobs, with the folder of each in a bucket.
    """

    def __init__(self) -> None:
        self.expected: dict[str, Figures] = {}
        self.poison: dict[int, str] = {}
        self.damaged: list[str] = []
        self.jobs: dict[str, str] = {}
        self._number = 0

    def numbers(self, user: str, count: int = 1, status: str = "priced") -> list[int]:
        """Expect some calls of a user; return their numbers."""
        had = self.expected.get(user, Figures())
        costs = CALL_PICO_USD * count if status in {"priced", "estimated"} else 0
        self.expected[user] = Figures(
            had.calls + count,
            had.cost_pico_usd + costs,
            had.estimated + count * (status == "estimated"),
            had.unpriced + count * (status == "unpriced"),
            had.unmetered + count * (status == "unmetered"),
        )
        return [self._next() for _ in range(count)]

    def logs(self, user: str, count: int = 1) -> list[bytes]:
        return [line(log(number, TOKENS, user=user)) for number in self.numbers(user, count)]

    def events(self, user: str, count: int = 1) -> list[dict[str, object]]:
        numbers = self.numbers(user, count, "estimated")
        return [event(number, TOKENS, user=user) for number in numbers]

    def poisoned(self, user: str) -> bytes:
        number = self._next()
        self.poison[number] = user
        return line(poison(number))

    def job(self, user: str) -> str:
        """Expect a batch job; return its id."""
        number = self._next()
        job = f"job{number:09d}"
        self.expected[user] = Figures(1, JOB_PICO_USD)
        self.jobs[user] = job
        return job

    def _next(self) -> int:
        self._number += 1
        return self._number

    @property
    def total(self) -> Figures:
        values = self.expected.values()
        return Figures(sum(one.calls for one in values), sum(one.cost_pico_usd for one in values))


# --- The kinds of payload: each returns messages, records or objects of one user ---------------


def record(plan: Plan, user: str) -> list[bytes]:
    return plan.logs(user)


def lines(plan: Plan, user: str) -> list[bytes]:
    return [b"\n".join(plan.logs(user, 3))]


def compressed_lines(plan: Plan, user: str) -> list[bytes]:
    first, second = plan.logs(user, 2), plan.logs(user, 2)
    return [gzip.compress(b"\n".join(first)) + gzip.compress(b"\n".join(second))]


def _subscribed(plan: Plan, user: str) -> bytes:
    return payload(subscription(*(one.decode() for one in plan.logs(user, 3))))


def subscription_plain(plan: Plan, user: str) -> list[bytes]:
    return [_subscribed(plan, user)]


def subscription_gzip(plan: Plan, user: str) -> list[bytes]:
    return [gzip.compress(_subscribed(plan, user))]


def subscription_zlib(plan: Plan, user: str) -> list[bytes]:
    return [zlib.compress(_subscribed(plan, user))]


def control_message(_plan: Plan, _user: str) -> list[bytes]:
    asked = subscription("CWL CONTROL MESSAGE: Checking health", kind="CONTROL_MESSAGE")
    return [gzip.compress(payload(asked))]


def api_call_envelope(plan: Plan, user: str) -> list[bytes]:
    return [
        payload(bridge_event("AWS API Call via CloudTrail", one)) for one in plan.events(user, 2)
    ]


def completion_envelope(plan: Plan, user: str) -> list[bytes]:
    """The completion knows the tokens, the call itself the caller."""
    [number] = plan.numbers(user, 1, "estimated")
    ended = bridge_event("AWS Service Event via CloudTrail", completion(number, TOKENS))
    begun = bridge_event("AWS API Call via CloudTrail", event(number, user=user))
    return [payload(ended), payload(begun)]


def trail_file(plan: Plan, user: str) -> list[bytes]:
    return [payload({"Records": plan.events(user, 3)})]


def trail_file_gzip(plan: Plan, user: str) -> list[bytes]:
    return [gzip.compress(payload({"Records": plan.events(user, 3)}))]


def batch_job(plan: Plan, user: str) -> list[bytes]:
    """The manifest with the counts is an object, see `objects_of_job`."""
    arn = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:model-invocation-job/{plan.job(user)}"
    created = batch_job_created(
        userIdentity=event(1, user=user)["userIdentity"], responseElements={"jobArn": arn}
    )
    ended = batch_job_event(batchJobArn=arn)
    return [payload(bridge_event("AWS API Call via CloudTrail", created)), payload(ended)]


def unpriced(plan: Plan, user: str) -> list[bytes]:
    [number] = plan.numbers(user, 1, "unpriced")
    return [line(log(number, TOKENS, user=user, model=UNLISTED))]


def unmetered(plan: Plan, user: str) -> list[bytes]:
    [number] = plan.numbers(user, 1, "unmetered")
    return [line(event(number, user=user, model=MICRO))]


def poison_alone(plan: Plan, user: str) -> list[bytes]:
    return [plan.poisoned(user)]


def poison_among_lines(plan: Plan, user: str) -> list[bytes]:
    before, after = plan.logs(user, 2), plan.logs(user, 2)
    return [b"\n".join([*before, plan.poisoned(user), *after])]


def poison_in_subscription(plan: Plan, user: str) -> list[bytes]:
    messages = [*plan.logs(user, 1), plan.poisoned(user), *plan.logs(user, 1)]
    return [gzip.compress(payload(subscription(*(one.decode() for one in messages))))]


def broken_off(plan: Plan, user: str) -> list[bytes]:
    plan.damaged.append(user)
    packer = zlib.compressobj(6, zlib.DEFLATED, GZIP_WINDOW_BITS)
    text = b"".join(one + b"\n" for one in plan.logs(user, 2))
    return [packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)]


def through_sns(plan: Plan, user: str) -> list[bytes]:
    return [payload(notification(one.decode())) for one in plan.logs(user, 2)]


def aggregated(plan: Plan, user: str) -> list[bytes]:
    """What the Kinesis Producer Library makes of records of several kinds."""
    inner = [*plan.logs(user, 2), *subscription_gzip(plan, user), *trail_file(plan, user)]
    return [aggregate(*inner), aggregate(*plan.logs(user, 2))]


Kind = Callable[[Plan, str], list[bytes]]

KINDS: Final[tuple[Kind, ...]] = (
    record,
    lines,
    compressed_lines,
    subscription_plain,
    subscription_gzip,
    subscription_zlib,
    control_message,
    api_call_envelope,
    completion_envelope,
    trail_file,
    trail_file_gzip,
    batch_job,
    unpriced,
    unmetered,
    poison_alone,
    poison_among_lines,
    poison_in_subscription,
    broken_off,
)
BUCKETS: Final = {
    "s3": notify_directly,
    "s3-sns": notify_through_sns,
    "s3-eventbridge": notify_through_eventbridge,
}


def payloads(plan: Plan, source: str, kinds: Sequence[Kind]) -> list[tuple[str, bytes]]:
    """Return what arrives at a source: the user that it is for, and the payload."""
    found = []
    for kind in kinds:
        user = f"{source}-{kind.__name__}"
        found += [(user, one) for one in kind(plan, user)]
    return found


def as_text(body: bytes) -> bytes:
    """Return a payload as a message can hold it."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body)
    return body


def objects_of_job(job: str) -> dict[str, bytes]:
    usage = {"usage": {"input_tokens": 2_500, "output_tokens": 1_250}}
    numbers = range(JOB_LINES)
    output = b"\n".join(payload(batch_line(number, modelOutput=usage)) for number in numbers)
    manifest = payload(batch_manifest(JOB_LINES, 10_000, 5_000))
    return {f"out/{job}/manifest.json.out": manifest, f"out/{job}/questions.jsonl.out": output}


# --- Delivering them -----------------------------------------------------------------------------


async def fill(place: Place, plan: Plan) -> tuple[list[str], str]:
    """Put everything where it arrives; return the queues, and the stream."""
    standard, fifo = await place.queue(), await place.queue(fifo=True)
    for source, queue in (("sqs", standard), ("fifo", fifo)):
        bodies = [as_text(one) for _, one in payloads(plan, source, (*KINDS, through_sns))]
        await place.send(queue, bodies)
    stream = await place.stream()
    bodies = [one for _, one in payloads(plan, "kinesis", (*KINDS, aggregated))]
    await place.put(stream, bodies)
    queues = [standard, fifo]
    objects = {name: payloads(plan, name, KINDS) for name in BUCKETS}
    jobs = dict(plan.jobs)
    for name, notify in BUCKETS.items():
        cloud = Cloud(place.s3, place.sqs, place.sns, place.events)
        await place.s3.create_bucket(Bucket=cloud.bucket)
        queues.append(await place.queue())
        await notify(cloud, queues[-1])
        contents = {
            f"logs/{user}-{number}.json.gz": body
            for number, (user, body) in enumerate(objects[name])
        }
        # Jobs whose events come in messages have their output in the first bucket.
        mine = [user for user in jobs if user.startswith(f"{name}-batch") or name == "s3"]
        for user in mine:
            contents |= objects_of_job(jobs.pop(user))
        contents["logs/amazon-bedrock-logs-permission-check"] = b""
        for key, body in contents.items():
            await place.s3.put_object(Bucket=cloud.bucket, Key=key, Body=body)
    assert not jobs
    return queues, stream


def booked(totals: dict[str, Amounts]) -> dict[str, Figures]:
    return {
        principal.removeprefix(f"user/{ACCOUNT}/"): Figures(
            one.calls,
            one.cost_pico_usd,
            one.estimated_calls,
            one.unpriced_calls,
            one.unmetered_calls,
        )
        for principal, one in totals.items()
    }


def differences(expected: dict[str, Figures], found: dict[str, Figures]) -> list[str]:
    """Say for which sources and kinds the books are wrong."""
    return [
        f"{user}: {found.get(user)} instead of {expected.get(user)}"
        for user in sorted(expected.keys() | found.keys())
        if expected.get(user) != found.get(user)
    ]


def quarantined(bodies: Sequence[bytes]) -> Counter[int]:
    """Return the numbers of poisoned records; 0 for anything else that was put aside."""
    found = (re.search(rb"many-(\d+)", body) for body in bodies)
    return Counter(int(match[1]) if match else 0 for match in found)


async def until_right(place: Place, plan: Plan) -> None:
    """Wait until the books are right; fail with what is missing, or too much."""
    wrong = ["nothing was looked at"]

    async def is_right() -> bool:
        wrong[:] = differences(plan.expected, booked(await place.ledger.totals("principal")))
        return not wrong

    try:
        await until(is_right, "the books are right")
    finally:
        assert not wrong, "\n".join(wrong)


async def until_empty(place: Place, queues: Sequence[str]) -> None:
    async def is_empty() -> bool:
        return not await place.messages_left(*queues)

    await until(is_empty, "the queues are empty")


@asynchronous
async def test_every_kind_of_payload_from_every_source_is_booked_exactly(
    tmp_path: Path,
) -> None:
    plan, clock = Plan(), TickingClock(NOON + 6 * HOUR)
    with pytest.MonkeyPatch.context() as patch:
        use(patch, local_endpoint())
        async with place_at(local_endpoint(), tmp_path) as place:
            await place.make_bus()
            queues, stream = await fill(place, plan)
            total = plan.total
            limit = total.cost_pico_usd * 100 // 95
            everything = Scope("everything")
            await place.set_budget(
                Budget("all", everything, limit, period="366-day", anchor_day=20_700)
            )
            settings = settings_of(place, queues=tuple(queues), streams=(stream,))
            async with running(settings, clock=clock) as one:
                await until_right(place, plan)
                await until_empty(place, queues)
                await place.until_announced({("all", 70), ("all", 90)})
                # Nobody hears of what is not charged before its log may have come.
                clock.ahead_ms += 2 * HOUR
                await place.until_heard_of(USAGE_QUARANTINED, USAGE_UNMETERED, USAGE_UNPRICED)
                assert quarantined(await one.quarantined()) == Counter(
                    dict.fromkeys(plan.poison, 1) | {0: len(plan.damaged)}
                )
                assert not one.worker.unhealthy()
            verified = await place.verified()
            assert (verified.calls, verified.cost_pico_usd) == (total.calls, total.cost_pico_usd)
